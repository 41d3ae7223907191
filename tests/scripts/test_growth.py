from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def growth(repository: Path) -> Iterator[types.ModuleType]:
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("scripts_growth", repository / "scripts" / "growth.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


def test_steps_are_measured_in_processes_of_their_own(
    growth: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--cases", "5", "--rows", "20", "200", "--steps", "FROC", "stage-table, rows", "--work", str(tmp_path)]
    assert growth.main([*words, "--out", str(tmp_path / "out"), "--picture", str(tmp_path / "growth.png")]) == 0
    report = json.loads((tmp_path / "out" / "growth.json").read_text())
    assert [(row["step"], row["number"]) for row in report["steps"]] == [
        *(("FROC", 5), ("stage-table, rows", 20), ("stage-table, rows", 200)),
    ]
    assert all(row["seconds"] > 0 and row["memory_gib"] > 0.01 for row in report["steps"])
    assert "| stage-table, rows | 200" in (tmp_path / "out" / "growth.md").read_text()
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "staged-200.csv").read_text().splitlines()) == 201
    # Measured again, a step takes its own place and leaves the others.
    again = ["--rows", "20", "--steps", "stage-table, rows", "--work", str(tmp_path), "--out", str(tmp_path / "out")]
    assert growth.main([*again, "--picture", str(tmp_path / "growth.png")]) == 0
    assert len(json.loads((tmp_path / "out" / "growth.json").read_text())["steps"]) == 3


@pytest.mark.parametrize("step", ["ingest", "compare", "splits, rows", "audit, rows"])
def test_each_step_does_its_work(
    growth: types.ModuleType, step: str, tmp_path: Path, reads_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = growth.measured(step, 12, tmp_path)
    assert set(found) == {"seconds", "processor_s", "memory_gib"} and found["seconds"] > 0
    if step == "ingest":
        assert len(json.loads((tmp_path / "cohort-12" / "cohort.json").read_text())["training"]) > 0
        assert growth.measured("audit", 12, tmp_path)["seconds"] > 0
        assert growth.measured("train start-up", 12, tmp_path)["seconds"] > 0
