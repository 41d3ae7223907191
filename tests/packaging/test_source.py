"""Bundles and weights are found, or it is said what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.packaging.card import license_text, new_metadata
from monai_staging.packaging.networks import MODEL
from monai_staging.packaging.source import find_bundle, find_schema, read_source
from monai_staging.packaging.weights import metrics_of, write_weights


def test_a_name_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_bundle("staging") == repository / "bundles" / "staging"
    assert find_schema(repository / "bundles" / "staging").is_file()
    (tmp_path / "bundles" / "staging").mkdir(parents=True)
    (tmp_path / "bundles" / "staging" / "metadata.json").touch()
    assert find_bundle("staging") == Path("bundles/staging")
    with pytest.raises(UsageError, match="A bundle is detection, .*found 'stagings'"):
        find_bundle("stagings")


def test_missing_weights_name_the_training(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--config_file \S*bundles/pretrain/train.json, then give --weights"):
        read_source(str(repository / "bundles" / "pretrain"))
    with pytest.raises(DataError, match="none for these configs.*'.*train.json','.*faithful.json'"):
        read_source("staging", over=["faithful"])
    with pytest.raises(DataError, match="weights nothing.pt are not there"):
        read_source("staging", ["nothing.pt"])
    with pytest.raises(UsageError, match="weights are of model, two_stage; found 'three'"):
        read_source("detection", ["three=model.pt"])
    with pytest.raises(UsageError, match="takes a file, found the folder"):
        read_source("staging", [str(tmp_path)])
    with pytest.raises(UsageError, match="found no nothing.json"):
        read_source("staging", over=["nothing"])


def test_networks_without_weights_are_left_out(tmp_path: Path) -> None:
    source = read_source("detection")
    assert [one.network.name for one in source.chosen] == ["two_stage"]
    assert [network.name for network in source.left_out] == ["model"]
    weights = tmp_path / "a=b.pt"
    weights.touch()
    assert [one.own for one in read_source("detection", [str(weights)]).chosen] == [True, False]


def test_versions_are_new_with_a_word_on_what_has_changed() -> None:
    source = read_source("staging")
    found = new_metadata(source, "0.2.0", "better")
    assert found["version"] == "0.2.0" and found["changelog"]["0.2.0"] == "better"
    with pytest.raises(UsageError, match="three numbers.*found 'two'"):
        new_metadata(source, "two", None)
    with pytest.raises(UsageError, match="Version 9.0.0 is new: say what"):
        new_metadata(source, "9.0.0", None)
    assert "Apache License" in license_text(source)


def test_metadata_describe_the_network_that_is_packaged() -> None:
    found = new_metadata(read_source("detection"), None, None)
    assert found["network_data_format"] == found["slices_data_format"]


def test_shipped_weights_are_those_of_their_record(tmp_path: Path) -> None:
    bundle = tmp_path / "own"
    (bundle / "models").mkdir(parents=True)
    for name in ("metadata.json", "inference.json"):
        (bundle / name).write_text("{}")
    torch.save({"a": torch.zeros(1)}, bundle / "models" / MODEL)
    write_weights(read_source(str(bundle)).chosen[0], tmp_path / "package")
    assert metrics_of(tmp_path / "package" / "models") == {}
    record = json.loads((tmp_path / "package" / "models" / "model.json").read_text())
    assert set(record) == {"sha256", "bytes"}
    (bundle / "models" / "model.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(DataError, match="model.json is of SHA-256 0000"):
        write_weights(read_source(str(bundle)).chosen[0], tmp_path / "package")


def test_weights_of_another_format_become_torchs(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "best.safetensors")
    (tmp_path / "calibration.json").write_text("{}")
    one = read_source("staging", [str(tmp_path / "best.safetensors")]).chosen[0]
    place = write_weights(one, tmp_path / "package")
    assert torch.load(place, weights_only=True)["a"].tolist() == [1, 1]
    assert place.with_name("calibration.json").is_file()
    (tmp_path / "broken.pt").write_text("nothing")
    with pytest.raises(DataError, match="not readable as a state dict"):
        write_weights(read_source("staging", [str(tmp_path / "broken.pt")]).chosen[0], tmp_path / "package")
