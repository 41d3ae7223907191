"""How MLflow's servers and databases are spoken to."""

from __future__ import annotations

import os
from pathlib import Path


def bound_http() -> None:
    """Makes a dead server known in seconds, not minutes; what the user has set stays."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def default_artifact_location(tracking_uri: str) -> str | None:
    """Beside a local database, ``mlruns/``; a server decides for itself (None)."""
    prefix = "sqlite:///"
    if not tracking_uri.startswith(prefix):
        return None
    return (Path(tracking_uri[len(prefix) :]).absolute().parent / "mlruns").as_uri()
