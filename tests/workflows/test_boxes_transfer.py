"""The trainings of a transfer between subtypes and the matrix that comes of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from monai_staging.cohort import load_cohort
from monai_staging.errors import DataError, UsageError
from monai_staging.outputs.boxes import SliceScore
from monai_staging.workflows import arms
from monai_staging.workflows.boxes_arms import ArmResult, BoxArm, BoxExperiment, bundle_keys
from monai_staging.workflows.boxes_transfer import TransferPlan, plan_subtypes, run_transfer, transfer_tables

BOX = (0.0, 0.0, 4.0, 4.0)


def scores(iou: float) -> list[SliceScore]:
    return [SliceScore(f"c{n}", f"p{n}", "A", 1, False, BOX, BOX, iou + 0.1 * n) for n in range(3)]


class StandIn:
    """An experiment that trains nothing: the network of a source finds .2 elsewhere, .8 where it was fine-tuned."""

    def __init__(self) -> None:
        self.arms: list[BoxArm] = []

    def run(self, arms: list[BoxArm]) -> dict[str, ArmResult]:
        self.arms += arms
        return {
            arm.name: ArmResult(scores(0.7), scores(0.1) if "weights" in arm.keys else (), [], Path(arm.name) / "w.pt")
            for arm in arms
        }


def test_sources_are_trained_and_then_every_target_from_their_weights() -> None:
    experiment = StandIn()
    plan = TransferPlan(["B"], ["A", "B", "G"], ["better"], epochs=30, fine_tuning=10, resamples=20)
    cells = run_transfer(experiment, plan)  # type: ignore[arg-type]
    assert [(arm.keys["split"], arm.keys["subtypes"], arm.keys["epochs"]) for arm in experiment.arms] == [
        ("slice", ["B"], 30),
        ("patient", ["B"], 30),
        *((split, [target], 10) for split in ("slice", "patient") for target in ("A", "G")),
    ]
    assert [arm.keys.get("weights") for arm in experiment.arms[1:4]] == [
        None,
        "better slice B/w.pt",
        "better slice B/w.pt",
    ]
    assert [(cell.split, cell.target) for cell in cells] == [(s, t) for s in ("slice", "patient") for t in "ABG"]
    other, own = cells[0], cells[1]
    assert other.untouched.value == pytest.approx(0.2) and own.untouched.value == pytest.approx(0.8)
    assert other.fine_tuned is not None and other.fine_tuned.value == pytest.approx(0.8)
    assert other.gain is not None and other.gain.value == pytest.approx(0.6)
    assert own.fine_tuned is None and own.to_json()["gain"] is None
    assert [cell.to_json()["leaks"] for cell in cells] == [True] * 3 + [False] * 3


def test_the_matrix_has_a_row_a_step_and_flags_the_split_that_leaks() -> None:
    plan = TransferPlan(["B"], ["A", "B"], ["faithful"], resamples=20)
    text = transfer_tables(run_transfer(StandIn(), plan), ["A", "B"])  # type: ignore[arg-type]
    first, second = text.split("faithful, split ")[1:]
    assert first.startswith("by slice, as published: LEAKS") and second.startswith("by patient\n")
    rows = [line for line in second.splitlines() if line.startswith("| B")]
    assert [row.split("|")[2].strip() for row in rows] == ["untouched", "fine-tuned", "gain"]
    assert rows[1].split("|")[4].strip() == "-" and rows[2].split("|")[3].strip().startswith("0.600")


def test_the_published_source_is_found_under_both_of_its_names(box_cohort: Any) -> None:
    cohort = load_cohort(box_cohort.root)
    assert plan_subtypes(cohort, None) == (["B"], ["A", "B"])
    assert plan_subtypes(cohort, ["A", "B"]) == (["A", "B"], ["A", "B"])
    names = {"A": "adenocarcinoma", "B": "small cell carcinoma"}
    cases = tuple(replace(case, subtype=names[case.subtype or ""]) for case in cohort.training)
    named = replace(cohort, training=cases, test=())
    assert plan_subtypes(named, None)[0] == ["small cell carcinoma"]
    with pytest.raises(UsageError, match="it has A, B, asked for G"):
        plan_subtypes(cohort, ["G"])
    alike = replace(cohort, training=tuple(replace(case, subtype="A") for case in cases), test=())
    with pytest.raises(UsageError, match="two subtypes or more"):
        plan_subtypes(alike, None)


def test_keys_are_those_of_the_bundle(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    assert bundle_keys(["--size", "128", "--windows=['lung']", "--width", "0.25"]) == {
        "size": 128,
        "windows": ["lung"],
        "width": 0.25,
    }
    for words in (["--sise", "128"], ["--size"], ["size", "128"]):
        with pytest.raises(UsageError, match="--key value with a key of"):
            bundle_keys(words)


@pytest.fixture
def here(repository: Path, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trainings in this process instead of others; gives a folder for them."""
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    monkeypatch.chdir(repository)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns.db")
    monkeypatch.setattr(arms, "run_in_workers", lambda run, tasks, workers: ((task, run(task)) for task in tasks))
    return tmp_path


def test_trainings_run_through_the_bundle_under_one_run_and_once(box_cohort: Any, here: Path) -> None:
    settings = {"size": 64, "width": 0.125, "features": 8, "coarse": 64, "close": 64, "resamples": 10, "limit": 8}
    plan = TransferPlan(["B"], ["A", "B"], ["better"], ["patient"], epochs=1, fine_tuning=1, resamples=10)

    def transfer() -> list[Any]:
        with BoxExperiment("small", box_cohort.root, here / "out", settings) as experiment:
            return [cell.to_json() for cell in run_transfer(experiment, plan)]

    cells = transfer()
    assert cells[0]["fine_tuned"]["n"] >= 1 and cells[0]["leaks"] is False
    weights = list((here / "out" / "arms").glob("*/model.pt"))
    assert {path.parent.name for path in weights} == {"better-patient-b", "better-patient-b-to-a"}
    written = [path.stat().st_mtime_ns for path in weights]
    assert transfer() == cells and [path.stat().st_mtime_ns for path in weights] == written
    client = mlflow.MlflowClient(f"sqlite:///{here}/mlruns.db")
    experiment = client.get_experiment_by_name("boxes")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "small"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.info.run_name for run in children} == {"better patient B", "better patient B to A"}
    assert {run.data.tags["split.leaks"] for run in children} == {"false"}
    # Other weights to begin from make it another training.
    weights[0].parent.joinpath("arm.json").unlink()
    settings["seed"] = 1
    transfer()
    assert all(path.stat().st_mtime_ns > old for path, old in zip(weights, written, strict=True))


def test_an_arm_that_fails_is_told_with_its_log(box_cohort: Any, here: Path) -> None:
    with (
        pytest.raises(DataError, match=r"1 of 1 trainings failed: odd: .*no case of subtype 'X'.*log.txt"),
        BoxExperiment("failing", box_cohort.root, here / "out", {"size": 32}) as experiment,
    ):
        experiment.run([BoxArm("odd", "better", {"subtypes": ["X"]})])
