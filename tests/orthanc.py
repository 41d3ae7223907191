"""A real archive (Orthanc) on the loopback interface, for whatever test needs one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from monai_staging.dicomweb import StudyAddress

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
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
    """``start_orthanc(users={...})``: an empty archive in the test's folder, gone with the test."""
    with archives(tmp_path, loopback_only) as start:
        yield start


@pytest.fixture(scope="session")
def session_orthanc(tmp_path_factory: pytest.TempPathFactory, loopback_only: Path | None) -> Iterator[Orthanc]:
    """One archive without users for all tests of a session."""
    with archives(tmp_path_factory.mktemp("orthanc"), loopback_only) as start:
        yield start()


@contextmanager
def archives(folder: Path, loopback_only: Path | None) -> Iterator[Callable[..., Orthanc]]:
    """``start(users={...})``: an empty archive below ``folder``; all of them end with the block.

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
        own = folder / f"orthanc-{port}"
        own.mkdir(parents=True)
        settings = {
            "StorageDirectory": str(own),
            "IndexDirectory": str(own),
            "HttpPort": port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": users is not None,
            "RegisteredUsers": users or {},
            "DicomServerEnabled": False,
            "OrthancExplorerEnabled": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (own / "orthanc.json").write_text(json.dumps(settings))
        environment = dict(os.environ) | ({"LD_PRELOAD": str(loopback_only)} if loopback_only else {})
        with open(own / "log", "wb") as log:
            process = subprocess.Popen(
                [program, own / "orthanc.json"], stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        running.append(Orthanc(port, process, loopback_only is not None))
        deadline = time.monotonic() + UP_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with requests.Session() as session:
                    session.trust_env = False
                    session.get(f"http://127.0.0.1:{port}/system", timeout=5)
            except requests.RequestException:
                time.sleep(0.05)
            else:
                return running[-1]
        raise AssertionError(f"Orthanc does not start: {(own / 'log').read_text()[-2000:]}")

    try:
        yield start
    finally:
        for archive in running:
            archive.kill()
