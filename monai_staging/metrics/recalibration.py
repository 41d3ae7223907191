"""How far the odds of a binary classifier are off: slope and intercept of logistic recalibration (Cox, 1958).

On many weightings of the rows at once, like :mod:`monai_staging.metrics.classification`. With :math:`x` the logit of
the predicted probability, the outcome is fitted by maximum likelihood as :math:`\\operatorname{logit} p = a + b x`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from monai_staging.metrics.classification import _weights
from monai_staging.metrics.intervals import FloatArray

CLIP = 1e-7
"""Probabilities nearer to 0 or 1 than this count as this near: what single precision still tells from certainty."""
STEPS = 60
"""Newton steps after which a fit that still moves has no maximum (the classes are separated)."""
LONGEST_STEP = 2.0
"""No log odds move further in a step: where predictions are saturated, Newton's steps overshoot."""
STEP_TOLERANCE = 1e-8
"""A fit whose last step was shorter is done."""
SINGULAR = 1e-10
"""A Hessian with a smaller determinant, for its diagonal, is singular: the probabilities are constant."""


def clip_probability(probability: ArrayLike) -> FloatArray:
    """(rows) probabilities, none nearer to 0 or 1 than ``CLIP``: half precision rounds 0.9999 to 1."""
    return np.clip(np.asarray(probability, dtype=np.float64), CLIP, 1 - CLIP)


def calibration_slope(truth: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """The slope :math:`b`: 1 is right, below 1 the probabilities are too extreme, as after overfitting.

    Args:
        truth: (rows) 1 where the row is positive, 0 elsewhere.
        probability: (rows) of being positive; clipped, see :func:`clip_probability`.
        weights: (resamples, rows); ones by default.

    Returns:
        (resamples) slopes; NaN where there is no fit: one class only, separated classes, a constant probability.
    """
    odds = _logit(probability)
    return _fit(np.stack([np.ones_like(odds), odds]), np.zeros_like(odds), truth, weights, np.array([0.0, 1.0]))[:, 1]


def calibration_intercept(truth: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Calibration in the large: :math:`a` with the slope held at 1 (Van Calster et al., 2019).

    0 is right; above 0 the outcome is more frequent than predicted, in units of log odds.

    The arguments are those of :func:`calibration_slope`.

    Returns:
        (resamples) intercepts; NaN where there is only one class.
    """
    odds = _logit(probability)
    return _fit(np.ones((1, len(odds))), odds, truth, weights, np.zeros(1))[:, 0]


def temperature(truth: ArrayLike, probability: ArrayLike) -> float:
    """What log odds are divided by to be calibrated (Guo et al., 2017, arXiv:1706.04599): above 1, they were too sure.

    Fitted by maximum likelihood to Platt's targets, (n+ + 1) / (n+ + 2) for positives and 1 / (n- + 2) for negatives
    (Platt, 1999), instead of 1 and 0: so there is a fit where the classes are separated too, and from few rows it is
    not too sure.

    Args:
        truth: (rows) 1 where the row is positive, 0 elsewhere.
        probability: (rows) of being positive; clipped, see :func:`clip_probability`.

    Returns:
        The temperature, above 0; NaN where there is none: no row, one class only, or odds that point the wrong way.
    """
    outcome = np.asarray(truth, dtype=np.float64)
    positives = float(outcome.sum())
    negatives = len(outcome) - positives
    if not positives or not negatives:
        return float("nan")
    targets = np.where(outcome == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    odds = _logit(probability)
    slope = float(_fit(odds[None], np.zeros_like(odds), targets, None, np.ones(1))[0, 0])
    return 1 / slope if slope > 0 else float("nan")


def tempered(probability: ArrayLike, by: float) -> FloatArray:
    """(rows) probabilities whose log odds are divided by a temperature."""
    chances: FloatArray = 0.5 * (1 + np.tanh(0.5 * _logit(probability) / by))
    return chances


def _logit(probability: ArrayLike) -> FloatArray:
    clipped = clip_probability(probability)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _fit(
    design: FloatArray, offset: FloatArray, truth: ArrayLike, weights: ArrayLike | None, start: FloatArray
) -> FloatArray:
    """Logistic regression by Newton's method: (resamples, terms) coefficients of (terms, rows); NaN if none.

    The fit on all rows is found first and is where every resample begins, which saves it most of its steps.
    """
    outcome = np.asarray(truth, dtype=np.float64)
    weighted = _weights(weights, len(outcome))
    begin = _newton(design, offset, outcome, np.ones((1, len(outcome))), start)[0]
    return _newton(design, offset, outcome, weighted, start if np.isnan(begin).any() else begin)


def _newton(
    design: FloatArray, offset: FloatArray, outcome: FloatArray, weights: FloatArray, start: FloatArray
) -> FloatArray:
    terms = len(design)
    products = (design[:, None, :] * design[None, :, :]).reshape(terms * terms, -1)
    reach = np.abs(design).max(axis=1, initial=0)
    found = np.full((len(weights), terms), np.nan)
    total, positives = weights.sum(axis=1), weights @ outcome
    # Those still moving, their weights and where they are.
    moving = np.flatnonzero((positives > 0) & (positives < total))
    left, at = weights[moving], np.tile(start, (len(moving), 1))
    for _ in range(STEPS):
        if not len(moving):
            break
        chance = 0.5 * (1 + np.tanh(0.5 * (at @ design + offset)))
        slope = (left * (outcome - chance)) @ design.T
        hessian = ((left * (chance * (1 - chance))) @ products.T).reshape(-1, terms, terms)
        scale = np.diagonal(hessian, axis1=1, axis2=2).prod(axis=1)
        solvable = np.linalg.det(hessian) > SINGULAR * scale
        moving, left, at = moving[solvable], left[solvable], at[solvable]
        step = np.linalg.solve(hessian[solvable], slope[solvable][..., None])[..., 0]
        at = at + step / np.maximum(np.abs(step) @ reach / LONGEST_STEP, 1)[:, None]
        done = np.abs(step).max(axis=1, initial=0) < STEP_TOLERANCE
        found[moving[done]] = at[done]
        moving, left, at = moving[~done], left[~done], at[~done]
    return found
