"""Prediction sets of T, N, M and the stage group: which truths count for them, and their thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_staging.errors import UsageError
from monai_staging.metrics.conformal import class_scores, conformal_quantile, worst_scores
from monai_staging.metrics.levels import Level, main_class
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.temperature import BoolArray, possible_classes
from monai_staging.tnm.categories import LETTERS
from monai_staging.tnm.tables import stage_groups

NAMES = (*LETTERS, "group")
"""What there are prediction sets of."""
PARTIAL = ("worst", "omit")
"""What becomes of a truth that leaves sub-categories open, see :func:`truth_sets`."""


@dataclass(frozen=True)
class ConformalThreshold:
    """From where on a category is no longer named.

    Attributes:
        threshold: largest score of :func:`monai_staging.metrics.conformal.class_scores` that is named; infinity where
            there were too few patients for the level.
        patients: how many had a truth that counts.
        partial: how many of them left sub-categories open.
    """

    threshold: float
    patients: int
    partial: int = 0


def fit_thresholds(
    predictions: StagingPredictions, score: str, level: float, partial: str
) -> dict[str, ConformalThreshold]:
    """Of t, n, m and group.

    Args:
        predictions: scaled as those of a new patient would be, see
            :func:`monai_staging.metrics.cross_fitting.cross_fitted`, and the truth.
        score: kind of the scores, see :func:`monai_staging.metrics.conformal.class_scores`.
        level: probability with which a set holds the truth.
        partial: see :func:`truth_sets`.

    Raises:
        UsageError: a score, level or rule that does not exist.
    """
    names = np.asarray(predictions.patients)
    result = {}
    for name in NAMES:
        possible = truth_sets(predictions, name, partial)
        scores = class_scores(finest(predictions, name).probabilities, score)
        worst = worst_scores(scores, possible, predictions.patients)
        several = len(set(names[possible.sum(axis=1) > 1].tolist()))
        result[name] = ConformalThreshold(conformal_quantile(worst, level), len(worst), several)
    return result


def finest(predictions: StagingPredictions, name: str) -> Level:
    """Of a letter or of ``group`` the level that the edition divides furthest."""
    return predictions.levels.get(f"{name}_fine", predictions.levels[name])


def truth_sets(predictions: StagingPredictions, name: str, partial: str = "worst") -> BoolArray:
    """(rows, finest classes of the edition) what the truth may be, for rows whose truth counts for prediction sets.

    A truth counts where it settles the main category: T2a does, and a bare "T2" too, but not "T1 or T2" or an unknown
    letter; for the stage group likewise, over all combinations of the letters still possible. Others have no class
    here: it is assumed that whether a truth was recorded has nothing to do with how well the model does on it.

    Args:
        predictions: probabilities and truth.
        name: of ``NAMES``.
        partial: what becomes of a truth that leaves sub-categories open: ``worst`` keeps all its members, so that a
            set must hold the worst of them, which assumes nothing and makes sets large where such truths are many;
            ``omit`` leaves it out like an unknown one, under the same assumption.

    Raises:
        UsageError: another rule.
    """
    if partial not in PARTIAL:
        raise UsageError(f"A truth that leaves sub-categories open is treated as {' or '.join(PARTIAL)}: {partial!r}?")
    classes = finest(predictions, name).classes
    letters = [getattr(predictions, f"truth_{letter}") for letter in LETTERS]
    if name == "group":
        truth = [stage_groups(t, n, m, predictions.edition) for t, n, m in zip(*letters, strict=True)]
    else:
        truth = list(letters[LETTERS.index(name)])
    result = possible_classes(truth, classes)
    for row, members in enumerate(truth):
        settled = len({main_class(name, one) for one in members}) == 1 and set(members) <= set(classes)
        if not settled or (partial == "omit" and len(members) > 1):
            result[row] = False
    return result
