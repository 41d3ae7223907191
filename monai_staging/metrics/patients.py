"""Scores of a patient's probability of cancer: what was chosen on other patients, and arms side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_staging.errors import UsageError
from monai_staging.metrics.binary import binary_metrics, brier_score, log_loss
from monai_staging.metrics.calibration import calibration_error
from monai_staging.metrics.classification import _divide, class_auroc
from monai_staging.metrics.intervals import Estimate, FloatArray, patient_bootstrap, weightings
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.metrics.operating_points import threshold_at_accuracy
from monai_staging.metrics.paired import PairedDifference, paired_difference
from monai_staging.metrics.recalibration import temperature, tempered


@dataclass(frozen=True)
class Decision:
    """What is chosen on patients who are not those that are judged.

    Attributes:
        threshold: a patient is called one with cancer from this probability on.
        temperature: by which the log-odds are divided to be calibrated.
        patients: how many it was chosen on; 0 where nothing was, and the rest are defaults.
        chosen_on: who they are.
    """

    threshold: float = 0.5
    temperature: float = 1.0
    patients: int = 0
    chosen_on: str = ""

    def calibrated(self, probabilities: ArrayLike) -> FloatArray:
        """(rows) the probabilities at the temperature."""
        return tempered(probabilities, self.temperature)


def choose_decision(predictions: NodulePredictions, chosen_on: str = "") -> Decision:
    """Threshold with the most right and temperature with the greatest likelihood, where there are labels.

    Args:
        predictions: ``binary``, of the validation part.
        chosen_on: who they are.
    """
    known = predictions.known
    if not len(known):
        return Decision()
    truth, chances = known.labels[:, 0], known.probabilities[:, 0]
    fitted = temperature(truth, chances)
    return Decision(
        threshold_at_accuracy(truth, chances),
        1.0 if math.isnan(fitted) else fitted,
        len(set(known.patients)),
        chosen_on,
    )


def patient_metrics(
    predictions: NodulePredictions, decision: Decision, *, seed: int = 0, n_boot: int = 1000
) -> dict[str, Estimate]:
    """Scores of the labelled patients with percentile intervals over patients.

    Those of :func:`monai_staging.metrics.binary.binary_metrics` at the decision's threshold, ``calibrated_log_loss``,
    ``calibrated_brier`` and ``calibrated_ece`` at its temperature, and ``threshold`` and ``temperature``, which have no
    interval: they were chosen before.

    Args:
        predictions: ``binary``.
        decision: chosen on others.
        seed: of the resampling.
        n_boot: how many resamples.

    Raises:
        DataError: no patient has a label.
    """
    known = predictions.known
    truth, chances, patients = known.labels[:, 0], known.probabilities[:, 0], np.asarray(known.patients)
    found = binary_metrics(truth, chances, patients, threshold=decision.threshold, seed=seed, n_boot=n_boot)
    calibrated = decision.calibrated(chances)
    for name, statistic in (("log_loss", log_loss), ("brier", brier_score), ("ece", gaps)):
        found[f"calibrated_{name}"] = patient_bootstrap(
            statistic, patients, truth, calibrated, n=n_boot, seed=seed, weighted=True
        )
    for name in ("threshold", "temperature"):
        found[name] = Estimate(getattr(decision, name), math.nan, math.nan, decision.patients)
    return found


def gaps(truth: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """(resamples) expected calibration errors of the probability of being positive."""
    return calibration_error(probabilities, truth, weights)


def share_right(truth: ArrayLike, called: ArrayLike, weights: ArrayLike) -> FloatArray:
    """(resamples) accuracies of (rows) calls of 0 and 1."""
    weighted = np.asarray(weights, dtype=np.float64)
    right = (np.asarray(called) == np.asarray(truth)).astype(np.float64)
    return _divide(weighted @ right, weighted.sum(axis=1))


@dataclass(frozen=True, eq=False)
class PatientArm:
    """What the trainings of one kind say of the same patients.

    Attributes:
        patients: (rows) whose each row is.
        truth: (rows) 0 or 1.
        probabilities: (repetitions, rows) of cancer.
        called: (repetitions, rows) 0 or 1, each at the threshold of its own training.
    """

    patients: tuple[str, ...]
    truth: FloatArray
    probabilities: FloatArray
    called: FloatArray


Scale = Literal["rank", "score"]
ARM_METRICS: Mapping[str, tuple[Callable[..., FloatArray], str, Scale, bool]] = {
    "auroc": (class_auroc, "probabilities", "rank", True),
    "log_loss": (log_loss, "probabilities", "score", True),
    "accuracy": (share_right, "called", "score", True),
    # The bins come from the probabilities: swapping those between arms would change the statistic itself.
    "ece": (gaps, "probabilities", "score", False),
}
"""By name: the statistic, what of an arm it judges, the scale that a permutation swaps, and whether one is made."""


def arm_metrics(arm: PatientArm, *, seed: int = 0, n_boot: int = 1000) -> dict[str, Estimate]:
    """Means over an arm's repetitions, with percentile intervals over patients."""
    draws = weightings(arm.patients, n_boot, seed)
    found = {}
    for name, (statistic, what, _, _) in ARM_METRICS.items():
        each = [np.asarray(statistic(arm.truth, row, draws.weights)) for row in getattr(arm, what)]
        found[name] = draws.estimate(np.mean(each, axis=0))
    return found


def arm_differences(
    arm: PatientArm, other: PatientArm, *, seed: int = 0, n_boot: int = 1000
) -> dict[str, PairedDifference]:
    """Of the same scores, the first arm less the other: repetition by repetition, on the same patients.

    Raises:
        UsageError: the arms are not of the same rows.
    """
    if arm.patients != other.patients or not _equal(arm.truth, other.truth):
        raise UsageError("Arms are compared on the same patients in the same order; these are not.")
    return {
        name: paired_difference(
            statistic,
            arm.patients,
            arm.truth,
            getattr(arm, what),
            getattr(other, what),
            n_boot=n_boot,
            n_permutations=n_boot if permuted else 0,
            scale=scale,
            seed=seed,
        )
        for name, (statistic, what, scale, permuted) in ARM_METRICS.items()
    }


def _equal(first: NDArray[Any], second: Sequence[float] | NDArray[Any]) -> bool:
    return bool(np.array_equal(first, second))
