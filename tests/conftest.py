"""What several test modules share: threads, real data beside the project, tools beside Python, written CT series."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread a worker process: more of them would only fight over the cores. Read when torch and NumPy are imported.
    for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

import numpy as np
from hypothesis import settings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# A loaded machine is no reason to fail.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
MISSING = "real data missing"
NO_TOOL = "tool missing"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data, ``../shared/data`` from the repository's root; skips where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{MISSING}: ../shared/data")
    return SHARED_DATA


@pytest.fixture(scope="session")
def unpacked(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpacks an archive of ``shared_data`` once for the whole run, whichever worker asks first; gives its folder."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # what all workers of this run have in common
    root = root / "unpacked"

    def unpack(archive: str) -> Path:
        source = shared_data / archive
        if not source.is_file():
            pytest.skip(f"{MISSING}: ../shared/data/{archive}")
        folder = root / archive.removesuffix(".tar.xz")
        done = folder.with_name(folder.name + ".done")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not done.exists():
                with tarfile.open(source) as tar:
                    tar.extractall(folder, filter="data")
                done.touch()
        return folder

    return unpack


@pytest.fixture(scope="session")
def lidc_series(unpacked: Callable[[str], Path]) -> Path:
    """LIDC-IDRI-0314: the folder with its 275 DICOM slices."""
    return unpacked("lidc_idri_0314/LIDC-IDRI-0314_CT_275slices.tar.xz") / "data_1" / "image"


@pytest.fixture(scope="session")
def lung_pet_ct_dx_root(unpacked: Callable[[str], Path]) -> Path:
    """Lung-PET-CT-Dx: one series of A0001 and every annotation of A0001 and A0002."""
    return unpacked("lung_pet_ct_dx/A0001_s2_lungwin_CT64_and_all_XML.tar.xz")


@pytest.fixture(scope="session")
def dicom_robustness_root(unpacked: Callable[[str], Path], shared_data: Path) -> Path:
    """The folder under which every archive of ``dicom_robustness`` lies unpacked, each in a folder of its own."""
    archives = sorted((shared_data / "dicom_robustness").glob("*.tar.xz"))
    if not archives:
        pytest.skip(f"{MISSING}: ../shared/data/dicom_robustness")
    return [unpacked(f"dicom_robustness/{archive.name}") for archive in archives][0].parent


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tiny phantoms, made once for all workers, and anew in every session: another may be of older code."""
    return _made_once(tmp_path_factory, "tiny-cohort", patients=12, seed=5)


@pytest.fixture(scope="session")
def screening_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen tiny phantoms with rated nodules, half of them with a cancer; made once for all workers."""
    return _made_once(tmp_path_factory, "screening-cohort", patients=14, seed=8, disease="screening")


def _made_once(factory: pytest.TempPathFactory, name: str, **settings: Any) -> Path:
    """A cohort of tiny phantoms in what all workers of this run have in common."""
    from monai_staging.cohort.default import default_cohort

    shared = _shared(factory)
    with FileLock(shared / f"{name}.lock"):
        return default_cohort(shared / name, resolution="tiny", workers=2, **settings)


def _shared(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder that all workers of this run have in common."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to make; made once for all workers, to be copied."""
    import mlflow

    path = _shared(tmp_path_factory) / "empty-mlflow.db"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            making = path.with_suffix(".part")
            before = Path.cwd()
            os.chdir(path.parent)  # where MLflow makes a folder for artifacts
            try:
                mlflow.MlflowClient(f"sqlite:///{making}")
            finally:
                os.chdir(before)
            making.rename(path)
    return path


@dataclass
class WarmRun:
    """A process that `WarmPython` has started, in a session of its own."""

    python: WarmPython
    pid: int
    stdout: Path
    stderr: Path
    returncode: int | None = None

    def signal(self, number: int, group: bool = True) -> None:
        """Sends a signal, to all processes of its session or to it alone."""
        (os.killpg if group else os.kill)(self.pid, number)

    def kill(self) -> None:
        """Ends it and what it started, at once, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait(30)

    def wait(self, seconds: float = 600) -> int:
        """Its exit code, once it has ended; an error, and its end, if it takes longer."""
        if self.returncode is None:
            self.returncode = self.python.ask({"wait": self.pid}, seconds, self)
        return self.returncode


@dataclass
class WarmPython:
    """Runs `python -m MODULE` without the seconds of imports: a process forked from one that has done them.

    Attributes:
        folder: for what the processes print.
    """

    folder: Path
    _runs: int = 0
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def start(
        self, module: str, *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> WarmRun:
        """Starts it from the project's root, or from ``cwd``; ``env`` is beside the test's own environment."""
        self._runs += 1
        files = [self.folder / f"{self._runs}-{name}" for name in ("stdout", "stderr")]
        request = {
            "module": module,
            "arguments": list(map(str, arguments)),
            "folder": str(cwd or ROOT),
            "environment": {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            "stdout": str(files[0]),
            "stderr": str(files[1]),
        }
        return WarmRun(self, self.ask(request, 300), *files)

    def run(
        self, module: str, *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Starts it and waits for its end."""
        run = self.start(module, *arguments, cwd=cwd, env=env)
        return subprocess.CompletedProcess(arguments, run.wait(), run.stdout.read_text(), run.stderr.read_text())

    def ask(self, request: dict[str, Any], seconds: float, run: WarmRun | None = None) -> int:
        """What the forking process answers."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("warm_python.py"))],
                **{"cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}},
                **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True},
                start_new_session=True,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        if select.select([self._process.stdout], [], [], seconds)[0]:
            return int(self._process.stdout.readline())
        if run is None:
            raise AssertionError(f"no process after {seconds} seconds")
        run.signal(signal.SIGKILL)
        self._process.stdout.readline()
        raise AssertionError(f"no end after {seconds} seconds: {run.stderr.read_text()[-4000:]}")

    def close(self) -> None:
        """Ends the forking process."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(30)


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPython]:
    """Runs modules as a user does, in processes of their own, without a wait for imports."""
    python = WarmPython(tmp_path_factory.mktemp("printed"))
    yield python
    python.close()


@pytest.fixture
def reads_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Series are ingested in this process: that workers do it, and may die, is tested in test_ingest.py."""
    from monai_staging.cluster import executor

    monkeypatch.setattr(executor, "run_in_workers", lambda run, tasks, workers: ((task, run(task)) for task in tasks))


@pytest.fixture(scope="session")
def tool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command-line tool from beside Python or the path; skips where it is not installed."""

    def run(name: str, *arguments: object, package: str) -> subprocess.CompletedProcess[str]:
        beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        path = shutil.which(name, path=beside)
        if path is None:
            pytest.skip(f"{NO_TOOL}: {name} ({package})")
        return subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture(scope="session")
def dciodvfy_errors(tool: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[[Path], list[str]]:
    """What an independent validator finds wrong with a DICOM file: its lines that say ``Error``."""

    def errors(path: Path) -> list[str]:
        done = tool("dciodvfy", "-new", path, package="Debian: dicom3tools")
        lines = (done.stdout + done.stderr).splitlines()
        assert lines, "dciodvfy names the object at least"
        return [line for line in lines if line.startswith("Error")]

    return errors


Edit = Callable[[int, "Dataset"], None]


@dataclass(frozen=True)
class WrittenSeries:
    """What `write_ct` wrote: files and HU (slice, row, column) in order along the normal, and the affine to RAS."""

    folder: Path
    files: tuple[Path, ...]
    hu: np.ndarray
    affine: np.ndarray


def ct_slice(position: Sequence[float], stored: np.ndarray, *, uid: str) -> Dataset:
    """One slice's data set, with the identity of series ``uid``."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PatientID = "LUNG1-001"
    ds.PatientSex = "F"
    ds.StudyInstanceUID = f"{uid}.1"
    ds.SeriesInstanceUID = uid
    ds.FrameOfReferenceUID = f"{uid}.2"
    ds.ImagePositionPatient = [float(f"{value:.6f}") for value in position]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [0.7, 0.8]
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
    ds.PixelData = stored.astype("<u2").tobytes()
    return ds


@pytest.fixture
def write_ct(tmp_path: Path) -> Callable[..., WrittenSeries]:
    """Writes a series of transverse slices; ``edit(k, dataset)`` may change slice k before it is saved."""

    def write(
        edit: Edit | None = None,
        *,
        folder: str = "series",
        count: int = 6,
        shape: tuple[int, int] = (6, 7),
        step: float = 3.0,
        start: float = -212.0,
        uid: str = "1.2.826.0.1.3680043.10.1",
    ) -> WrittenSeries:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(7)
        stored = rng.integers(0, 4096, (count, *shape))
        files = []
        for k in range(count):
            ds = ct_slice((-10.0, -20.0, start + k * step), stored[k], uid=uid)
            if edit is not None:
                edit(k, ds)
            # Names run against the positions, and have no suffix: they must not matter.
            files.append(target / f"IM{count - k:04d}")
            ds.save_as(files[-1], enforce_file_format=True)
        affine = np.diag([-0.8, -0.7, step, 1.0])
        affine[:3, 3] = 10.0, 20.0, start
        return WrittenSeries(target, tuple(files), (stored - 1024).astype(np.int16), affine)

    return write


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Says loudly which tests did not run for want of the real data, or of a tool."""
    for missing in (MISSING, NO_TOOL):
        skipped = [
            report
            for report in terminalreporter.stats.get("skipped", [])
            if missing in str(getattr(report, "longrepr", ""))
        ]
        if skipped:
            terminalreporter.section(f"not tested: {missing}", yellow=True, bold=True)
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            terminalreporter.line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}", yellow=True)
    return (yield)
