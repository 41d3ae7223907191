"""Which marks hit which lesions, by the rules of LUNA16.

The rules are those of the challenge's evaluation script, ``noduleCADEvaluationLUNA16.py``, and of Setio et al., Medical
Image Analysis 42 (2017):

- A mark hits a finding if the squared distance of their centres is *less* than the squared radius: one that lies
  exactly on the sphere misses. A finding with a diameter below 0 has one of 10 mm.
- A lesion's score is the highest of the marks that hit it. The others that hit it are no false positives.
- A mark that hits several lesions counts for each of them.
- A mark that hits no lesion but an excluded finding counts neither way.
- Every other mark is a false positive.
- If a scan has more marks than the limit, only those with a score strictly above the first one beyond the limit are
  kept: marks that tie with it are dropped too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.froc.findings import Findings, Marks
from monai_staging.metrics.intervals import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Matches:
    """Lesions with their scores, and false positives; all that a FROC curve needs.

    Attributes:
        scans: how many scans there are, with and without lesions or marks.
        lesion_scans: (N) index of each lesion's scan.
        lesion_scores: (N) best score of the marks that hit it; NaN where none does.
        false_scans: (F) index of each false positive's scan.
        false_scores: (F) their scores.
        ignored: how many marks hit an excluded finding and no lesion.
        left_out: how many marks the limit left out.
    """

    scans: int
    lesion_scans: IntArray
    lesion_scores: FloatArray
    false_scans: IntArray
    false_scores: FloatArray
    ignored: int
    left_out: int

    @property
    def detected(self) -> NDArray[np.bool_]:
        """(N) whether any mark hits the lesion."""
        return ~np.isnan(self.lesion_scores)


def match(
    lesions: Findings,
    marks: Marks,
    scans: Sequence[str],
    *,
    excluded: Findings | None = None,
    max_marks: int | None = None,
) -> Matches:
    """Holds marks against lesions.

    Args:
        lesions: what is to be found.
        marks: in the same frame, millimetres.
        scans: every scan that was searched, also those without lesion or mark.
        excluded: findings that count neither way.
        max_marks: how many marks a scan may have (LUNA16: 100); no limit by default.

    Raises:
        DataError: a scan is listed twice, a row belongs to a scan that is not listed, or a lesion has a diameter of 0,
            which nothing can hit.
        UsageError: ``max_marks`` is below 1.
    """
    excluded = Findings.none() if excluded is None else excluded
    index = _index(scans)
    of_lesion = _places(lesions.scans, index, "a lesion")
    of_excluded = _places(excluded.scans, index, "an excluded finding")
    of_mark = _places(marks.scans, index, "a mark")
    if (lesions.diameters_mm == 0).any():
        row = int(np.flatnonzero(lesions.diameters_mm == 0)[0])
        raise DataError(
            f"Scan {lesions.scans[row]}: a lesion's diameter is above 0 mm, or below 0 where unknown; "
            f"found 0 (lesion {row})."
        )
    kept = _within_limit(of_mark, marks.scores, max_marks)
    of_mark, scores, centers = of_mark[kept], marks.scores[kept], marks.centers_mm[kept]

    count = len(lesions)
    of_finding = np.concatenate([of_lesion, of_excluded])
    finding_centers = np.concatenate([lesions.centers_mm, excluded.centers_mm])
    radii = np.concatenate([lesions.radii_mm, excluded.radii_mm])
    best = np.full(len(of_finding), -np.inf)
    hits_lesion, hits_excluded = np.zeros(len(scores), dtype=bool), np.zeros(len(scores), dtype=bool)
    for rows, columns in _by_scan(of_mark, of_finding, len(scans)):
        # Not by a matrix product: the script's own arithmetic decides what lies on the sphere.
        squares = (centers[rows, None] - finding_centers[columns]) ** 2
        hits = squares[..., 0] + squares[..., 1] + squares[..., 2] < radii[columns] ** 2
        best[columns] = np.where(hits, scores[rows, None], -np.inf).max(axis=0)
        hits_lesion[rows] = hits[:, columns < count].any(axis=1)
        hits_excluded[rows] = hits[:, columns >= count].any(axis=1)
    found = best[:count]
    false = ~hits_lesion & ~hits_excluded
    return Matches(
        scans=len(scans),
        lesion_scans=of_lesion,
        lesion_scores=np.where(np.isneginf(found), np.nan, found),
        false_scans=of_mark[false],
        false_scores=scores[false],
        ignored=int((hits_excluded & ~hits_lesion).sum()),
        left_out=len(marks) - len(scores),
    )


def _index(scans: Sequence[str]) -> dict[str, int]:
    index = {scan: place for place, scan in enumerate(scans)}
    if len(index) < len(scans):
        twice = next(scan for place, scan in enumerate(scans) if index[scan] != place)
        raise DataError(f"Scan {twice}: a scan is listed once, found it {list(scans).count(twice)} times.")
    return index


def _places(names: Sequence[str], index: dict[str, int], what: str) -> IntArray:
    places = np.fromiter((index.get(name, -1) for name in names), dtype=np.int64, count=len(names))
    if (places < 0).any():
        row = int(np.flatnonzero(places < 0)[0])
        others = len({name for name, place in zip(names, places, strict=True) if place < 0}) - 1
        more = f", and so have {others} more scans that are not listed" if others else ""
        raise DataError(
            f"Scan {names[row]}: every scan with {what} must be on the list of scans; it is not among the "
            f"{len(index)} listed and has {names.count(names[row])}{more}."
        )
    return places


def _within_limit(of_mark: IntArray, scores: FloatArray, limit: int | None) -> NDArray[np.bool_]:
    """(M) whether a mark is among those that its scan may have."""
    if limit is None:
        return np.ones(len(scores), dtype=bool)
    if limit < 1:
        raise UsageError(f"A scan may have at least 1 mark, got max_marks={limit}.")
    order = np.lexsort((-scores, of_mark))
    starts = np.searchsorted(of_mark[order], of_mark[order])
    beyond = starts + limit
    over = beyond < len(scores)
    over[over] = of_mark[order][beyond[over]] == of_mark[order][over]
    kept = np.ones(len(scores), dtype=bool)
    kept[order[over]] = scores[order[over]] > scores[order[beyond[over]]]
    return kept


def _by_scan(of_mark: IntArray, of_finding: IntArray, scans: int) -> list[tuple[IntArray, IntArray]]:
    """The marks and the findings of each scan that has both."""
    parts = []
    for places in (of_mark, of_finding):
        order = np.argsort(places, kind="stable")
        parts.append(np.split(order, np.searchsorted(places[order], np.arange(1, scans))))
    return [(rows, columns) for rows, columns in zip(*parts, strict=True) if len(rows) and len(columns)]
