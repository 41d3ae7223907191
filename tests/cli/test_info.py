from __future__ import annotations

import importlib.metadata
import importlib.util
import json

import pytest
import torch

from monai_staging import __version__
from monai_staging.cli.main import main


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    captured = capsys.readouterr()
    info = json.loads(captured.out)
    assert captured.err == ""
    assert info["monai_staging"] == __version__
    assert info["packages"]["torch"] == importlib.metadata.version("torch")
    assert info["packages"]["pydicom"] == importlib.metadata.version("pydicom")
    assert info["devices"][0]["device"] == "cpu"
    assert info["devices"][0]["cores"] >= 1
    assert len(info["devices"]) >= 1 + torch.cuda.device_count()


def test_decoders_are_those_pydicom_finds(capsys: pytest.CaptureFixture[str]) -> None:
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

    main(["info", "--json"])
    decoders = json.loads(capsys.readouterr().out)["decoders"]
    syntaxes = {"JPEG": JPEGLosslessSV1, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless, "RLE": RLELossless}
    assert decoders == {name: get_decoder(uid).is_available for name, uid in syntaxes.items()}


def test_table_names_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in {"nvidia-ml-py", "mlflow"}:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "rle" else find(name, *rest))
    monkeypatch.setattr(importlib.metadata, "version", without)
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    assert "missing: RLE" in printed
    assert "pip install 'monai-staging[gpu]'" in printed
    assert any(line.split() == ["mlflow", "missing"] for line in printed.splitlines())
    assert f"monai-staging   {__version__}" in printed


def test_accelerators_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        name = "Accelerator"
        total_memory = 16 * 2**30

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    main(["info"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cuda:0", "Accelerator,", "16.0", "GiB"] in lines
    assert any(line[0] == "mps" for line in lines)
