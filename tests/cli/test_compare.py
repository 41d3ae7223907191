"""`monai-staging compare` as a user runs it: killed twice, rerun, and wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml

from monai_staging.cohort.nodules.phantom import write_phantom_nodules

ARMS = (2 + 1) * 2  # two starts and the ruler, two folds


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantom nodules and a comparison's YAML."""
    folder = tmp_path_factory.mktemp("compare")
    write_phantom_nodules(folder / "nodules", 60, seed=4)
    write_phantom_nodules(folder / "source", 40, seed=5)
    document = {
        "name": "small",
        "bundle": "bundles/malignancy",
        "dataset_dir": str(folder / "nodules"),
        "settings": {"width": 0.125, "size": 32, "spacing_mm": 1.125, "views": "central", "batch_size": 8, "epochs": 2},
        "networks": {"Small ResNet": {"network": "resnet10"}},
        "initialisations": {
            "scratch": None,
            "transfer": {
                "pretrain": {"bundle": "bundles/malignancy", "dataset_dir": str(folder / "source"), "folds": 2}
            },
        },
        "fractions": {0.5: {"epochs": 3}},
        "seeds": 1,
        "folds": 2,
        "baselines": ["ruler"],
    }
    (folder / "compare.yaml").write_text(yaml.safe_dump(document))
    return folder


def arguments(setting: Path, out: Path, *more: str) -> list[str]:
    given = ["compare", "--config", str(setting / "compare.yaml"), "--out", str(out), "--workers", "2"]
    return [*given, "--resamples", "50", "--permutations", "100", *more]


@pytest.fixture
def environment(empty_database: Path, tmp_path: Path) -> dict[str, str]:
    """A database and a cache of the test's own."""
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlruns.db", "MONAI_STAGING_CACHE": str(tmp_path / "cache")}


def done(out: Path) -> dict[str, int]:
    """Finished arms, and when each was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("arms/*/arm.json")}


def test_killed_twice_it_ends_with_the_same_table_and_repeats_no_run(
    setting: Path, environment: dict[str, str], warm_python: Any, tmp_path: Path
) -> None:
    def compare(*given: str) -> subprocess.CompletedProcess[str]:
        return warm_python.run("monai_staging.cli", *given, env=environment)

    out = tmp_path / "out"
    for wanted in (1, 3):
        process = warm_python.start("monai_staging.cli", *arguments(setting, out), env=environment)
        end = time.monotonic() + 300
        while len(done(out)) < wanted and time.monotonic() < end:
            time.sleep(0.02)
        process.kill()
        assert wanted <= len(done(out)) < ARMS, process.stderr.read_text()
    before = done(out)
    finished = compare(*arguments(setting, out))
    assert finished.returncode == 0, finished.stderr[-3000:]
    after = done(out)
    assert len(after) == ARMS
    assert {name: after[name] for name in before} == before
    # Of an uninterrupted comparison, but for seconds and the sentence that names the folder's commit.
    whole = tmp_path / "whole"
    assert compare(*arguments(setting, whole)).returncode == 0
    for name in before:
        first, second = (folder / "arms" / name / "predictions.csv" for folder in (out, whole))
        assert first.read_text() == second.read_text(), name
    differences = [(folder / "differences.csv").read_text() for folder in (out, whole)]
    assert differences[0] == differences[1]

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
    experiment = client.get_experiment_by_name("comparisons")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in runs if run.data.tags["mlflow.runName"] == "small"]
    assert len(parents) == 2 and all(run.info.status == "FINISHED" for run in parents)
    for parent in parents:
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        names = [run.data.tags["mlflow.runName"] for run in children]
        assert len(names) == len(set(names)) == ARMS + 1
        assert {run.info.status for run in children} == {"FINISHED"}
        paths = {item.path for item in client.list_artifacts(parent.info.run_id)}
        assert {"comparison.md", "arms.csv", "differences.csv", "findings.json", "figures"} <= paths
    tags = next(run.data.tags for run in runs if run.data.tags.get("arm.init") == "transfer")
    assert tags["arm.network"] == "Small ResNet" and tags["comparison"] == "small"

    # Nothing is left to do: the same command only reports.
    again = compare(*arguments(setting, out, "--json"))
    assert json.loads(again.stdout)["patients"] > 0 and done(out) == after
    shutil.rmtree(out)


@pytest.mark.parametrize(
    ("more", "message", "code"),
    [
        (["--seeds", "0"], "--seeds must be at least 1", 2),
        (["--init", "imagenet"], "'imagenet' is none of scratch, transfer", 2),
        (["--set", "epoch=3"], "has no key epoch", 2),
        (["--set", "epochs"], "--set takes KEY=VALUE", 2),
        (["--dataset-dir", "setup.cfg"], "is no data set of a bundle", 1),
        (["--networks", "resnet11", "--init", "scratch"], "runs failed", 1),
    ],
)
def test_wrong_usage_ends_in_a_line(
    setting: Path,
    environment: dict[str, str],
    warm_python: Any,
    tmp_path: Path,
    more: list[str],
    message: str,
    code: int,
) -> None:
    result = warm_python.run("monai_staging.cli", *arguments(setting, tmp_path / "out", *more), env=environment)
    assert result.returncode == code, result.stderr
    assert message in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr
