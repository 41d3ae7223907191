"""The facts of a journal that are files (artifacts, texts, models), brought to where MLflow keeps its artifacts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model

from monai_staging.files import atomic_path
from monai_staging.tracking.failures import is_away
from monai_staging.tracking.journal import Journal, Record

MODEL_TAG = "monai_staging.model_key"


class Uploads:
    """Stores the files of one run; each may safely be stored twice.

    Args:
        journal: the run.
        tracking_uri: the server or database that the run is on.
        client: gives an MLflow client for that URI.
    """

    def __init__(self, journal: Journal, tracking_uri: str, client: Callable[[], Any]) -> None:
        self.journal = journal
        self.tracking_uri = tracking_uri
        self._client = client
        self._operations: dict[str, Callable[[str, int, Record], None]] = {
            "artifact": self._artifact,
            "text": self._text,
            "model": self._model,
        }

    def takes(self, fact: Record) -> bool:
        """Whether ``fact`` is a file."""
        return fact["op"] in self._operations

    def store(self, run_id: str, index: int, fact: Record) -> None:
        """Stores the journal's fact number ``index``; raises whatever the artifact store's client raises."""
        self._operations[fact["op"]](run_id, index, fact)

    @staticmethod
    def name(fact: Record) -> str:
        """What the user knows the file as."""
        if fact["op"] == "model":
            return f"model {fact['name']!r}"
        if fact["op"] == "text":
            return str(fact["to"])
        name = Path(fact["path"]).name
        return f"{fact['to']}/{name}" if fact["to"] else name

    def _local(self, path: str) -> Path:
        found = self.journal.path.parent / path
        if not found.exists():
            raise FileNotFoundError(f"{found} is gone")
        return found

    def _artifact(self, run_id: str, index: int, fact: Record) -> None:
        self._client().log_artifact(run_id, str(self._local(fact["path"])), fact["to"])

    def _text(self, run_id: str, index: int, fact: Record) -> None:
        self._client().log_text(run_id, fact["text"], fact["to"])

    def _model(self, run_id: str, index: int, fact: Record) -> None:
        client = self._client()
        folder = self._local(fact["path"])
        logged = self._logged_model(run_id, index, fact)
        description = folder / "MLmodel"
        model = Model.load(str(description))
        model.model_id, model.run_id, model.artifact_path = logged.model_id, run_id, logged.artifact_location
        model.model_uuid = logged.model_id
        with atomic_path(description) as temporary:
            model.save(str(temporary))
        try:
            client.log_model_artifacts(logged.model_id, str(folder))
        except Exception as error:
            # Not left pending for ever; another try makes it ready.
            if not is_away(error):
                client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
            raise
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        outputs = client.get_run(run_id).outputs
        if logged.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else ())]:
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=fact["step"])])

    def _logged_model(self, run_id: str, index: int, fact: Record) -> LoggedModel:
        """The server's entry of the model, made once, however often the upload is tried."""
        client, cursor = self._client(), self.journal.cursor(self.tracking_uri)
        if index in cursor.models:
            return client.get_logged_model(cursor.models[index])
        # A kill, or a lost answer, between making the entry and noting its id would make it twice: look for it first.
        key = f"{run_id}-{index}"
        found = client.search_logged_models([cursor.experiment_id], f"tags.`{MODEL_TAG}` = '{key}'", max_results=1)
        logged = (
            found[0]
            if found
            else client.create_logged_model(
                cursor.experiment_id,
                name=fact["name"],
                source_run_id=run_id,
                tags={MODEL_TAG: key},
                model_type="pytorch",
            )
        )
        self.journal.model_created(self.tracking_uri, index, logged.model_id)
        return logged
