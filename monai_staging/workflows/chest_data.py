"""Whole scans of a cohort for segmentation, and which of their lesions are the target."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_staging.cohort import load_cohort
from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.cohort import PARTS
from monai_staging.cohort.lesion_groups import check_groups, lesion_group
from monai_staging.cohort.lesions import Part
from monai_staging.cohort.privacy import case_name, load_key, study_names
from monai_staging.cohort.volume import read_mask
from monai_staging.errors import DataError, UsageError

logger = logging.getLogger("monai_staging.workflows")

TARGET = ("primary", "nodule")
"""Lesion groups that are outlined: what lies in the lung."""


@dataclass(frozen=True)
class ChestCase:
    """A scan.

    Attributes:
        name: of the study, without identity.
        patient: likewise.
        image: the volume's file.
        mask: the mask's file; ``None`` where nothing is to be compared with.
        labels: of the target's lesions in the mask, primary tumours first.
        edition: of TNM.
        centers_mm: middles of the boxes of the target's lesions, RAS mm, primary tumours first; known without a mask.
    """

    name: str
    patient: str
    image: Path
    mask: Path | None
    labels: tuple[int, ...]
    edition: str
    centers_mm: tuple[tuple[float, float, float], ...] = ()

    def reference(self) -> list[Part]:
        """The target's lesions, primary tumours first; none where there is no mask."""
        if self.mask is None:
            return []
        from scipy import ndimage

        values, _ = read_mask(self.mask)
        boxes = ndimage.find_objects(values)
        found = []
        for label in self.labels:
            box = boxes[label - 1] if label <= len(boxes) else None
            if box is None:
                raise DataError(f"Case {self.name}: lesion {label} has no voxel in the mask {self.mask.name}.")
            i, j, k = (int(span.start) for span in box)
            found.append(Part((i, j, k), values[box] == label))
        return found


def chest_cases(
    dataset_dir: str | os.PathLike[str],
    part: str | Sequence[str],
    groups: Sequence[str] = TARGET,
    limit: int | None = None,
    outlined: bool = True,
) -> list[ChestCase]:
    """The scans of one or several parts of a cohort.

    Args:
        dataset_dir: the cohort's folder.
        part: ``training``, ``validation``, ``test`` or several.
        groups: lesion groups that are the target, see :data:`monai_staging.cohort.lesion_groups.LESION_GROUPS`.
        limit: at most so many, for quick tries.
        outlined: leave out scans in which a lesion of the target has no outline, or which have no mask at all; without,
            outlines are not looked at.

    Raises:
        DataError: no scan is left.
        UsageError: an unknown part or group.
    """
    cohort = load_cohort(dataset_dir)
    wanted = set(check_groups(groups))
    parts = (part,) if isinstance(part, str) else tuple(part)
    if unknown := [name for name in parts if name not in PARTS]:
        raise UsageError(f"Cohort {cohort.name}: a part is one of {', '.join(PARTS)}; found {unknown[0]!r}.")
    key = load_key(cohort.root)
    names = dict(zip(map(id, cohort.cases), study_names(cohort.cases, key), strict=True))
    cases = [case for name in parts for case in cohort.parts[name]]
    found = []
    for case in cases:
        labels = _labels(case, wanted) if outlined else ()
        if labels is not None:
            mask = cohort.mask_path(case) if outlined else None
            name, patient = names[id(case)], case_name(case.patient, key)
            centers = tuple(lesion.center_mm for lesion in _target(case, wanted))
            found.append(ChestCase(name, patient, cohort.image_path(case), mask, labels, case.edition, centers))
    if len(found) < len(cases):
        logger.warning(
            "Cohort %s: %d of %d scans of %s are left out: not every lesion of %s is outlined in a mask.",
            *(cohort.name, len(cases) - len(found), len(cases), " + ".join(parts), " + ".join(groups)),
        )
    if not found:
        raise DataError(f"Cohort {cohort.name}: part {' + '.join(parts)} needs an outlined scan at least; found none.")
    return found[:limit]


def _target(case: Case, groups: set[str]) -> list[Lesion]:
    """The target's lesions, primary tumours first."""
    lesions = [lesion for lesion in case.lesions if lesion_group(lesion.kind, lesion.site) in groups]
    return sorted(lesions, key=lambda lesion: lesion.kind != "primary")


def _labels(case: Case, groups: set[str]) -> tuple[int, ...] | None:
    """Of the target's lesions, primary tumours first; ``None`` where they are not known."""
    if case.mask is None:
        return None
    labels = [lesion.label for lesion in _target(case, groups)]
    known = tuple(label for label in labels if label is not None)
    return known if len(known) == len(labels) else None
