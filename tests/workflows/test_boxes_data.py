"""The box regressor's slices: the boxes that a cohort has, the parts, and what leaks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_staging.cohort import load_cohort
from monai_staging.cohort.case import Lesion
from monai_staging.cohort.volume import read_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.slice_boxes import SliceImage
from monai_staging.workflows.boxes_data import SliceBoxData
from monai_staging.workflows.boxes_slices import empty_slices, lesion_slices, tumour, tumour_boxes
from monai_staging.workflows.boxes_split import SliceSplit


def data_of(cohort: Any, kind: str = "cohort", size: int = 40, **settings: Any) -> SliceBoxData:
    return SliceBoxData(cohort.root, SliceImage(size, ["lung"]), SliceSplit(kind), **settings)


def test_boxes_of_masks_and_of_readers_are_those_drawn(box_cohort: Any) -> None:
    cohort = load_cohort(box_cohort.root)
    assert {case.mask is None for case in cohort.cases} == {True, False}
    for case in cohort.cases:
        volume = read_volume(cohort.image_path(case))
        assert tumour_boxes(cohort, case, volume) == box_cohort.boxes[case.series]
        lesion = tumour(case)
        assert lesion is not None
        assert list(lesion_slices(lesion, volume)) == list(box_cohort.boxes[case.series])
        every = set(range(volume.shape[2]))
        assert set(empty_slices(case, volume)) == every - set(box_cohort.boxes[case.series])


def test_the_primary_is_looked_for_or_the_largest_lesion(box_cohort: Any) -> None:
    case = load_cohort(box_cohort.root).cases[0]
    node = Lesion("node", (0.0, 0.0, 0.0), (90.0, 90.0, 90.0))
    small = Lesion("nodule", (0.0, 0.0, 0.0), (3.0, 3.0, 3.0))
    assert tumour(replace(case, lesions=(node, *case.lesions, small))) == case.lesions[0]
    assert tumour(replace(case, lesions=(small, node))) == node
    assert tumour(replace(case, lesions=())) is None


def test_a_slice_with_several_boxes_has_its_largest(box_cohort: Any) -> None:
    cohort = load_cohort(box_cohort.root)
    case = cohort.cases[0]
    boxes = ((4, 1.0, 1.0, 3.0, 3.0), (5, 0.0, 0.0, 9.0, 9.0), (4, 2.0, 2.0, 8.0, 9.0))
    lesion = replace(case.lesions[0], boxes=boxes)
    volume = read_volume(cohort.image_path(case))
    found = tumour_boxes(cohort, replace(case, lesions=(lesion,)), volume)
    assert found == {4: (2.0, 2.0, 8.0, 9.0), 5: (0.0, 0.0, 9.0, 9.0)}


def test_images_and_boxes_belong_together(box_cohort: Any) -> None:
    data = data_of(box_cohort)
    part = data.part("training")
    batch = part.__getitems__(list(range(len(part))))
    assert batch["image"].dtype == torch.uint8
    for image, (x0, y0, x1, y1) in zip(batch["image"], batch["box"].int().tolist(), strict=True):
        bright = torch.zeros(40, 40, dtype=torch.bool)
        bright[y0:y1, x0:x1] = True
        # Lung window: soft tissue is white, lung is dark.
        assert torch.equal(image[0] > 200, bright)


def test_the_cohort_s_own_parts_and_patients_drawn_do_not_leak(box_cohort: Any) -> None:
    cohort = load_cohort(box_cohort.root)
    for kind in ("cohort", "patient"):
        data = data_of(box_cohort, kind)
        assert data.leaking == 0 and "LEAKS" not in data.title()
        places = {part: set(data.part(part).values("case").tolist()) for part in ("training", "test")}
        assert not places["training"] & places["test"]
        assert places["training"] | places["test"] == set(range(12))
    tested = {owner.case for owner in data_of(box_cohort)._owners_of("test")}
    assert len(tested) == len(cohort.test)
    drawn = [data_of(box_cohort, "patient", subtypes=subtypes) for subtypes in (None, "B", ["A"])]
    tests = [{owner.case for owner in one._owners_of("test")} for one in drawn]
    # Whoever is held out is so whichever subtypes are used.
    assert tests[0] == tests[1] | tests[2]


def test_random_slices_leak_and_are_called_that(box_cohort: Any) -> None:
    data = data_of(box_cohort, "slice")
    count = len(data.parts["training"]) + len(data.parts["test"])
    assert len(data.parts["test"]) == pytest.approx(0.2 * count, abs=1)
    assert not set(data.parts["training"]) & set(data.parts["test"])
    assert data.leaking > 0.5 and "LEAKS" in data.title()
    assert data_of(box_cohort, "slice").parts == data.parts
    other = SliceBoxData(box_cohort.root, SliceImage(40), SliceSplit("slice", seed=1))
    assert other.parts != data.parts


def test_slices_of_a_case_are_spread_and_empty_ones_are_only_trained_on(box_cohort: Any) -> None:
    data = data_of(box_cohort, slices_per_case=2, empty=0.5)
    for part in ("training", "test"):
        boxes = data.part(part).values("box")
        own = data.part(part).values("case")
        empty = torch.isnan(boxes).all(dim=1)
        assert all(((own == case) & ~empty).sum() == 2 for case in own.unique())
        assert all(((own == case) & empty).sum() == (part == "training") for case in own.unique())
    places = data.part("training").values("slice").tolist()
    cohort = load_cohort(box_cohort.root)
    of_place = [case for case in cohort.cases]
    for case, index, box in zip(
        data.part("training").values("case").tolist(), places, data.part("training").values("box"), strict=True
    ):
        assert (index in box_cohort.boxes[of_place[case].series]) == (not bool(torch.isnan(box).any()))


def test_what_is_not_there_is_told(box_cohort: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no case of subtype 'G'; it has A, B"):
        data_of(box_cohort, subtypes=["G"])
    with pytest.raises(UsageError, match="one of cohort, patient, slice"):
        SliceSplit("random")
    with pytest.raises(UsageError, match="slices_per_case 0"):
        data_of(box_cohort, slices_per_case=0)
    document = json.loads((box_cohort.root / "cohort.json").read_text())
    for case in document["training"] + document["test"]:
        case["lesions"] = []
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "cohort.json").write_text(json.dumps(document))
    (bare / "volumes").symlink_to(box_cohort.root / "volumes")
    with pytest.raises(DataError, match="found none in 12 cases"):
        SliceBoxData(bare, SliceImage(40), SliceSplit())


def test_a_patient_on_both_sides_of_the_cohort_is_refused(box_cohort: Any, tmp_path: Path) -> None:
    document = json.loads((box_cohort.root / "cohort.json").read_text())
    document["test"][0]["patient"] = document["training"][0]["patient"]
    (tmp_path / "cohort.json").write_text(json.dumps(document))
    for name in ("volumes", "masks"):
        (tmp_path / name).symlink_to(box_cohort.root / name)
    with pytest.raises(DataError, match="has each in one part, found 1 in two"):
        SliceBoxData(tmp_path, SliceImage(40), SliceSplit())
    # Drawn by patient, the two cases stay together.
    assert SliceBoxData(tmp_path, SliceImage(40), SliceSplit("patient")).leaking == 0


def test_names_say_nothing_of_the_patient(box_cohort: Any) -> None:
    owners = data_of(box_cohort).owners
    assert len({owner.patient for owner in owners}) == 12
    assert all(owner.case.startswith(owner.patient) and "patient-" not in owner.case for owner in owners)
    assert np.array([owner.shape for owner in owners]).tolist() == [[40, 32]] * 12
