"""What turns a staging model's probabilities into calibrated ones and into prediction sets of T, N, M and stage group.

Fitted on patients that the model was not trained on, kept beside its weights. Every method takes what the *network*
said, never probabilities that are calibrated already.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.metrics.calibration_document import calibration_document, calibration_statement, read_calibration
from monai_staging.metrics.conformal import SCORES, class_scores, prediction_sets
from monai_staging.metrics.cross_fitting import METHODS, Scaling, cross_fitted, fit_scalings, letter_sets, scaled
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.staging_sets import NAMES, PARTIAL, ConformalThreshold, finest, fit_thresholds
from monai_staging.metrics.temperature import BoolArray, TemperatureScaling, says_something
from monai_staging.tnm.categories import EDITIONS, LETTERS, categories
from monai_staging.tnm.probabilities import group_probabilities

Letters = Mapping[str, Mapping[str, float]]
"""Probabilities of one study: ``{"t": {"T1a": 0.7, ...}, "n": {...}, "m": {...}}``."""


@dataclass(frozen=True)
class StagingCalibration:
    """Calibration of one staging model, and thresholds of its prediction sets.

    Attributes:
        edition: of the TNM, "6" to "9".
        classes: of the model, ``{"t": (...), "n": (...), "m": (...)}``, in the order of its outputs.
        method: ``temperature`` or ``isotonic``.
        scaling: of each letter.
        patients: how many patients each letter's scaling was fitted on.
        score: kind of the conformal scores, ``threshold`` or ``adaptive``.
        level: probability with which a set holds the truth.
        partial: ``worst`` or ``omit``, see :func:`monai_staging.metrics.staging_sets.truth_sets`.
        thresholds: of t, n, m and group.
        fitted_on: what the data was, for readers: ``phantoms (synthetic CT), validation part``.
        cohort_digest: SHA-256 of its ``cohort.json``.
        weights_sha256: of the model's weights, ascending; several for an ensemble.
        passes: of Monte-Carlo dropout; 0 without.
        chose_epoch: whether the same patients chose the epoch of the weights.

    Raises:
        DataError: something is missing, or a value makes no sense.
    """

    edition: str
    classes: Mapping[str, tuple[str, ...]]
    method: str
    scaling: Mapping[str, Scaling]
    patients: Mapping[str, int]
    score: str
    level: float
    partial: str
    thresholds: Mapping[str, ConformalThreshold]
    fitted_on: str
    cohort_digest: str
    weights_sha256: tuple[str, ...]
    passes: int = 0
    chose_epoch: bool = False

    def __post_init__(self) -> None:
        for name, known in (("edition", EDITIONS), ("method", METHODS), ("score", SCORES), ("partial", PARTIAL)):
            if getattr(self, name) not in known:
                raise DataError(f"Calibration: {name} is one of {', '.join(known)}, found {getattr(self, name)!r}.")
        for name in ("classes", "scaling", "patients", "thresholds"):
            needed = NAMES if name == "thresholds" else LETTERS
            if set(getattr(self, name)) != set(needed):
                raise DataError(f"Calibration: {name} are of {', '.join(needed)}, found {sorted(getattr(self, name))}.")
        for letter in LETTERS:
            found = self.classes[letter]
            if not found or len(set(found)) < len(found) or set(found) - set(categories(letter, self.edition)):
                raise DataError(
                    f"Calibration: classes of {letter.upper()} are different categories of the {self.edition}th "
                    f"edition, found {list(found)}."
                )
        if not 0 < self.level < 1:
            raise DataError(f"Calibration: the level lies between 0 and 1, found {self.level}.")
        for name, one in self.thresholds.items():
            if not (one.threshold >= 0 and 0 <= one.partial <= one.patients):
                raise DataError(
                    f"Calibration: the threshold of {name} is 0 or more, of 0 patients or more, found {one}."
                )
        if not self.weights_sha256 or any(len(digest) != 64 for digest in self.weights_sha256) or self.passes < 0:
            raise DataError(
                f"Calibration: a model has weights with a SHA-256 of 64 digits and 0 passes or more, found "
                f"{list(self.weights_sha256)} and {self.passes}."
            )

    @classmethod
    def fit(
        cls,
        predictions: StagingPredictions,
        *,
        weights_sha256: Sequence[str],
        fitted_on: str,
        cohort_digest: str,
        method: str = "temperature",
        score: str = "threshold",
        level: float = 0.9,
        partial: str = "worst",
        passes: int = 0,
        chose_epoch: bool = False,
    ) -> StagingCalibration:
        """Fits the scaling of each letter, then the thresholds of the sets, on the same patients.

        A patient's score is by the scaling of the *others* (:func:`~monai_staging.metrics.cross_fitting.cross_fitted`),
        as one that has seen the patient would flatter it; what is kept is the scaling of all.

        Args:
            predictions: of patients whom the model was not trained on.
            weights_sha256: of the model that made them.
            fitted_on: what the data is, for readers.
            cohort_digest: of the cohort.
            method: ``temperature``; ``isotonic`` needs hundreds of patients.
            score: kind of the conformal scores, see :func:`monai_staging.metrics.conformal.class_scores`.
            level: of the sets.
            partial: of truths that leave sub-categories open, see
                :func:`monai_staging.metrics.staging_sets.truth_sets`.
            passes: of Monte-Carlo dropout.
            chose_epoch: whether the same patients chose the weights' epoch.

        Raises:
            UsageError: a method, score, level or rule that does not exist.
        """
        names = np.asarray(predictions.patients)
        counts = {
            letter: len(set(names[says_something(letter_sets(predictions, letter))].tolist())) for letter in LETTERS
        }
        return cls(
            edition=predictions.edition,
            classes=predictions.classes,
            method=method,
            scaling=fit_scalings(predictions, method),
            patients=counts,
            score=score,
            level=level,
            partial=partial,
            thresholds=fit_thresholds(cross_fitted(predictions, method), score, level, partial),
            fitted_on=fitted_on,
            cohort_digest=cohort_digest,
            weights_sha256=tuple(sorted(weights_sha256)),
            passes=passes,
            chose_epoch=chose_epoch,
        )

    @property
    def temperatures(self) -> dict[str, float]:
        """Of each letter; empty where the method is another."""
        return {name: one.temperature for name, one in self.scaling.items() if isinstance(one, TemperatureScaling)}

    def apply(self, letters: Letters) -> dict[str, dict[str, float]]:
        """Calibrated probabilities of one study's letters, in the order of the model's classes.

        Raises:
            DataError: letters or classes are not those of the calibration, or a sum is not 1.
        """
        one = self.calibrated(self._study(letters))
        return {
            letter: dict(zip(self.classes[letter], getattr(one, letter)[0].tolist(), strict=True)) for letter in LETTERS
        }

    def group_probabilities(self, letters: Letters) -> dict[str, float]:
        """Probability of each stage group of the edition, in order, from one study's calibrated letters.

        Raises:
            DataError: as :meth:`apply`.
        """
        one = self.apply(letters)
        return group_probabilities(one["t"], one["n"], one["m"], self.edition)

    def sets(self, letters: Letters) -> dict[str, tuple[str, ...]]:
        """Prediction sets of one study: of ``t``, ``n``, ``m`` and ``group``, in the edition's order, never empty.

        Raises:
            DataError: as :meth:`apply`.
        """
        return self.named(self._study(letters))[0]

    def calibrated(self, predictions: StagingPredictions) -> StagingPredictions:
        """The same predictions with calibrated letters, from which those of the stage group follow.

        Raises:
            DataError: they are of another edition or of other classes.
        """
        mine = {letter: list(self.classes[letter]) for letter in LETTERS}
        theirs = {letter: list(predictions.classes[letter]) for letter in LETTERS}
        if predictions.edition != self.edition or mine != theirs:
            raise DataError(
                f"Calibration: it is of the {self.edition}th edition and classes {mine}, the predictions are of the "
                f"{predictions.edition}th and {theirs}. Calibrate that model, or go without."
            )
        return scaled(predictions, self.scaling)

    def prediction_sets(self, predictions: StagingPredictions) -> dict[str, BoolArray]:
        """(rows, finest classes of the edition) which are in a row's set, of ``t``, ``n``, ``m`` and ``group``.

        Raises:
            DataError: as :meth:`calibrated`.
        """
        calibrated = self.calibrated(predictions)
        return {
            name: prediction_sets(
                class_scores(finest(calibrated, name).probabilities, self.score), self.thresholds[name].threshold
            )
            for name in NAMES
        }

    def named(self, predictions: StagingPredictions) -> list[dict[str, tuple[str, ...]]]:
        """The same sets by name, one mapping a row, as :meth:`sets` has them."""
        found = self.prediction_sets(predictions)
        classes = {name: np.asarray(finest(predictions, name).classes) for name in NAMES}
        return [
            {name: tuple(classes[name][found[name][row]].tolist()) for name in NAMES} for row in range(len(predictions))
        ]

    def statement(self) -> tuple[str, ...]:
        """What the probabilities and sets rest on, for a report, in plain sentences."""
        return calibration_statement(self)

    def check_model(self, weights_sha256: Sequence[str], passes: int = 0, path: str | os.PathLike[str] = "") -> None:
        """Raises DataError where it was fitted to other weights, or to another number of dropout passes."""
        whose = f"Calibration {path}".rstrip()
        if tuple(sorted(weights_sha256)) != self.weights_sha256:
            digests = self.weights_sha256, sorted(weights_sha256)
            mine, theirs = (", ".join(digest[:12] for digest in group) for group in digests)
            raise DataError(
                f"{whose}: it belongs to weights with SHA-256 {mine}, these have {theirs}. Calibrate them "
                "(bundles/staging/calibrate.json), or go without: --calibration none."
            )
        if passes != self.passes:
            raise DataError(
                f"{whose}: it was fitted with {self.passes} passes of dropout, here there are {passes}. Calibrate with "
                "as many, or go without: --calibration none."
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes ``calibration.json``."""
        write_json_atomic(path, calibration_document(self))
        return Path(path)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], weights_sha256: Sequence[str] | None = None, passes: int = 0
    ) -> StagingCalibration:
        """What :meth:`save` wrote.

        Args:
            path: the file.
            weights_sha256: of the model that it is for, see :meth:`check_model`; None checks nothing.
            passes: of Monte-Carlo dropout.

        Raises:
            DataError: the file cannot be read, holds something else, is of another version, or of other weights.
        """
        values = read_calibration(path)
        try:
            found = cls(**values)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        if weights_sha256 is not None:
            found.check_model(weights_sha256, passes, path)
        return found

    def _study(self, letters: Letters) -> StagingPredictions:
        """One study, whose truth nobody knows."""
        values: dict[str, Any] = {}
        for letter in LETTERS:
            given, names = letters.get(letter, {}), self.classes[letter]
            stray = sorted(name for name, value in given.items() if value and name not in names)
            if stray or not given:
                raise DataError(
                    f"Calibration: probabilities of {letter.upper()} are of {', '.join(names)}, found "
                    f"{', '.join(stray) or 'none'}."
                )
            values[letter] = np.array([[float(given.get(name, 0.0)) for name in names]])
            values[f"truth_{letter}"] = (categories(letter, self.edition),)
        return StagingPredictions(("this study",), self.classes, **values, edition=self.edition)
