"""The lesions that a detector is to find in a cohort, in the forms that FROC and average precision want."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_staging.cohort.lesion_groups import check_groups, lesion_group
from monai_staging.files import atomic_path
from monai_staging.metrics.boxes import Boxes
from monai_staging.metrics.froc.findings import Findings
from monai_staging.metrics.froc.tables import COORDINATES, DIAMETER, SCAN
from monai_staging.metrics.intervals import FloatArray

GROUPS = ("primary", "nodule")
"""Groups of lesions that detectors look for: what lies in the lungs, see :mod:`monai_staging.cohort.lesion_groups`."""


@dataclass(frozen=True, eq=False)
class DetectionTruth:
    """Lesions of many scans, RAS mm.

    Attributes:
        patients: scan to patient, of every scan that is searched, also those without a lesion; without identity.
        lesions: what is to be found. The diameter is the source's, or else the box's longest side.
        boxes: the same lesions' boxes, row by row.
        excluded: lesions of other groups, which count neither way in FROC.
    """

    patients: Mapping[str, str]
    lesions: Findings
    boxes: Boxes
    excluded: Findings

    @classmethod
    def of(cls, scans: Sequence[Mapping[str, Any]], groups: Sequence[str] = GROUPS) -> DetectionTruth:
        """The lesions of a data list.

        Args:
            scans: dictionaries as of :func:`monai_staging.workflows.staging_data.staging_datalist`: ``study``, ``case``
                and ``lesions``.
            groups: what is to be found.

        Raises:
            UsageError: a name that is no group.
        """
        wanted = check_groups(groups)
        found: dict[bool, list[tuple[str, Mapping[str, Any]]]] = {True: [], False: []}
        for scan in scans:
            for lesion in scan["lesions"]:
                found[lesion_group(lesion["kind"], lesion["site"]) in wanted].append((scan["study"], lesion))
        corners = np.array([lesion_box_mm(lesion) for _, lesion in found[True]], dtype=np.float64).reshape(-1, 6)
        return cls(
            {scan["study"]: scan["case"] for scan in scans},
            _findings(found[True]),
            Boxes(tuple(scan for scan, _ in found[True]), corners),
            _findings(found[False]),
        )

    @property
    def scans(self) -> tuple[str, ...]:
        """Every scan that is searched."""
        return tuple(self.patients)

    def write(self, folder: str | os.PathLike[str]) -> tuple[Path, Path, Path]:
        """Writes what ``monai-staging froc`` wants beside the marks, in LPS mm.

        Returns:
            ``annotations.csv`` (the lesions), ``excluded.csv`` (those that count neither way) and ``scans.csv`` (every
            scan with its patient).
        """
        root = Path(folder)
        head = [SCAN, *COORDINATES, DIAMETER]
        return (
            _write(root / "annotations.csv", head, _rows(self.lesions)),
            _write(root / "excluded.csv", head, _rows(self.excluded)),
            _write(root / "scans.csv", [SCAN, "patient"], list(self.patients.items())),
        )


def lesion_box_mm(lesion: Mapping[str, Any]) -> FloatArray:
    """(6) corners of a lesion's box, RAS mm."""
    center, half = np.asarray(lesion["center_mm"], dtype=np.float64), np.asarray(lesion["size_mm"]) / 2
    return np.concatenate([center - half, center + half])


def _findings(lesions: Sequence[tuple[str, Mapping[str, Any]]]) -> Findings:
    return Findings(
        tuple(scan for scan, _ in lesions),
        np.array([lesion["center_mm"] for _, lesion in lesions], dtype=np.float64).reshape(-1, 3),
        np.array([lesion["diameter_mm"] or max(lesion["size_mm"]) for _, lesion in lesions], dtype=np.float64),
    )


def _rows(findings: Findings) -> list[list[Any]]:
    # RAS to LPS; adding 0 makes a plain 0 of -0.
    centers = (findings.centers_mm * (-1.0, -1.0, 1.0) + 0.0).tolist()
    return [
        [scan, *center, diameter]
        for scan, center, diameter in zip(findings.scans, centers, findings.diameters_mm.tolist(), strict=True)
    ]


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    return path
