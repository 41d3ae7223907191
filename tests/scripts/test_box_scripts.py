"""The scripts over several trainings of the box regressor: what they ask for, and the tables they end with."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import Cohort
from monai_staging.outputs.boxes import SliceScore
from monai_staging.tnm.categories import categories
from monai_staging.workflows.boxes_arms import ArmResult, BoxArm

BOX = (0.0, 0.0, 4.0, 4.0)
IOU = {"better": 0.8, "faithful": 0.3}


def case_of(number: int, subtype: str) -> Case:
    name = str(number)
    letters = {letter: categories(letter, "8") for letter in "tnm"}
    return Case(name, name, name, f"volumes/{name}.nii", edition="8", subtype=subtype, **letters)


class StandIn:
    """An experiment that trains nothing."""

    made: list[StandIn] = []

    def __init__(self, name: str, dataset_dir: str, out: Path, settings: dict[str, Any], workers: int) -> None:
        self.cohort = Cohort(Path(dataset_dir), "three", "test", training=tuple(map(case_of, range(3), "ABG")))
        self.settings, self.arms, self.logged = settings, [], []
        self.made.append(self)

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def run(self, arms: list[BoxArm]) -> dict[str, ArmResult]:
        self.arms += arms
        return {arm.name: self.result(arm) for arm in arms}

    def result(self, arm: BoxArm) -> ArmResult:
        leaks = arm.keys["split"] == "slice"

        def scores(iou: float) -> list[SliceScore]:
            return [SliceScore(f"c{n}", f"p{n}", "A", 1, leaks, BOX, BOX, iou + 0.01 * n) for n in range(3)]

        epochs = [{"epoch": float(epoch), "val_iou": 0.3 * epoch} for epoch in (1, 2, 3)]
        untouched = scores(0.1) if "weights" in arm.keys else ()
        return ArmResult(scores(IOU[arm.network]), untouched, epochs, Path("model.pt"))

    def log(self, *paths: Path) -> None:
        self.logged += paths


def run_script(name: str, monkeypatch: pytest.MonkeyPatch, repository: Path, *arguments: str) -> StandIn:
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", repository / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    script: types.ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.chdir(repository)
    monkeypatch.setattr(script, "BoxExperiment", StandIn)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--dataset_dir", "DIR", "--resamples", "20", *arguments])
    script.main()
    return StandIn.made[-1]


def test_both_networks_and_both_splits_come_into_one_table(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run_script(
        "box_regressors", monkeypatch, repository, "--output_dir", str(tmp_path), "--epochs", "5", "--size", "64"
    )
    assert (made.settings["epochs"], made.settings["size"], made.settings["empty"]) == (5, 64, 0)
    text = capsys.readouterr().out
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")][1:]
    assert [(row[1].strip(), row[7].strip()) for row in rows] == [
        ("better slice", "LEAKS"),
        ("faithful slice", "LEAKS"),
        ("better patient", "no"),
        ("faithful patient", "no"),
    ]
    assert {row[6].strip() for row in rows} == {"3"}
    assert "better - faithful, split by patient: 0.500" in text
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert document["better patient"]["iou_minus_faithful"]["value"] == pytest.approx(0.5)
    assert (tmp_path / "table.md").read_text().strip() in text
    assert made.logged == [tmp_path / "table.md", tmp_path / "metrics.json"]


def test_a_transfer_ends_with_the_matrices(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run_script("subtype_transfer", monkeypatch, repository, "--output_dir", str(tmp_path), "--width=0.25")
    assert made.settings["width"] == 0.25
    # From B alone, as published: for each network and split one source, and a fine-tuning on A and G.
    assert len(made.arms) == 2 * 2 * (1 + 2)
    assert {arm.keys.get("epochs") for arm in made.arms if "weights" in arm.keys} == {100}
    cells = json.loads((tmp_path / "transfer.json").read_text())
    assert len(cells) == 2 * 2 * 3 and {cell["source"] for cell in cells} == {"B"}
    assert sum(cell["leaks"] for cell in cells) == 6
    text = capsys.readouterr().out
    assert (tmp_path / "transfer.md").read_text().strip() in text
    assert text.count("LEAKS") == 2 and text.count("| fine-tuned") == 4
