"""What each slice of a study shows: no nodule, a benign one, or one that readers suspect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.volume import Volume
from monai_staging.metrics.intervals import IntArray
from monai_staging.workflows.boxes_slices import lesion_slices

CLASSES = ("no nodule", "benign", "malignant")
NONE, BENIGN, MALIGNANT = range(3)
UNKNOWN = -1
"""Of a slice whose nodules nobody has rated: it is neither learned from nor judged by."""
SUSPICIOUS = 3.0
"""Mean rating from which a nodule counts as malignant (LeJeune et al.)."""


@dataclass(frozen=True)
class NoduleSpan:
    """A nodule, and where it is seen.

    Attributes:
        kind: one of :data:`CLASSES`, by its index, or :data:`UNKNOWN`.
        slices: indices of the volume's slices.
        lesion: the cohort's.
    """

    kind: int
    slices: range
    lesion: Lesion


def nodule_kind(lesion: Lesion) -> int | None:
    """What a lesion is on a slice: by the mean of its ratings, a primary always malignant; ``None`` for no nodule.

    Nodes are not looked for. A nodule or a metastasis without a rating is :data:`UNKNOWN`.
    """
    if lesion.kind == "node":
        return None
    if lesion.malignancy:
        return MALIGNANT if float(np.mean(lesion.malignancy)) >= SUSPICIOUS else BENIGN
    return MALIGNANT if lesion.kind == "primary" else UNKNOWN


def nodule_spans(case: Case, volume: Volume) -> list[NoduleSpan]:
    """The nodules of a case with the slices that show them."""
    kinds = ((nodule_kind(lesion), lesion) for lesion in case.lesions)
    return [NoduleSpan(kind, lesion_slices(lesion, volume), lesion) for kind, lesion in kinds if kind is not None]


def slice_classes(spans: list[NoduleSpan], slices: int) -> IntArray:
    """(slices) class of each slice: the worst of the nodules that it shows.

    A slice with a nodule that nobody rated is :data:`UNKNOWN` unless it shows a malignant one.
    """
    found = np.full(slices, NONE, dtype=np.int64)
    for kind in (BENIGN, UNKNOWN, MALIGNANT):
        for span in spans:
            if span.kind == kind:
                found[span.slices.start : span.slices.stop] = kind
    return found
