"""The script over the three pools: what it asks for, and the table it ends with."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.workflows.arms import Arm
from monai_staging.workflows.patients_arms import PatientResult

NOISE = {"noisy_or": 0.5, "max": 1.0, "attention": 3.0}


class StandIn:
    """An experiment that trains nothing."""

    made: list[StandIn] = []

    def __init__(self, name: str, dataset_dir: str, out: Path, settings: dict[str, Any], workers: int) -> None:
        self.dataset_dir, self.settings, self.arms, self.logged = dataset_dir, settings, [], []
        self.made.append(self)

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def run(self, arms: list[Arm]) -> dict[str, PatientResult]:
        self.arms += arms
        return {arm.name: self.result(arm) for arm in arms}

    def result(self, arm: Arm) -> PatientResult:
        labels = (np.arange(30) % 2).astype(float)
        odds = 2 * labels - 1 + np.random.default_rng(arm.keys["seed"]).normal(0, NOISE[arm.network], 30)
        names = tuple(f"case-{row}" for row in range(30))
        chances = 1 / (1 + np.exp(-odds))[:, None]
        found = NodulePredictions(names, names, "binary", ("no cancer", "cancer"), labels[:, None], chances)
        return PatientResult(found, (odds >= 0).astype(float))

    def log(self, *paths: Path) -> None:
        self.logged += paths


def test_all_pools_come_into_one_table(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("scripts_patient_pools", repository / "scripts" / "patient_pools.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.chdir(repository)
    monkeypatch.setattr(script, "PoolExperiment", StandIn)
    monkeypatch.setattr(script, "cohort_title", lambda *_: "phantoms (synthetic CT), test part")
    arguments = ["--dataset_dir", "DIR", "--output_dir", str(tmp_path), "--seeds", "2", "--resamples", "50"]
    monkeypatch.setattr(sys, "argv", ["patient_pools.py", *arguments, "--epochs", "5", "--width=0.125"])
    script.main()
    made = StandIn.made[-1]
    # All share one folder of nodules.
    cache = str(tmp_path / "nodules")
    assert made.settings == {"cache_dir": cache, "resamples": 50, "epochs": 5, "width": 0.125}
    assert len(made.arms) == 6 and made.logged == [tmp_path / "table.md", tmp_path / "metrics.json"]
    text = capsys.readouterr().out
    assert (tmp_path / "table.md").read_text().strip() in text
    assert "phantoms (synthetic CT), test part; means of seeds 0, 1" in text
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert set(document) == {*NOISE, "max - noisy_or", "attention - noisy_or"}
    assert document["noisy_or"]["auroc"]["n"] == 30 and document["attention - noisy_or"]["auroc"]["high"] < 0
