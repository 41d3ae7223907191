"""A predicted study as a report shows it: the scan, what was found, how far to believe it; no identity in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.volume import Volume
from monai_staging.errors import UsageError
from monai_staging.outputs.findings import Findings

NOT_A_DEVICE = "Not a medical device: for research only. Nothing here was verified by a physician."
"""Said once in every report."""
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScanFacts:
    """What a report says of a scan; nothing of it says whose it is.

    Attributes:
        source: ``DICOM`` or ``NIfTI``.
        chosen: why this series of the study, a sentence.
        attributes: further technical facts in the order they are shown, for example ``{"Kernel": "B70f"}``.
    """

    source: str
    chosen: str
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class SliceAttention:
    """Where along the scan the staging network looked.

    Attributes:
        z_mm: (S) heights of its slices, RAS mm.
        weights: (S) of each letter, ``t``, ``n`` and ``m``; each sums to 1.
    """

    z_mm: FloatArray
    weights: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class ReportedStudy:
    """All that a report of a study is made of.

    Attributes:
        name: of the study, without identity.
        volume: the scan.
        mask: (columns, rows, slices) labels of the lesions on the scan's voxels; 0 elsewhere.
        findings: lesions, stage and algorithm. Lesion ``n`` is label ``n`` of the mask.
        boxes_mm: a box a lesion, as the detector gave it: (xmin, ymin, zmin, xmax, ymax, zmax), RAS mm; None where the
            lesion is no detector's.
        scan: what is said of it.
        letter_sets: for each letter that was estimated the categories that hold the true one with the confidence of
            the stage groups; empty where no set was asked for.
        attention: where the staging network looked; None where none was asked.
        calibration: what the probabilities and sets rest on, a sentence each.
        warnings: what a reader must know, a sentence each.
        seconds: of each step, in order.
    """

    name: str
    volume: Volume
    mask: npt.NDArray[Any]
    findings: Findings
    boxes_mm: tuple[FloatArray | None, ...]
    scan: ScanFacts
    letter_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attention: SliceAttention | None = None
    calibration: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mask.shape != self.volume.shape:
            raise UsageError(f"{self.name}: the mask has the scan's shape {self.volume.shape}; found {self.mask.shape}")
        if len(self.boxes_mm) != len(self.findings.lesions):
            raise UsageError(
                f"{self.name}: a box or None for each of {len(self.findings.lesions)} lesions; "
                f"found {len(self.boxes_mm)}"
            )
