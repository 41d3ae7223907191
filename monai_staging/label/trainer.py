"""Trains the network that outlines lesions from a data store's labels, and serves the outcome if it is better.

Each step that computes is a process of its own: ``python -m monai.bundle run`` with the bundle's configs, an ordinary
MLflow run. The server goes on answering meanwhile, with the network that it has.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_staging.cohort.cohort import Cohort
from monai_staging.cohort.dicom import SeriesRefused
from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.privacy import KEY_FILE, case_name
from monai_staging.cohort.splits import SplitOptions
from monai_staging.errors import DataError, StagingError
from monai_staging.label.bundle_run import BundleRun, end_left_behind
from monai_staging.label.datastore import StudyDatastore
from monai_staging.label.held_out import HeldOut
from monai_staging.label.orders import CONFIGS, EVALUATION, MODELS, NETWORK, STEP, Order
from monai_staging.label.pieces import Pieces
from monai_staging.label.trainings import DONE, ERROR, RUNNING, STOPPED, Trainings
from monai_staging.label.verdict import METRIC, Verdict, judge
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.packaging.networks import MODEL
from monai_staging.packaging.source import find_bundle
from monai_staging.tracking.scrub import Scrubber

logger = logging.getLogger("monai_staging.label")

PREDICTIONS = "predictions.csv"
LINES = 20
"""Of a training's log, that a client is told."""
STOP_S = 30.0
"""Seconds that who stops a training waits for its end."""
_EPOCH = re.compile(r"epoch (\d+)/(\d+): .*")


class Busy(StagingError):
    """A training is asked for while another runs."""


class _Stopped(Exception):
    """Somebody has asked for the training to be stopped."""


class Trainer:
    """One training at a time, in a thread that starts its processes.

    Args:
        trainings: where they are kept.
        pieces: the networks that are served.
        store: gives the data store, with its labels.
    """

    def __init__(self, trainings: Trainings, pieces: Pieces, store: Callable[[], StudyDatastore]) -> None:
        self.trainings = trainings
        self.store = store
        self.pieces = pieces
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._state: dict[str, Any] = {}
        self._folder = Path()

    @property
    def running(self) -> bool:
        """Whether there is a training now."""
        return self._thread is not None and self._thread.is_alive()

    def recover(self) -> None:
        """After a start of the server: a training that an earlier one left behind has failed, and its process ends."""
        for state in self.trainings.states():
            if state["status"] == RUNNING:
                end_left_behind(state)
                message = f"the server ended during the step {state['stage']!r}; what was served before is served"
                self.trainings.save({**state, "status": ERROR, "message": message, "pid": None})

    def start(self, order: Order) -> dict[str, Any]:
        """Begins a training; gives its state.

        Raises:
            Busy: another one runs.
        """
        with self._lock:
            if self.running:
                raise Busy("Train: one training at a time; DELETE /train/ stops the one that runs.")
            self._stop.clear()
            self._folder = self.trainings.new()
            self._state = {
                "id": self._folder.name,
                "model": order.model,
                "network": f"{NETWORK}, by which {' and '.join(MODELS)} outline",
                "status": RUNNING,
                "stage": "cohort",
                "message": "final labels become a cohort",
                "started": _now(),
                "start": order.start,
                "accept": order.accept,
                "keys": dict(order.keys),
            }
            self.trainings.save(self._state)
            self._thread = threading.Thread(target=self._run, args=(order,), name="trainer", daemon=True)
            self._thread.start()
            return self.status()

    def status(self) -> dict[str, Any]:
        """The state of the training that runs, or of the last one; empty where there was none."""
        with self._lock:
            if not self.running:
                states = self.trainings.states()
                return self._told(states[-1]) if states else {}
            return self._told(self._state)

    def states(self) -> list[dict[str, Any]]:
        """The state of every training, the last one last."""
        return [self._told(state) for state in self.trainings.states()]

    def stop(self) -> None:
        """Stops the training that runs, if any, and waits a while for its end; what is served stays."""
        self._stop.set()
        thread = self._thread
        if thread is not None:
            thread.join(STOP_S)

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _run(self, order: Order) -> None:
        try:
            verdict, version = self._steps(order)
        except _Stopped:
            self._note(status=STOPPED, message="it was stopped; what was served before is served")
        except StagingError as error:
            self._note(status=ERROR, message=self._plain(error))
        except Exception as error:
            # The traceback is for the log, which stays on this machine.
            logger.exception("a training failed")
            self._note(status=ERROR, message=f"it failed ({type(error).__name__}); the server's log says more")
        else:
            follows = "it is served from now on" if verdict.better else "what was served before is served"
            self._note(status=DONE, stage="done", message=f"{verdict.text} Version {version}: {follows}.")
        finally:
            self._note(ended=_now(), pid=None)
            for leftover in self._folder.glob("*/checkpoint*.pt"):
                leftover.unlink(missing_ok=True)

    def _steps(self, order: Order) -> tuple[Verdict, int]:
        cohort = self._cohort()
        served = self.pieces.weights(STEP)
        shipped = find_bundle(STEP) / "models" / NETWORK / MODEL
        start = {"served": served, "shipped": shipped, "scratch": None}[order.start]
        keys = {"start_weights": start, **order.keys}
        trained = self._bundle("training", CONFIGS, run_name=f"label-{self._folder.name}", **keys) / MODEL
        results = {
            what: self._bundle(
                f"evaluating {what}", EVALUATION, weights=weights, part="validation", run_name=f"label-{what}"
            )
            for what, weights in (("served", served), ("trained", trained))
        }
        self._note(stage="comparing", message="the trained network and the one that is served are compared")
        verdict = judge(results["served"] / PREDICTIONS, results["trained"] / PREDICTIONS, order.accept)
        self._note(result=verdict.to_json())
        version = self._register(order, cohort, served, trained, results["served"], verdict)
        self._note(result={**verdict.to_json(), "version": version, "registered": self.trainings.registry.name})
        return verdict, version

    def _cohort(self) -> Cohort:
        trainings = self.trainings
        everything = SplitOptions(test=0, folds=0)
        labels = self.store().as_folder()
        made = ingest("monailabel", labels, trainings.cohort, IngestOptions(split=everything, workers=1))
        # The cohort's cases are called what everything else here calls them.
        key = trainings.cohort / KEY_FILE
        if not key.is_file():
            key.write_bytes(trainings.key)
            key.chmod(0o600)
        cohort = HeldOut(trainings.root / "held_out.json", trainings.key).divide(made.cohort)
        parts = {
            part: sorted({case_name(case.patient, trainings.key) for case in cases})
            for part, cases in cohort.parts.items()
            if cases
        }
        rule = "a patient is held out by a keyed hash when first seen with a label, and stays there"
        self._note(split={**parts, "rule": rule}, refused=len(made.rejections))
        return cohort

    def _register(
        self, order: Order, cohort: Cohort, served: Path, trained: Path, evaluation: Path, verdict: Verdict
    ) -> int:
        """Both networks become versions; the alias goes to the trained one, and it is served, if it is better."""
        # Late: MLflow takes seconds to import, and a server that never trains does without.
        from monai_staging.tracking.registry_source import read_run

        self._note(stage="registering", message="the trained network becomes a version in MLflow's registry")
        registry, data = self.trainings.registry, _digest(cohort)
        before, _ = registry.register(
            served, _tags(verdict.served, data), "What was served before.", read_run(evaluation).run_ids
        )
        tags = {
            **_tags(verdict.trained, data),
            "start": order.start,
            "against.version": str(before),
            "training.patients": str(len(self._state["split"]["training"])),
            **{f"difference.{name}": f"{value:.6g}" for name, value in _numbers(verdict.difference).items()},
        }
        version, _ = registry.register(trained, tags, verdict.text, read_run(trained.parent).run_ids)
        if registry.current() is None:
            registry.move(before)
        if verdict.better and version != before:
            weights = self.trainings.version(version)
            registry.move(version)
            self.pieces.take(STEP, weights)
        return version

    def _bundle(self, stage: str, configs: tuple[str, ...], **keys: Any) -> Path:
        """Runs the bundle on the cohort; gives the folder that it wrote to.

        Raises:
            DataError: it failed.
        """
        folder = self._folder / stage.replace(" ", "-")
        keys = {
            "dataset_dir": self.trainings.cohort,
            "output_dir": folder,
            "experiment": f"label-{NETWORK}",
            "figures": False,
            "device": f"$torch.device('{self.pieces.device}')",
            **keys,
        }
        run = BundleRun.begin(find_bundle(STEP).resolve(), configs, keys, folder.with_suffix(".log"))
        self._note(stage=stage, message=f"{stage} runs in a process of its own", **run.identity)
        if not run.wait(self._stop):
            raise _Stopped
        if reason := run.failure():
            raise DataError(f"{stage.capitalize()} failed: {reason}")
        return folder

    # -- what is told ------------------------------------------------------------------------------------------------

    def _note(self, **facts: Any) -> None:
        with self._lock:
            self._state |= facts
            self.trainings.save(self._state)

    def _told(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A state, with how far its training is."""
        log = self.trainings.root / "trainings" / state["id"] / "training.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        epochs = list(_EPOCH.finditer(text))
        told = {name: value for name, value in state.items() if name != "pid_started"}
        told["details"] = [own[0] for own in epochs[-LINES:]]
        if epochs:
            told |= {"epoch": int(epochs[-1][1]), "epochs": int(epochs[-1][2])}
        return told

    def _plain(self, error: StagingError) -> str:
        """What went wrong, without whose it is and where it lies."""
        if isinstance(error, SeriesRefused):
            return f"a series cannot be used ({error.rule.value}): {error.found}"
        text = str(error)
        for folder, name in ((self.trainings.root, "TRAININGS"), (self.trainings.studies, "STUDIES")):
            text = text.replace(str(folder), name)
        return Scrubber(self.trainings.cohort).message(text)


def _tags(estimate: Any, data: str) -> dict[str, str]:
    from monai_staging.tracking.registry_card import DATA_TAG, METRIC_TAG

    values = {f"metric.{METRIC}{end}": f"{value:.6g}" for end, value in _ends(estimate)}
    return {"task": "segmentation", "network": NETWORK, DATA_TAG: data, METRIC_TAG: METRIC, **values}


def _ends(estimate: Any) -> list[tuple[str, float]]:
    numbers = _numbers(estimate)
    return [("" if name == "value" else f"_{name}", value) for name, value in numbers.items()]


def _numbers(estimate: Any) -> dict[str, float]:
    return {name: value for name, value in estimate.to_json().items() if value is not None}


def _digest(cohort: Cohort) -> str:
    """Of the validation part: its volumes and outlines."""
    files = [path for case in cohort.validation for path in (cohort.image_path(case), cohort.mask_path(case)) if path]
    return hashlib.sha256(json.dumps([file_sha256(path) for path in files]).encode()).hexdigest()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
