"""Where a run comes from: code, versions, cohort."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from monai_staging.networks.pretrained.matching import MatchReport

_PACKAGES = ("monai-staging", "monai", "torch", "pytorch-ignite", "numpy", "mlflow")


@dataclass(frozen=True)
class GitState:
    """The commit a checkout is at, and whether its tracked files differ from it."""

    commit: str
    dirty: bool


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def git_state(file: Path | None = None) -> GitState | None:
    """The checkout that ``file`` (by default this package) is a tracked file of, or None.

    A package installed into a virtual environment inside some other checkout is not that checkout's code.
    """
    file = file or Path(__file__)
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = _git(file.parent, "rev-parse", "HEAD")
    if commit is None:
        return None
    return GitState(commit, bool(_git(file.parent, "status", "--porcelain", "--untracked-files=no")))


def versions() -> dict[str, str]:
    """Package name -> version, of what decides a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@dataclass(frozen=True)
class CohortSummary:
    """A cohort without its cases: name, source, sha256 of ``cohort.json`` and the number of cases of each part."""

    name: str
    source: str
    digest: str
    sizes: dict[str, int]


def cohort_summary(cohort: Path) -> CohortSummary | None:
    """Summary of the cohort in folder ``cohort`` (or of that ``cohort.json``); None where there is none."""
    file = cohort if cohort.suffix == ".json" else cohort / "cohort.json"
    if not file.is_file():
        return None
    content = file.read_bytes()
    fields = json.loads(content)
    sizes = {part: len(fields.get(part, ())) for part in ("training", "validation", "test")}
    return CohortSummary(
        str(fields.get("name", "")), str(fields.get("source", "")), hashlib.sha256(content).hexdigest(), sizes
    )


def start_tags(network: Any) -> dict[str, str]:
    """What a network's first backbone started from, as tags ``start.*``; none where its weights were random.

    ``start.run_id`` is the MLflow run that trained them, which so is a search away: ``tags."start.run_id" = "..."``.
    """
    for module in network.modules() if hasattr(network, "modules") else ():
        report = getattr(module, "start", None)
        if isinstance(report, MatchReport):
            source = report.source
            tags = {"where": source.where, "sha256": source.sha256, "matched": f"{report.share:.4f}"}
            tags |= {} if source.run_id is None else {"run_id": source.run_id}
            return {f"start.{name}": value for name, value in tags.items()}
    return {}
