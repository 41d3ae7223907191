"""Which lesions of an evaluation of a detector are looked at closer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_staging.detection.detections import Detections
from monai_staging.detection.truth import DetectionTruth
from monai_staging.metrics.froc.matching import match
from monai_staging.outputs.figures_ranked import ranked_examples


@dataclass(frozen=True)
class LesionExample:
    """A lesion that was to be found.

    Attributes:
        row: in the truth's lesions.
        found_mm: (xmin, ymin, zmin, xmax, ymax, zmax) in RAS mm of the surest box that hits it; None where none does.
        text: why it is shown, with score and diameter.
    """

    row: int
    found_mm: tuple[float, ...] | None
    text: str


def lesion_examples(detections: Detections, truth: DetectionTruth) -> list[LesionExample]:
    """Up to three: the lesion found with the highest score, the one with the median, and the largest that was missed.

    Hits are those of FROC, see :mod:`monai_staging.metrics.froc.matching`.
    """
    matches = match(truth.lesions, detections.marks(), truth.scans, excluded=truth.excluded)
    found, missed = (np.flatnonzero(rows) for rows in (matches.detected, ~matches.detected))
    sizes = [f"diameter {diameter:.0f} mm" for diameter in truth.lesions.diameters_mm]
    examples = []
    chosen = ranked_examples(matches.lesion_scores[found].tolist())
    for name, word in (("best", "surest"), ("median", "median")):
        if name in chosen:
            row = int(found[chosen[name]])
            score = float(matches.lesion_scores[row])
            text = f"{word} of {len(found)} found (centre in the lesion), score {score:.3g}, {sizes[row]}"
            examples.append(LesionExample(row, _hit(detections, truth, row, score), text))
    if len(missed):
        row = int(missed[truth.lesions.diameters_mm[missed].argmax()])
        text = f"largest of {len(missed)} not found, {sizes[row]}"
        examples.append(LesionExample(row, None, text))
    return examples


def _hit(detections: Detections, truth: DetectionTruth, row: int, score: float) -> tuple[float, ...]:
    """The box with this score that hits a lesion; of several the nearest."""
    scan, center = truth.lesions.scans[row], truth.lesions.centers_mm[row]
    own = np.flatnonzero((np.array(detections.cases, dtype=object) == scan) & (detections.scores == score))
    away = np.linalg.norm(detections.centers_mm[own] - center, axis=1)
    return tuple(detections.boxes_mm[own[away.argmin()]].tolist())
