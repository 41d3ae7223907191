"""A package of the staging bundle, small, and what it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.packaging.layout import Package, PackageOptions, package_bundle

SETTINGS: dict[str, Any] = {"network": "resnet10", "width": 0.125, "size": [48, 48, 24], "spacing_mm": [7.0, 7.0, 14.0]}


@dataclass(frozen=True)
class Made:
    """A package, and the weights and the data it was made with."""

    package: Package
    weights: Path
    cohort: Path
    said: tuple[str, ...]


@pytest.fixture(scope="session")
def staging_weights(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training of a small staging network leaves behind."""
    parser = ConfigParser(ConfigParser.load_config_files([str(repository / "bundles/staging/inference.json")]))
    parser.update(SETTINGS)
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("training")
    write_checkpoint(folder / "best.pt", parser.get_parsed_content("network_def"), {})
    (folder / "metrics.json").write_text('{"t_accuracy": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}}')
    return folder / "best.pt"


@pytest.fixture(scope="session")
def made(staging_weights: Path, tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The staging bundle with those weights, packaged."""
    said: list[str] = []
    options = PackageOptions(weights=(str(staging_weights),), settings=SETTINGS, dataset_dir=tiny_cohort)
    package = package_bundle("staging", tmp_path_factory.mktemp("package") / "staging", options, said.append)
    return Made(package, staging_weights, tiny_cohort, tuple(said))
