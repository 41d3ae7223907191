"""Weights in MLflow: an artifact of a run, or a model, registered or not."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from monai_staging.errors import DataError
from monai_staging.networks.pretrained.checkpoint import listed

SCHEMES = ("models:/", "runs:/")
SUFFIXES = (".pt", ".pth", ".ckpt", ".torch", ".safetensors")
_LOGGED = re.compile(r"models:/(?P<id>m-[^/]+)")
_VERSION = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/]+)|/(?P<version>\d+))(?:/.*)?")


def download_logged(uri: str, folder: Path) -> tuple[Path, str | None]:
    """Brings the weights that an MLflow URI names into ``folder``.

    The server is the one that MLflow is set to (``MLFLOW_TRACKING_URI``); where none is, ``mlruns.db`` of the current
    folder, as in training.

    Args:
        uri: ``models:/name@alias``, ``models:/name/version``, ``models:/<model id>`` or ``runs:/<run id>/path``.
        folder: an existing one.

    Returns:
        The file with the weights, and the id of the run that trained them, if MLflow knows it.

    Raises:
        DataError: nothing there, the server is away, or not exactly one file of weights.
    """
    import mlflow

    from monai_staging.tracking.servers import bound_http

    bound_http()
    # MLflow draws its bar into log files too.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", str(sys.stderr.isatty()).lower())
    with _tracking_database():
        server = mlflow.get_tracking_uri()
        try:
            path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
            run_id = _run_of(uri, path)
        except Exception as error:  # MLflow raises its own, the store's and the HTTP client's errors
            raise DataError(f"Weights {uri}: cannot be had from MLflow at {server}: {error}") from error
    return find_weights(path, uri), run_id


def find_weights(path: Path, where: str) -> Path:
    """``path`` itself, or the one file of weights in that folder: a checkpoint, else an exported program.

    Raises:
        DataError: none or several.
    """
    if not path.is_dir():
        return path
    files = sorted(file for file in path.rglob("*") if file.is_file())
    checkpoints = [file for file in files if file.suffix in SUFFIXES]
    candidates = checkpoints or [file for file in files if file.suffix == ".pt2"]
    if len(candidates) != 1:
        names = [file.relative_to(path).as_posix() for file in candidates or files]
        raise DataError(f"Weights {where}: one file of weights is needed, found {len(candidates)}: {listed(names)}")
    return candidates[0]


@contextlib.contextmanager
def _tracking_database() -> Iterator[None]:
    """Where nobody has set a server, the database that training writes by default."""
    import mlflow

    database = Path.cwd() / "mlruns.db"
    if mlflow.is_tracking_uri_set() or not database.is_file():
        yield
        return
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def _run_of(uri: str, path: Path) -> str | None:
    import mlflow

    if uri.startswith("runs:/"):
        return uri.removeprefix("runs:/").lstrip("/").partition("/")[0]
    if (path / "MLmodel").is_file():
        run_id: str | None = mlflow.models.Model.load(str(path / "MLmodel")).run_id
        if run_id:
            return run_id
    client = mlflow.MlflowClient()
    if logged := _LOGGED.fullmatch(uri):
        return client.get_logged_model(logged["id"]).source_run_id or None
    registered = _VERSION.fullmatch(uri)
    if registered is None:
        return None
    name, alias, version = registered["name"], registered["alias"], registered["version"]
    found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
    return found.run_id or None
