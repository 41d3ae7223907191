"""A real archive (Orthanc) on the loopback interface, servers that misbehave as told, and a small study to store."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from monai_staging.dicomweb import StudyAddress, connection, store

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
NAME, PATIENT = "Geheim^Vorname", "ID-4711-GEHEIM"
UP_S = 60.0
# Orthanc knows no address to listen on (HttpBindAddresses is not one of its settings): bind() does it for it.
BIND_TO_LOOPBACK = """
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>

int bind(int socket, const struct sockaddr *address, socklen_t length) {
    int (*original)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    if (address->sa_family == AF_INET) {
        struct sockaddr_in own = *(const struct sockaddr_in *)address;
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return original(socket, (const struct sockaddr *)&own, sizeof own);
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 own = *(const struct sockaddr_in6 *)address;
        own.sin6_addr = in6addr_loopback;
        return original(socket, (const struct sockaddr *)&own, sizeof own);
    }
    return original(socket, address, length);
}
"""


@pytest.fixture(autouse=True)
def directly_and_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between the tests and their servers, no credentials of the user's, and short waits."""
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MONAI_STAGING_DICOMWEB_{name}", raising=False)
    monkeypatch.setattr(connection, "WAITS_S", (0.01, 0.02, 0.03))


@dataclass
class Orthanc:
    """An archive that runs: its port and process, and whether its socket is bound to the loopback interface."""

    port: int
    process: subprocess.Popen[bytes]
    bound: bool

    @property
    def service(self) -> str:
        """URL of its DICOMweb root."""
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def address(self, study: str) -> StudyAddress:
        """That of a study in it."""
        found = StudyAddress.parse(f"{self.service}/studies/{study}")
        assert found is not None
        return found

    def kill(self) -> None:
        """Ends the process at once."""
        self.process.kill()
        self.process.wait(30)


@pytest.fixture(scope="session")
def loopback_only(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """A library that lets a program bind to loopback only; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source = tmp_path_factory.mktemp("loopback") / "bind.c"
    source.write_text(BIND_TO_LOOPBACK)
    library = source.with_suffix(".so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
    return library


@pytest.fixture
def start_orthanc(tmp_path: Path, loopback_only: Path | None) -> Iterator[Callable[..., Orthanc]]:
    """``start_orthanc(users={...})``: an empty archive in the test's folder, gone with the test.

    Only loopback reaches it: its socket is bound there where a C compiler is at hand, and in any case it refuses every
    request from another address (``RemoteAccessAllowed``).
    """
    program = shutil.which("Orthanc", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if program is None or not PLUGIN.is_file():
        pytest.skip("tool missing: Orthanc (Debian: orthanc orthanc-dicomweb)")
    running: list[Orthanc] = []

    def start(users: dict[str, str] | None = None) -> Orthanc:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder = tmp_path / f"orthanc-{port}"
        folder.mkdir()
        settings = {
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "HttpPort": port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": users is not None,
            "RegisteredUsers": users or {},
            "DicomServerEnabled": False,
            "OrthancExplorerEnabled": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        environment = dict(os.environ) | ({"LD_PRELOAD": str(loopback_only)} if loopback_only else {})
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(
                [program, folder / "orthanc.json"], stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        running.append(Orthanc(port, process, loopback_only is not None))
        deadline = time.monotonic() + UP_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                requests.get(f"http://127.0.0.1:{port}/system", timeout=5)
            except requests.RequestException:
                time.sleep(0.05)
            else:
                return running[-1]
        raise AssertionError(f"Orthanc does not start: {(folder / 'log').read_text()[-2000:]}")

    yield start
    for archive in running:
        archive.kill()


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
