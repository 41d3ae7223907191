"""Isotonic scaling of class probabilities: what each class's probability was worth, one class against the rest.

Zadrozny and Elkan, 2002 (10.1145/775047.775151). It bends as the patients say, where a temperature has one number; that
takes hundreds of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.metrics.temperature import says_something


@dataclass(frozen=True)
class IsotonicScaling:
    """A rising line for each class, then all of them normalised to sum to 1.

    Attributes:
        maps: for each class its corners, ((probability, calibrated probability), ...), both ascending; a class without
            corners stays as it is.

    Raises:
        DataError: corners are not ascending, or lie outside 0..1.
    """

    maps: tuple[tuple[tuple[float, float], ...], ...]

    def __post_init__(self) -> None:
        for place, corners in enumerate(self.maps):
            values = np.asarray(corners, dtype=np.float64).reshape(-1, 2)
            # Written so that NaN fails too.
            if not ((values >= 0) & (values <= 1)).all() or not (np.diff(values, axis=0) >= 0).all():
                raise DataError(f"Isotonic scaling: class {place} needs ascending corners in 0..1, found {corners}.")

    @classmethod
    def fit(cls, probabilities: ArrayLike, possible: ArrayLike, weights: ArrayLike | None = None) -> IsotonicScaling:
        """scikit-learn's isotonic regression, one class against the rest.

        A row counts for a class where its set says whether it is that class: a set of several classes says so for those
        outside it alone. Values stay within 1 / (n + 2) of 0 and 1, n the rows that count, as if a right and a wrong
        one had been seen besides: no class is ruled out by patients who happened not to have it.

        Args:
            probabilities: (rows, classes), each row sums to 1.
            possible: (rows, classes) whether the row's truth may be the class.
            weights: (rows); ones by default.

        Raises:
            UsageError: shapes do not agree.
        """
        from sklearn.isotonic import IsotonicRegression

        values, sets = np.asarray(probabilities, dtype=np.float64), np.asarray(possible, dtype=bool)
        if values.ndim != 2 or values.shape != sets.shape:
            raise UsageError(f"Probabilities and sets have one shape, got {values.shape} and {sets.shape}.")
        weighted = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
        known = says_something(sets) & (weighted > 0)
        settled = sets.sum(axis=1) == 1
        maps: list[tuple[tuple[float, float], ...]] = []
        for place in range(values.shape[1]):
            used = known & (settled | ~sets[:, place])
            if not used.any():
                maps.append(())
                continue
            least = 1 / (float(weighted[used].sum()) + 2)
            fit = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
            fit.fit(np.clip(values[used, place], 0, 1), sets[used, place].astype(np.float64), weighted[used])
            corners = zip(fit.X_thresholds_.tolist(), fit.y_thresholds_.tolist(), strict=True)
            maps.append(tuple((float(x), float(y)) for x, y in corners))
        return cls(tuple(maps))

    def apply(self, probabilities: ArrayLike) -> FloatArray:
        """(..., classes) calibrated probabilities of such; the last axis sums to 1.

        Raises:
            UsageError: of another number of classes.
        """
        values = np.asarray(probabilities, dtype=np.float64)
        if values.shape[-1] != len(self.maps):
            raise UsageError(f"Isotonic scaling is of {len(self.maps)} classes, got shape {values.shape}.")
        scaled = values.copy()
        for place, corners in enumerate(self.maps):
            if corners:
                x, y = np.asarray(corners, dtype=np.float64).T
                scaled[..., place] = np.interp(values[..., place], x, y)
        return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True))

    def to_json(self) -> dict[str, Any]:
        """The form of a file."""
        return {"isotonic": [[list(corner) for corner in corners] for corners in self.maps]}

    @classmethod
    def from_json(cls, document: dict[str, Any], classes: int) -> IsotonicScaling:
        """Inverse of :meth:`to_json`; KeyError, TypeError and ValueError where it is no such document.

        Raises:
            DataError: it is of another number of classes.
        """
        maps = tuple(tuple((float(x), float(y)) for x, y in corners) for corners in document["isotonic"])
        if len(maps) != classes:
            raise DataError(f"Isotonic scaling: a line for each of {classes} classes is needed, found {len(maps)}.")
        return cls(maps)
