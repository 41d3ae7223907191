"""A cohort of small chests, each with one bright tumour, whose boxes are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import Cohort, mask_name, volume_name
from monai_staging.cohort.lesions import lesion_of_part, lesions_of_boxes, part_of_mask
from monai_staging.cohort.volume import Volume, write_mask, write_volume
from monai_staging.tnm.categories import categories

SHAPE = (40, 32, 14)


@dataclass(frozen=True)
class BoxCohort:
    """Where it lies, and by series the box on each slice as it was drawn."""

    root: Path
    boxes: dict[str, dict[int, tuple[float, float, float, float]]]


def write_box_cohort(root: Path, patients: int = 12, subtypes: tuple[str, ...] = ("B", "A")) -> BoxCohort:
    """Patients of alternating subtypes; every third case has a reader's boxes instead of a mask."""
    random = np.random.default_rng(0)
    cases, boxes = [], {}
    for number in range(patients):
        series = f"1.2.{number}"
        affine = np.diag([-0.8, -0.9, 3.0, 1.0])
        affine[:3, 3] = 15.0, 14.0, -100.0 - number
        hu = random.normal(-850, 20, SHAPE).astype(np.int16)
        corner = random.integers((4, 4, 3), (28, 20, 7))
        size = random.integers((5, 5, 3), (9, 9, 6))
        inside = tuple(slice(int(low), int(low + step)) for low, step in zip(corner, size, strict=True))
        hu[inside] = 40
        mask = np.zeros(SHAPE, np.uint8)
        mask[inside] = 1
        x, y, z = inside
        own = {k: (float(x.start), float(y.start), float(x.stop), float(y.stop)) for k in range(z.start, z.stop)}
        boxes[series] = own
        write_volume(root / volume_name(series), Volume(hu, affine))
        drawn = number % 3 == 2
        if drawn:
            lesions = lesions_of_boxes([(k, *box) for k, box in own.items()], affine)
        else:
            write_mask(root / mask_name(series), mask, affine)
            part = part_of_mask(mask)
            assert part is not None
            lesions = (lesion_of_part(part, affine, kind="primary", label=1),)
        cases.append(
            Case(
                patient=f"patient-{number:02d}",
                study=f"1.1.{number}",
                series=series,
                image=volume_name(series),
                mask=None if drawn else mask_name(series),
                lesions=lesions,
                **{letter: categories(letter, "8") for letter in "tnm"},
                edition="8",
                subtype=subtypes[number % len(subtypes)],
            )
        )
    held_out = max(1, patients // 4)
    Cohort(root, "boxes", "test", training=tuple(cases[held_out:]), test=tuple(cases[:held_out])).save()
    return BoxCohort(root, boxes)


@pytest.fixture(scope="session")
def box_cohort(tmp_path_factory: pytest.TempPathFactory) -> BoxCohort:
    """Twelve patients."""
    return write_box_cohort(tmp_path_factory.mktemp("boxes"))
