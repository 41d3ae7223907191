"""The script over sectors: what it asks for, what it reads of a training, and the table it ends with."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_staging.metrics.slices import StudyScores, slice_metrics
from monai_staging.outputs.slices import write_ranked_slices
from monai_staging.outputs.table import write_metrics
from monai_staging.workflows.arms import Arm
from monai_staging.workflows.slice_classes import CLASSES

SURE = {"1 sector": 1.0, "5 sectors": 1.5, "13 sectors": 2.0, "ours": 6.0}


def studies_of(sure: float) -> list[StudyScores]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(6):
        truth = rng.choice(3, 20)
        odds = rng.normal(0, 1, (20, 3)) + sure * np.eye(3)[truth]
        chances = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
        places, none = np.arange(20), np.full((20, 2), np.nan)
        found.append(StudyScores(f"case-{number}", f"case-{number}", places, places * 2.0, truth, chances, (), none))
    return found


def load(repository: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_slice_sectors", repository / "scripts" / "slice_sectors.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # its dataclasses look for it there
    spec.loader.exec_module(script)
    return script


def test_all_networks_come_into_one_table(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load(repository)
    asked: list[Arm] = []

    class StandIn(script.SliceExperiment):  # type: ignore[name-defined, misc]
        """Trains nothing, and leaves what a training leaves."""

        def __init__(self, name: str, dataset_dir: str, out: Path, settings: dict[str, Any]) -> None:
            self.out, self.settings = out, settings

        def __enter__(self) -> StandIn:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def run(self, arms: list[Arm]) -> dict[str, Any]:
            asked.extend(arms)
            found = {}
            for place, arm in enumerate(arms):
                folder = tmp_path / "arms" / str(place)
                folder.mkdir(parents=True)
                studies = studies_of(SURE[arm.name])
                write_ranked_slices(folder / "slices.csv", studies, CLASSES)
                metrics = slice_metrics(studies, n_boot=20)
                metrics["seconds_per_study"] = type(metrics["accuracy"])(
                    0.1 * (4 - place), float("nan"), float("nan"), 6
                )
                metrics["found_at_10"] = metrics["recall_at_10"]
                write_metrics(folder / "metrics.json", metrics)
                (folder / "history.json").write_text(json.dumps([{"epoch": 1.0, "seconds": 10.0 * (4 - place)}]))
                found[arm.name] = self.result(folder)
            return found

        def log(self, *paths: Path) -> None:
            assert all(path.is_file() for path in paths)

    monkeypatch.chdir(repository)
    monkeypatch.setattr(script, "SliceExperiment", StandIn)
    arguments = ["--backbone_weights", "FILE", "--output_dir", str(tmp_path), "--resamples", "50", "--limit", "9"]
    monkeypatch.setattr(sys, "argv", ["slice_sectors.py", *arguments])
    script.main()
    assert [arm.name for arm in asked] == list(SURE)
    assert asked[2].keys == {"backbone_weights": "FILE", "sector_num": 13} and asked[3].keys == {}
    text = capsys.readouterr().out
    assert (tmp_path / "table.md").read_text().strip() in text
    assert "at 0.50 of its training and 0.50 of its time a study" in text
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert document["ours"]["training_seconds"] == 10.0
    difference = document["1 sector"]["ours_minus_this"]
    scores = [document[name]["balanced_accuracy"]["value"] for name in ("ours", "1 sector")]
    assert difference["value"] == pytest.approx(scores[0] - scores[1], abs=1e-3) and difference["low"] > 0
