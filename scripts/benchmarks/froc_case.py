"""A FROC case as large as LUNA16's whole challenge, and the challenge's procedure done as its description says.

The procedure (Setio et al., Medical Image Analysis 42, 2017, and the evaluation script that the challenge published):
scan by scan, each finding is held against each mark, one at a time; a mark within the finding's radius is a hit, the
surest one counts, marks that hit nothing are false positives. For an interval the scans are drawn with replacement a
thousand times; each time the drawn scans' rows are put behind each other, one scan after the other, and a ROC curve of
all rows is computed anew and read at the seven rates.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_curve

from benchmarks.common import SEED
from monai_staging.metrics.froc import POINTS, Findings, Marks

Case = tuple[Findings, Marks, list[str]]
"""What is to be found, what was found, and the scans."""
Row = tuple[str, float, float]
"""Scan, 1 for a lesion or 0 for a false positive, and the score; a missed lesion has the lowest."""
MISSED = -1.0


def large_case(scans: int, lesions: int, marks: int) -> Case:
    """Lesions of 3 to 30 mm, marks and the names of the scans; a mark is near four fifths of the lesions.

    Scans, lesions and marks are random. A hit's score is drawn higher than that of a false mark.
    """
    random = np.random.default_rng(SEED)
    names = [f"scan-{number:04d}" for number in range(scans)]
    owner = random.integers(0, scans, lesions)
    centers, diameters = random.uniform(-150, 150, (lesions, 3)), random.uniform(3, 30, lesions)
    hit = np.flatnonzero(random.random(lesions) < 0.8)
    near = centers[hit] + random.normal(0, 1, (len(hit), 3))
    elsewhere = random.integers(0, scans, marks - len(hit))
    found = Marks(
        tuple(names[scan] for scan in np.concatenate([owner[hit], elsewhere])),
        np.concatenate([near, random.uniform(-150, 150, (len(elsewhere), 3))]),
        np.concatenate([random.beta(4, 2, len(hit)), random.beta(1, 6, len(elsewhere))]),
    )
    return Findings(tuple(names[scan] for scan in owner), centers, diameters), found, names


def literal_rows(case: Case) -> list[Row]:
    """Every finding against every mark of its scan."""
    lesions, marks, names = case
    own_marks: dict[str, list[int]] = {name: [] for name in names}
    own_lesions: dict[str, list[int]] = {name: [] for name in names}
    for row, scan in enumerate(marks.scans):
        own_marks[scan].append(row)
    for row, scan in enumerate(lesions.scans):
        own_lesions[scan].append(row)
    rows: list[Row] = []
    for name in names:
        hitting = set()
        for lesion in own_lesions[name]:
            x, y, z = (float(value) for value in lesions.centers_mm[lesion])
            radius = float(lesions.diameters_mm[lesion]) / 2
            scores = []
            for mark in own_marks[name]:
                own_x, own_y, own_z = (float(value) for value in marks.centers_mm[mark])
                if (x - own_x) ** 2 + (y - own_y) ** 2 + (z - own_z) ** 2 < radius**2:
                    scores.append(float(marks.scores[mark]))
                    hitting.add(mark)
            rows.append((name, 1.0, max(scores) if scores else MISSED))
        rows += [(name, 0.0, float(marks.scores[mark])) for mark in own_marks[name] if mark not in hitting]
    return rows


def literal_sensitivity(lesion: np.ndarray, score: np.ndarray, scans: int) -> np.ndarray:
    """(7) sensitivities of rows that lie behind each other."""
    seen = score != MISSED
    rates, hits, _ = roc_curve(lesion[seen], score[seen])
    lesions, detected, false = lesion.sum(), lesion[seen].sum(), (1 - lesion).sum()
    return np.interp(POINTS, rates * false / scans, hits * detected / lesions)


def literal_resample(rows: dict[str, np.ndarray], names: list[str], random: np.random.Generator) -> np.ndarray:
    """(7) sensitivities of scans drawn with replacement; the rows of each are put behind those of the ones before."""
    drawn = None
    for name in np.array(names)[random.integers(0, len(names), len(names))]:
        if name in rows:
            drawn = rows[name].copy() if drawn is None else np.concatenate((drawn, rows[name]), axis=1)
    assert drawn is not None
    return literal_sensitivity(drawn[0], drawn[1], len(names))
