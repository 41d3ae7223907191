"""Brings the facts of a journal to an MLflow server or database."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException

from monai_staging.tracking.journal import Journal, Record, public_uri
from monai_staging.tracking.servers import bound_http, default_artifact_location

logger = logging.getLogger("monai_staging.tracking")

KEY_TAG = "monai_staging.run_key"
# Opens the experiment in the interface for training runs; MLflow 3 takes it for one of language models otherwise.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
# What a server answers to a fact it will never take; everything else is worth another try.
_FINAL = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "INVALID_STATE")
_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100


class Delivery:
    """Delivers one journal to one tracking URI, in order, at least once; every fact may safely arrive twice.

    Args:
        journal: the run.
        tracking_uri: an MLflow server (``http://...``) or database (``sqlite:///mlruns.db``).
        client: an MLflow client for that URI; made when first needed otherwise.
        artifact_location: where a new experiment keeps artifacts; see ``default_artifact_location``.
    """

    def __init__(
        self,
        journal: Journal,
        tracking_uri: str,
        client: Any = None,
        artifact_location: str | None = None,
    ) -> None:
        bound_http()
        self.journal = journal
        self.tracking_uri = tracking_uri
        self.artifact_location = artifact_location or default_artifact_location(tracking_uri)
        self._client = client
        self._checked = False
        self._operations: dict[str, Callable[[str, Record], None]] = {
            "params": self._params,
            "tags": self._tags,
            "artifact": self._artifact,
            "text": self._text,
            "model": self._model,
            "dataset": self._dataset,
            "status": self._status,
        }

    @property
    def client(self) -> Any:
        """The MLflow client."""
        if self._client is None:
            self._client = mlflow.MlflowClient(tracking_uri=self.tracking_uri)
        return self._client

    @property
    def pending(self) -> int:
        """Number of facts the server does not have."""
        return len(self.journal.facts) - self.journal.cursor(self.tracking_uri).delivered

    def deliver(self) -> int:
        """Delivers all pending facts; returns how many. Raises what MLflow raises if the server cannot be reached."""
        if not self.pending:
            return 0
        run_id = self._ensure_run()
        start = done = self.journal.cursor(self.tracking_uri).delivered
        facts = self.journal.facts
        for end, group in _groups(facts, start, len(facts)):
            try:
                if group[0]["op"] == "metrics":
                    self._metrics(run_id, group)
                else:
                    self._operations[group[0]["op"]](run_id, group[0])
            except FileNotFoundError as error:
                logger.warning("MLflow: an artifact is gone and was not logged: %s", error)
            except MlflowException as error:
                if error.error_code not in _FINAL:
                    raise
                logger.warning("MLflow refused %s: %s", _summary(group[0]), error.message)
            done = end
            self.journal.delivered(self.tracking_uri, done)
        return done - start

    def _ensure_run(self) -> str:
        cursor = self.journal.cursor(self.tracking_uri)
        if cursor.run_id is not None and not self._checked:
            try:
                run = self.client.get_run(cursor.run_id)
                if run.info.status != "RUNNING":
                    # The training goes on: the run is open again until its status says otherwise.
                    self.client.update_run(cursor.run_id, status="RUNNING")
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                logger.warning(
                    "MLflow: run %s is not at %s any more; it is made anew from %s.",
                    cursor.run_id,
                    public_uri(self.tracking_uri),
                    self.journal.path,
                )
                self._create()
        elif cursor.run_id is None:
            self._create()
        self._checked = True
        run_id = self.journal.cursor(self.tracking_uri).run_id
        assert run_id is not None
        return run_id

    def _create(self) -> None:
        header = self.journal.header
        experiment_id = self._experiment(header["experiment"])
        # A kill between making the run and noting its id would make it twice: look for it first.
        found = self.client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{header['key']}'", max_results=1)
        run = (
            found[0]
            if found
            else self.client.create_run(
                experiment_id,
                start_time=header["start_ms"],
                tags={KEY_TAG: header["key"]},
                run_name=header["run_name"],
            )
        )
        self.journal.created(self.tracking_uri, run.info.run_id, experiment_id)

    def _experiment(self, name: str) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(
                    self.client.create_experiment(name, artifact_location=self.artifact_location, tags=EXPERIMENT_TAGS)
                )
            except MlflowException as error:
                # Another process was quicker.
                experiment = self.client.get_experiment_by_name(name)
                if experiment is None:
                    raise error
        if experiment.lifecycle_stage != "active":
            self.client.restore_experiment(experiment.experiment_id)
            logger.warning("MLflow: experiment %r was deleted; it is restored to take this run.", name)
        return str(experiment.experiment_id)

    def _params(self, run_id: str, fact: Record) -> None:
        known = self.client.get_run(run_id).data.params
        new = {key: value for key, value in fact["params"].items() if key not in known}
        changed = {k: v for k, v in fact["params"].items() if k in known and known[k] != v}
        items = list(new.items())
        for start in range(0, len(items), _PARAMS_PER_BATCH):
            batch = [Param(key, value) for key, value in items[start : start + _PARAMS_PER_BATCH]]
            self.client.log_batch(run_id, params=batch)
        # MLflow never changes a parameter; a resumed run with another value says so in a tag.
        for key, value in changed.items():
            self.client.set_tag(run_id, f"resumed.{key}", value)

    def _tags(self, run_id: str, fact: Record) -> None:
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in fact["tags"].items()])

    def _metrics(self, run_id: str, facts: list[Record]) -> None:
        metrics = [
            Metric(key, float(value), fact["time_ms"], fact["step"])
            for fact in facts
            for key, value in fact["metrics"].items()
        ]
        for start in range(0, len(metrics), _METRICS_PER_BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + _METRICS_PER_BATCH])

    def _local(self, path: str) -> Path:
        found = self.journal.path.parent / path
        if not found.exists():
            raise FileNotFoundError(str(found))
        return found

    def _artifact(self, run_id: str, fact: Record) -> None:
        self.client.log_artifact(run_id, str(self._local(fact["path"])), fact["to"])

    def _text(self, run_id: str, fact: Record) -> None:
        self.client.log_text(run_id, fact["text"], fact["to"])

    def _model(self, run_id: str, fact: Record) -> None:
        from mlflow.models import Model

        folder = self._local(fact["path"])
        run = self.client.get_run(run_id)
        logged = self.client.create_logged_model(
            run.info.experiment_id, name=fact["name"], source_run_id=run_id, model_type="pytorch"
        )
        description = folder / "MLmodel"
        model = Model.load(str(description))
        model.model_id, model.run_id, model.artifact_path = logged.model_id, run_id, logged.artifact_location
        model.model_uuid = logged.model_id
        model.save(str(description))
        self.client.log_model_artifacts(logged.model_id, str(folder))
        self.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=fact["step"])])
        if fact["temporary"]:
            shutil.rmtree(folder, ignore_errors=True)

    def _dataset(self, run_id: str, fact: Record) -> None:
        dataset = Dataset(
            name=fact["name"],
            digest=fact["digest"],
            source_type="local",
            source=fact["source"],
            profile=fact["profile"],
        )
        tags = [InputTag("mlflow.data.context", fact["context"])]
        self.client.log_inputs(run_id, datasets=[DatasetInput(dataset, tags)])

    def _status(self, run_id: str, fact: Record) -> None:
        if fact["status"] == "RUNNING":
            self.client.update_run(run_id, status="RUNNING")
        else:
            self.client.set_terminated(run_id, fact["status"], end_time=fact["time_ms"])


def _groups(facts: list[Record], start: int, end: int) -> Iterator[tuple[int, list[Record]]]:
    """(index after the group, facts that go in one request): neighbouring metrics together, all else alone."""
    index = start
    while index < end:
        group = [facts[index]]
        index += 1
        if group[0]["op"] == "metrics":
            size = len(group[0]["metrics"])
            while index < end and facts[index]["op"] == "metrics":
                size += len(facts[index]["metrics"])
                if size > _METRICS_PER_BATCH:
                    break
                group.append(facts[index])
                index += 1
        yield index, group


def _summary(fact: Record) -> str:
    text = str({key: value for key, value in fact.items() if key not in ("op", "time_ms")})
    return f"{fact['op']} {text[:200]}"


@dataclass(frozen=True)
class ReplayReport:
    """What a replay did: facts delivered now, the run they belong to, and where."""

    delivered: int
    run_id: str | None
    tracking_uri: str


def replay(spool: str | os.PathLike[str], tracking_uri: str | None = None) -> ReplayReport:
    """Delivers what a server does not have yet of a journal.

    Args:
        spool: the journal's file (``tracking-spool.jsonl``).
        tracking_uri: where to; by default ``MLFLOW_TRACKING_URI``, else the run's own. A server that has never seen the
            run gets all of it, as a new run.

    Raises:
        DataError: if ``spool`` is not a journal.
        mlflow.exceptions.MlflowException: if the server cannot be reached.
    """
    journal = Journal(spool)
    with contextlib.closing(journal):
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or journal.header["tracking_uri"]
        delivered = Delivery(journal, uri).deliver()
        return ReplayReport(delivered, journal.cursor(uri).run_id, public_uri(uri))
