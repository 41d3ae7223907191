"""Brings the facts of a journal to an MLflow server or database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException

from monai_staging.tracking.failures import is_away, reason
from monai_staging.tracking.journal import Journal, Record, public_uri
from monai_staging.tracking.servers import bound_http, default_artifact_location
from monai_staging.tracking.uploads import Uploads

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

    A file that cannot be stored is noted in the journal as missed, and the rest goes on: where MLflow keeps files is
    often another place than where it keeps numbers, with rules of its own.

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
        self._told: set[str] = set()
        self._uploads = Uploads(journal, tracking_uri, lambda: self.client)
        self._operations: dict[str, Callable[[str, Record], None]] = {
            "params": self._params,
            "tags": self._tags,
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
        """Number of facts that wait for the server."""
        return len(self.journal.facts) - self.journal.cursor(self.tracking_uri).delivered

    @property
    def missed(self) -> list[str]:
        """Names of the files that could not be stored."""
        return [Uploads.name(self.journal.facts[i]) for i in sorted(self.journal.cursor(self.tracking_uri).missed)]

    @property
    def command(self) -> str:
        """The command that delivers the rest later."""
        return f"python -m monai_staging.tracking.sync {self.journal.path}"

    def deliver(self) -> int:
        """Delivers all pending facts; returns how many. Raises what MLflow raises if the server cannot be reached."""
        if not self.pending:
            return 0
        run_id = self._ensure_run()
        arrived = 0
        facts = self.journal.facts
        for end, group in _groups(facts, self.journal.cursor(self.tracking_uri).delivered, len(facts)):
            if self._uploads.takes(group[0]):
                arrived += self._upload(run_id, end - 1)
            else:
                self._send(run_id, group)
                arrived += len(group)
            self.journal.delivered(self.tracking_uri, end)
        return arrived

    def deliver_missed(self) -> int:
        """Tries the files again that could not be stored; returns how many now are. Raises as ``deliver`` does."""
        if not self.missed:
            return 0
        run_id = self._ensure_run(reopen=False)
        return sum(self._upload(run_id, index) for index in sorted(self.journal.cursor(self.tracking_uri).missed))

    def _send(self, run_id: str, group: list[Record]) -> None:
        try:
            if group[0]["op"] == "metrics":
                self._metrics(run_id, group)
            else:
                self._operations[group[0]["op"]](run_id, group[0])
        except MlflowException as error:
            if error.error_code not in _FINAL:
                raise
            logger.warning("MLflow refused %s: %s", _summary(group[0]), error.message)

    def _upload(self, run_id: str, index: int, again: bool = True) -> bool:
        """Stores a file; returns whether it could be. Raises only where the tracking server itself is away."""
        fact = self.journal.facts[index]
        try:
            self._uploads.store(run_id, index, fact)
        except Exception as error:  # boto3, paramiko, the file system: each store has errors of its own
            # Raises where the server is away: then this file is not to blame, and everything waits.
            self._ask(run_id)
            if again and is_away(error):
                return self._upload(run_id, index, again=False)
            self._miss(index, fact, reason(error))
            return False
        if index in self.journal.cursor(self.tracking_uri).missed:
            self.journal.stored(self.tracking_uri, index)
        return True

    def _ask(self, run_id: str) -> None:
        try:
            self.client.get_run(run_id)
        except MlflowException as error:
            if not is_away(error):
                raise
            # A server that refuses a file may hang up in the middle of it; that leaves a dead connection to be reused.
            self.client.get_run(run_id)

    def _miss(self, index: int, fact: Record, why: str) -> None:
        self.journal.missed(self.tracking_uri, index, why)
        # One reason is told once, not for each of twenty figures; the end of the run names them all.
        level = logging.DEBUG if why in self._told else logging.WARNING
        self._told.add(why)
        logger.log(
            level,
            "MLflow: %s cannot be stored at %s and is left out; the rest of the run goes on. (%s)",
            Uploads.name(fact),
            public_uri(self.tracking_uri),
            why,
        )

    def _ensure_run(self, reopen: bool = True) -> str:
        cursor = self.journal.cursor(self.tracking_uri)
        if cursor.run_id is not None and not self._checked:
            try:
                run = self.client.get_run(cursor.run_id)
                if reopen and run.info.status != "RUNNING":
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
