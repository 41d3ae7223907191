"""Checkpoints that a killed training goes on from as if nothing had happened."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from ignite.engine import Engine, Events

from monai_staging.errors import DataError, UsageError
from monai_staging.files import remove_abandoned, write_json_atomic
from monai_staging.workflows.rank import is_main_process
from monai_staging.workflows.saved_state import (
    bare,
    random_state,
    read_state,
    restore_random_state,
    write_state,
    write_tensors,
)

logger = logging.getLogger("monai_staging.workflows")

_NAME = re.compile(r"checkpoint-(\d+)\.pt")
EARLIER = "earlier"
"""Folder in ``save_dir`` for the files of the training before, when a new one begins there."""
PUT_BY = "not-finite.pt"
"""The state in which a training ended because its loss was no number."""
COMPANIONS = ("tracking-run.json", PUT_BY)
"""Files in ``save_dir`` that go where a training's checkpoints go; the first is the name of its MLflow run."""
_WRITTEN = r"(checkpoint-\d+|best|not-finite)\.pt"


class Stateful(Protocol):
    """Anything that can say its state and take it back."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Takes ``state_dict`` for its own."""


def _epoch(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _kept(engine: Any) -> dict[str, Any]:
    """What is kept of an engine's state. Metrics too: a finished training that is resumed has its last ones to show."""
    names = ("best_metric", "best_metric_epoch")
    metrics = {name: value for name, value in engine.state.metrics.items() if isinstance(value, int | float)}
    return {**{name: getattr(engine.state, name) for name in names if hasattr(engine.state, name)}, "metrics": metrics}


class TrainingCheckpoint:
    """Saves all of a training at the end of an epoch, and continues from there.

    Kept: network, optimizer, schedule, gradient scaler, early stopping, best metric, epoch and iteration, random
    generators, and ``extras``. Files, in ``save_dir``: ``checkpoint-<epoch>.pt`` (the last ``keep``), ``best.pt``
    (weights only, a plain state dict) and ``best.json`` (its metric, epoch and sha256), and ``not-finite.pt`` where a
    loss was no number. All are written atomically and
    read with ``weights_only=True``. A training that begins anew moves those of an earlier one to ``earlier/``, or they
    might be taken for its own. Attach it to the trainer; it saves after all other handlers of the epoch, whatever the
    order of the list. With ``EpochSeeder`` on the same trainer, a resumed training sees the data of one that was not
    interrupted.

    Args:
        save_dir: folder of the files.
        network: the network that is trained.
        optimizer: its optimizer.
        lr_scheduler: learning-rate schedule.
        evaluator: engine whose ``state.metrics`` hold ``metric``; its best metric is kept too.
        early_stop: e.g. ``EarlyStop``.
        extras: more things with a state, by name.
        metric: name of the metric ``best.pt`` goes by; None for no ``best.pt``.
        mode: whether more (``max``) or less (``min``) of it is better.
        keep: number of checkpoints kept.
        interval_epochs: save every so many epochs, and the last.
        resume: continue from the newest checkpoint that is whole; from the beginning, and saying so, if there is none.
        identity: settings that make this training what it is (seed, batch size, cohort digest); a resume with others is
            done, with a warning that names them.

    Raises:
        UsageError: if ``metric`` comes without ``evaluator``, or ``keep`` or ``interval_epochs`` is below 1.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: Any | None = None,
        evaluator: Engine | None = None,
        early_stop: Stateful | None = None,
        extras: Mapping[str, Stateful] | None = None,
        metric: str | None = None,
        mode: Literal["max", "min"] = "max",
        keep: int = 2,
        interval_epochs: int = 1,
        resume: bool = False,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        if metric is not None and evaluator is None:
            raise UsageError(f"TrainingCheckpoint: metric {metric!r} needs the evaluator that computes it.")
        if keep < 1 or interval_epochs < 1:
            raise UsageError(
                f"TrainingCheckpoint: keep ({keep}) and interval_epochs ({interval_epochs}) are at least 1."
            )
        self.save_dir = Path(save_dir)
        self.network = network
        self.evaluator = evaluator
        self.metric, self.mode = metric, mode
        self.keep, self.interval_epochs = keep, interval_epochs
        self.resume = resume
        self.identity = {key: str(value) for key, value in (identity or {}).items()}
        self.best: dict[str, Any] | None = None
        self._training_key = uuid.uuid4().hex
        stateful = {"optimizer": optimizer, "lr_scheduler": lr_scheduler, "early_stop": early_stop, **(extras or {})}
        self._stateful: dict[str, Any] = {name: item for name, item in stateful.items() if item is not None}

    def attach(self, engine: Engine) -> None:
        """Attaches to the trainer."""
        engine.add_event_handler(Events.STARTED, self._started)

    # -- reading ----------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Path]:
        """The checkpoints in ``save_dir``, newest first."""
        if not self.save_dir.is_dir():
            return []
        found = [path for path in self.save_dir.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, key=_epoch, reverse=True)

    def _started(self, engine: Engine) -> None:
        # Registered now, when every other handler is: saving comes last.
        if not engine.has_event_handler(self._epoch_completed, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)
        self._sweep()
        if not self.resume:
            self._put_aside()
            return
        files = self.checkpoints()
        for path in files:
            try:
                state = read_state(path)
            except DataError as error:
                logger.warning("%s Falling back to the checkpoint before it.", error)
                continue
            self._restore(engine, state, path)
            return
        logger.warning("Nothing to resume in %s; the training starts from the beginning.", self.save_dir)

    def _put_aside(self) -> None:
        """Moves the files of an earlier training out of the way: a later resume or ``best.pt`` must not be its."""
        files = [path for name in ("best.json", "best.pt") if (path := self.save_dir / name).is_file()]
        files += self.checkpoints()
        if not files or not is_main_process():
            return
        folder = self.save_dir / EARLIER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        files += [path for name in COMPANIONS if (path := self.save_dir / name).is_file()]
        for path in files:
            os.replace(path, folder / path.name)
        logger.warning(
            "%s held an earlier training, now in %s; resume=true would have continued it.",
            *(self.save_dir, folder),
        )

    def _restore(self, engine: Any, state: dict[str, Any], path: Path) -> None:
        for key in sorted(self.identity.keys() | state["identity"].keys()):
            was, now = state["identity"].get(key), self.identity.get(key)
            if was != now:
                logger.warning("Resume: %s was %s and is %s now; the result is of neither setting.", key, was, now)
        try:
            bare(self.network).load_state_dict(state["network"])
        except RuntimeError as error:
            raise DataError(f"{path} is of another network, refuse to resume: {error}") from error
        for name, item in self._stateful.items():
            if name in state["states"]:
                item.load_state_dict(state["states"][name])
            else:
                logger.warning("Resume: %s has no state of %s; it starts anew.", path, name)
        if getattr(engine, "scaler", None) is not None and state["scaler"]:
            engine.scaler.load_state_dict(state["scaler"])
        for owner, kept in ((engine, state["trainer"]), (self.evaluator, state["evaluator"])):
            if owner is not None:
                for key, value in kept.items():
                    setattr(owner.state, key, value)
        self.best, self._training_key = state["best"], state["training"]
        engine.state.iteration, engine.state.epoch = state["iteration"], state["epoch"]
        self._repair_best(state)
        if is_main_process():
            restore_random_state(state["random"])
        if state["stopped"] or state["epoch"] >= engine.state.max_epochs:
            logger.info("Resume: %s is of a finished training (epoch %d); nothing to train.", path, state["epoch"])
            engine.terminate()
        else:
            logger.info("Resume: %s, after epoch %d of %d.", path, state["epoch"], engine.state.max_epochs)

    def _repair_best(self, state: dict[str, Any]) -> None:
        """A kill between the checkpoint and ``best.pt`` leaves the new best only in the checkpoint."""
        if self.best is not None and self.best["epoch"] == state["epoch"] and is_main_process():
            self._write_best()

    def _sweep(self) -> None:
        """Removes what killed writers left half written."""
        if is_main_process():
            remove_abandoned(self.save_dir, _WRITTEN)

    # -- writing ----------------------------------------------------------------------------------------------------

    def _epoch_completed(self, engine: Any) -> None:
        epoch = int(engine.state.epoch)
        better = self._is_better(epoch)
        last = bool(engine.should_terminate) or epoch >= engine.state.max_epochs
        if is_main_process():
            if last or better or epoch % self.interval_epochs == 0:
                self._save(engine, epoch)
            # After the checkpoint: best.pt never knows more than it.
            if better:
                self._write_best()

    def _is_better(self, epoch: int) -> bool:
        if self.metric is None or self.evaluator is None or self.evaluator.state.epoch != epoch:
            return False
        metrics = self.evaluator.state.metrics
        if self.metric not in metrics:
            raise UsageError(f"TrainingCheckpoint: no metric {self.metric!r} among {sorted(metrics)}.")
        value = float(metrics[self.metric])
        sign = 1 if self.mode == "max" else -1
        # A metric that is not a number is never the best.
        if value != value or (self.best is not None and sign * value <= sign * self.best["value"]):
            return False
        self.best = {"metric": self.metric, "value": value, "epoch": epoch}
        return True

    def put_by(self, engine: Any, why: Mapping[str, Any]) -> Path:
        """Writes the state as it is now, with ``why``, to ``not-finite.pt``; gives the file. No resume reads it."""
        path = self.save_dir / PUT_BY
        write_state({**self._state(engine, int(engine.state.epoch)), "why": dict(why)}, path)
        return path

    def _state(self, engine: Any, epoch: int) -> dict[str, Any]:
        scaler = getattr(engine, "scaler", None)
        return {
            "training": self._training_key,
            "epoch": epoch,
            "iteration": int(engine.state.iteration),
            "stopped": bool(engine.should_terminate),
            "network": dict(bare(self.network).state_dict()),
            "states": {name: item.state_dict() for name, item in self._stateful.items()},
            "scaler": scaler.state_dict() if scaler is not None else {},
            "trainer": _kept(engine),
            "evaluator": _kept(self.evaluator) if self.evaluator is not None else {},
            "best": self.best,
            "identity": self.identity,
            "random": random_state(),
        }

    def _save(self, engine: Any, epoch: int) -> None:
        state = self._state(engine, epoch)
        for path in self.checkpoints():
            if _epoch(path) > epoch:
                # Of an earlier training, or damaged and passed over: it must not be taken for the newest.
                path.unlink(missing_ok=True)
        path = self.save_dir / f"checkpoint-{epoch:04d}.pt"
        try:
            write_state(state, path)
        except OSError as error:
            raise DataError(
                f"Checkpoint {path} cannot be written ({error.strerror or error}); once it can, resume=true goes on "
                "from the one before it."
            ) from error
        for path in self.checkpoints()[self.keep :]:
            path.unlink(missing_ok=True)

    def _write_best(self) -> None:
        path = self.save_dir / "best.pt"
        write_tensors({name: tensor.cpu() for name, tensor in bare(self.network).state_dict().items()}, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        write_json_atomic(self.save_dir / "best.json", {**(self.best or {}), "sha256": digest})
