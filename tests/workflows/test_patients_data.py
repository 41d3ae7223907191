"""Bags of nodules: the right ones, cut once, after a kill too; and who of a cohort is in them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_staging.cohort.cohort import Cohort
from monai_staging.detection.two_stage import CandidateCubes
from monai_staging.errors import DataError, UsageError
from monai_staging.workflows.patients_data import MEASURED, PatientData, measure
from monai_staging.workflows.patients_nodules import NoduleCutter

CUBES = CandidateCubes(16, 1.0, ["lung", "mediastinum"])
Write = Callable[..., Cohort]
LABELS = (True, False, 1, 0, True, 0, None, True, False, 1, False, None)


@pytest.fixture(scope="module")
def cohort(patients_with_balls: Write, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return patients_with_balls(tmp_path_factory.mktemp("patients"), LABELS)


@pytest.fixture
def cutter(balls: Any, tmp_path: Path) -> NoduleCutter:
    return NoduleCutter(balls(), CUBES, most=2, cache=tmp_path / "cache")


def test_a_bag_has_the_surest_nodules_with_the_surest_first(cohort: Cohort, cutter: NoduleCutter) -> None:
    data = PatientData(cohort.root, cutter)
    batch = data.part("test").__getitems__([0, 1])
    assert batch["nodules"].shape == (2, 2, 2, 16, 16, 16) and batch["nodules"].dtype == torch.uint8
    assert batch["mask"].all() and batch["label"].tolist() == [[1.0], [0.0]]
    # Of three balls the large one and one of the small ones, each in the middle of its cube.
    middle = batch["nodules"][:, :, 1, 7:9, 7:9, 7:9].float().mean(dim=(2, 3, 4))
    assert (middle > 100).all()
    bright = (batch["nodules"][:, :, 1] > 64).sum(dim=(2, 3, 4))
    assert bright[0, 0] > 5 * bright[0, 1] and bright[1].max() < 80
    size = batch["measured"][..., MEASURED.index("size")]
    assert float(size[0, 0]) == pytest.approx(np.log2(0.9), abs=0.2) and size[0, 0] > size[0, 1]
    assert data.in_channels == 2


def test_those_of_whom_nothing_is_known_are_left_out_and_counted(
    cohort: Cohort, cutter: NoduleCutter, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = PatientData(cohort.root, cutter)
    assert "of 2 of 6 cases of the training part it is not known whether they have cancer; left out" in caplog.text
    assert {part: len(own) for part, own in data.parts.items()} == {"training": 4, "validation": 2, "test": 4}
    assert data.title("test").endswith("test part: 4 patients, 2 with cancer, 2 without")
    every = PatientData(cohort.root, cutter, parts=["validation", "test"], labelled=False)
    assert set(every.identities().values()) == {f"patient-{number:02d}" for number in range(6)}
    assert not any("patient-" in name for name in every.arrays["name"])


def test_a_scan_that_the_detector_refuses_has_an_empty_bag(
    cohort: Cohort, balls: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    everyone = replace(cohort, test=cohort.cases, training=(), validation=(), root=cohort.root)
    cutter = NoduleCutter(balls(), CUBES, most=2, cache=tmp_path)
    with caplog.at_level(logging.WARNING):
        found = cutter(everyone, everyone.cases)
    assert "2 of 12 scans are refused by the detector and count as without nodules" in caplog.text
    empty = [one for one in found if not len(one.scores)]
    assert len(empty) == 2 and empty[0].cubes.shape == (0, 2, 16, 16, 16) and measure(empty[0]).shape == (0, 2)


def test_the_detector_looks_once_and_goes_on_after_a_kill(cohort: Cohort, balls: Any, tmp_path: Path) -> None:
    killed = balls(dies_at=4)
    with pytest.raises(KeyboardInterrupt):
        PatientData(cohort.root, NoduleCutter(killed, CUBES, cache=tmp_path))
    later = balls()
    first = PatientData(cohort.root, NoduleCutter(later, CUBES, cache=tmp_path))
    assert (later.built, later.asked) == (1, 10 - 3)
    again = balls()
    second = PatientData(cohort.root, NoduleCutter(again, CUBES, cache=tmp_path))
    assert (again.built, again.asked) == (0, 0)
    for name in ("nodules", "mask", "measured"):
        torch.testing.assert_close(first.arrays[name], second.arrays[name])
    # Fewer nodules, another window: other files.
    other = balls()
    PatientData(cohort.root, NoduleCutter(other, CandidateCubes(16, 1.0), cache=tmp_path))
    assert other.asked == 10


def test_a_new_volume_or_a_damaged_file_is_looked_at_again(
    cohort: Cohort, balls: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cutter = NoduleCutter(balls(), CUBES, cache=tmp_path)
    PatientData(cohort.root, cutter, parts="test")
    files = sorted(cutter.folder(cohort).glob("*.pt"))
    files[0].write_bytes(b"half")
    os.utime(cohort.image_path(cohort.test[0]))
    again = balls()
    with caplog.at_level(logging.WARNING):
        PatientData(cohort.root, NoduleCutter(again, CUBES, cache=tmp_path), parts="test")
    assert again.asked in (1, 2) and "is damaged and is made again" in caplog.text


def test_what_readers_said_of_the_lesion_that_a_nodule_lies_in(cohort: Cohort, cutter: NoduleCutter) -> None:
    data = PatientData(cohort.root, cutter, parts="test")
    with_cancer, without = (data.arrays["name"][place] for place in (0, 1))
    assert data.ratings(with_cancer).tolist() == [4.5, 1.5] and data.worst_is_found(with_cancer)
    assert data.ratings(without).tolist() == [1.5, 1.5]
    place = data.place(with_cancer)
    data.found[place].boxes_mm[:] += 100
    assert np.isnan(data.ratings(with_cancer)).all() and data.worst_is_found(with_cancer) is False


def test_a_limit_takes_as_many_with_cancer_as_without(cohort: Cohort, cutter: NoduleCutter) -> None:
    data = PatientData(cohort.root, cutter, limit=2)
    assert {part: len(own) for part, own in data.parts.items()} == {"training": 2, "validation": 2, "test": 2}
    assert data.part("training").values("label").sum() == 1 == data.part("test").values("label").sum()


def test_what_makes_no_sense_is_refused(
    cohort: Cohort, cutter: NoduleCutter, balls: Any, patients_with_balls: Write, tmp_path: Path
) -> None:
    for name, labels, rule in (
        ("odd", ("yes", True, False, True, False, True, False, True), "case-.*: cancer is true, false or null, found"),
        ("one", (1, 0, 1, 0, 1, 0, 1, 1), "the training part needs cases with cancer and without, found 2 and 0"),
        ("none", (None, None, None, None, 1, 0, 1, 0), "the test part needs cases whose clinical data say cancer"),
    ):
        made = patients_with_balls(tmp_path / name, labels, balls=1)
        with pytest.raises(DataError, match=rule) as error:
            PatientData(made.root, cutter)
        assert "patient-" not in str(error.value)
    with pytest.raises(UsageError, match="a part is one of training, validation, test; found 'exam'"):
        PatientData(cohort.root, cutter, parts="exam")
    with pytest.raises(UsageError, match="a part is one of test; found 'training'"):
        PatientData(cohort.root, cutter, parts="test").part("training")
    with pytest.raises(UsageError, match="at least 1 nodule"):
        NoduleCutter(balls(), CUBES, most=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written .*name another --cache_dir"):
        PatientData(cohort.root, NoduleCutter(balls(), CUBES, cache=tmp_path / "file"))
