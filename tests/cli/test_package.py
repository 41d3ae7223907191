"""`monai-staging package` as a user meets it."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from monai_staging.cli.main import main

BUNDLES = Path(__file__).parents[2] / "bundles"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MONAI_STAGING_CACHE", str(tmp_path / "cache"))


def test_shipped_bundle_is_packaged_as_a_zip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["package", "malignancy", "out/nodules.zip", "--int8", "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    (network,) = document["networks"]
    assert network["onnx"] == "models/model.onnx" and network["onnx_difference"] <= 1e-4
    assert network["torchscript_difference"] <= 1e-4
    assert network["int8"]["int8_bytes"] < network["int8"]["original_bytes"]
    assert len(document["checks"]) == 3
    assert document["left_out"]["patients"].endswith("patients.json")
    assert "package: models/model.onnx: outputs as PyTorch's, largest difference" in printed.err
    with zipfile.ZipFile(tmp_path / "out" / "nodules.zip") as archive:
        names = {name.removeprefix("nodules/") for name in archive.namelist()}
    assert names == set(document["files"])
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "nodules.zip"]


def test_what_was_written_and_what_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["package", "malignancy", "out"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("out: bundle malignancy, version 0.1.0, ") and first.endswith("; 3 checks passed")
    assert second.startswith("without the weights of patients: ") and second.endswith("then --weights patients=FILE")
    assert (tmp_path / "out" / "bundles" / "detection" / "evaluate.json").is_file()
    assert "not of them" not in (tmp_path / "out" / "docs" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing", "out"], 2, "found 'nothing'"),
        (["staging", "full"], 2, "OUT must not exist yet or be empty"),
        (["pretrain", "out"], 1, "bundles/pretrain/train.json, then give --weights"),
        (["staging", "out", "--set", "width"], 2, "--set takes KEY=VALUE, found 'width'"),
        (["staging", "out", "--set", "nothing=1"], 2, "found 'nothing'"),
        (["staging", "out", "--version", "1"], 2, "three numbers"),
        (["staging", "out", "--over", "nothing.json"], 2, "found no nothing.json"),
        (["detection", "out", "--int8"], 2, "--int8 needs a network that sees whole cases"),
    ],
)
def test_errors_say_what_is_wrong_and_write_nothing(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main(["package", *arguments]) == code
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"full"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"$@views_def.views"', '"@nothing"', "evaluate.json: a network is needed, but it cannot be made"),
        ('"width": 0.5', '"width": 0.25', "are of another network"),
        ('"inferer": "@inferer"', '"inferer": "@nothing"', "configs/evaluate.json does not pass MONAI's check"),
    ],
)
def test_a_broken_config_is_named(
    old: str,
    new: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = tmp_path / "own" / "malignancy"
    shutil.copytree(BUNDLES / "malignancy", bundle)
    shutil.copy(BUNDLES / "metadata.schema.json", bundle.parent)
    shutil.copy(BUNDLES.parent / "LICENSE", tmp_path / "LICENSE")
    text = (bundle / "evaluate.json").read_text()
    assert old in text
    (bundle / "evaluate.json").write_text(text.replace(old, new))
    assert main(["package", str(bundle), "out"]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
