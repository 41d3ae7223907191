"""An archive, servers that misbehave as told, and a small study to store."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from monai_staging.dicomweb import StudyAddress, connection, store

from ..orthanc import Orthanc, loopback_only, start_orthanc

__all__ = ["loopback_only", "start_orthanc"]

NAME, PATIENT = "Geheim^Vorname", "ID-4711-GEHEIM"


@pytest.fixture(autouse=True)
def directly_and_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between the tests and their servers, no credentials of the user's, and short waits."""
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MONAI_STAGING_DICOMWEB_{name}", raising=False)
    monkeypatch.setattr(connection, "WAITS_S", (0.01, 0.02, 0.03))


@pytest.fixture
def orthanc(start_orthanc: Callable[..., Orthanc]) -> Orthanc:
    """An empty archive without users."""
    return start_orthanc()


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Scripted:
    """A server that answers as told, and what it was asked: method, path with query, headers, body."""

    port: int
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def service(self) -> str:
        """URL of what it has for a DICOMweb root."""
        return f"http://127.0.0.1:{self.port}/dicom-web"


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    """``scripted(answer)``: a server on loopback; ``answer(number, path)`` gives status, headers and body.

    A Content-Length among the headers is sent as it is, even if the body is shorter.
    """
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[int, str], Answer], host: str = "127.0.0.1") -> Scripted:
        class Handler(BaseHTTPRequestHandler):
            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                state.asked.append((self.command, self.path, dict(self.headers), body))
                status, headers, content = answer(len(state.asked) - 1, self.path)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(content))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = respond

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        servers.append(Server((host, 0), Handler))
        state = Scripted(servers[-1].server_address[1])
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return state

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Sent:
    """A study on disk: its UID and files."""

    study: str
    files: tuple[Path, ...]
    folder: Path


@pytest.fixture
def small(write_ct: Callable[..., object]) -> Callable[..., Sent]:
    """``small(count=...)``: a CT series of a patient whose name must not be told."""

    def write(**options: object) -> Sent:
        def name(_: int, dataset: object) -> None:
            dataset.PatientName, dataset.PatientID = NAME, PATIENT  # type: ignore[attr-defined]

        written = write_ct(name, **options)
        return Sent(f"{options.get('uid', '1.2.826.0.1.3680043.10.1')}.1", written.files, written.folder)

    return write


@pytest.fixture
def stored(orthanc: Orthanc, small: Callable[..., Sent]) -> tuple[StudyAddress, Sent]:
    """A CT series in the archive, and its files."""
    sent = small()
    address = orthanc.address(sent.study)
    store(address, sent.files)
    return address, sent
