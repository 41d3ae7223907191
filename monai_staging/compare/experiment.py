"""A comparison from start to report, under one parent run in MLflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from monai_staging.cluster.executor import Executor, LocalPool
from monai_staging.compare.arm import Done
from monai_staging.compare.findings import Findings
from monai_staging.compare.plan import Comparison
from monai_staging.compare.report import Report, write_report
from monai_staging.compare.results import Results
from monai_staging.compare.runner import Progress, Runner, data_digest, data_title
from monai_staging.compare.statistics import Resampling, find
from monai_staging.errors import DataError, UsageError
from monai_staging.tracking.environment import git_state, versions
from monai_staging.tracking.identity import run_identity
from monai_staging.tracking.journal import JOURNAL_NAME
from monai_staging.tracking.run import TrackedRun
from monai_staging.tracking.run_folder import RUN_NAME

logger = logging.getLogger("monai_staging.compare")


@dataclass(frozen=True)
class ExperimentOptions:
    """How a comparison is run.

    Attributes:
        out: its folder.
        executor: where the arms are run; by default in one process a core, or one a GPU.
        experiment: MLflow experiment.
        tracking_uri: server or database; ``MLFLOW_TRACKING_URI`` or ``sqlite:///mlruns.db`` by default.
        resampling: of intervals and p-values.
    """

    out: Path
    executor: Executor | None = None
    experiment: str = "comparisons"
    tracking_uri: str | None = None
    resampling: Resampling = Resampling()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a comparison.

    Attributes:
        findings: its numbers.
        report: its files.
        run_id: of the parent run; ``None`` where no server has it yet.
    """

    findings: Findings
    report: Report
    run_id: str | None


def run_comparison(comparison: Comparison, options: ExperimentOptions, tell: Callable[[Progress], None]) -> Outcome:
    """Runs what is not done yet, and reports on all of it.

    Killed at any moment, the same call goes on: finished arms are not run again, a broken off one continues from its
    last epoch, and the parent run is the same.

    Raises:
        DataError: an arm failed; its log is named. The others are done and stay so.
        UsageError: a setting that the bundle does not know, or a database file for MLflow and several machines.
    """
    out = options.out
    digest = data_digest(comparison.dataset_dir)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or options.tracking_uri or f"sqlite:///{Path.cwd() / 'mlruns.db'}"
    if uri.startswith("sqlite:") and options.executor is not None and options.executor.machines > 1:
        raise UsageError(
            f"Comparison: on {options.executor.machines} machines MLflow needs a server, found a database file, which "
            "machines cannot share. Set MLFLOW_TRACKING_URI to a server's address."
        )
    # The arms' own handlers go by the same.
    os.environ["MLFLOW_TRACKING_URI"] = uri
    # A kill before it is claimed leaves a run all the same.
    begun = any((out / name).is_file() for name in (JOURNAL_NAME, RUN_NAME))
    parent = TrackedRun(out, uri, options.experiment, comparison.name, resume=begun)
    parent.open()
    parent.claim()
    try:
        parent.log_tags(_tags(comparison, digest))
        parent.log_params(_params(comparison))
        # An arm that is not nested stays so: a busy machine is waited for.
        run_id = run_identity(out, uri, wait_s=60)["run_id"]
        if run_id is None:
            logger.warning("MLflow: no server has the parent run yet; arms are tagged with the comparison, not nested")
        executor = options.executor or LocalPool(default_workers())
        runner = Runner(comparison, out, executor, run_id, options.experiment, digest, _commit())
        _refuse_failed(runner.run(tell))
        results = Results(comparison, {arm: runner.folder(arm) for arm in comparison.arms})
        findings = find(results, options.resampling)
        report = write_report(out, results, findings, data_title(comparison.dataset_dir), _note(results, options))
        _log(parent, findings, report)
    except BaseException as error:
        parent.fail(error)
        raise
    parent.finish()
    return Outcome(findings, report, run_id)


def default_workers() -> int:
    """One process a GPU where there are any, else one a core."""
    import torch

    return torch.cuda.device_count() or os.cpu_count() or 1


def _refuse_failed(done: list[Done]) -> None:
    failed = [one for one in done if one.error]
    if failed:
        rest = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise DataError(
            f"Comparison: {len(failed)} of {len(done)} runs failed: {failed[0].name}: {failed[0].error}{rest}. "
            "The same command runs them again, and not what is done."
        )


def _tags(comparison: Comparison, digest: str) -> dict[str, str]:
    git = git_state()
    tags = {f"version.{name}": version for name, version in versions().items()}
    tags |= {"comparison": comparison.name, "data.digest": digest}
    if git is not None:
        tags |= {"mlflow.source.git.commit": git.commit, "git.dirty": str(git.dirty).lower()}
    return tags


def _params(comparison: Comparison) -> dict[str, str]:
    return {
        "bundle": comparison.bundle,
        "networks": ", ".join(comparison.networks),
        "initialisations": ", ".join(one.name for one in comparison.initialisations),
        "fractions": ", ".join(f"{fraction:g}" for fraction in comparison.fractions),
        "seeds": ", ".join(map(str, comparison.seeds)),
        "folds": str(comparison.folds),
        "baselines": ", ".join(comparison.baselines),
    }


def _commit() -> str:
    git = git_state()
    return "" if git is None else git.commit[:12] + (" with changes" if git.dirty else "")


def _note(results: Results, options: ExperimentOptions) -> str:
    how = options.resampling
    found = versions()
    commit = f"commit {', '.join(results.commits)}, " if results.commits else ""
    return (
        f"Made by `monai-staging compare`, {commit}monai {found['monai']}, torch {found['torch']}; {how.n_boot} "
        f"resamples of patients, {how.n_permutations} permutations, seed {how.seed}. The p-value speaks of these "
        "trained networks, the interval of training them again too."
    )


def _log(parent: TrackedRun, findings: Findings, report: Report) -> None:
    head = findings.headline
    metrics: dict[str, float] = {}
    bounds: dict[str, float] = {}
    for (network, init, fraction), estimates in findings.estimates.items():
        for measure in findings.measures if fraction == findings.best[2] else (head,):
            one = estimates[measure.name]
            name = f"{network} {init} {100 * fraction:g}pct/{measure.name}".replace(",", "").replace("%", "")
            metrics[name] = one.value
            bounds |= {f"{name}_low": one.low, f"{name}_high": one.high}
    parent.log_metrics(metrics, step=0)
    parent.log_metrics(bounds, step=0)
    parent.log_tags({"mlflow.note.content": "\n\n".join(findings.conclusions), "best": ", ".join(findings.best[:2])})
    for path in report.files:
        parent.log_artifact(path)
    parent.log_figures(report.figures)
