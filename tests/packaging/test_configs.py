"""Every bundle's configs lie right in a package; what is known of its networks is of what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from monai_staging.errors import DataError, UsageError
from monai_staging.packaging.configs import write_configs
from monai_staging.packaging.export import parser_of
from monai_staging.packaging.networks import NETWORKS, Packaged, networks_of
from monai_staging.packaging.source import Source, read_source

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = sorted(path.parent.name for path in BUNDLES.glob("*/metadata.json"))


def source_of(name: str, tmp_path: Path) -> Source:
    weights = tmp_path / "model.pt"
    weights.touch()
    return read_source(str(BUNDLES / name), [f"{network.name}={weights}" for network in NETWORKS[name]])


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in strings(one)]
    return [value] if isinstance(value, str) else []


def test_every_bundle_is_known() -> None:
    assert set(NETWORKS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_known_networks_are_of_configs_and_formats_that_are_there(name: str) -> None:
    metadata = json.loads((BUNDLES / name / "metadata.json").read_text())
    for network in NETWORKS[name]:
        for config in {*network.configs, *network.training, *(one for run in network.runs for one in run)}:
            assert (BUNDLES / name / f"{config}.json").is_file()
        for part in network.parts:
            described = metadata[part.format]["inputs"]
            known = {one.name: one.shape for one in (*part.needed, *part.optional)}
            for other in set(described) - {"image"}:
                assert known[other] == (described[other]["num_channels"], *described[other]["spatial_shape"])


@pytest.mark.parametrize("name", NAMES)
def test_no_path_of_the_repository_is_left(name: str, tmp_path: Path) -> None:
    source = source_of(name, tmp_path)
    out = tmp_path / "package"
    write_configs(source, out, {})
    for path in (out / "configs").glob("*.json"):
        document = json.loads(path.read_text())
        assert document.get("bundle_root", ".") == "."
        assert not [text for text in strings(document) if text.startswith("bundles/")]
    for network in NETWORKS[name]:
        for run in network.runs:
            weights = parser_of(out, run).get_parsed_content("weights")
            assert weights == str(out / network.weights)


def test_configs_of_another_bundle_come_along_with_its_weights(tmp_path: Path) -> None:
    out = tmp_path / "package"
    write_configs(source_of("malignancy", tmp_path), out, {})
    for name in ("patients", "patients_evaluate"):
        parser = parser_of(out, [name])
        files = [*parser.get_parsed_content("detector_configs"), parser.get_parsed_content("detector_weights")]
        assert all(Path(file).is_file() for file in files)
        assert Path(files[-1]).read_bytes() == (BUNDLES / "detection/models/two_stage/model.pt").read_bytes()
        assert ConfigParser.load_config_files(files[:-1])["threshold"] == 0.1


def test_settings_are_of_the_network_that_is_packaged(tmp_path: Path) -> None:
    weights = tmp_path / "best.pt"
    weights.touch()
    source = read_source(str(BUNDLES / "detection"), [f"two_stage={weights}"])
    write_configs(source, tmp_path / "package", {"classifier_width": 0.25})
    configs = tmp_path / "package" / "configs"
    assert json.loads((configs / "two_stage.json").read_text())["classifier_width"] == 0.25
    with pytest.raises(UsageError, match="a setting is a key of .*two_stage.json.*found 'nothing'"):
        write_configs(source, tmp_path / "other", {"nothing": 1})


def test_what_shipped_weights_learned_from_is_not_said_of_others(tmp_path: Path) -> None:
    write_configs(source_of("malignancy", tmp_path), tmp_path / "package", {})
    assert json.loads((tmp_path / "package/configs/evaluate.json").read_text())["shipped_from"] is None


def test_a_missing_reference_is_named(tmp_path: Path) -> None:
    bundle = tmp_path / "own"
    (bundle / "models").mkdir(parents=True)
    (bundle / "models" / "model.pt").touch()
    (bundle / "metadata.json").write_text("{}")
    (bundle / "inference.json").write_text('{"other": ["bundles/detection/nothing.json"]}')
    with pytest.raises(DataError, match=r"inference.json of bundle own: refers to bundles/detection/nothing.json"):
        write_configs(read_source(str(bundle)), tmp_path / "package", {})
    (bundle / "inference.json").write_text("{")
    with pytest.raises(DataError, match=r"inference.json: a JSON object is needed"):
        write_configs(read_source(str(bundle)), tmp_path / "package", {})


def test_a_bundle_of_ones_own_is_like_a_plain_one() -> None:
    (plain,) = networks_of("own")
    assert isinstance(plain, Packaged) and plain.weights == "models/model.pt"
