"""The cohort that bundles train on when nobody gives them one: phantoms, made on first use.

The same as ``monai-staging phantom`` and ``monai-staging ingest phantom`` make, but one patient at a time, so that the
raw DICOM files of a patient or two are all that is ever on disk beside the cohort.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import FILE_NAME
from monai_staging.cohort.dicom import Rejection
from monai_staging.cohort.ingest import IngestOptions, Outcome, conclude, outcome_of
from monai_staging.cohort.ingest_case import Task, ingest_case
from monai_staging.cohort.journal import FOLDER, job_digest, remove_leftovers
from monai_staging.cohort.lock import exclusive
from monai_staging.cohort.pool import WorkerDied, run_in_workers
from monai_staging.cohort.sources import make_plan
from monai_staging.cohort.sources.base import SourceOptions
from monai_staging.cohort.splits import SplitOptions
from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.progress import progress

if TYPE_CHECKING:
    from monai_staging.cohort.phantom import PhantomConfig

DEFAULT_PATH = "data/phantom"
DEFAULTS: dict[str, dict[str, Any]] = {
    DEFAULT_PATH: {},
    # For the longer experiments.
    "data/phantom-240": {"patients": 240, "seed": 2, "test": 0.2},
    # For detection: nodules and what is easily taken for one.
    "data/phantom-luna": {"seed": 6, "test": 1 / 3, "disease": "nodules"},
    # For slices and patients: rated nodules, and in every second patient one of them is a cancer.
    "data/phantom-screening": {"patients": 200, "seed": 8, "disease": "screening"},
}
"""Where bundles look without being told, with what is made there if need be: arguments of `default_cohort`."""
_SETTINGS = "default.json"


def default_cohort(
    path: str | os.PathLike[str] = DEFAULT_PATH,
    patients: int = 120,
    seed: int = 0,
    resolution: str = "default",
    workers: int = 2,
    test: float = 0.3,
    disease: str = "cancer",
    subtypes: bool = False,
) -> Path:
    """Makes the phantom cohort in ``path`` unless it is there; gives its folder.

    Killed at any moment, the same call finishes the rest. Where several processes call it at once (one for each GPU),
    one makes the cohort and the others wait. A cohort that is there already and was not made here is left as it is.

    Args:
        path: the cohort's folder.
        patients: how many phantoms.
        seed: of the phantoms; the same seed gives the same cohort.
        resolution: ``default``, ``tiny`` or ``full``.
        workers: processes.
        test: fraction of the patients held out. Of 120, so many that a result can stand out from the majority's.
        disease: ``cancer``, ``nodules`` or ``screening``.
        subtypes: whether the cancers have a histological subtype.

    Raises:
        DataError: the folder has a default cohort of other settings, or one that was begun with other settings.
    """
    root = Path(path).resolve()
    settings = {"patients": patients, "seed": seed, "resolution": resolution, "test": test}
    # Left out where they are as they were before there was a choice: cohorts made then are still the same.
    settings |= {"disease": disease} if disease != "cancer" else {}
    settings |= {"subtypes": True} if subtypes else {}
    if _is_there(root, settings):
        return root

    def say_waiting() -> None:
        print(f"{root}: another process is making this cohort; waiting for it", file=sys.stderr, flush=True)

    with exclusive(root.parent / f".{root.name}.lock", busy="", on_wait=say_waiting):
        if not _is_there(root, settings):
            _make(root, settings, workers)
    return root


def _is_there(root: Path, settings: dict[str, Any]) -> bool:
    path = root / FOLDER / _SETTINGS
    if path.is_file():
        found = json.loads(path.read_bytes())
        if found != settings:
            raise DataError(f"{root} is a phantom cohort of {found}; asked for {settings}: choose another folder")
    return (root / FILE_NAME).is_file()


def _make(root: Path, settings: dict[str, Any], workers: int) -> None:
    from monai_staging.cohort.phantom import Disease, PhantomConfig, Resolution

    write_json_atomic(root / FOLDER / _SETTINGS, settings)
    remove_leftovers(root)
    raw = root.with_name(f".{root.name}.raw")
    config = PhantomConfig(
        resolution=Resolution(settings["resolution"]),
        disease=Disease(settings.get("disease", "cancer")),
        subtypes=settings.get("subtypes", False),
    )
    # What a killed run left there is of no use: a patient is done, or made anew.
    shutil.rmtree(raw, ignore_errors=True)
    indices = range(settings["patients"])
    outcomes = {index: found for index in indices if (found := _read(root, index)) is not None}
    left = [_Patient(root, raw, index, settings["seed"], config, workers) for index in indices if index not in outcomes]
    done = run_in_workers(_make_patient, left, workers)
    for patient, outcome in progress(done, total=len(left), description=f"making {root.name}", unit="patient"):
        if isinstance(outcome, WorkerDied):
            raise DataError(f"{root}: the process that made phantom {patient.index} died; call again to go on")
        if outcome.rejections:
            reason = outcome.rejections[0].found
            raise DataError(f"{root}: phantom {patient.index} was refused, which is an error of this package: {reason}")
        outcomes[patient.index] = outcome
    shutil.rmtree(raw, ignore_errors=True)
    options = IngestOptions(split=SplitOptions(test=settings["test"]))
    conclude(root, "phantom", sum((outcomes[index] for index in indices), Outcome()), options)


@dataclass(frozen=True)
class _Patient:
    """What a worker is given."""

    root: Path
    raw: Path
    index: int
    seed: int
    config: PhantomConfig
    workers: int


def _make_patient(patient: _Patient) -> Outcome:
    """Renders one phantom, ingests it, notes the outcome, and removes its raw files."""
    import torch

    from monai_staging.cohort.phantom import write_phantom_study, write_tables

    threads = max(1, (os.cpu_count() or 1) // patient.workers)
    torch.set_num_threads(threads)
    raw = patient.raw / str(patient.index)
    truth = write_phantom_study(raw, patient.index, patient.seed, patient.config)
    write_tables(raw, [truth])
    plan = make_plan("phantom", raw, SourceOptions())
    tasks = [Task(job, raw, patient.root, job_digest(job, raw), threads) for job in plan.jobs]
    outcome = outcome_of(plan, {task.job.series.series: ingest_case(task) for task in tasks}, raw)
    if not outcome.rejections:
        _write(patient.root, patient.index, outcome)
    shutil.rmtree(raw)
    return outcome


def _record(root: Path, index: int) -> Path:
    return root / FOLDER / f"phantom-{index:05d}.json"


def _write(root: Path, index: int, outcome: Outcome) -> None:
    document = {
        "cases": [case.to_json() for case in outcome.cases],
        "spacings_mm": outcome.spacings_mm,
        "rejections": [asdict(rejection) for rejection in outcome.rejections],
    }
    write_json_atomic(_record(root, index), document)


def _read(root: Path, index: int) -> Outcome | None:
    """What a killed run has done; ``None`` where it has not, or where a volume has gone."""
    try:
        document = json.loads(_record(root, index).read_bytes())
    except (OSError, ValueError):
        return None
    cases = tuple(map(Case.from_json, document["cases"]))
    if not all((root / path).is_file() for case in cases for path in (case.image, case.mask) if path is not None):
        return None
    return Outcome(
        cases,
        tuple((x, y, z) for x, y, z in document["spacings_mm"]),
        tuple(Rejection(**(own | {"files": tuple(own["files"])})) for own in document["rejections"]),
    )


def ensure_cohort(path: str | os.PathLike[str]) -> Path:
    """The cohort in ``path``: the one that is there; at a path of `DEFAULTS`, where bundles look, one made now.

    Args:
        path: the cohort's folder.

    Raises:
        DataError: no cohort is there, and it is not a default's place.
    """
    root = Path(path).resolve()
    if (root / FILE_NAME).is_file():
        return root
    for place, settings in DEFAULTS.items():
        if root == Path(place).resolve():
            return default_cohort(root, **settings)
    raise DataError(
        f"Cohort {path}: no {FILE_NAME} in it. Make one with `monai-staging ingest SOURCE RAW {path}`; only the "
        f"phantom cohorts {', '.join(DEFAULTS)} are made by themselves."
    )
