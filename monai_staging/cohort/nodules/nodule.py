"""Nodules as a classification data set: what is known of each, and how to get at its voxels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.errors import DataError

PARTS = ("training", "validation", "test")
TASKS = ("binary", "multi-class", "multi-label")
UNCERTAIN = (2.5, 3.5)
"""Mean ratings from here to here (both included) are neither benign nor malignant; LIDC studies leave them out."""
BENIGN, MALIGNANT = "benign", "malignant"


@dataclass(frozen=True, eq=False)
class NoduleVolume:
    """A nodule's voxels.

    Attributes:
        image: (C, D, H, W) as stored; ``C`` is 1 but for colour images, ``D`` is 1 for pictures.
        outlines: (R, D, H, W) bool, one reader each; readers without an outline here are left out, so R may be 0.
    """

    image: NDArray[Any]
    outlines: NDArray[np.bool_]


@dataclass(frozen=True)
class NoduleRecord:
    """What is known of one nodule.

    Attributes:
        name: unique in its set, without identity: joins a prediction to the source's row.
        patient: for grouping; a number in the order of the source, or the cohort's keyed name.
        label: class indices; one for ``binary`` and ``multi-class``, a 0 or 1 per class for ``multi-label``; ``None``
            where it is unknown or uncertain.
        spacing_mm: (slices, rows, columns) from voxel to voxel; ``None`` where the source has none (MedMNIST).
        ratings: malignancy by each reader, 1 to 5.
        attributes: means over readers of what else they rated, 1 to 5 (calcification to 6).
        part: one of :data:`PARTS` where the source has an official split.
    """

    name: str
    patient: str
    label: tuple[int, ...] | None
    spacing_mm: tuple[float, float, float] | None = None
    ratings: tuple[int, ...] = ()
    attributes: Mapping[str, float] = field(default_factory=dict)
    part: str | None = None


@dataclass(frozen=True, eq=False)
class NoduleSet:
    """A data set of nodules.

    Attributes:
        name: for titles.
        source: the layout it was read from.
        digest: SHA-256 of the files' bytes; of a cohort, of ``cohort.json``.
        task: one of :data:`TASKS`.
        classes: their names; two for ``binary``.
        records: one per nodule.
        read: voxels of nodule ``i``.
        value_range: of the stored image: what is 0 and what is 1 to a network.
        synthetic: whether these are phantoms, and must be called so.
        state: changes where voxels may have changed and ``digest`` does not tell.
    """

    name: str
    source: str
    digest: str
    task: str
    classes: tuple[str, ...]
    records: tuple[NoduleRecord, ...]
    read: Callable[[int], NoduleVolume]
    value_range: tuple[float, float]
    synthetic: bool = False
    state: str = ""

    def __len__(self) -> int:
        return len(self.records)

    @property
    def title(self) -> str:
        """The name, with what must be said of phantoms."""
        return f"{self.name} (synthetic)" if self.synthetic else self.name

    @property
    def labelled(self) -> list[int]:
        """Indices of the nodules with a label."""
        return [index for index, record in enumerate(self.records) if record.label is not None]


def label_of_ratings(ratings: Sequence[float], uncertain: tuple[float, float] = UNCERTAIN) -> tuple[int, ...] | None:
    """(1,) for malignant, (0,) for benign, by the readers' mean; ``None`` for an uncertain mean or no rating.

    Raises:
        DataError: a rating outside 1 to 5.
    """
    if not len(ratings):
        return None
    if min(ratings) < 1 or max(ratings) > 5:
        raise DataError(f"Malignancy ratings lie between 1 and 5; found {', '.join(map(str, ratings))}")
    mean = sum(ratings) / len(ratings)
    if uncertain[0] <= mean <= uncertain[1]:
        return None
    return (int(mean > uncertain[1]),)
