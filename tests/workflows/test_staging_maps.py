"""Maps of a study in an evaluation: of what was predicted, on the volume as it was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_staging.cohort.volume import Volume, write_volume
from monai_staging.explain.classifiers import study_activation
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.networks.slice_staging import SliceStagingNetwork
from monai_staging.networks.staging import StagingNetwork
from monai_staging.workflows import staging_maps
from monai_staging.workflows.staging_maps import shown_category, write_study_maps

CLASSES = {"t": ("T1a", "T1b", "T1c", "T2a"), "n": ("N0", "N1"), "m": ("M0", "M1a", "M1c")}


@pytest.fixture
def predictions() -> StagingPredictions:
    """One study: T1 in all, though T2a is the likeliest category."""
    return StagingPredictions(
        patients=("case-1",),
        classes=CLASSES,
        t=np.array([[0.1, 0.3, 0.2, 0.4]]),
        n=np.array([[0.75, 0.25]]),
        m=np.array([[0.2, 0.1, 0.7]]),
        truth_t=(("T2a",),),
        truth_n=(("N1",),),
        truth_m=(("M0", "M1a", "M1b", "M1c"),),
        edition="8",
        prefix="c",
    )


def test_the_map_is_of_the_likeliest_category_of_what_was_predicted(predictions: StagingPredictions) -> None:
    assert shown_category(predictions, 0, "t") == ("T1b", 0.3)
    assert shown_category(predictions, 0, "n") == ("N0", 0.75)
    assert shown_category(predictions, 0, "m") == ("M1c", 0.7)


@pytest.mark.parametrize("kind", [StagingNetwork, SliceStagingNetwork])
def test_maps_and_attention_are_put_on_the_recorded_volume(
    kind: Any, predictions: StagingPredictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def keep(path: Path, volume: Volume, grid: Any, letters: Any, **settings: Any) -> Path:
        asked.update(volume=volume, grid=grid, letters=letters, **settings)
        return path

    monkeypatch.setattr(staging_maps, "study_maps_figure", keep)
    affine = np.diag([-2.0, 2.0, 5.0, 1.0])
    affine[:3, 3] = (60, -50, 10)
    path = tmp_path / "a.nii"
    write_volume(path, Volume(np.zeros((64, 56, 8), np.int16), affine))
    torch.manual_seed(0)
    clinical = {"clinical_features": 7} if kind is StagingNetwork else {}
    network = kind("resnet10", CLASSES, width=0.125, **clinical)
    image, patient = torch.rand(3, 32, 32, 6), torch.rand(7)
    attention = np.random.default_rng(0).random((3, 6))
    spacing = (4.0, 4.0, 10.0)
    write_study_maps(
        tmp_path / "m.png", network, image, patient, attention, predictions, 0, path, spacing, "phantoms, test part"
    )
    # About the volume's middle, (-3, 5, 27.5).
    grid = asked["grid"]
    assert grid.size == (32, 32, 6) and grid.spacing_mm == spacing
    assert grid.origin_mm == pytest.approx((-3 - 15.5 * 4, 5 - 15.5 * 4, 27.5 - 2.5 * 10))
    assert asked["case_name"] == "case-1" and asked["subtitle"] == "phantoms, test part"
    captions = {letter: one.caption for letter, one in asked["letters"].items()}
    assert captions["t"] == "predicted T1 (0.60), reference T2a; map of T1b (0.30)"
    assert captions["n"] == "predicted N0 (0.75), reference N1"
    assert captions["m"] == "predicted M1 (0.80), reference unknown; map of M1c (0.70)"
    for place, (letter, category) in enumerate((("t", "T1b"), ("n", "N0"), ("m", "M1c"))):
        expected = study_activation(network, image, letter, category, patient)
        np.testing.assert_allclose(asked["letters"][letter].maps, expected.maps.numpy(), atol=1e-6)
        np.testing.assert_array_equal(asked["letters"][letter].weights, attention[place])
    assert network.training
