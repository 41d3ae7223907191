"""What the model registry asks of an MLflow server or database: where it is, what its errors mean, a model's files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from monai_staging.errors import DataError, StagingError
from monai_staging.tracking.delivery import EXPERIMENT_TAGS
from monai_staging.tracking.failures import is_away, reason
from monai_staging.tracking.journal import public_uri
from monai_staging.tracking.registry_card import DIGEST_TAG
from monai_staging.tracking.registry_source import Candidate
from monai_staging.tracking.servers import bound_http, default_artifact_location

EXPERIMENT = "registered-models"
"""Where a model lies whose run is not on the server."""


def tracking_place(tracking_uri: str | None) -> str:
    """A URI: as given, else ``MLFLOW_TRACKING_URI``, else the database in the current folder."""
    bound_http()
    return tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlruns.db'}"


@contextlib.contextmanager
def answers(uri: str) -> Iterator[None]:
    """Turns whatever MLflow raises, and what is beneath it, into an error that names the server."""
    try:
        yield
    except StagingError:
        raise
    except Exception as error:
        verb = "cannot be reached" if is_away(error) else "refuses"
        raise DataError(f"MLflow at {public_uri(uri)} {verb}: {reason(error)}") from error


@contextlib.contextmanager
def everywhere(uri: str) -> Iterator[None]:
    """MLflow's store looks a version's source up by the process's URI, not by that of the client (3.17)."""
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it


def absent(error: MlflowException) -> bool:
    """Whether the server says that there is no such thing."""
    return error.error_code == "RESOURCE_DOES_NOT_EXIST"


def begun_model(client: Any, uri: str, run: Any, digest: str, name: str, kind: str) -> LoggedModel:
    """The logged model of a digest, with or without its files: one that an earlier call began, or a new one.

    Args:
        client: MLflow's.
        uri: of the server.
        run: that it came of, see `run_on_server`; it is logged there where the server has it.
        digest: of what it holds.
        name: of a new one.
        kind: of a new one.
    """
    experiment = run.info.experiment_id if run is not None else models_experiment(client, uri)
    found = client.search_logged_models([experiment], f"tags.`{DIGEST_TAG}` = '{digest}'", max_results=1)
    if found:
        return found[0]
    run_id = run.info.run_id if run is not None else None
    return client.create_logged_model(
        experiment, name=name, source_run_id=run_id, tags={DIGEST_TAG: digest}, model_type=kind
    )


def logged_model(client: Any, uri: str, candidate: Candidate, digest: str, folder: Path) -> str:
    """Id of the model on the server, its files brought there; one that a broken off call began is finished."""
    run = run_on_server(client, candidate.run.run_ids)
    logged = begun_model(client, uri, run, digest, "nodule-model", "nodule-classifier")
    if logged.status != LoggedModelStatus.READY:
        path = folder / "MLmodel"
        model = Model.load(str(path))
        model.model_id = model.model_uuid = logged.model_id
        model.artifact_path = logged.artifact_location
        if run is not None:
            model.run_id = run.info.run_id
        model.save(str(path))
        client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    if run is not None:
        outputs = [output.model_id for output in (run.outputs.model_outputs if run.outputs else ())]
        if logged.model_id not in outputs:
            client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, step=0)])
            for name, one in candidate.metrics.items():
                client.log_metric(run.info.run_id, name, one["value"], step=0, model_id=logged.model_id)
    return str(logged.model_id)


def run_on_server(client: Any, run_ids: Sequence[str]) -> Any | None:
    """The first of some runs that this server has."""
    for run_id in run_ids:
        try:
            return client.get_run(run_id)
        except MlflowException as error:
            if not absent(error):
                raise
    return None


def models_experiment(client: Any, uri: str) -> str:
    """Id of :data:`EXPERIMENT`, made where it does not exist."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, default_artifact_location(uri), EXPERIMENT_TAGS))
