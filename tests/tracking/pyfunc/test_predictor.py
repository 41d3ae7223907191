"""Predictions of packaged nodule classifiers against the networks themselves, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_staging.cohort.nodules import load_nodules
from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.errors import DataError
from monai_staging.tracking.pyfunc.predictor import NodulePredictor
from monai_staging.tracking.pyfunc.settings import NoduleModelSettings
from monai_staging.transforms.nodule_features import NoduleFeatures

Maker = Callable[..., NoduleModelSettings]


@pytest.fixture(scope="session")
def nodules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_nodules(tmp_path_factory.mktemp("nodules") / "n", 5, 2)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONAI_STAGING_CACHE", str(tmp_path / "cache"))


def test_probability_is_the_mean_of_the_networks_over_turns(
    make_settings: Maker, make_folder: Callable[..., Path]
) -> None:
    settings = make_settings(turns=4, kind="planes")
    folder = make_folder(settings, networks=3)
    views = torch.rand(70, *settings.input_shape)  # more than a batch
    expected = np.zeros((70, 1))
    for number in range(3):
        network = settings.make_network()
        network.load_state_dict(torch.load(folder / f"weights-{number}.pt", weights_only=True))
        with torch.no_grad():
            logits = sum(network(views.rot90(turn, (3, 4))) for turn in range(4)) / 4
        expected += logits.sigmoid().double().numpy() / 3
    found = NodulePredictor.load(folder, "cpu").predict(views)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float64


def test_path_gives_what_its_views_and_features_give(
    make_settings: Maker, make_folder: Callable[..., Path], nodules: Path
) -> None:
    settings = make_settings(features=True)
    predictor = NodulePredictor.load(make_folder(settings))
    found = predictor.predict_path(nodules)
    source = load_nodules(nodules)
    views, features = [], []
    for index, record in enumerate(source.records):
        volume = source.read(index)
        views.append(settings.make_views()(volume, record.spacing_mm, source.value_range) / 255)
        features.append(NoduleFeatures()(volume, record.spacing_mm))
    np.testing.assert_allclose(found.probabilities, predictor.predict(views, features), atol=1e-6)
    assert found.names == tuple(record.name for record in source.records)


def test_nodules_it_was_trained_on_are_said_to_be(
    make_settings: Maker, make_folder: Callable[..., Path], nodules: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(data_digest=load_nodules(nodules).digest)
    with caplog.at_level(logging.WARNING, "monai_staging"):
        NodulePredictor.load(make_folder(settings)).predict_path(nodules)
    assert "trained on" in caplog.text


@pytest.mark.parametrize(
    ("views", "said"),
    [
        (np.zeros((2, 1, 2, 31, 32)), r"views must be \(B, 1, 2, 32, 32\), found \(2, 1, 2, 31, 32\)"),
        (np.zeros((0, 1, 2, 32, 32)), "found \\(0,"),
        (np.full((1, 1, 2, 32, 32), 255.0), "0 to 1; found 255 to 255"),
        (np.full((1, 1, 2, 32, 32), np.nan), "0 to 1; found nan"),
        ([["a"]], "array of numbers"),
        ([[1.0], [1.0, 2.0]], "array of numbers"),
    ],
)
def test_other_views_are_refused(
    make_settings: Maker, make_folder: Callable[..., Path], views: object, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        NodulePredictor.load(make_folder(make_settings())).predict(views)  # type: ignore[arg-type]


def test_features_go_with_networks_that_take_them(make_settings: Maker, make_folder: Callable[..., Path]) -> None:
    settings = make_settings(features=True)
    predictor = NodulePredictor.load(make_folder(settings))
    views = np.zeros((2, *settings.input_shape))
    with pytest.raises(DataError, match="measured features a nodule are needed, found none"):
        predictor.predict(views)
    with pytest.raises(DataError, match="features must be"):
        predictor.predict(views, np.zeros((2, 3)))
    missing = np.full((2, settings.features), np.nan)
    assert np.isfinite(predictor.predict(views, missing)).all()


def test_features_are_refused_by_networks_that_take_none(
    make_settings: Maker, make_folder: Callable[..., Path]
) -> None:
    predictor = NodulePredictor.load(make_folder(make_settings()))
    with pytest.raises(DataError, match="take none"):
        predictor.predict(np.zeros((1, 1, 2, 32, 32)), np.zeros((1, 4)))


def test_pictures_of_other_channels_are_refused(
    make_settings: Maker, make_folder: Callable[..., Path], nodules: Path
) -> None:
    settings = make_settings(network={**make_settings().network, "in_channels": 5})
    with pytest.raises(DataError, match="views of 5 channels are needed, found 2"):
        NodulePredictor.load(make_folder(settings)).predict_path(nodules)


def test_weights_that_changed_are_refused(make_settings: Maker, make_folder: Callable[..., Path]) -> None:
    folder = make_folder(make_settings())
    weights = folder / "weights-0.pt"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="SHA-256"):
        NodulePredictor.load(folder)
    weights.unlink()
    with pytest.raises(DataError, match="no such file"):
        NodulePredictor.load(folder)


def test_model_without_networks_is_refused(make_settings: Maker) -> None:
    with pytest.raises(DataError, match="at least 1 network"):
        NodulePredictor(make_settings(), [])
