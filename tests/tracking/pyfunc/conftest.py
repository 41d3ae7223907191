"""A packaged classifier of random weights, which costs no training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monai_staging.files import write_json_atomic
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.tracking.pyfunc.package import with_members
from monai_staging.tracking.pyfunc.settings import SETTINGS, NoduleModelSettings
from monai_staging.transforms.nodule_features import FEATURES
from monai_staging.transforms.nodule_views import NoduleViews

Maker = Callable[..., NoduleModelSettings]


@pytest.fixture(scope="session")
def make_settings() -> Maker:
    """Settings of a small network; ``features`` asks for measured ones."""

    def make(features: bool = False, kind: str = "central", **changes: object) -> NoduleModelSettings:
        views = NoduleViews(kind, size=32, spacing_mm=1.125)
        values: dict[str, object] = {
            "task": "binary",
            "classes": ("malignant",),
            "network": {
                "network": "resnet10",
                "outputs": 1,
                "in_channels": 2,
                "views": views.views,
                "branches": "shared",
                "spatial_dims": views.spatial_dims,
                "width": 0.25,
                "features": len(FEATURES) if features else 0,
                "attributes": 0,
                "trees": 0,
                "landmarks": 0,
            },
            "views": vars(views),
            "turns": 1,
            "data_digest": "0" * 64,
        }
        return NoduleModelSettings(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes settings and weights of so many networks, as a packaged model has them; gives the folder."""

    def make(settings: NoduleModelSettings, networks: int = 1) -> Path:
        folder = tmp_path / "nodule_model"
        folder.mkdir()
        paths = []
        for number in range(networks):
            torch.manual_seed(number)
            network: NoduleNetwork = settings.make_network()
            if settings.features:
                network.fit_features(torch.rand(20, settings.features))
            paths.append(folder / f"weights-{number}.pt")
            torch.save(network.state_dict(), paths[-1])
        write_json_atomic(folder / SETTINGS, with_members(paths, settings).to_json())
        return folder

    return make
