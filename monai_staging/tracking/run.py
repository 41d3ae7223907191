"""One run from its start to its end: the journal, the thread that delivers it, and what is logged besides epochs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import traceback
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from monai_staging.tracking import open_runs
from monai_staging.tracking.background import BackgroundDelivery
from monai_staging.tracking.config import shorten
from monai_staging.tracking.delivery import Delivery
from monai_staging.tracking.journal import JOURNAL_NAME, Journal, public_uri
from monai_staging.tracking.lifecycle import ProcessWatch, Terminated, root_cause
from monai_staging.tracking.run_folder import RunFolder
from monai_staging.tracking.scrub import Scrubber
from monai_staging.tracking.system import SystemSampler
from monai_staging.tracking.values import number

logger = logging.getLogger("monai_staging.tracking")
PathLike = str | os.PathLike[str]


class TrackedRun:
    """A run of MLflow, kept in ``output_dir`` first; every ``log_...`` opens it if it is not open.

    Args:
        output_dir: folder of the journal.
        tracking_uri: server or database.
        experiment: MLflow experiment.
        name: name of the run; by default the experiment's and the time.
        resume: continue the run that trained last in ``output_dir``, if it holds one.
        scrubber: what every text passes through.
        system_interval_s: seconds between samples of the machine; None for none.
        drain_s: seconds ``finish`` waits for the server.
        artifact_location: where a new experiment keeps its artifacts.
        client: an MLflow client for ``tracking_uri``, if there is one already.
        active: False makes everything a no-op (a rank that does not log).
        journal_name: file name of the journal; two kinds of run in one folder need two.
    """

    def __init__(
        self,
        output_dir: PathLike,
        tracking_uri: str,
        experiment: str,
        name: str | None = None,
        *,
        resume: bool = False,
        scrubber: Scrubber | None = None,
        system_interval_s: float | None = None,
        drain_s: float = 30.0,
        artifact_location: str | None = None,
        client: Any = None,
        active: bool = True,
        journal_name: str = JOURNAL_NAME,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.name = name
        self.resume = resume
        self.scrubber = scrubber or Scrubber()
        self.active = active
        self.run_id: str | None = None
        self.completed = False
        self.step = 0
        self._system_interval_s = system_interval_s
        self._drain_s = drain_s
        self._folder = RunFolder(self.output_dir, journal_name)
        self._artifact_location = artifact_location
        self._client = client
        self._journal: Journal | None = None
        self._background: BackgroundDelivery | None = None
        self._sampler: SystemSampler | None = None
        self._watch = ProcessWatch(self.fail, self._at_exit)

    def open(self) -> bool:
        """Begins the run, or the next stretch of a resumed one; returns whether it was opened by this call."""
        if not self.active or self._journal is not None:
            return False
        self.completed = False
        open_runs.take(self._folder.current, self)
        self._journal, resumed = self._open_journal()
        if resumed:
            self._journal.append("status", status="RUNNING", time_ms=now_ms())
        delivery = Delivery(self._journal, self.tracking_uri, self._client, self._artifact_location)
        self._background = BackgroundDelivery(delivery)
        if self._system_interval_s is not None:
            samples = sum(1 for fact in self._journal.facts if fact.get("system"))
            self._sampler = SystemSampler(self._log_system, self._system_interval_s, samples)
        self._watch.install()
        logger.info("MLflow: run %r of experiment %r at %s", self.name, self.experiment, public_uri(self.tracking_uri))
        return True

    def _open_journal(self) -> tuple[Journal, bool]:
        if self.resume:
            old = self._folder.resume()
            if old is not None:
                self.name, self.experiment = old.header["run_name"], old.header["experiment"]
                return old, True
            logger.info("MLflow: no run to resume in %s; a new one is started", self.output_dir)
        self.name = self.name or f"{self.experiment}-{time.strftime('%Y%m%d-%H%M%S')}"
        header = {
            "key": uuid.uuid4().hex,
            "experiment": self.experiment,
            "run_name": self.name,
            "start_ms": now_ms(),
            "tracking_uri": public_uri(self.tracking_uri),
        }
        return self._folder.begin(header), False

    def claim(self) -> None:
        """Makes this the run that ``resume`` continues, for when its training has begun: until then it is not."""
        if self._journal is not None:
            self._folder.claim(self._journal.header["key"])

    def record(self, operation: str, **content: Any) -> None:
        """Writes one fact to the journal, from where it is delivered."""
        if not self.active:
            return
        self.open()
        assert self._journal is not None and self._background is not None
        self._journal.append(operation, **content)
        self._background.wake()

    def _log_system(self, metrics: dict[str, float], step: int) -> None:
        if self._journal is not None:
            self.record("metrics", metrics=metrics, step=step, time_ms=now_ms(), system=True)

    # -- what is logged ---------------------------------------------------------------------------------------------

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs parameters. MLflow never changes one: a resumed run's other value becomes a tag ``resumed.<name>``."""
        values = {key: shorten(self.scrubber.setting(str(value))) for key, value in params.items()}
        if values:
            self.record("params", params=values)

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Sets tags of the run."""
        values = {key: shorten(self.scrubber.setting(str(value))) for key, value in tags.items()}
        if values:
            self.record("tags", tags=values)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None, prefix: str | None = None) -> None:
        """Logs numbers as ``prefix/name``; a ``name`` that begins with ``prefix_`` loses that. Others are skipped.

        Args:
            metrics: name -> number (or one-element tensor).
            step: epoch; the last one logged if None.
            prefix: group in the MLflow UI (``train``, ``val``, ``test``).
        """
        values = {}
        for name, value in metrics.items():
            found = number(value)
            if found is not None:
                values[f"{prefix}/{name.removeprefix(f'{prefix}_')}" if prefix else name] = found
        if values:
            self.record("metrics", metrics=values, step=self.step if step is None else step, time_ms=now_ms())

    def log_metrics_file(self, path: PathLike, prefix: str = "test") -> None:
        """Logs an evaluation's ``metrics.json`` (``{"<metric>": {"value", "low", "high", "n"}}``), and the file itself.

        Values are ``test/<metric>``; bounds, in a group of their own, ``test_interval/<metric>_low`` and ``_high``.
        """
        if not self.active:
            return
        estimates = json.loads(Path(path).read_text(encoding="utf-8"))
        bounds = {f"{name}_{end}": e.get(end) for name, e in estimates.items() for end in ("low", "high")}
        # Step 0: MLflow draws a bar for each run, instead of a line of one point.
        self.log_metrics({name: estimate["value"] for name, estimate in estimates.items()}, step=0, prefix=prefix)
        self.log_metrics(bounds, step=0, prefix=f"{prefix}_interval")
        self.log_artifact(path)

    def log_figures(self, figures: PathLike | Iterable[PathLike], to: str = "figures") -> None:
        """Logs image files (a list, or all PNG, SVG and PDF files of a folder) as artifacts under ``to``."""
        if isinstance(figures, str | os.PathLike):
            place = Path(figures)
            kinds = (".png", ".svg", ".pdf")
            figures = sorted(p for p in place.iterdir() if p.suffix.lower() in kinds) if place.is_dir() else [place]
        for figure in figures:
            self.log_artifact(figure, to)

    def log_artifact(self, path: PathLike, to: str | None = None) -> None:
        """Logs a file as an artifact, in folder ``to``; the file must stay until it is delivered."""
        self.record("artifact", path=os.path.abspath(path) if self.active else None, to=to)

    def log_text(self, text: str, to: str) -> None:
        """Logs ``text`` as the artifact file ``to``."""
        self.record("text", text=text, to=to)

    def log_model(
        self, network: torch.nn.Module, inputs: torch.Tensor | Sequence[torch.Tensor], name: str = "model"
    ) -> bool:
        """Logs ``network`` as an MLflow model with signature and input example, as an exported graph (no pickle).

        The export stays in ``output_dir`` (``.mlflow-<name>-...``) until another training begins there.

        Args:
            network: the network; a CPU copy is exported.
            inputs: an example of its input, or one of each positional argument, batch first. Its values are logged too:
                zeros or noise, never a patient's image.
            name: the model's name.

        Returns:
            Whether it could be exported. One that could not is said so; the run goes on.
        """
        if not self.active:
            return False
        from monai_staging.tracking.model import save_model

        # A name of its own: another stretch or training here must not change what this run is known to have logged.
        folder = self.output_dir / f".mlflow-{name}-{uuid.uuid4().hex[:8]}"
        try:
            save_model(network, [inputs] if isinstance(inputs, torch.Tensor) else list(inputs), folder)
        except Exception as error:  # the training is done; its record must not undo it
            logger.warning("MLflow: the model is not logged, torch cannot export it: %s", error)
            return False
        self.record("model", path=folder.name, name=name, step=self.step, temporary=True)
        return True

    # -- the end ----------------------------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """Ends the run: KILLED for Ctrl-C and SIGTERM, else FAILED with the traceback (artifact ``failure.txt``)."""
        if self._journal is None:
            return
        root = root_cause(error)
        killed = isinstance(root, KeyboardInterrupt | Terminated)
        with self._ending("KILLED" if killed else "FAILED"):
            summary = "SIGTERM" if isinstance(root, Terminated) else f"{type(root).__name__}: {root}".removesuffix(": ")
            self.log_tags({"failure": self.scrubber.message(summary)})
            if not killed:
                text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
                self.log_text(self.scrubber.message(text), "failure.txt")

    @contextlib.contextmanager
    def _ending(self, status: str) -> Iterator[None]:
        """Ends the run, whether or not the block could write down why."""
        try:
            yield
        except Exception as problem:
            # Its kind alone: what could not be scrubbed may be in its words.
            logger.warning("MLflow: why the run ended is not logged, for a %s.", type(problem).__name__)
        finally:
            self.finish(status)

    def abandon(self, why: str) -> None:
        """Ends the run FAILED where no exception says why."""
        if self._journal is not None:
            with self._ending("FAILED"):
                self.log_tags({"failure": why})

    def finish(self, status: str = "FINISHED") -> None:
        """Ends the run, waits up to ``drain_s`` for the server, says where the run is. A second call does nothing."""
        if self._journal is None or self._background is None:
            return
        self._watch.uninstall()
        open_runs.release(self._folder.current, self)
        if self._sampler is not None:
            self._sampler.stop()
        self.record("status", status=status, time_ms=now_ms())
        journal, background = self._journal, self._background
        self._journal = self._background = self._sampler = None
        with self._watch.last_words():
            complete = background.stop(self._drain_s)
        self.run_id = journal.cursor(self.tracking_uri).run_id
        where, command = public_uri(self.tracking_uri), background.delivery.command
        if complete:
            journal.close()
            logger.info("MLflow: run %r (%s) is %s at %s", self.name, self.run_id, status, where)
        else:
            missing = background.delivery.pending
            logger.warning("MLFLOW: %d records of run %r are not at %s. Run `%s`.", missing, self.name, where, command)
        if lost := ", ".join(background.delivery.missed):
            message = "MLFLOW: %s could not store of run %r: %s. `%s` tries again."
            logger.warning(message, where, self.name, lost, command)

    def _at_exit(self) -> None:
        if self._watch.terminated is not None:  # first: after a complete training it is the evaluation that is killed
            self.fail(self._watch.terminated)
        elif self.completed:
            self.finish()
        else:
            self.abandon("the program ended before the run did")


def now_ms() -> int:
    """MLflow's time: milliseconds since 1970."""
    return int(time.time() * 1000)
