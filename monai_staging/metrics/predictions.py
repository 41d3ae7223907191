"""What a staging model said of a set of patients, what the truth is, and both at every level that is scored.

Probabilities of a coarser level are sums; those of the stage group follow from the letters through the edition's table
(:mod:`monai_staging.tnm`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from monai_staging.cohort.privacy import number_repeats
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.metrics.levels import Level, check_sets, fine_classes, level_classes, main_class, true_classes
from monai_staging.tnm.categories import LETTERS, categories, check_edition, check_prefix
from monai_staging.tnm.tables import group_table, groups

SUM_TOLERANCE = 1e-3
"""How far from 1 the probabilities of a row may sum: half-precision networks round."""


@dataclass(frozen=True, eq=False)
class StagingPredictions:
    """Probabilities of T, N and M for a set of patients of one edition and prefix, and the truth as sets.

    Attributes:
        patients: (rows) names without identity; rows of one name are one patient's studies.
        classes: the classes of each letter, ``{"t": ("T1mi", ...), "n": ..., "m": ...}``, in the order of the columns;
            each a category of the edition, not necessarily all of them.
        t: (rows, classes of T) probabilities that sum to 1; n and m likewise.
        truth_t: (rows) categories still possible, from the whole edition; truth_n and truth_m likewise. A full set is
            an unknown letter.
        edition: of the TNM, "6" to "9".
        prefix: of the TNM: c, p, yc, yp or r.
        studies: (rows) names of the rows, each once; the patients' where every patient has one row.

    Raises:
        UsageError: shapes or classes do not fit together.
        DataError: a probability or a truth set of a patient is not acceptable.
    """

    patients: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    t: FloatArray
    n: FloatArray
    m: FloatArray
    truth_t: tuple[tuple[str, ...], ...]
    truth_n: tuple[tuple[str, ...], ...]
    truth_m: tuple[tuple[str, ...], ...]
    edition: str = "8"
    prefix: str = "c"
    studies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "patients", tuple(str(patient) for patient in self.patients))
        object.__setattr__(self, "studies", tuple(map(str, self.studies)) or number_repeats(self.patients))
        if len(self.studies) != len(self.patients) or len(set(self.studies)) != len(self.studies):
            raise UsageError(f"Studies are one different name a row, found {list(self.studies)}.")
        object.__setattr__(self, "edition", check_edition(self.edition))
        object.__setattr__(self, "prefix", check_prefix(self.prefix))
        if set(self.classes) != set(LETTERS):
            raise UsageError(f"Classes are given for t, n and m, found {sorted(self.classes)}.")
        object.__setattr__(self, "classes", {letter: tuple(self.classes[letter]) for letter in LETTERS})
        for letter in LETTERS:
            self._check_classes(letter)
            self._check_probabilities(letter)
            truth = tuple(getattr(self, f"truth_{letter}"))
            check_sets(letter, truth, self.edition, self.patients)
            object.__setattr__(self, f"truth_{letter}", tuple(map(tuple, truth)))

    def _check_classes(self, letter: str) -> None:
        names = self.classes[letter]
        stray = [name for name in names if name not in categories(letter, self.edition)]
        if stray or not names or len(set(names)) != len(names):
            raise UsageError(
                f"Classes of {letter.upper()} are different categories of edition {self.edition} "
                f"({', '.join(categories(letter, self.edition))}), found {list(names)}."
            )

    def _check_probabilities(self, letter: str) -> None:
        values = np.asarray(getattr(self, letter), dtype=np.float64)
        shape = (len(self.patients), len(self.classes[letter]))
        if values.shape != shape:
            raise UsageError(f"Probabilities of {letter.upper()} have shape {values.shape}, expected {shape}.")
        # Written so that NaN fails too.
        good = ((values >= 0) & (values <= 1 + SUM_TOLERANCE)).all(axis=1) & (
            np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE
        )
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise DataError(
                f"{self.patients[row]}: probabilities of {letter.upper()} lie in 0..1 and sum to 1, "
                f"found {values[row].tolist()}."
            )
        object.__setattr__(self, letter, values)

    def __len__(self) -> int:
        return len(self.patients)

    @cached_property
    def levels(self) -> dict[str, Level]:
        """Every level of the edition, in the order of ``LEVELS``.

        Raises:
            DataError: all of a row's probability lies on combinations that have no stage group (Tis with N1).
        """
        fine = {letter: self._all_categories(letter) for letter in LETTERS}
        joint = np.einsum("pt,pn,pm,tnmg->pg", *fine.values(), group_tensor(self.edition), optimize=True)
        reached = joint.sum(axis=1)
        if not (reached > 0).all():
            row = int(np.flatnonzero(reached <= 0)[0])
            raise DataError(
                f"{self.patients[row]}: a stage group needs a probability above 0, but every combination of T, N and M "
                f"that the model finds possible has no group in edition {self.edition}."
            )
        fine["group"] = joint / reached[:, None]
        truth = true_classes(self.truth_t, self.truth_n, self.truth_m, self.edition)
        result = {}
        for name, names in level_classes(self.edition).items():
            base = name.removesuffix("_fine")
            values = fine[base]
            if name == base:
                values = values @ _one_hot(
                    [names.index(main_class(base, one)) for one in fine_classes(base, self.edition)], len(names)
                )
            result[name] = Level(name, names, values, truth[name])
        return result

    def _all_categories(self, letter: str) -> FloatArray:
        """(rows, categories of the edition): the model's classes in their columns, 0 for those it does not know."""
        names = categories(letter, self.edition)
        columns = [names.index(name) for name in self.classes[letter]]
        return np.asarray(getattr(self, letter) @ _one_hot(columns, len(names)), dtype=np.float64)


def group_tensor(edition: str) -> FloatArray:
    """The edition's stage table as a tensor (T, N, M, groups): 1 where the combination has that group, 0 elsewhere."""
    table, order = group_table(edition), groups(edition)
    sizes = [len(categories(letter, edition)) for letter in LETTERS]
    tensor = np.zeros((*sizes, len(order)))
    for i, rows in enumerate(table.values()):
        for j, row in enumerate(rows.values()):
            for k, group in enumerate(row.values()):
                if group is not None:
                    tensor[i, j, k, order.index(group)] = 1
    return tensor


def _one_hot(columns: Sequence[int], width: int) -> FloatArray:
    return np.eye(width)[list(columns)]
