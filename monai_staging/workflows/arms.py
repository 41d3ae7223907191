"""Several trainings of a bundle as one experiment: each done once, nested under one MLflow run."""

from __future__ import annotations

import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import yaml

from monai_staging.cluster.executor import threads_each
from monai_staging.cohort import load_cohort
from monai_staging.cohort.default import ensure_cohort
from monai_staging.cohort.pool import WorkerDied, run_in_workers
from monai_staging.compare.arm import Task, finished, run_task
from monai_staging.compare.plan import digest, slug
from monai_staging.errors import DataError, UsageError
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.progress import progress
from monai_staging.tracking.environment import git_state
from monai_staging.tracking.identity import run_identity
from monai_staging.tracking.journal import JOURNAL_NAME
from monai_staging.tracking.run import TrackedRun
from monai_staging.tracking.run_folder import RUN_NAME

logger = logging.getLogger("monai_staging.workflows")

QUIET = {"figures": False, "log_model": False, "system_metrics": False}
FILES = ("weights", "backbone_weights", "detector_weights")
"""Keys that name a file which may be written anew under the same name."""
Result = TypeVar("Result")
Own = TypeVar("Own", bound="ArmExperiment[Any]")


@dataclass(frozen=True)
class Arm:
    """One training.

    Attributes:
        name: of its folder and run.
        network: one of the experiment's ``configs``.
        keys: of the bundle.
    """

    name: str
    network: str
    keys: Mapping[str, Any] = field(default_factory=dict)


class ArmExperiment(ABC, Generic[Result]):
    """Runs arms in parallel processes; killed at any moment, the same calls go on.

    Subclasses say what is trained and what came of it.

    Args:
        name: of the parent run.
        dataset_dir: cohort; the default phantoms are made where they are asked for.
        out: its folder.
        settings: keys of the bundle for every arm.
        workers: processes.

    Attributes:
        bundle: folder of the configs.
        configs: names of networks, and the configs of each.
        experiment: in MLflow.
    """

    bundle: ClassVar[Path]
    configs: ClassVar[Mapping[str, tuple[str, ...]]]
    experiment: ClassVar[str]

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
        self.parent = TrackedRun(out, uri, self.experiment, name, resume=begun)
        self._uri = uri

    def __enter__(self: Own) -> Own:
        self.parent.open()
        self.parent.claim()
        self.parent.log_tags({"cohort.name": self.cohort.name, "cohort.digest": self.cohort.digest})
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self.parent.finish()
        else:
            self.parent.fail(error)

    @abstractmethod
    def result(self, folder: Path) -> Result:
        """What came of the training in a folder."""

    def run(self, arms: Sequence[Arm]) -> dict[str, Result]:
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
            raise DataError(
                f"{self.experiment.capitalize()}: {len(failed)} of {len(tasks)} trainings failed: {failed[0]}"
            )
        return {task.name: self.result(task.folder) for task in tasks}

    def log(self, *paths: Path) -> None:
        """Files of the whole experiment, for the parent run."""
        for path in paths:
            self.parent.log_artifact(path)

    def _task(self, arm: Arm, run_id: str | None) -> Task:
        configs = self.configs[arm.network]
        files = tuple(str(self.bundle / file) for file in configs)
        keys = {"dataset_dir": str(self.dataset_dir), **self.settings, **arm.keys}
        digests = {name: file_sha256(keys[name]) for name in FILES if keys.get(name) and Path(keys[name]).is_file()}
        identity = digest([self.cohort.digest, keys, digests, configs])
        tags = {"network": arm.network, **({} if run_id is None else {"mlflow.parentRunId": run_id})}
        overrides = {**QUIET, **keys, "run_name": arm.name, "experiment": self.experiment, "tags": tags}
        git = git_state()
        commit = "" if git is None else git.commit[:12]
        threads = threads_each(self.workers)
        return Task(arm.name, self.out / "arms" / slug(arm.name), files, "run", overrides, identity, threads, commit)


def config_keys(words: Sequence[str], config: Path) -> dict[str, Any]:
    """``--key value`` or ``--key=value``, as a bundle's command takes them, as a dictionary of plain values.

    Raises:
        UsageError: a value without a key, a key without a value, or a key that the config does not have.
    """
    known = json.loads(config.read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        key, given, value = word.removeprefix("--").partition("=")
        text = value if given else next(rest, None)
        if not word.startswith("--") or text is None or key not in known:
            raise UsageError(f"Keys: --key value with a key of {config} is needed, found {word}")
        found[key] = yaml.safe_load(text)
    return found
