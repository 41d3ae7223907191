"""How servers and databases are spoken to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monai_staging.tracking.servers import bound_http, default_artifact_location


def test_dead_server_is_known_soon_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "9")
    bound_http()
    assert (os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"], os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) == ("77", "9")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    bound_http()
    assert int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 10
    assert int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) <= 1


def test_artifacts_lie_beside_a_local_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_artifact_location("sqlite:///mlruns.db") == (tmp_path / "mlruns").as_uri()
    assert default_artifact_location("sqlite:////data/x/mlruns.db") == "file:///data/x/mlruns"
    assert default_artifact_location("http://server") is None
