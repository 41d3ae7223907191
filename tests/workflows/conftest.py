"""Cohorts of small scans: chests with one bright tumour each, whose boxes are known, and patients with bright balls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.cohort import Cohort, mask_name, volume_name
from monai_staging.cohort.lesions import lesion_of_part, lesions_of_boxes, part_of_mask
from monai_staging.cohort.volume import Volume, write_mask, write_volume
from monai_staging.detection import Detections
from monai_staging.errors import DataError
from monai_staging.tnm.categories import categories
from monai_staging.workflows.chest_data import ChestCase

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


BALL_SHAPE = (40, 36, 30)
BALL_AFFINE = np.diag([-1.0, -1.0, 1.5, 1.0])


def write_patient_cohort(root: Path, cancer: Sequence[object], held_out: int = 4, balls: int = 3) -> Cohort:
    """A case a value of ``cancer``: of ``balls`` balls of 4 mm one has 9 mm where it is true."""
    random = np.random.default_rng(3)
    cases = []
    for number, label in enumerate(cancer):
        series = f"1.2.{number}"
        index = np.stack(np.meshgrid(*map(np.arange, BALL_SHAPE), indexing="ij"), axis=-1) * np.abs(
            np.diag(BALL_AFFINE)[:3]
        )
        hu = random.normal(-850, 15, BALL_SHAPE)
        lesions = []
        for place in range(balls if label is not None else 0):
            radius = 4.5 if place == 0 and label else 2.0
            centre = np.array([8.0 + 12 * place, random.uniform(8, 28), random.uniform(8, 36)])
            hu[np.linalg.norm(index - centre, axis=-1) <= radius] = 60.0
            world = tuple((centre * np.sign(np.diag(BALL_AFFINE)[:3])).tolist())
            rated = (5, 4) if radius > 4 else (1, 2)
            lesions.append(Lesion("nodule", world, (2 * radius,) * 3, diameter_mm=2 * radius, malignancy=rated))
        write_volume(root / volume_name(series), Volume(hu.astype(np.int16), BALL_AFFINE))
        letters = {letter: categories(letter, "8") for letter in "tnm"}
        identity = {"patient": f"patient-{number:02d}", "study": f"1.1.{number}", "series": series}
        cases.append(
            Case(
                **identity,
                image=volume_name(series),
                lesions=tuple(lesions),
                edition="8",
                clinical={"cancer": label},
                **letters,
            )
        )
    parts = {"test": cases[:held_out], "validation": cases[held_out : held_out + 2], "training": cases[held_out + 2 :]}
    cohort = Cohort(root, "balls", "test", **{part: tuple(own) for part, own in parts.items()})
    cohort.save()
    return cohort


class Balls:
    """Finds what is connected and bright; the larger, the surer. Counts how often it was built and asked."""

    digest = "balls"

    def __init__(self, dies_at: int | None = None) -> None:
        self.built = self.asked = 0
        self.dies_at = dies_at

    def build(self) -> Balls:
        self.built += 1
        return self

    def detect(self, volume: Volume, case: str) -> Detections:
        from scipy.ndimage import find_objects, label

        self.asked += 1
        if self.asked == self.dies_at:
            raise KeyboardInterrupt
        found, count = label(np.asarray(volume.array) > -200)
        if not count:
            raise DataError("A scan needs lungs, found none.")
        boxes, scores = [], []
        for number, region in enumerate(find_objects(found), start=1):
            low = np.array([part.start for part in region]) - 0.5
            high = np.array([part.stop for part in region]) - 0.5
            ends = np.stack([low, high]) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
            boxes.append(np.concatenate([ends.min(axis=0), ends.max(axis=0)]))
            scores.append(1 - 1 / (1 + (found == number).sum()))
        return Detections.of_case(case, np.array(boxes), np.array(scores))


@pytest.fixture(scope="session")
def patients_with_balls() -> Callable[..., Cohort]:
    """Writes a cohort: a case a label, True, False or None, four of them held out and two to choose by."""
    return write_patient_cohort


@pytest.fixture(scope="session")
def balls() -> type[Balls]:
    """The detector that finds them."""
    return Balls


@pytest.fixture(scope="session")
def chest_with() -> Callable[..., ChestCase]:
    """Writes a chest of 72 x 60 x 40 voxels with lungs and lesions, boxes of voxels by their labels in the mask."""

    def write(root: Path, boxes: dict[int, tuple[tuple[int, ...], tuple[int, ...]]], affine: np.ndarray) -> ChestCase:
        hu = np.full((72, 60, 40), -1000, np.int16)
        hu[6:-6, 6:-6] = 40
        hu[10:32, 12:46, 5:34] = hu[-32:-10, 12:46, 5:34] = -850
        mask = np.zeros(hu.shape, np.uint8)
        for label, (low, high) in boxes.items():
            mask[tuple(slice(*pair) for pair in zip(low, high, strict=True))] = label
        hu[mask > 0] = 40
        write_volume(root / "image.nii", Volume(hu, affine))
        write_mask(root / "mask.nii", mask, affine)
        return ChestCase("scan", "p", root / "image.nii", root / "mask.nii", tuple(boxes), "8")

    return write
