"""Runs the arms of a comparison that are not done yet, in parallel processes, under one parent run."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_staging.cluster.executor import Executor
from monai_staging.cohort.lock import exclusive
from monai_staging.cohort.pool import WorkerDied
from monai_staging.compare.arm import Done, Task, finished, run_task
from monai_staging.compare.plan import BASELINE, Arm, Comparison, Initialisation, digest, slug
from monai_staging.errors import DataError, UsageError
from monai_staging.files import write_json_atomic

logger = logging.getLogger("monai_staging.compare")

ARMS, SOURCES = "arms", "sources"
# Keys that say how an arm is run and told of, not what comes out: left out where a bundle does not know them.
QUIET = {"figures": False, "log_model": False, "system_metrics": False, "baselines": []}


@dataclass(frozen=True)
class Progress:
    """How far a comparison is.

    Attributes:
        done: arms that are done, failed ones included.
        total: of them.
        last: the one just done.
    """

    done: int
    total: int
    last: Done


@dataclass(frozen=True, eq=False)
class Runner:
    """Runs a comparison.

    Attributes:
        comparison: what is run.
        out: folder of the comparison.
        executor: where the arms are run.
        parent: id of the MLflow run that the arms are nested in; ``None`` for none.
        experiment: MLflow experiment of the arms.
        data_digest: of the data: another data set of the same name is another comparison.
        commit: of the code.
    """

    comparison: Comparison
    out: Path
    executor: Executor
    parent: str | None
    experiment: str
    data_digest: str
    commit: str = ""

    def run(self, tell: Callable[[Progress], None]) -> list[Done]:
        """Runs what is not done; gives every arm's outcome, the failed ones with their error.

        Raises:
            DataError: another process runs a comparison in this folder.
        """
        with exclusive(self.out / ".lock", busy=f"{self.out}: another process is running this comparison."):
            write_json_atomic(self.out / "comparison.json", _plain(self.comparison))
            # A mistake in a key is told of before hours of pretraining, not after.
            for arm in self.comparison.arms:
                self._configs(self.comparison.bundle, self.comparison.config, self.comparison.overrides(arm))
            sources = {
                task.folder: task for init in self.comparison.initialisations for task in self._source_tasks(init)
            }
            failed = [done for done in self._work(list(sources.values()), tell) if done.error]
            if failed:
                return failed
            return self._work([self.task(arm) for arm in self.comparison.arms], tell)

    def _work(self, tasks: Sequence[Task], tell: Callable[[Progress], None]) -> list[Done]:
        before = {task.name: finished(task.folder, task.identity) for task in tasks}
        found = [done for done in before.values() if done is not None]
        waiting = [task for task in tasks if before[task.name] is None]
        if waiting and found:
            logger.info("%d of %d are done already", len(found), len(tasks))
        for task, result in self.executor.run(run_task, waiting, writes=(Path.cwd(), self.out)):
            done = Done(task.name, 0.0, "its process died") if isinstance(result, WorkerDied) else result
            found.append(done)
            tell(Progress(len(found), len(tasks), done))
            if len(found) == self.executor.workers + 1 and all(one.error for one in found):
                break  # a mistake in the settings, not in an arm
        return found

    def folder(self, arm: Arm) -> Path:
        """Where an arm writes."""
        return self.out / ARMS / arm.name

    def task(self, arm: Arm) -> Task:
        """An arm's task."""
        comparison = self.comparison
        overrides = comparison.overrides(arm)
        if arm.init != BASELINE:
            overrides["backbone_weights"] = self._weights(arm)
        tags = {
            "comparison": comparison.name,
            "arm.network": arm.network,
            "arm.init": arm.init,
            "arm.fraction": f"{arm.fraction:g}",
            "arm.seed": arm.seed,
            **({} if arm.fold is None else {"arm.fold": arm.fold}),
        }
        run = "run_baseline" if arm.init == BASELINE else "run"
        return self._task(arm.name, self.folder(arm), comparison.bundle, comparison.config, run, overrides, tags)

    @staticmethod
    def _configs(bundle: str, config: Sequence[str], overrides: Mapping[str, Any]) -> tuple[list[str], set[str]]:
        """The config files of a bundle and the keys that they have.

        Raises:
            UsageError: an override is of no such key.
        """
        files = config_files(bundle, config)
        keys = config_keys(files)
        unknown = [key for key in overrides if key not in keys]
        if unknown:
            raise UsageError(f"Comparison: {bundle} has no key {', '.join(unknown)}")
        return files, keys

    def _task(
        self,
        name: str,
        folder: Path,
        bundle: str,
        config: Sequence[str],
        run: str,
        overrides: Mapping[str, Any],
        tags: Mapping[str, Any],
    ) -> Task:
        files, keys = self._configs(bundle, config, overrides)
        told = {"experiment": self.experiment, "run_name": name}
        identity = digest([self.data_digest, run, dict(overrides), [Path(file).name for file in files]])
        if self.parent is not None:
            tags = {**tags, "mlflow.parentRunId": self.parent}
        quiet = {key: value for key, value in QUIET.items() if key in keys and key not in overrides}
        full = {**quiet, **overrides, **told, "tags": dict(tags)}
        full = {key: value for key, value in full.items() if key in keys}
        return Task(name, folder, tuple(files), run, full, identity, self.executor.threads, self.commit)

    # -- where the weights come from --------------------------------------------------------------------------------

    def _weights(self, arm: Arm) -> str | None:
        init = self.comparison.init(arm.init)
        if init.pretrain is not None:
            source = self._source_task(init, arm.network, arm.fold if init.per_fold else None)
            return str(source.folder / "backbone.pt")
        network = str(self.comparison.networks[arm.network].get("network", arm.network))
        return init.weights.format(network=network) if init.weights is not None else None

    def _source_tasks(self, init: Initialisation) -> list[Task]:
        """The trainings that make an initialisation's weights; networks of the same settings share one."""
        if init.pretrain is None:
            return []
        folds: list[int | None] = [None]
        if init.per_fold and self.comparison.folds is not None:
            folds = list(range(self.comparison.folds))
        return [self._source_task(init, network, fold) for network in self.comparison.networks for fold in folds]

    def _source_task(self, init: Initialisation, network: str, fold: int | None) -> Task:
        comparison, own = self.comparison, self.comparison.networks[network]
        settings = dict(init.pretrain or {})
        config = tuple(settings.pop("config", ()))
        bundle = str(settings.pop("bundle", "bundles/pretrain"))
        keys = config_keys(config_files(bundle, config))
        backbone = str(own.get("network", network))
        # What makes the network makes its source too, as far as the other bundle knows it.
        overrides = {key: value for key, value in {**comparison.settings, **own}.items() if key in keys}
        overrides |= {
            key: value.format(network=backbone, dataset_dir=comparison.dataset_dir)
            if isinstance(value, str) and not value.startswith("$")
            else value
            for key, value in settings.items()
        }
        if fold is not None:
            overrides["fold"] = fold
        name = f"{slug(init.name)}-{slug(backbone)}-{digest([bundle, config, overrides])[:8]}"
        tags = {"comparison": comparison.name, "source.init": init.name}
        return self._task(name, self.out / SOURCES / name, bundle, config, "run", overrides, tags)


def config_files(bundle: str, config: Sequence[str]) -> list[str]:
    """``train.json`` of a bundle and what is laid over it.

    Raises:
        UsageError: a file is missing.
    """
    files = [
        Path(bundle) / "train.json",
        *(Path(one) if os.path.dirname(one) else Path(bundle) / one for one in config),
    ]
    for file in files:
        if not file.is_file():
            raise UsageError(f"Comparison: {file} is needed, no such file")
    return [str(file) for file in files]


def config_keys(files: Sequence[str]) -> set[str]:
    """Keys that the configs have at their top: what an arm may set."""
    keys: set[str] = set()
    for file in files:
        keys |= set(json.loads(Path(file).read_text(encoding="utf-8")))
    return keys


def data_digest(dataset_dir: str) -> str:
    """Digest of the data of a comparison, a cohort's or a nodule set's; the default phantoms are made if need be.

    Raises:
        DataError: what is there is neither.
    """
    from monai_staging.cohort import load_cohort
    from monai_staging.cohort.cohort import FILE_NAME
    from monai_staging.cohort.default import ensure_cohort
    from monai_staging.cohort.nodules import load_nodules
    from monai_staging.cohort.nodules.default import DEFAULT_PATH, ensure_nodules

    path = Path(dataset_dir)
    if not path.exists():
        default = path.resolve() == Path(DEFAULT_PATH).resolve()
        path = ensure_nodules(path) if default else Path(ensure_cohort(path))
    if (path / FILE_NAME).is_file():
        return load_cohort(path).digest
    try:
        return load_nodules(path).digest
    except DataError as error:
        raise DataError(f"Comparison: {dataset_dir} is no data set of a bundle: {error}") from error


def data_title(dataset_dir: str) -> str:
    """What the data is, for tables and figures; says so of phantoms."""
    from monai_staging.cohort.cohort import FILE_NAME
    from monai_staging.cohort.nodules import load_nodules
    from monai_staging.workflows.staging_data import cohort_title

    if (Path(dataset_dir) / FILE_NAME).is_file():
        return cohort_title(dataset_dir)
    return load_nodules(dataset_dir).title


def _plain(comparison: Comparison) -> dict[str, Any]:
    from dataclasses import asdict

    document: dict[str, Any] = json.loads(json.dumps(asdict(comparison), default=str))
    return document
