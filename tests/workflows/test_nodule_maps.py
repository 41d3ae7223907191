"""Pictures of what nodules' classes were read from, and of gates: which nodules, of which class, where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.networks.segmentation import build_segmenter
from monai_staging.networks.segmenter import Segmenter
from monai_staging.outputs.figures_explain import GateMap, NoduleMap
from monai_staging.transforms.nodule_patches import NodulePatches
from monai_staging.transforms.nodule_views import NoduleViews, consensus
from monai_staging.workflows import gate_maps, nodule_maps
from monai_staging.workflows.gate_maps import write_gates
from monai_staging.workflows.nodule_data import NoduleData
from monai_staging.workflows.nodule_maps import write_nodule_maps
from monai_staging.workflows.segmentation_data import SegmentationData

CLASSES = ("benign", "malignant")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_nodules(tmp_path_factory.mktemp("data") / "nodules", 5, seed=1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the figures are asked for."""
    kept: dict[str, Any] = {}

    def keep(path: Path, *what: Any, **settings: Any) -> Path:
        kept.update(shown=what[-1], **settings)
        return path

    monkeypatch.setattr(nodule_maps, "nodule_maps_figure", keep)
    monkeypatch.setattr(gate_maps, "gates_figure", keep)
    return kept


def predictions_of(data: NoduleData, labels: list[float], chances: list[float], task: str = "binary") -> Any:
    names = tuple(data.arrays["name"])
    values = [np.array(column, dtype=np.float64)[:, None] for column in (labels, chances)]
    return NodulePredictions(names, names, task, CLASSES, *values)


@pytest.mark.parametrize("measured", [False, True])
def test_of_each_class_the_surest_that_was_called_so_and_that_was_not(
    folder: Path, tmp_path: Path, asked: dict[str, Any], measured: bool
) -> None:
    data = NoduleData(folder, NoduleViews("central", size=32), cache=tmp_path / "cache")
    names, features = data.arrays["name"], data.arrays["features"]
    torch.manual_seed(0)
    network = NoduleNetwork("resnet10", width=0.125, features=features.shape[1] if measured else 0)
    if measured:
        network.fit_features(features)
    chances = [0.6, 0.9, 0.2, 0.7, 0.8]
    predictions = predictions_of(data, [1, 1, 1, 0, np.nan], chances)
    assert write_nodule_maps(tmp_path / "maps.png", network, data, predictions, "phantoms") == tmp_path / "maps.png"
    shown: list[NoduleMap] = asked["shown"]
    # The fifth nodule has no label; no benign one was called benign.
    assert [one.caption for one in shown] == [
        f"nodule {names[1]}: malignant, called malignant (probability of malignant 0.90); map of malignant",
        f"nodule {names[2]}: malignant, called benign (probability of malignant 0.20); map of benign",
        f"nodule {names[3]}: benign, called malignant (probability of malignant 0.70); map of malignant",
    ]
    for one, index in zip(shown, (1, 2, 3), strict=True):
        np.testing.assert_allclose(one.views, data.arrays["views"][index] / 255)
        assert one.maps.shape == (1, 32, 32) and 0 <= one.maps.min() <= one.maps.max() <= 1
    # What made these pictures does not say how they lie, nor in HU.
    assert asked["sided"] is False and asked["grey"] == "grey as stored, no HU"
    assert asked["subtitle"].startswith("phantoms; ") and ("measured features" in asked["subtitle"]) == measured


def test_without_two_classes_or_labels_there_is_no_picture(folder: Path, tmp_path: Path) -> None:
    data = NoduleData(folder, NoduleViews("central", size=32), cache=tmp_path / "cache")
    network = NoduleNetwork("resnet10", width=0.125)
    unknown = predictions_of(data, [np.nan] * 5, [0.5] * 5)
    several = predictions_of(data, [0] * 5, [0.5] * 5, "multi-label")
    for predictions in (unknown, several):
        assert write_nodule_maps(tmp_path / "maps.png", network, data, predictions) is None
    assert not (tmp_path / "maps.png").exists()


class Mirror(Segmenter):
    """Its only gate is the picture's middle channel."""

    spatial_dims = 2
    stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def compute(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        return x[:, :1], [], [x[:, 1:2] * self.scale]


@pytest.mark.parametrize(("size", "spacing_mm", "tolerance"), [(40, None, 0.003), (80, None, 0.003), (50, 0.8, 0.1)])
def test_gates_are_shown_on_the_nodule_s_pixels_as_far_as_they_were_seen(
    folder: Path, tmp_path: Path, asked: dict[str, Any], size: int, spacing_mm: float | None, tolerance: float
) -> None:
    data = SegmentationData(folder, NodulePatches("2.5d", size=size, spacing_mm=spacing_mm))
    references = {index: consensus(data.volume(index).outlines) for index in range(5)}
    masks = {index: np.zeros_like(reference) for index, reference in references.items()}
    scores = dict(enumerate([0.5, 0.1, 0.9, 0.7, 0.3]))
    path = write_gates(tmp_path / "gates.png", Mirror(), data, masks, scores, "phantoms")
    assert path == tmp_path / "gates.png" and asked["subtitle"] == "phantoms" and asked["sided"] is False
    shown: list[GateMap] = asked["shown"]
    assert [one.caption.split(":")[0] for one in shown] == ["best", "median", "worst"]
    for one, index in zip(shown, (2, 0, 1), strict=True):
        assert data.record(index).name in one.caption and f"{scores[index]:.2f}" in one.caption
        assert one.pixel_mm == data.spacing_mm(index)[1]
        seen = size if spacing_mm is None else size * spacing_mm / one.pixel_mm
        assert one.image.shape == one.gates.shape[1:] and abs(one.image.shape[0] - min(64, seen)) <= 1
        # Interpolation blurs noise, and the outermost pixels mix with what is beyond the patch.
        inner = np.abs(one.gates[0] - one.image)[2:-2, 2:-2]
        assert np.median(inner) < tolerance and (spacing_mm or inner.max() < tolerance)
        place = gate_maps.largest_slice(masks[index], references[index])
        area = int(references[index][place].sum())
        assert not one.outlines["network"].any() and 0 < one.outlines["readers"].sum() <= area
        if size == 80:
            assert one.outlines["readers"].sum() == area


def test_a_network_without_gates_has_no_picture(folder: Path, tmp_path: Path) -> None:
    data = SegmentationData(folder, NodulePatches("2.5d", size=32, spacing_mm=1.3), limit=1)
    masks = {0: consensus(data.volume(0).outlines)}
    network = build_segmenter("segresnet", in_channels=3, width=0.5)
    assert write_gates(tmp_path / "gates.png", network, data, masks, {0: 1.0}) is None
    gated = build_segmenter("attention_unet", in_channels=3, width=0.5)
    assert write_gates(tmp_path / "gates.png", gated, data, masks, {0: 1.0}) == tmp_path / "gates.png"
    assert gated.training and (tmp_path / "gates.png").is_file()
