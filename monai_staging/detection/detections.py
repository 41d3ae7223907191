"""What a detector found in one or many cases: boxes in RAS millimetres with scores, and their file."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_staging.errors import DataError, UsageError
from monai_staging.files import atomic_path
from monai_staging.metrics.boxes import Boxes, box_iou
from monai_staging.metrics.froc.findings import Marks
from monai_staging.metrics.froc.tables import COORDINATES, SCAN, SCORE
from monai_staging.metrics.intervals import FloatArray, IntArray
from monai_staging.tnm.columns import find_column
from monai_staging.tnm.reading import open_table

CORNERS = ("minX", "minY", "minZ", "maxX", "maxY", "maxZ")
"""Columns of a box in a file of detections; LPS mm, as its centre is."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes that a detector found: a row each.

    Attributes:
        cases: (N) the case that each is in.
        boxes_mm: (N, 6) corners (xmin, ymin, zmin, xmax, ymax, zmax) along the world's axes, RAS mm.
        scores: (N) the larger, the surer; any finite number.
    """

    cases: tuple[str, ...]
    boxes_mm: FloatArray
    scores: FloatArray

    def __post_init__(self) -> None:
        """Takes anything that makes arrays.

        Raises:
            UsageError: the fields differ in length, or are no boxes in 3-D.
            DataError: a number is not finite, or a box ends before it begins.
        """
        boxes = Boxes(self.cases, self.boxes_mm, self.scores)
        if boxes.corners.shape[1] != 6:
            raise UsageError(f"A detection is a box in 3-D, (N, 6) corners; got {boxes.corners.shape}.")
        object.__setattr__(self, "cases", boxes.cases)
        object.__setattr__(self, "boxes_mm", boxes.corners)
        object.__setattr__(self, "scores", boxes.scores)

    def __len__(self) -> int:
        return len(self.cases)

    @classmethod
    def none(cls) -> Detections:
        """Nothing found."""
        return cls((), np.zeros((0, 6)), np.zeros(0))

    @classmethod
    def of_case(cls, case: str, boxes_mm: FloatArray, scores: FloatArray) -> Detections:
        """What was found in one case: (N, 6) corners in RAS mm and (N) scores."""
        return cls((case,) * len(boxes_mm), boxes_mm, scores)

    @property
    def centers_mm(self) -> FloatArray:
        """(N, 3) middles of the boxes, RAS mm."""
        return (self.boxes_mm[:, :3] + self.boxes_mm[:, 3:]) / 2

    @property
    def sizes_mm(self) -> FloatArray:
        """(N, 3) extents of the boxes along the world's axes, mm."""
        return self.boxes_mm[:, 3:] - self.boxes_mm[:, :3]

    def rows(self, rows: IntArray) -> Detections:
        """Some of them, in that order."""
        return Detections(tuple(self.cases[row] for row in rows), self.boxes_mm[rows], self.scores[rows])

    def within(self, cases: Collection[str]) -> Detections:
        """Those in these cases."""
        return self.rows(np.array([row for row, case in enumerate(self.cases) if case in cases], dtype=np.int64))

    def at_least(self, score: float) -> Detections:
        """Those with this score or a higher one."""
        return self.rows(np.flatnonzero(self.scores >= score))

    def suppressed(self, iou: float) -> Detections:
        """Without those that overlap a surer one of the same case by more than this: non-maximum suppression.

        Args:
            iou: intersection over union in the world's millimetres.

        Returns:
            The rest, case by case, the surest first.
        """
        import torch
        from monai.data.box_utils import non_max_suppression

        def overlap(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
            # In double precision, which MONAI's own is not.
            return torch.from_numpy(box_iou(boxes.numpy(), others.numpy()))

        of_case = np.array(self.cases, dtype=object)
        kept = [np.zeros(0, dtype=np.int64)]
        for case in dict.fromkeys(self.cases):
            rows = np.flatnonzero(of_case == case)
            places = non_max_suppression(self.boxes_mm[rows], self.scores[rows], iou, box_overlap_metric=overlap)
            kept.append(rows[np.asarray(places, dtype=np.int64)])
        return self.rows(np.concatenate(kept))

    def marks(self) -> Marks:
        """For FROC: the middles with their scores, RAS mm."""
        return Marks(self.cases, self.centers_mm, self.scores)

    def boxes(self) -> Boxes:
        """For average precision: the boxes with their scores, RAS mm."""
        return Boxes(self.cases, self.boxes_mm, self.scores)


def concatenate(parts: Iterable[Detections]) -> Detections:
    """Those of several cases, in that order."""
    every = [Detections.none(), *parts]
    return Detections(
        tuple(case for part in every for case in part.cases),
        np.concatenate([part.boxes_mm for part in every]),
        np.concatenate([part.scores for part in every]),
    )


def write_detections(path: str | os.PathLike[str], detections: Detections) -> Path:
    """Writes one row a box as CSV, in LPS mm: what ``monai-staging froc`` reads, and the box's corners.

    The columns are LUNA16's ``seriesuid`` (the case), ``coordX``, ``coordY``, ``coordZ`` (the middle) and
    ``probability`` (the score), then :data:`CORNERS`. Numbers are written so that the same are read back.
    """
    centers, corners = _lps(detections.centers_mm), _turned(detections.boxes_mm)
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([SCAN, *COORDINATES, SCORE, *CORNERS])
        for case, center, score, box in zip(
            detections.cases, centers.tolist(), detections.scores.tolist(), corners.tolist(), strict=True
        ):
            writer.writerow([case, *center, score, *box])
    return Path(path)


def read_detections(path: str | os.PathLike[str]) -> Detections:
    """Reads what :func:`write_detections` wrote, back to RAS mm; the middles are those of the boxes.

    Raises:
        UsageError: no such file.
        DataError: a column is missing, a cell is no finite number, or a box ends before it begins.
    """
    path = Path(path)
    table = open_table(path)
    names = (*CORNERS, SCORE)
    try:
        scan, *columns = (find_column(table.header, name) for name in (SCAN, *names))
    except UsageError as error:
        raise DataError(f"{path.name}: {error}") from None
    cases, values = [], []
    for row in table.rows:
        if not any(map(str.strip, row.cells)):
            continue
        cells = [row.cells[column].strip() if column < len(row.cells) else "" for column in (scan, *columns)]
        if not cells[0]:
            raise DataError(f"{path.name}, line {row.line}: {SCAN} is empty.")
        cases.append(cells[0])
        values.append([_number(path, row.line, name, cell) for name, cell in zip(names, cells[1:], strict=True)])
    array = np.array(values, dtype=np.float64).reshape(-1, len(names))
    try:
        return Detections(tuple(cases), _turned(array[:, :6]), array[:, 6])
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None


def _number(path: Path, line: int, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path.name}, line {line}: {name} is a finite number, found {cell!r}.")
    return value


def _lps(points_mm: FloatArray) -> FloatArray:
    """RAS to LPS; adding 0 makes a plain 0 of -0."""
    return points_mm * (-1.0, -1.0, 1.0) + 0.0


def _turned(boxes_mm: FloatArray) -> FloatArray:
    """Corners of boxes from RAS to LPS, or back: the axes that turn change their ends."""
    low, high = _lps(boxes_mm[:, :3]), _lps(boxes_mm[:, 3:])
    return np.concatenate([np.minimum(low, high), np.maximum(low, high)], axis=1)
