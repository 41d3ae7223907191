"""The outcomes of a comparison's arms, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_staging.compare.arm import RECORD
from monai_staging.compare.findings import Key
from monai_staging.compare.outcomes import MEASURES, Measure, Outcome, read_curve, read_outcomes
from monai_staging.compare.plan import Arm, Comparison
from monai_staging.errors import DataError


@dataclass(frozen=True, eq=False)
class Series:
    """The repetitions of one kind of arm, on the same rows.

    Attributes:
        patients: (rows).
        truth: (rows).
        scores: (repetitions, rows).
        folds: (rows) where each row was held out; ``None`` without cross-validation.
    """

    patients: tuple[str, ...]
    truth: NDArray[np.float64]
    scores: NDArray[np.float64]
    folds: NDArray[np.int64] | None


class Results:
    """The outcomes of a comparison's arms, read once.

    Args:
        comparison: whose.
        folders: of every arm.

    Raises:
        DataError: arms that should have predicted the same cases did not.
    """

    def __init__(self, comparison: Comparison, folders: Mapping[Arm, Path]) -> None:
        self.comparison = comparison
        self.folders = folders
        kinds: set[str] = set()
        self._outcomes: dict[Arm, dict[str, Outcome]] = {}
        for arm, folder in folders.items():
            kind, self._outcomes[arm] = read_outcomes(folder)
            kinds.add(kind)
        if len(kinds) != 1:
            raise DataError(f"A comparison is of one kind of predictions; found {', '.join(sorted(kinds))}")
        self.measures = MEASURES[kinds.pop()]
        self._names: dict[str, list[str]] = {}

    def series(self, key: Key, outcome: str) -> Series:
        """The repetitions of one kind of arm."""
        comparison, (network, init, fraction) = self.comparison, key
        folds: list[int | None] = [None] if comparison.folds is None else list(range(comparison.folds))
        parts: list[Outcome] = []
        rows = []
        for seed in comparison.seeds:
            parts = [self._outcomes[Arm(network, init, fraction, seed, fold)][outcome] for fold in folds]
            names = [name for part in parts for name in part.names]
            if names != self._names.setdefault(outcome, names):
                raise DataError(
                    f"{network}, {init}, {100 * fraction:g} %, seed {seed}: all arms must predict the same cases in "
                    f"the same order; found {len(names)} of {outcome}, other arms have {len(self._names[outcome])}."
                )
            rows.append(np.concatenate([part.scores for part in parts]))
        labels = [place for place, part in enumerate(parts) for _ in part.names]
        return Series(
            tuple(patient for part in parts for patient in part.patients),
            np.concatenate([part.truth for part in parts]),
            np.stack(rows),
            np.array(labels, dtype=np.int64) if comparison.folds is not None else None,
        )

    @property
    def commits(self) -> list[str]:
        """The code that the arms were run by, in alphabetical order."""
        records = [json.loads((folder / RECORD).read_text()) for folder in self.folders.values()]
        return sorted({str(record.get("commit", "")) for record in records} - {""})

    def seconds(self, key: Key) -> float:
        """Mean seconds of a run of one kind of arm, from start to report."""
        own = [arm for arm in self.folders if (arm.network, arm.init, arm.fraction) == key]
        return float(np.mean([json.loads((self.folders[arm] / RECORD).read_text())["seconds"] for arm in own]))

    def curve(self, arm: Arm, measure: Measure) -> tuple[list[float], list[float]]:
        """Validation metric and seconds after each epoch of an arm."""
        return read_curve(self.folders[arm], measure.curve) if measure.curve else ([], [])
