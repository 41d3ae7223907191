from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_staging.metrics.staging_calibration import StagingCalibration
from monai_staging.outputs.reported import SliceAttention
from monai_staging.predict.models import load_model
from monai_staging.predict.stager import LearnedStage
from monai_staging.predict.stages import NOT_CALIBRATED, OF_PHANTOMS, StageReader
from monai_staging.tnm.probabilities import group_probabilities


@pytest.fixture(scope="module")
def reader() -> StageReader:
    """With the calibration of the shipped weights, which is of phantoms."""
    return StageReader.beside(load_model("staging"))


@pytest.fixture
def learned(reader: StageReader) -> LearnedStage:
    assert reader.calibration is not None
    chances = {
        letter: dict(zip(names, np.full(len(names), 1 / len(names)).tolist(), strict=True))
        for letter, names in reader.calibration.classes.items()
    }
    return LearnedStage(chances, "8", SliceAttention(np.zeros(1), {}))


def test_a_phantom_is_told_of_with_sets(reader: StageReader, learned: LearnedStage) -> None:
    calibration = reader.calibration
    assert isinstance(calibration, StagingCalibration)
    found = reader(learned, phantom=True)
    assert found.confidence == calibration.level == 0.9
    assert found.group_set == calibration.sets(learned.probabilities)["group"]
    assert found.probabilities == calibration.apply(learned.probabilities)
    assert reader.statement(phantom=True) == calibration.statement()


def test_of_a_patient_nothing_is_promised(reader: StageReader, learned: LearnedStage) -> None:
    found = reader(learned, phantom=False)
    assert (found.letter_sets, found.group_set, found.confidence) == ({}, (), None)
    assert found.probabilities == learned.probabilities
    assert found.groups == pytest.approx(group_probabilities(*learned.probabilities.values(), "8"))
    assert reader.statement(phantom=False) == OF_PHANTOMS


def test_without_a_calibration(learned: LearnedStage, tmp_path: Path) -> None:
    plain = StageReader(None)
    assert plain(learned, phantom=True).group_set == ()
    assert plain.statement(phantom=True) == NOT_CALIBRATED
