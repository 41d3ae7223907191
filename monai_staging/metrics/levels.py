"""The levels at which staging is scored, their classes, and the truth at each.

A level is a list of classes: letters and stage groups, each at the main level (T1..T4, I..IV) and, where the edition
divides further, at the fine level (T1mi..T4, IA1..IVB). Truths are sets of categories still possible; a set says
something at a level where all its members share one class there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import FloatArray, IntArray
from monai_staging.tnm.categories import LETTERS, categories, main_categories, main_category, ordered
from monai_staging.tnm.tables import groups, main_group, main_groups, stage_groups

LEVELS = ("t", "n", "m", "group", "t_fine", "n_fine", "m_fine", "group_fine")
"""Levels in the order of a report; a fine level that is the same as its main level is left out."""

LEVEL_TITLES = {
    "t": "T",
    "n": "N",
    "m": "M",
    "group": "Stage group",
    "t_fine": "T sub-category",
    "n_fine": "N sub-category",
    "m_fine": "M sub-category",
    "group_fine": "Stage sub-group",
}
"""What each level is called for readers."""

LabelCounts = Mapping[str, Mapping[str, int]]
"""How often each class of each level occurs: ``{"t": {"T1": 12, ...}, ...}``."""


@dataclass(frozen=True)
class Level:
    """Predictions and truth at one level.

    Attributes:
        name: one of ``LEVELS``.
        classes: its classes, in the edition's order.
        probabilities: (rows, classes).
        truth: (rows) index of the true class, -1 where it is not known at this level.
    """

    name: str
    classes: tuple[str, ...]
    probabilities: FloatArray
    truth: IntArray

    @property
    def predicted(self) -> IntArray:
        """(rows) index of the most probable class; the first of equals."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(rows) whether the truth is known at this level."""
        return self.truth >= 0

    def occurring(self) -> Level:
        """The level without the classes that are never the truth and never have a probability above 0, to draw."""
        kept = np.flatnonzero((self.probabilities > 0).any(axis=0) | np.isin(range(len(self.classes)), self.truth))
        # One place more, for -1.
        place = np.full(len(self.classes) + 1, -1)
        place[kept] = np.arange(len(kept))
        return Level(
            self.name, tuple(self.classes[index] for index in kept), self.probabilities[:, kept], place[self.truth]
        )


def level_classes(edition: str) -> dict[str, tuple[str, ...]]:
    """The classes of every level of an edition, in order; without the fine levels that equal their main level."""
    result: dict[str, tuple[str, ...]] = {letter: main_categories(letter, edition) for letter in LETTERS}
    result["group"] = main_groups(edition)
    for base in tuple(result):
        if fine_classes(base, edition) != result[base]:
            result[f"{base}_fine"] = fine_classes(base, edition)
    return {name: result[name] for name in LEVELS if name in result}


def true_classes(
    truth_t: Sequence[Sequence[str]], truth_n: Sequence[Sequence[str]], truth_m: Sequence[Sequence[str]], edition: str
) -> dict[str, IntArray]:
    """True class of each row at every level, -1 where the sets do not settle it.

    {"T2a", "T2b"} is T2 at the main level and unknown at the fine one. The stage group is known where every combination
    of the categories still possible that has a group has the same one: M1b settles IVA whatever T and N are. The
    findings T0 and TX and the group "occult" are no class: they count as not known.

    Args:
        truth_t: (rows) categories still possible; truth_n and truth_m likewise.
        edition: of the TNM.

    Returns:
        (rows) class indices for each level of :func:`level_classes`.
    """
    sets = dict(zip(LETTERS, (truth_t, truth_n, truth_m), strict=True))
    for letter, rows in sets.items():
        check_sets(letter, rows, edition, None)
    possible: dict[str, list[tuple[str, ...]]] = {letter: [tuple(row) for row in rows] for letter, rows in sets.items()}
    possible["group"] = [stage_groups(t, n, m, edition) for t, n, m in zip(*sets.values(), strict=True)]
    result = {}
    for name, names in level_classes(edition).items():
        base = name.removesuffix("_fine")
        reduced = [{main_class(base, one) if name == base else one for one in row} for row in possible[base]]
        result[name] = np.array([_settled(row, names) for row in reduced], dtype=np.int64)
    return result


def label_counts(
    truth_t: Sequence[Sequence[str]],
    truth_n: Sequence[Sequence[str]],
    truth_m: Sequence[Sequence[str]],
    edition: str,
) -> dict[str, dict[str, int]]:
    """How often each class of each level is the known truth, for example in a training part.

    Arguments as in :func:`true_classes`.
    """
    classes = level_classes(edition)
    counts = {}
    for name, truth in true_classes(truth_t, truth_n, truth_m, edition).items():
        found = Counter(truth[truth >= 0].tolist())
        counts[name] = {label: found[index] for index, label in enumerate(classes[name])}
    return counts


def _settled(possible: set[str], names: Sequence[str]) -> int:
    return names.index(next(iter(possible))) if len(possible) == 1 and possible <= set(names) else -1


def fine_classes(base: str, edition: str) -> tuple[str, ...]:
    """The finest classes of a letter or of ``group``."""
    return groups(edition) if base == "group" else categories(base, edition)


def main_class(base: str, name: str) -> str:
    """The class of the main level that a category of a letter, or a stage group, belongs to."""
    return main_group(name) if base == "group" else main_category(name)


def check_sets(letter: str, rows: Sequence[Sequence[str]], edition: str, patients: Sequence[str] | None) -> None:
    """Raises where truth sets are not one for each patient or one of them is no set of categories of the edition."""
    if patients is not None and len(rows) != len(patients):
        raise UsageError(f"{len(rows)} truth sets of {letter.upper()} for {len(patients)} patients.")
    for index, row in enumerate(rows):
        whose = patients[index] if patients is not None else f"Row {index}"
        if isinstance(row, str) or not row:
            raise DataError(f"{whose}: a truth set of {letter.upper()} holds one or more categories, found {row!r}.")
        try:
            ordered(letter, row, edition)
        except UsageError as error:
            raise DataError(f"{whose}: {error}") from error
