"""What an error of a delivery means."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from monai_staging.tracking.failures import is_away, reason


def error_of(uri: str) -> MlflowException:
    """What MLflow's client raises for a request to ``uri``."""
    with pytest.raises(MlflowException) as found:
        mlflow.MlflowClient(uri).get_run("a")
    return found.value


@pytest.fixture(params=[400, 403, 500, 502, 503])
def answering(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """A status, and the address of a server that answers everything with it."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(request.param)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield request.param, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_gateway_without_its_server_is_away_and_a_server_that_refuses_is_not(answering: tuple[int, str]) -> None:
    status, uri = answering
    error = error_of(uri)
    assert is_away(error) == (status in (502, 503))
    assert str(status) in reason(error)


def test_nobody_there() -> None:
    error = error_of("http://127.0.0.1:9")
    assert is_away(error)
    assert reason(error) == "[Errno 111] Connection refused"


def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert is_away(error_of(f"http://127.0.0.1:{silent.getsockname()[1]}"))


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), ImportError("boto3"), MlflowException("no")])
def test_other_errors_are_of_what_is_there(error: Exception) -> None:
    assert not is_away(error)


def test_errors_that_cause_each_other_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert not is_away(first)


def test_one_line_of_an_error() -> None:
    assert reason(ValueError("a\nb")) == "a"
    assert reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x" * 1000))) == 300
