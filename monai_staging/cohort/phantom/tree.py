"""A whole cohort of phantoms as a raw tree: patients and tables.

Layout: ``<out>/<patient>/CT/*.dcm``, ``<out>/<patient>/SEG|RTSTRUCT/lesions.dcm``, ``<out>/truth/<patient>.json``
(also what the tables do not tell), ``<out>/clinical.csv``, ``<out>/lesions.csv``; of screened patients also
``<out>/cancer.csv``, which says who has a cancer, with the columns of the Data Science Bowl's tables.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from monai_staging.cohort.lock import exclusive
from monai_staging.cohort.phantom.config import PhantomConfig
from monai_staging.cohort.phantom.study import configuration_digest, remove_leftovers, write_phantom_study
from monai_staging.cohort.phantom.truth import PhantomTruth
from monai_staging.errors import UsageError
from monai_staging.files import write_json_atomic, write_text_atomic
from monai_staging.progress import progress

CLINICAL_COLUMNS = ("patient", "age", "sex", "smoking", "t", "n", "m", "stage", "edition", "prefix")
LESION_COLUMNS = (
    "patient", "series", "label", "kind", "site", "x_mm", "y_mm", "z_mm", "dx_mm", "dy_mm", "dz_mm", "diameter_mm",
    "solid_diameter_mm",
)  # fmt: skip


CANCER_TABLE = "cancer.csv"


def _truth_path(out: Path, seed: int, index: int) -> Path:
    return out / "truth" / f"PH-{seed}-{index:04d}.json"


def _one(out: Path, index: int, seed: int, config: PhantomConfig) -> PhantomTruth:
    """Makes one phantom unless it is there already, whole, and of this configuration."""
    path = _truth_path(out, seed, index)
    digest = configuration_digest(config)
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["configuration"] == digest and (out / path.stem).is_dir():
            return PhantomTruth.from_json(document["truth"])
    truth = write_phantom_study(out, index, seed, config)
    write_json_atomic(path, {"configuration": digest, "truth": truth.to_json()})
    return truth


def write_phantom_tree(
    out: str | Path,
    cases: int,
    seed: int = 0,
    config: PhantomConfig | None = None,
    workers: int | None = None,
    *,
    first: int = 0,
    indexes: Sequence[int] | None = None,
) -> list[PhantomTruth]:
    """Writes phantoms ``first`` to ``first + cases - 1`` and the two tables; what is there already is kept.

    What a killed process left half written in the tree is removed first.

    Args:
        out: folder of the tree; made if missing.
        cases: how many phantoms.
        seed: seed of the cohort.
        config: settings; the default ones if None.
        workers: processes; as many as there are cores by default.
        first: index of the first phantom.
        indexes: these phantoms instead of ``first`` and ``cases``.

    Returns:
        The truth of every phantom, by index.

    Raises:
        UsageError: where there is nothing to do or a number is negative.
        DataError: another process is writing into the tree.
    """
    numbers = list(indexes) if indexes is not None else list(range(first, first + cases))
    if not numbers or min(numbers) < 0 or seed < 0:
        raise UsageError(
            f"Phantom tree: needs at least one case and no negative numbers, found {numbers[:3]}, seed {seed}."
        )
    folder, settings = Path(out), config or PhantomConfig()
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "truth" / "lock", busy=f"{out}: another process is writing phantoms into this folder"):
        remove_leftovers(folder)
        count = min(len(numbers), workers or os.cpu_count() or 1)
        found = dict(progress(_all(folder, numbers, seed, settings, count), total=len(numbers), description="phantom"))
        truths = [found[number] for number in numbers]
        write_tables(folder, truths)
    return truths


def _all(
    out: Path, numbers: Sequence[int], seed: int, config: PhantomConfig, workers: int
) -> Iterator[tuple[int, PhantomTruth]]:
    if workers <= 1:
        for number in numbers:
            yield number, _one(out, number, seed, config)
        return
    # Not fork: the caller may have threads (torch, MLflow), and a forked child of those can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(_one, out, number, seed, config): number for number in numbers}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        finally:
            for job in jobs:
                job.cancel()


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def write_tables(out: str | Path, truths: Sequence[PhantomTruth]) -> None:
    """Writes ``clinical.csv`` (letters as recorded, some of them X), ``lesions.csv`` (RAS mm) and, where the patients
    are screened, ``cancer.csv``.
    """
    clinical: list[tuple[object, ...]] = [
        (
            t.patient,
            t.age,
            t.sex,
            t.smoking,
            t.recorded_t,
            t.recorded_n,
            t.recorded_m,
            t.recorded_stage,
            t.edition,
            t.prefix,
        )
        for t in truths
    ]
    columns: tuple[str, ...] = CLINICAL_COLUMNS
    if any(t.subtype is not None for t in truths):
        columns = (*columns, "subtype")
        clinical = [(*row, t.subtype or "") for row, t in zip(clinical, truths, strict=True)]
    lesions: list[tuple[object, ...]] = [
        (
            t.patient, t.series, row.label, row.kind, row.site, *row.center_mm, *row.size_mm,
            "" if row.diameter_mm is None else row.diameter_mm,
            "" if row.solid_diameter_mm is None else row.solid_diameter_mm,
        )
        for t in truths for row in t.lesions
    ]  # fmt: skip
    lesion_columns: tuple[str, ...] = LESION_COLUMNS
    if any(row.malignancy for t in truths for row in t.lesions):
        lesion_columns = (*lesion_columns, "malignancy")
        ratings = [" ".join(map(str, row.malignancy)) for t in truths for row in t.lesions]
        lesions = [(*row, rated) for row, rated in zip(lesions, ratings, strict=True)]
    write_text_atomic(Path(out) / "clinical.csv", _csv(columns, clinical))
    write_text_atomic(Path(out) / "lesions.csv", _csv(lesion_columns, lesions))
    if any(t.cancer is not None for t in truths):
        rows = [(t.patient, "" if t.cancer is None else int(t.cancer)) for t in truths]
        write_text_atomic(Path(out) / CANCER_TABLE, _csv(("id", "cancer"), rows))
