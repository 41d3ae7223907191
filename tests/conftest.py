"""What several test modules share: threads, the real data beside the project, and its archives unpacked once."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread a worker process: more of them would only fight over the cores. Read when torch and NumPy are imported.
    for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

from hypothesis import settings

# A loaded machine is no reason to fail.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MISSING = "real data missing"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[1]


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
def screening_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen tiny phantoms with rated nodules, half of them with a cancer; made once for all workers."""
    from monai_staging.cohort.default import default_cohort

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / "screening-cohort.lock"):
        return default_cohort(
            shared / "screening-cohort", patients=14, seed=8, resolution="tiny", workers=1, disease="screening"
        )


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Says loudly which tests did not run for want of the real data."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if MISSING in str(getattr(report, "longrepr", ""))
    ]
    if skipped:
        terminalreporter.section("not tested: real data missing", yellow=True, bold=True)
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            terminalreporter.line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}", yellow=True)
    return (yield)
