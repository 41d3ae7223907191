"""The folds of the segmentation bundle, trained once each and pooled."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import types
from pathlib import Path

import pytest

from monai_staging.outputs.segmentation import NoduleSegmentation, read_segmentations, write_segmentations

SCORES = ("dice", "hd95_mm", "surface_dice", "volume_error_mm3", "volume_bias_mm3", "diameter_error_mm")
READERS = ("reader_dice", "reader_others_dice", "model_reader_dice", "model_others_dice")


@pytest.fixture
def script(repository: Path) -> types.ModuleType:
    path = repository / "scripts" / "segmentation_folds.py"
    spec = importlib.util.spec_from_file_location("scripts_segmentation_folds", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_folds_that_are_not_done_are_trained_and_all_are_pooled(
    script: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def train(command: list[str], check: bool) -> None:
        commands.append(command)
        folder = Path(command[command.index("--output_dir") + 1])
        fold = command[command.index("--fold") + 1]
        values = {**dict.fromkeys((*SCORES, "diameter_bias_mm"), 0.8), **dict.fromkeys(READERS, math.nan)}
        folder.mkdir(parents=True, exist_ok=True)
        write_segmentations(folder / "predictions.csv", [NoduleSegmentation(fold, f"patient-{fold}", 1, values)])
        (folder / "history.json").write_text("[]")

    monkeypatch.setattr(script.subprocess, "run", train)
    arguments = ["--dataset_dir", "DIR", "--output_dir", str(tmp_path), "--folds", "2", "--resamples", "20"]
    monkeypatch.setattr(sys, "argv", ["segmentation_folds.py", *arguments, "--network", "dynunet"])
    script.main()
    assert len(commands) == 2 and all(command[-2:] == ["--network", "dynunet"] for command in commands)
    assert not any("--resume" in command for command in commands)
    assert [one.name for one in read_segmentations([tmp_path / "predictions.csv"])] == ["0", "1"]
    assert json.loads((tmp_path / "metrics.json").read_text())["dice"]["n"] == 2
    assert "DIR, 2 folds: 2 nodules of 2 patients" in capsys.readouterr().out
    # Again: one is done, the other was stopped after its first epoch.
    (tmp_path / "fold-1" / "history.json").unlink()
    (tmp_path / "fold-1" / "checkpoint-0001.pt").touch()
    script.main()
    (last,) = commands[2:]
    assert last[last.index("--fold") + 1] == "1" and last[last.index("--resume") + 1] == "true"
