"""One arm of a comparison: a bundle run in a process of its own, that is done once and never again."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_staging.files import write_json_atomic
from monai_staging.streams import output_to
from monai_staging.tracking.journal import JOURNAL_NAME

RECORD = "arm.json"
BEGUN = "begun.json"
LOG = "log.txt"


@dataclass(frozen=True)
class Task:
    """What a worker is to do.

    Attributes:
        name: of the arm.
        folder: where it writes.
        config: the bundle's config files.
        run: name of the config's key that is run.
        overrides: the bundle's keys.
        identity: digest of all that makes the arm what it is.
        threads: of torch.
        commit: of the code that runs it; an arm that is done keeps the one it had.
    """

    name: str
    folder: Path
    config: tuple[str, ...]
    run: str
    overrides: Mapping[str, Any]
    identity: str
    threads: int
    commit: str = ""


@dataclass(frozen=True)
class Done:
    """What came of a task.

    Attributes:
        name: of the arm.
        seconds: it took; of one that was killed, since it was taken up again.
        error: what it failed of; ``None`` where it did not.
    """

    name: str
    seconds: float
    error: str | None = None


def finished(folder: Path, identity: str) -> Done | None:
    """The record of an arm that is done, if this very arm is."""
    if _identity(folder / RECORD) != identity:
        return None
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return Done(record["name"], float(record["seconds"]))


def run_task(task: Task) -> Done:
    """Runs the bundle. An error ends the arm, not the comparison; what the bundle prints goes to ``log.txt``.

    An arm that was killed continues from its last checkpoint, if it had one, in the MLflow run that it had. One that is
    not what was begun in its folder begins anew.
    """
    start = time.monotonic()
    task.folder.mkdir(parents=True, exist_ok=True)
    resume = _identity(task.folder / BEGUN) == task.identity and _has_begun(task.folder)
    # What is done of other settings is overwritten from here on.
    (task.folder / RECORD).unlink(missing_ok=True)
    write_json_atomic(task.folder / BEGUN, {"name": task.name, "identity": task.identity})
    try:
        with output_to(task.folder / LOG):
            _run_bundle(task, resume)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        with open(task.folder / LOG, "a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        return Done(task.name, time.monotonic() - start, f"{_root(error)} (see {task.folder / LOG})")
    seconds = time.monotonic() - start
    # Last: where it lies, everything else is whole.
    record = {"name": task.name, "identity": task.identity, "seconds": seconds, "commit": task.commit}
    record["settings"] = dict(task.overrides)
    write_json_atomic(task.folder / RECORD, json.loads(json.dumps(record, default=str)))
    return Done(task.name, seconds)


def _identity(record: Path) -> str | None:
    try:
        return str(json.loads(record.read_text(encoding="utf-8")).get("identity"))
    except (OSError, ValueError):
        return None


def _has_begun(folder: Path) -> bool:
    """Whether MLflow has a run of it already: a baseline, or a training's first epoch, has no checkpoint to tell."""
    return (folder / JOURNAL_NAME).is_file() or any(folder.glob("checkpoint-*.pt"))


def _run_bundle(task: Task, resume: bool) -> None:
    import torch
    from monai.bundle import run

    torch.set_num_threads(task.threads)
    run(
        run_id=task.run,
        init_id="initialize",
        final_id="finalize",
        config_file=list(task.config),
        logging_file=False,  # type: ignore[arg-type]  # what MONAI documents for none
        output_dir=str(task.folder),
        resume=resume,
        **task.overrides,
    )


def _root(error: BaseException) -> str:
    """The error at the bottom: MONAI wraps what an expression raises."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")
