"""A detector out of a bundle's configs: what it is, by a digest, and what it finds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_staging.detection.configured import TWO_STAGE, ConfiguredDetector
from monai_staging.detection.two_stage import TwoStageDetector
from monai_staging.errors import DataError, UsageError
from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.networks.two_stage import TwoStageNetwork

KEYS = {"width": 0.125, "classifier_width": 0.0625, "spacing_mm": [4.0, 4.0, 4.0], "threshold": 0.3}


@pytest.fixture(autouse=True)
def here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    write_checkpoint(tmp_path / "model.pt", TwoStageNetwork(width=0.125, classifier_width=0.0625), {})
    return tmp_path / "model.pt"


def test_it_is_built_with_its_keys_and_weights(weights: Path) -> None:
    found = ConfiguredDetector(weights=weights, keys=KEYS).build()
    assert isinstance(found, TwoStageDetector)
    assert found.candidates.rules.threshold == 0.3 and found.candidates.views.spacing_mm == (4.0, 4.0, 4.0)
    state = torch.load(weights, weights_only=True)["state_dict"]
    torch.testing.assert_close(found.classifier.network.head.weight, state["classifier.head.weight"])


def test_the_digest_tells_settings_and_weights_apart_and_no_places(weights: Path, tmp_path: Path) -> None:
    first = ConfiguredDetector(weights=weights, keys=KEYS)
    (tmp_path / "copy.pt").write_bytes(weights.read_bytes())
    same = ConfiguredDetector(weights=tmp_path / "copy.pt", keys={**KEYS, "amp": False})
    assert same.digest == first.digest and len(first.digest) == 64
    assert ConfiguredDetector(weights=weights, keys={**KEYS, "region": "scan"}).digest != first.digest
    write_checkpoint(tmp_path / "copy.pt", TwoStageNetwork(width=0.125, classifier_width=0.0625), {})
    assert ConfiguredDetector(weights=tmp_path / "copy.pt", keys=KEYS).digest != first.digest


def test_the_shipped_weights_are_the_default() -> None:
    assert ConfiguredDetector().weights == Path("bundles/detection/models/two_stage/model.pt")


def test_what_is_not_there_is_named(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="config none.json is not there"):
        ConfiguredDetector(configs=("none.json",))
    with pytest.raises(DataError, match="its weights .*none.pt are not there"):
        ConfiguredDetector(weights=tmp_path / "none.pt")
    with pytest.raises(UsageError, match="a key of .*two_stage.json is needed, found 'thresold'"):
        ConfiguredDetector(keys={"thresold": 0.1})
    with pytest.raises(UsageError, match="scanner of the configs is a dict, which detects nothing"):
        ConfiguredDetector(TWO_STAGE, weights, {"scanner": {}}).build()
