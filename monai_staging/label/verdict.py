"""Whether a trained network outlines the lesions of the validation part better than the one that is served."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.errors import DataError
from monai_staging.metrics.intervals import Estimate, FloatArray
from monai_staging.metrics.paired import PairedDifference, paired_difference
from monai_staging.metrics.segmentation import mean_estimate

METRIC = "dice"


@dataclass(frozen=True)
class Verdict:
    """Dice of two networks on the same lesions.

    Attributes:
        served: mean over lesions of the network that is served, with its interval over patients.
        trained: the same of the trained one.
        difference: trained less served, lesion by lesion.
        lesions: how many.
        accept: the rule, see :class:`monai_staging.label.orders.Order`.
    """

    served: Estimate
    trained: Estimate
    difference: PairedDifference
    lesions: int
    accept: str

    @property
    def better(self) -> bool:
        """Whether the trained one is, by the rule."""
        least = self.difference.low if self.accept == "interval" else self.difference.value
        return not math.isnan(least) and least > 0

    @property
    def text(self) -> str:
        """Both numbers and what follows, in words."""
        rule = "the whole interval of the difference" if self.accept == "interval" else "the mean difference"
        patients = self.difference.n
        return (
            f"Dice {self.trained.text(3)} against {self.served.text(3)} of the network that was served, on "
            f"{self.lesions} {'lesion' if self.lesions == 1 else 'lesions'} of {patients} patients that neither was "
            f"trained on here; difference {self.difference.text(3)}. "
            f"{'Better' if self.better else 'Not better'}: {rule} {'is' if self.better else 'is not'} above 0."
        )

    def to_json(self) -> dict[str, Any]:
        """For answers."""
        return {
            "metric": METRIC,
            "served": self.served.to_json(),
            "trained": self.trained.to_json(),
            "difference": self.difference.to_json(),
            "lesions": self.lesions,
            "accept": self.accept,
            "better": self.better,
        }


def judge(served: Path, trained: Path, accept: str, seed: int = 0) -> Verdict:
    """The verdict on two evaluations of the same lesions.

    Args:
        served: ``predictions.csv`` of the network that is served.
        trained: of the trained one.
        accept: the rule.
        seed: of the resampling.

    Raises:
        DataError: they are of different lesions.
    """
    before, after = _scores(served), _scores(trained)
    if list(before) != list(after):
        raise DataError(f"Verdict: the same lesions are compared; found {len(before)} and {len(after)}, or others.")
    patients = [patient for patient, _ in before.values()]
    one, other = (np.array([score for _, score in own.values()]) for own in (before, after))
    difference = paired_difference(_mean, patients, np.zeros(len(one)), other, one, scale="score", seed=seed)
    served_mean, trained_mean = (mean_estimate(values, patients, seed=seed) for values in (one, other))
    return Verdict(served_mean, trained_mean, difference, len(one), accept)


def _scores(path: Path) -> dict[str, tuple[str, float]]:
    """Patient and Dice of each lesion."""
    with open(path, newline="", encoding="utf-8") as file:
        return {row["scan"]: (row["patient"], float(row[METRIC])) for row in csv.DictReader(file)}


def _mean(truth: NDArray[Any], scores: NDArray[Any], weights: FloatArray) -> FloatArray:
    """(resamples) mean scores."""
    return np.asarray(weights @ scores / weights.sum(axis=1))
