"""A really running server on the loopback interface, and a few tiny phantoms for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests

from ..orthanc import Orthanc, loopback_only, session_orthanc, start_orthanc

__all__ = ["loopback_only", "session_orthanc", "start_orthanc"]

INSTALLED = importlib.util.find_spec("monailabel") is not None
NOT_INSTALLED = "tool missing: MONAI Label (pip install --no-deps -r requirements-label.txt)"
UP_S = 300.0
LIMIT_MIB = 8
DICOM = "PH-7-0000"


@pytest.fixture(scope="session")
def monailabel() -> None:
    """Skips where MONAI Label is not installed."""
    if not INSTALLED:
        pytest.skip(NOT_INSTALLED)


@pytest.fixture(scope="session")
def phantom_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one DICOM study and two NIfTI files, tiny phantoms all of them; not to be written to."""
    from monai_staging.cohort.phantom import PhantomConfig, Resolution, write_phantom_tree
    from monai_staging.cohort.volume import write_volume
    from monai_staging.predict.study import open_study

    raw, folder = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("phantom-studies")
    first, *others = write_phantom_tree(raw, 3, 7, PhantomConfig(resolution=Resolution.TINY), 1)
    assert first.patient == DICOM
    shutil.copytree(raw / first.patient, folder / first.patient)
    for number, truth in enumerate(others, start=1):
        write_volume(folder / f"scan-{number}.nii", open_study(raw / truth.patient, watch=iter).volume)
    return folder


@dataclass
class Running:
    """A server that runs: its URL, process, the folder of its studies (of an archive: its working folder), its log."""

    url: str
    process: subprocess.Popen[str]
    studies: Path
    log: Path

    def session(self) -> requests.Session:
        """For several requests, past every proxy."""
        session = requests.Session()
        session.trust_env = False
        return session

    def ask(self, method: str, path: str, **options: object) -> requests.Response:
        """One request, past every proxy."""
        with self.session() as session:
            return session.request(method, self.url + path, timeout=300, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def start_server(
    monailabel: None, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Running]]:
    """``start_server(studies, *options)``: the command as a process, ended with the session.

    ``start_server(work, archive=URL)`` serves an archive.
    """
    running: list[Running] = []

    def start(
        studies: Path, *more: str, archive: str | None = None, variables: Mapping[str, str] | None = None
    ) -> Running:
        log = tmp_path_factory.mktemp("server") / "log"
        command = [
            sys.executable,
            "-m",
            "monai_staging.cli",
            "label",
            "--port",
            "0",
            "--studies",
            archive or str(studies),
        ]
        command += [] if archive is None else ["--work", str(studies)]
        options = ["--conf", "point", "1/8 fp/scan", "--upload-limit-mib", str(LIMIT_MIB)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MONAI_LABEL_")}
        environment.pop("PYTHONPATH", None)
        # Nothing is downloaded: who tries fails at once.
        environment |= {
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
            **(variables or {}),
        }
        command += [*options, *more]
        with open(log, "w") as errors:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=repository,
                env=environment,
            )
        watchdog = threading.Timer(UP_S, process.kill)
        watchdog.start()
        assert process.stdout is not None
        line = process.stdout.readline()
        watchdog.cancel()
        assert line.startswith("MONAI Label at http://127.0.0.1:"), f"{line}\n{log.read_text()[-3000:]}"
        running.append(Running(line.split()[3].rstrip(":"), process, studies, log))
        return running[-1]

    yield start
    for server in running:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGINT)
            try:
                server.process.wait(30)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait(30)
        assert server.process.stdout is not None
        server.process.stdout.close()


@pytest.fixture(scope="session")
def server(
    start_server: Callable[..., Running], phantom_studies: Path, tmp_path_factory: pytest.TempPathFactory
) -> Running:
    """One server for all tests of a session, with studies of its own."""
    studies = tmp_path_factory.mktemp("served") / "studies"
    shutil.copytree(phantom_studies, studies)
    return start_server(studies)


@dataclass
class Served:
    """A server of an archive, and what is in that: the images' names, their folders of files, and their studies."""

    server: Running
    archive: Orthanc
    images: list[str]
    folders: dict[str, Path]
    studies: dict[str, str]

    @property
    def url(self) -> str:
        """Of the archive."""
        return self.archive.service


@pytest.fixture(scope="session")
def stored_phantoms(session_orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three tiny phantoms in the archive of the session: the folder of each CT series by its UID."""
    from monai_staging.cohort.dicom import scan
    from monai_staging.cohort.phantom import PhantomConfig, Resolution, write_phantom_tree
    from monai_staging.dicomweb import store

    raw, folders = tmp_path_factory.mktemp("archived"), {}
    write_phantom_tree(raw, 3, 11, PhantomConfig(resolution=Resolution.TINY), 1)
    for series in scan(raw, watch=iter):
        if series.modality == "CT":
            store(session_orthanc.address(series.study), series.files)
            folders[series.series] = series.files[0].parent
    return dict(sorted(folders.items()))


@pytest.fixture(scope="session")
def served(
    start_server: Callable[..., Running],
    session_orthanc: Orthanc,
    stored_phantoms: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Served:
    """One server of the session's archive for all tests."""
    import pydicom

    studies = {
        name: str(pydicom.dcmread(next(folder.glob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)
        for name, folder in stored_phantoms.items()
    }
    server = start_server(tmp_path_factory.mktemp("work") / "work", archive=session_orthanc.service)
    return Served(server, session_orthanc, list(stored_phantoms), stored_phantoms, studies)


def label_of(image: Path, path: Path, value: int = 1, count: int = 8) -> Path:
    """A label map with ``count`` voxels of ``value`` on an image's grid."""
    from monai_staging.label.kinds import write_labels
    from monai_staging.measure.images import read_image

    grid = read_image(image)
    labels = np.zeros(grid.shape, dtype=np.uint8, order="F")
    labels.reshape(-1, order="F")[:count] = value
    write_labels(path, labels, grid.affine)
    return path
