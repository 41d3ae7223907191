"""Lesions and marks of many scans, as arrays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import FloatArray

UNKNOWN_DIAMETER_MM = 10.0
"""What LUNA16's evaluation script takes for a diameter below 0, as findings without one have in its files."""


@dataclass(frozen=True, eq=False)
class Findings:
    """Lesions, or findings that count neither way: a row each.

    Attributes:
        scans: (N) the scan that each is in.
        centers_mm: (N, 3) world coordinates, in the frame of the marks that are held against them.
        diameters_mm: (N) below 0 where it is unknown.
    """

    scans: tuple[str, ...]
    centers_mm: FloatArray
    diameters_mm: FloatArray

    def __post_init__(self) -> None:
        """Takes anything that makes arrays.

        Raises:
            UsageError: the fields differ in length.
            DataError: a number is not finite.
        """
        centers, diameters = _fields(self.scans, "finding", self.centers_mm, self.diameters_mm, "diameter")
        object.__setattr__(self, "scans", tuple(self.scans))
        object.__setattr__(self, "centers_mm", centers)
        object.__setattr__(self, "diameters_mm", diameters)

    def __len__(self) -> int:
        return len(self.scans)

    @property
    def radii_mm(self) -> FloatArray:
        """(N) half the diameter; 5 mm where that is unknown."""
        known: FloatArray = np.where(self.diameters_mm < 0, UNKNOWN_DIAMETER_MM, self.diameters_mm)
        return known / 2

    @classmethod
    def none(cls) -> Findings:
        """No finding at all."""
        return cls((), np.zeros((0, 3)), np.zeros(0))

    def within(self, scans: Collection[str]) -> Findings:
        """Those in these scans."""
        rows = [row for row, scan in enumerate(self.scans) if scan in scans]
        return Findings(tuple(self.scans[row] for row in rows), self.centers_mm[rows], self.diameters_mm[rows])


@dataclass(frozen=True, eq=False)
class Marks:
    """What a detector found: a row a mark.

    Attributes:
        scans: (M) the scan that each is in.
        centers_mm: (M, 3) world coordinates, in the frame of the findings.
        scores: (M) the larger, the surer; any finite number.
    """

    scans: tuple[str, ...]
    centers_mm: FloatArray
    scores: FloatArray

    def __post_init__(self) -> None:
        """Takes anything that makes arrays.

        Raises:
            UsageError: the fields differ in length.
            DataError: a number is not finite.
        """
        centers, scores = _fields(self.scans, "mark", self.centers_mm, self.scores, "score")
        object.__setattr__(self, "scans", tuple(self.scans))
        object.__setattr__(self, "centers_mm", centers)
        object.__setattr__(self, "scores", scores)

    def __len__(self) -> int:
        return len(self.scans)

    def within(self, scans: Collection[str]) -> Marks:
        """Those in these scans."""
        rows = [row for row, scan in enumerate(self.scans) if scan in scans]
        return Marks(tuple(self.scans[row] for row in rows), self.centers_mm[rows], self.scores[rows])


def _fields(
    scans: Sequence[str], what: str, centers_mm: FloatArray, values: FloatArray, name: str
) -> tuple[FloatArray, FloatArray]:
    centers, numbers = np.asarray(centers_mm, dtype=np.float64), np.asarray(values, dtype=np.float64)
    count = len(scans)
    if count == 0 and centers.size == 0:
        centers = centers.reshape(0, 3)
    if centers.shape != (count, 3) or numbers.shape != (count,):
        raise UsageError(
            f"A {what} is a scan, a centre of 3 coordinates and a {name}; got {count} scans, centres of shape "
            f"{centers.shape} and {name}s of shape {numbers.shape}."
        )
    for field, finite, found in (
        ("centre", np.isfinite(centers).all(axis=1), centers),
        (name, np.isfinite(numbers), numbers),
    ):
        if not finite.all():
            row = int(np.flatnonzero(~finite)[0])
            raise DataError(f"Scan {scans[row]}: the {field} of a {what} is finite, found {found[row]} (row {row}).")
    return centers, numbers
