"""What grows with a cohort, done for a number of cases or rows; scans are small series of noise, rows are drawn."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import SEED

ROOT = Path(__file__).parents[2]
SLICES, SIDE = 12, 64
T = ("T1a", "T1b", "T1c", "T2a", "T2b", "T3", "T4")
N = ("N0", "N1", "N2", "N3")
M = ("M0", "M1a", "M1b", "M1c")


def write_series(raw: Path, cases: int) -> None:
    """A DICOM tree of that many patients with a clinical table, unless it is there."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    if (raw / "clinical.csv").exists():
        return
    shutil.rmtree(raw, ignore_errors=True)  # what a killed run left
    random = np.random.default_rng(SEED)
    rows = []
    for case in range(cases):
        folder, uid = raw / f"P{case:06d}", f"1.2.826.0.1.3680043.10.1.{case + 1}"
        folder.mkdir(parents=True)
        stored = random.integers(0, 4096, (SLICES, SIDE, SIDE)).astype("<u2")
        for k in range(SLICES):
            one = Dataset()
            one.file_meta = FileMetaDataset()
            one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
            one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"{uid}.3.{k + 1}"
            one.Modality, one.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
            one.PatientID = f"P{case:06d}"
            one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = f"{uid}.1", uid, f"{uid}.2"
            one.ImagePositionPatient, one.ImageOrientationPatient = [-160, -160, 5 * k], [1, 0, 0, 0, 1, 0]
            one.PixelSpacing, one.Rows, one.Columns = [5, 5], SIDE, SIDE
            one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
            one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
            one.RescaleSlope, one.RescaleIntercept, one.RescaleType = 1, -1024, "HU"
            one.PixelData = stored[k].tobytes()
            one.save_as(folder / f"{k:03d}.dcm", enforce_file_format=True)
        rows.append([f"P{case:06d}", *(str(random.choice(letters)) for letters in (T, N, M))])
    with open(raw / "clinical.csv", "w", newline="") as file:
        csv.writer(file).writerows([["patient", "t", "n", "m"], *rows])


def ingest(work: Path, cases: int) -> Callable[[], Any]:
    """The tree to a cohort, with one worker."""
    from monai_staging.cohort.ingest import IngestOptions, ingest

    raw = work / f"raw-{cases}"
    write_series(raw, cases)
    out = work / f"cohort-{cases}-{os.getpid()}"

    def step() -> None:
        found = ingest("folder", raw, out, IngestOptions(workers=1))
        if len(found.cohort.cases) != cases:
            raise SystemExit(f"{cases} cases are needed, found {len(found.cohort.cases)}: {found.rejections[:1]}")
        kept = work / f"cohort-{cases}"
        if not kept.exists():
            out.rename(kept)

    return step


def audit(work: Path, cases: int) -> Callable[[], Any]:
    """An audit of that cohort, with its volumes."""
    from monai_staging.cohort import load_cohort
    from monai_staging.cohort.audit import audit_cohort

    def step() -> None:
        if not audit_cohort(load_cohort(work / f"cohort-{cases}")).acceptable:
            raise SystemExit("The cohort is not acceptable")

    return step


def start(work: Path, cases: int) -> Callable[[], Any]:
    """The staging bundle from its config to the first batch."""
    import mlflow
    import torch
    from monai.bundle import ConfigParser

    torch.set_num_threads(1)
    config = ROOT / "bundles" / "staging" / "train.json"
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{work}/mlruns.db"
    mlflow.MlflowClient().search_experiments()  # a database is made once, whatever the cohort

    def step() -> None:
        parser = ConfigParser(ConfigParser.load_config_file(str(config)))
        parser.update({"dataset_dir": str(work / f"cohort-{cases}"), "output_dir": str(work / "run")})
        trainer = parser.get_parsed_content("train#trainer")
        next(iter(trainer.data_loader))

    return step


def froc(work: Path, cases: int) -> Callable[[], Any]:
    """FROC of so many scans with 62 marks and 1.3 lesions each, and 1000 resamples."""
    from benchmarks.froc_case import large_case
    from monai_staging.metrics.froc import froc

    case = large_case(cases, round(1.335 * cases), 62 * cases)
    return lambda: froc(*case, n_boot=1000, seed=SEED)


def compare(work: Path, cases: int) -> Callable[[], Any]:
    """What `monai-staging compare` makes of its arms once they are trained: two arms, three seeds, all tables."""
    from monai_staging.compare.arm import RECORD
    from monai_staging.compare.plan import comparison_of
    from monai_staging.compare.report import write_report
    from monai_staging.compare.results import Results
    from monai_staging.compare.statistics import find

    comparison = comparison_of(
        {
            **{"name": "made", "bundle": "bundles/malignancy", "dataset_dir": "nowhere", "seeds": 3},
            **{"networks": {"Net": {"network": "resnet10"}}, "fractions": [1.0], "folds": None},
            **{"initialisations": {"scratch": None, "transfer": "somewhere.pt"}},
        }
    )
    folders = {}
    for arm in comparison.arms:
        folder = folders[arm] = work / f"arms-{cases}" / arm.name
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng([arm.seed, arm.init == "transfer"]).normal(size=cases)
        with open(folder / "predictions.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["nodule", "patient", "label", "predicted", "p_malignant"])
            for number in range(cases):
                label = ("benign", "malignant")[number % 3 == 0]
                chance = 1 / (1 + np.exp(-(noise[number] + (number % 3 == 0))))
                writer.writerow([number, f"patient-{number:07d}", label, label, f"{chance:.9g}"])
        (folder / RECORD).write_text(json.dumps({"name": arm.name, "identity": "x", "seconds": 7.0}))

    def step() -> None:
        results = Results(comparison, folders)
        write_report(work / f"report-{cases}", results, find(results), "made-up nodules", "seed 0")

    return step


def drawn_cases(rows: int) -> list[Any]:
    """Cases without files: five patients in six have one study, the others two."""
    from monai_staging.cohort.case import Case

    random = np.random.default_rng(SEED)
    letters = [random.integers(0, len(own), rows) for own in (T, N, M)]
    return [
        Case(
            **{"patient": f"P{row - (row % 6 == 5):07d}", "study": f"1.2.1.{row}", "series": f"1.2.2.{row}"},
            **{"image": f"volumes/{row}.nii", "edition": "8"},
            **{name: (own[at[row]],) for name, own, at in zip("tnm", (T, N, M), letters, strict=True)},
        )
        for row in range(rows)
    ]


def split_rows(work: Path, rows: int) -> Callable[[], Any]:
    """Parts and folds of so many cases."""
    import sklearn.model_selection  # noqa: F401  # which splitting imports when it begins

    from monai_staging.cohort.splits import SplitOptions, split_cases

    cases = drawn_cases(rows)
    return lambda: split_cases(cases, SplitOptions())


def audit_rows(work: Path, rows: int) -> Callable[[], Any]:
    """Reading a cohort.json of so many cases and auditing it; no volume is there, which is a problem each."""
    from monai_staging.cohort import load_cohort
    from monai_staging.cohort.audit import audit_cohort
    from monai_staging.cohort.cohort import Cohort

    folder = work / f"rows-{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "cohort.json").exists():
        cases = drawn_cases(rows)
        Cohort(folder, "rows", "folder", None, tuple(cases[rows // 5 :]), (), tuple(cases[: rows // 5])).save()

    def step() -> None:
        found = audit_cohort(load_cohort(folder))
        if len(found.problems) != rows:
            raise SystemExit(f"A problem a row is needed, found {len(found.problems)}")

    return step


def stage_rows(work: Path, rows: int) -> Callable[[], Any]:
    """`monai-staging stage-table` over so many rows, written with its derived columns."""
    from monai_staging.cli.main import main

    table = work / f"table-{rows}.csv"
    if not table.exists():
        random = np.random.default_rng(SEED)
        columns = [random.choice(own, rows) for own in (T, N, M)]
        with open(table, "w", newline="") as file:
            csv.writer(file).writerows([["T", "N", "M"], *zip(*columns, strict=True)])

    def step() -> None:
        if main(["stage-table", str(table), "--out", str(work / f"staged-{rows}.csv")]):
            raise SystemExit("The table was not staged")

    return step


CASES: dict[str, Callable[[Path, int], Callable[[], Any]]] = {
    **{"ingest": ingest, "audit": audit, "train start-up": start, "FROC": froc, "compare": compare}
}
ROWS: dict[str, Callable[[Path, int], Callable[[], Any]]] = {
    **{"audit, rows": audit_rows, "splits, rows": split_rows, "stage-table, rows": stage_rows}
}
