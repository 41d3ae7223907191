"""Patients' probabilities as the Data Science Bowl 2017 takes them: a csv file of ``id`` and ``cancer``."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path

from monai_staging.errors import DataError, UsageError
from monai_staging.files import atomic_path

HEADER = ("id", "cancer")
CERTAIN = 1e-3
"""Probabilities are written as at least this, and at most 1 minus it: one sure mistake would outweigh all else in the
log-loss that submissions are scored by."""


def write_submission(
    path: str | os.PathLike[str], probabilities: Mapping[str, float], *, sample: str | os.PathLike[str] | None = None
) -> Path:
    """Writes a submission; ``id`` is the patient, as in the data set's folders.

    Args:
        path: the file.
        probabilities: of cancer, by patient.
        sample: ``stage1_sample_submission.csv``; then the rows are in its order, and each of its patients must have a
            probability.

    Raises:
        DataError: a probability is not between 0 and 1, or the sample cannot be read.
        UsageError: no patient, or not those of the sample.
    """
    if not probabilities:
        raise UsageError("Submission: at least one patient is needed, found none")
    for patient, value in probabilities.items():
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise DataError(f"Submission: a probability lies between 0 and 1, found {value} of patient {patient}.")
    order = sorted(probabilities) if sample is None else _sampled(Path(sample), probabilities)
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for patient in order:
            writer.writerow([patient, f"{min(max(probabilities[patient], CERTAIN), 1 - CERTAIN):.6f}"])
    return Path(path)


def _sampled(path: Path, probabilities: Mapping[str, float]) -> list[str]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            order = [row["id"] for row in csv.DictReader(file)]
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: a table with the column id is needed ({type(error).__name__}: {error}).") from None
    if missing := [patient for patient in order if patient not in probabilities]:
        raise UsageError(
            f"Submission: every patient of {path.name} has a probability; {len(missing)} of {len(order)} have none, "
            f"the first is {missing[0]}"
        )
    if len(set(order)) < len(probabilities):
        raise UsageError(
            f"Submission: {path.name} has {len(set(order))} patients, and there are {len(probabilities)} probabilities"
        )
    return order
