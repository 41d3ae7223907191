"""Slices of a cohort: their classes, their cells, and how the classes are thinned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.cohort import load_cohort
from monai_staging.cohort.case import Lesion
from monai_staging.cohort.volume import read_mask
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.slice_boxes import SliceImage
from monai_staging.transforms.study_slices import StudySlices
from monai_staging.workflows.slice_classes import (
    BENIGN,
    MALIGNANT,
    NONE,
    UNKNOWN,
    NoduleSpan,
    nodule_kind,
    slice_classes,
)
from monai_staging.workflows.slices_data import STRIDE, SliceStudies, ThinnedSlices

PLACE = {"center_mm": (0.0, 0.0, 0.0), "size_mm": (8.0, 8.0, 8.0)}


@pytest.mark.parametrize(
    ("lesion", "kind"),
    [
        (Lesion("nodule", **PLACE, malignancy=(3, 3)), MALIGNANT),
        (Lesion("nodule", **PLACE, malignancy=(3, 2)), BENIGN),
        (Lesion("nodule", **PLACE, malignancy=(1, 5)), MALIGNANT),
        (Lesion("nodule", **PLACE), UNKNOWN),
        (Lesion("metastasis", **PLACE), UNKNOWN),
        (Lesion("primary", **PLACE), MALIGNANT),
        (Lesion("primary", **PLACE, malignancy=(1, 1)), BENIGN),
        (Lesion("node", **PLACE), None),
    ],
)
def test_a_nodule_is_what_its_readers_say(lesion: Lesion, kind: int | None) -> None:
    assert nodule_kind(lesion) == kind


@given(st.lists(st.tuples(st.sampled_from([UNKNOWN, BENIGN, MALIGNANT]), st.integers(0, 19), st.integers(0, 8))))
def test_a_slice_is_the_worst_that_it_shows(spans: list[tuple[int, int, int]]) -> None:
    lesion = Lesion("nodule", **PLACE)
    made = [NoduleSpan(kind, range(start, min(20, start + length)), lesion) for kind, start, length in spans]
    found = slice_classes(made, 20)
    for place in range(20):
        shown = {span.kind for span in made if place in span.slices}
        expected = next((kind for kind in (MALIGNANT, UNKNOWN, BENIGN) if kind in shown), NONE)
        assert found[place] == expected


@pytest.fixture(scope="module")
def data(screening_cohort: Path) -> SliceStudies:
    return SliceStudies(screening_cohort, StudySlices(SliceImage(128), 24, slab=True))


def test_classes_are_those_of_the_masks(data: SliceStudies, screening_cohort: Path) -> None:
    cohort = load_cohort(screening_cohort)
    checked = 0
    for study in data.studies:
        path = cohort.mask_path(study.source)
        assert path is not None
        mask, _ = read_mask(path)
        for row, place in enumerate(study.places):
            labels = set(np.unique(mask[:, :, place]).tolist()) - {0}
            kinds = [nodule_kind(lesion) for lesion in study.source.lesions if lesion.label in labels]
            assert study.classes[row] == max((kind for kind in kinds if kind is not None), default=NONE)
            checked += bool(labels)
    assert checked > 10


def test_cells_lie_where_the_masks_do(data: SliceStudies, screening_cohort: Path) -> None:
    cohort = load_cohort(screening_cohort)
    for number, study in enumerate(data.studies):
        path = cohort.mask_path(study.source)
        assert path is not None
        mask, affine = read_mask(path)
        for row, place in enumerate(study.places):
            cells = data.cells[number, row]
            assert bool((cells > 0).any()) == bool((mask[:, :, place] > 0).any())
            rows, columns = torch.nonzero(cells > 0, as_tuple=True)
            if len(rows):
                pixels = STRIDE * (torch.stack([columns, rows], dim=1).double().numpy() + 0.5)
                seen = np.zeros((len(study.places), 2))
                seen[row] = pixels.mean(axis=0)
                middle = data.pixels_mm(number, seen)[row]
                voxels = np.argwhere(mask[:, :, place] > 0)
                if len(np.unique(mask[:, :, place])) == 2:
                    world = np.column_stack([voxels, np.full(len(voxels), place)]) @ affine[:3, :3].T + affine[:3, 3]
                    # Half a cell, as wide as a few pixels of the scan.
                    assert np.abs(middle - world[:, :2].mean(axis=0)).max() < STRIDE * 3.5


def test_heights_are_those_of_the_volumes(data: SliceStudies) -> None:
    for number, study in enumerate(data.studies):
        volume = data.volume(number)
        heights = volume.affine[2, 2] * study.places + volume.affine[2, 3]
        np.testing.assert_allclose(study.z_mm, heights, atol=1e-6)
        assert (np.diff(study.z_mm) >= 0).all()


def test_a_stretch_is_neighbouring_slices_around_its_own(data: SliceStudies) -> None:
    stretches = data.stretches("training", 6)
    assert len(stretches) == 24 * len(data.parts["training"])
    for index in (0, 5, 23, 24, len(stretches) - 1):
        item = stretches[index]
        centre = index % 24 - int(item["start"])
        assert 0 <= centre < 6 and item["image"].shape == (6, 2, 128, 128)
        assert item["class"][centre] == stretches.centres[index]
        assert torch.equal(item["image"][centre], data.images[index // 24, index % 24])
    batch = stretches.__getitems__([3, 40])
    assert torch.equal(batch["cells"][1], stretches[40]["cells"])


def test_whole_studies_have_all_slices(data: SliceStudies) -> None:
    whole = data.whole("test")
    assert len(whole) == len(data.parts["test"])
    item = whole[0]
    assert item["height"].tolist() == pytest.approx([(row + 0.5) / 24 for row in range(24)])
    assert int(item["study"]) == data.parts["test"][0]


@pytest.mark.parametrize("redraw", [False, True])
def test_classes_are_thinned_to_equal_numbers(data: SliceStudies, redraw: bool) -> None:
    stretches = data.stretches("training", 4)
    sampler = ThinnedSlices(stretches, redraw=redraw, seed=1)
    counts = torch.bincount(stretches.centres)
    first, second = list(sampler), list(sampler)
    assert len(first) == len(sampler) == 3 * int(counts.min())
    assert torch.bincount(stretches.centres[first]).tolist() == [int(counts.min())] * 3
    assert len(set(first)) == len(first) and first != second
    assert (set(first) == set(second)) == (not redraw)


def test_more_than_there_are_come_again(data: SliceStudies) -> None:
    stretches = data.stretches("training", 4)
    rarest = int(torch.bincount(stretches.centres).min())
    sampler = ThinnedSlices(stretches, count=6 * rarest)
    counts = torch.bincount(torch.tensor(list(sampler)), minlength=len(stretches))
    own = counts[stretches.centres == int(torch.bincount(stretches.centres).argmin())]
    assert own.tolist() == [2] * rarest


def test_without_labels_nothing_is_known(screening_cohort: Path) -> None:
    cut = StudySlices(SliceImage(64), 8)
    data = SliceStudies(screening_cohort, cut, parts="test", limit=2, labels=False)
    assert len(data.studies) == 2 and bool((data.classes == UNKNOWN).all()) and not bool((data.cells > 0).any())


def test_a_part_without_a_class_is_refused(screening_cohort: Path, tmp_path: Path) -> None:
    cohort = load_cohort(screening_cohort)
    unrated = tuple(
        replace(case, lesions=tuple(replace(lesion, malignancy=()) for lesion in case.lesions))
        for case in cohort.training
    )
    (tmp_path / "volumes").symlink_to(screening_cohort / "volumes")
    (tmp_path / "masks").symlink_to(screening_cohort / "masks")
    replace(cohort, root=tmp_path, training=unrated).save()
    data = SliceStudies(tmp_path, StudySlices(SliceImage(64), 8))
    with pytest.raises(DataError, match="slices of every class are needed in part training, found no nodule"):
        data.stretches("training", 4)


def test_settings_out_of_range_are_refused(data: SliceStudies, screening_cohort: Path) -> None:
    with pytest.raises(UsageError, match="1 to 24 slices"):
        data.stretches("training", 25)
    with pytest.raises(UsageError, match="a part is one of"):
        data.whole("holiday")
    with pytest.raises(UsageError, match="a part is one of"):
        SliceStudies(screening_cohort, StudySlices(SliceImage(64), 8), parts=["training", "holiday"])
