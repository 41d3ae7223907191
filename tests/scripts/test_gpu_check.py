from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def gpu_check(repository: Path) -> Iterator[types.ModuleType]:
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("scripts_gpu_check", repository / "scripts" / "gpu_check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without a GPU says")
def test_a_dry_run_says_that_it_is_one(
    gpu_check: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "check.json"
    assert gpu_check.main(["--bundles", "pretrain", "--seconds", "0.01", "--out", str(out)]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("No GPU here: a dry run on the CPU")
    assert sum("| pretrain |" in line and "right" in line for line in rest) == 3
    rows = json.loads(out.read_text())["networks"]
    assert [row["way"] for row in rows] == ["float32", "AMP", "AMP, channels last"]
    assert rows[0]["difference"] == 0 and 0 < rows[1]["difference"] < 0.05
    assert all(row["training_per_second"] > 0 and row["inference_peak_mib"] is None for row in rows)


def test_what_differs_from_the_cpu_is_an_error(
    gpu_check: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(gpu_check.TOLERANCE, "AMP", 1e-9)
    assert gpu_check.main(["--bundles", "pretrain", "--seconds", "0.01", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["networks"]
    assert [row["right"] for row in rows] == [True, False, True]
