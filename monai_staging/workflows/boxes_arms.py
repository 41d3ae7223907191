"""Several trainings of the box regressor as one experiment: each done once, nested under one MLflow run."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from monai_staging.cohort import load_cohort
from monai_staging.cohort.default import ensure_cohort
from monai_staging.cohort.pool import WorkerDied, run_in_workers
from monai_staging.compare.arm import Task, finished, run_task
from monai_staging.compare.plan import digest, slug
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import Estimate
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.outputs.boxes import SliceScore, box_metrics, read_slices
from monai_staging.progress import progress
from monai_staging.tracking.environment import git_state
from monai_staging.tracking.identity import run_identity
from monai_staging.tracking.journal import JOURNAL_NAME
from monai_staging.tracking.run import TrackedRun
from monai_staging.tracking.run_folder import RUN_NAME
from monai_staging.workflows.boxes import epochs_to_reach
from monai_staging.workflows.nodule_result import HISTORY, WEIGHTS

logger = logging.getLogger("monai_staging.workflows")

BUNDLE = Path("bundles/detection")
CONFIGS: Mapping[str, tuple[str, ...]] = {
    "better": ("boxes.json",),
    "faithful": ("boxes.json", "boxes_faithful.json"),
}
"""The networks by name, and the configs of each."""
QUIET = {"figures": False, "log_model": False, "system_metrics": False}


@dataclass(frozen=True)
class BoxArm:
    """One training.

    Attributes:
        name: of its folder and run.
        network: one of :data:`CONFIGS`.
        keys: of the bundle.
    """

    name: str
    network: str
    keys: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ArmResult:
    """What came of a training.

    Attributes:
        slices: scores of the test part.
        untouched: of the same before it was trained here; empty where it began from random weights.
        epochs: its history.
        weights: its network's.
    """

    slices: Sequence[SliceScore]
    untouched: Sequence[SliceScore]
    epochs: list[dict[str, float]]
    weights: Path

    def metrics(self, seed: int, resamples: int) -> dict[str, Estimate]:
        """Of the test part, see :func:`monai_staging.outputs.boxes.box_metrics`."""
        return box_metrics(self.slices, epochs_to_70=epochs_to_reach(self.epochs), seed=seed, n_boot=resamples)


class BoxExperiment:
    """Runs arms in parallel processes; killed at any moment, the same calls go on.

    Args:
        name: of the parent run.
        dataset_dir: cohort; the default phantoms are made where they are asked for.
        out: its folder.
        settings: keys of the bundle for every arm.
        workers: processes.
    """

    def __init__(
        self,
        name: str,
        dataset_dir: str | os.PathLike[str],
        out: Path,
        settings: Mapping[str, Any],
        workers: int = 1,
    ) -> None:
        self.name, self.out = name, out
        self.dataset_dir = ensure_cohort(dataset_dir)
        self.cohort = load_cohort(self.dataset_dir)
        self.settings = dict(settings)
        self.workers = workers
        uri = os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd() / 'mlruns.db'}")
        begun = any((out / mark).is_file() for mark in (JOURNAL_NAME, RUN_NAME))
        self.parent = TrackedRun(out, uri, "boxes", name, resume=begun)
        self._uri = uri

    def __enter__(self) -> BoxExperiment:
        self.parent.open()
        self.parent.claim()
        self.parent.log_tags({"cohort.name": self.cohort.name, "cohort.digest": self.cohort.digest})
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self.parent.finish()
        else:
            self.parent.fail(error)

    def run(self, arms: Sequence[BoxArm]) -> dict[str, ArmResult]:
        """Trains the arms that are not done; gives the results of all by name.

        Raises:
            DataError: one failed; its log is named. The others are done and stay so.
        """
        run_id = run_identity(self.out, self._uri, wait_s=60.0)["run_id"]
        if run_id is None:
            logger.warning("MLflow: no server has the parent run yet; its trainings are not nested in it")
        tasks = [self._task(arm, run_id) for arm in arms]
        waiting = [task for task in tasks if finished(task.folder, task.identity) is None]
        failed = []
        every = run_in_workers(run_task, waiting, self.workers)
        for task, done in progress(every, total=len(waiting), description=self.name, unit="training"):
            error = "its process died" if isinstance(done, WorkerDied) else done.error
            failed += [f"{task.name}: {error}"] if error else []
        if failed:
            raise DataError(f"Boxes: {len(failed)} of {len(tasks)} trainings failed: {failed[0]}")
        return {task.name: _result(task.folder) for task in tasks}

    def log(self, *paths: Path) -> None:
        """Files of the whole experiment, for the parent run."""
        for path in paths:
            self.parent.log_artifact(path)

    def _task(self, arm: BoxArm, run_id: str | None) -> Task:
        files = tuple(str(BUNDLE / file) for file in CONFIGS[arm.network])
        keys = {"dataset_dir": str(self.dataset_dir), **self.settings, **arm.keys}
        # A file of weights may be written anew under the same name.
        weights = file_sha256(keys["weights"]) if keys.get("weights") else None
        identity = digest([self.cohort.digest, keys, weights, CONFIGS[arm.network]])
        tags = {"network": arm.network, **({} if run_id is None else {"mlflow.parentRunId": run_id})}
        overrides = {**QUIET, **keys, "run_name": arm.name, "experiment": "boxes", "tags": tags}
        git = git_state()
        commit = "" if git is None else git.commit[:12]
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        return Task(arm.name, self.out / "arms" / slug(arm.name), files, "run", overrides, identity, threads, commit)


def _result(folder: Path) -> ArmResult:
    untouched = folder / "untouched" / "predictions.csv"
    return ArmResult(
        read_slices(folder / "predictions.csv"),
        read_slices(untouched) if untouched.is_file() else (),
        json.loads((folder / HISTORY).read_text(encoding="utf-8")),
        folder / WEIGHTS,
    )


def bundle_keys(words: Sequence[str]) -> dict[str, Any]:
    """``--key value`` or ``--key=value``, as the bundle's command takes them, as a dictionary of plain values.

    Raises:
        UsageError: a value without a key, a key without a value, or a key that the bundle does not have.
    """
    known = json.loads((BUNDLE / CONFIGS["better"][0]).read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        key, given, value = word.removeprefix("--").partition("=")
        text = value if given else next(rest, None)
        if not word.startswith("--") or text is None or key not in known:
            raise UsageError(
                f"Boxes: --key value with a key of {BUNDLE / CONFIGS['better'][0]} is needed, found {word}"
            )
        found[key] = yaml.safe_load(text)
    return found
