"""Rated nodules of a cohort, cut out of its volumes: what ``monai-staging ingest lidc-idri`` or ``luna16`` makes.

Nothing but the headers of the volumes is read before a nodule is asked for, and then only the box around it.
"""

from __future__ import annotations

import hashlib
import os
import statistics
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.cohort import Cohort, load_cohort
from monai_staging.cohort.nodules.cut import WINDOW_HU, Axes, index_of, nodule_box
from monai_staging.cohort.nodules.nodule import (
    BENIGN,
    MALIGNANT,
    NoduleRecord,
    NoduleSet,
    NoduleVolume,
    label_of_ratings,
)
from monai_staging.cohort.nodules.patches import ATTRIBUTES
from monai_staging.cohort.privacy import case_name, load_key, study_names
from monai_staging.cohort.volume import Volume, read_mask, read_volume
from monai_staging.errors import DataError
from monai_staging.tnm.parse import plain


def load_rated(folder: str | os.PathLike[str], outlined: bool = False) -> NoduleSet:
    """The nodules of a cohort that readers have rated for malignancy.

    A nodule's outline is its label in the cohort's mask (what half of LIDC's readers agree on), as the one reader. A
    cohort from LUNA16 has centres and diameters instead: there the outline is the ball of that diameter, so that its
    measured sizes are the diameter's and its measured shape says nothing.

    Voxels come in the order (D, H, W) in which the volume's axes lie closest to upwards, to the back and to the
    patient's left: slices from below, each as it is shown. Axes are permuted and flipped; nothing is interpolated.
    A box goes no further than the scan.

    Parts are the cohort's if it has a test part; without one, a part is ``None``, and folds are made.

    Args:
        folder: of the cohort.
        outlined: whether, in a cohort of which nobody has rated anything, the primaries and nodules that have an
            outline in a mask are taken: enough to learn outlines from, not malignancy.

    Raises:
        DataError: no nodule is rated, one has neither label nor diameter, a patient is in two parts, or a volume is
            missing or not one of ours; what reading a nodule raises names the nodule too.
    """
    cohort = load_cohort(folder)
    key = load_key(cohort.root)
    official = bool(cohort.test)
    cases = [(part if official else None, case) for part, own in cohort.parts.items() for case in own]
    names = study_names(cohort.cases, key)
    patients = {plain(case.patient): case_name(case.patient, key) for _, case in reversed(cases)}
    records: list[NoduleRecord] = []
    places: list[_Place] = []
    parts: dict[str, str | None] = {}
    unrated = not any(_is_rated(lesion) for case in cohort.cases for lesion in case.lesions)
    is_wanted = _is_outlined if outlined and unrated else _is_rated
    for (part, case), name in zip(cases, names, strict=True):
        rated = [(number, lesion) for number, lesion in enumerate(case.lesions, start=1) if is_wanted(lesion)]
        if not rated:
            continue
        patient = patients[plain(case.patient)]
        if parts.setdefault(patient, part) != part:
            raise DataError(f"Cohort {cohort.name}: {patient} is in {parts[patient]} and in {part}; one is allowed.")
        axes = Axes.of(_volume(cohort, case, name).affine)
        for number, lesion in rated:
            place = _Place(cohort, case, lesion, f"{name}-nodule-{number}", axes)
            place.check()
            places.append(place)
            records.append(
                NoduleRecord(
                    name=place.name,
                    patient=patient,
                    label=label_of_ratings(lesion.malignancy),
                    spacing_mm=axes.spacing_mm,
                    ratings=lesion.malignancy,
                    attributes=_attributes(lesion),
                    part=part,
                )
            )
    if not records:
        needed = "rated for malignancy" + (", or outlined," if outlined else "")
        raise DataError(f"Cohort {cohort.name}: at least one nodule {needed} is needed; found none.")
    return NoduleSet(
        name=f"{cohort.name} nodules",
        source="cohort",
        digest=cohort.digest,
        state=_state(places),
        task="binary",
        classes=(BENIGN, MALIGNANT),
        records=tuple(records),
        read=lambda index: places[index].read(),
        value_range=WINDOW_HU,
        synthetic=cohort.source == "phantom",
    )


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a nodule is."""

    cohort: Cohort
    case: Case
    lesion: Lesion
    name: str
    axes: Axes

    def check(self) -> None:
        """Raises :class:`DataError` for a nodule without an outline."""
        if self.lesion.label is not None and self.case.mask is None:
            raise self._error(f"its label {self.lesion.label} needs a mask, found none")
        if self.lesion.label is None and not self.lesion.diameter_mm:
            raise self._error("a label in a mask or a diameter above 0 mm is needed, found neither")

    def read(self) -> NoduleVolume:
        """The voxels around it and its outline."""
        volume = _volume(self.cohort, self.case, self.name)
        center = index_of(volume, self.lesion.center_mm)
        box = nodule_box(volume, self.lesion.center_mm, self.lesion.size_mm)
        if box is None:
            raise self._error(f"its centre, voxel {np.round(center, 1).tolist()}, lies outside {list(volume.shape)}")
        outline = self._ball(volume, center, box) if self.lesion.label is None else self._labelled(volume, box)
        return NoduleVolume(self.axes.arrange(volume.array[box])[None], self.axes.arrange(outline)[None])

    def _labelled(self, volume: Volume, box: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
        path = self.cohort.mask_path(self.case)
        assert path is not None  # check() has seen it
        mask, affine = read_mask(path)
        if mask.shape != volume.shape or not np.allclose(affine, volume.affine, atol=1e-3):
            raise self._error(f"its mask must lie on the volume's grid {volume.shape}, found another ({mask.shape})")
        outline: NDArray[np.bool_] = np.asarray(mask[box] == self.lesion.label)
        if not outline.any():
            raise self._error(f"the mask has no voxel of its label {self.lesion.label} where it should be")
        return outline

    def _ball(self, volume: Volume, center: NDArray[np.float64], box: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
        assert self.lesion.diameter_mm is not None  # check() has seen it
        grids = np.meshgrid(*[np.arange(one.start, one.stop) for one in box], indexing="ij")
        away = np.stack(grids, axis=-1) - center
        distance = np.linalg.norm(away @ volume.affine[:3, :3].T, axis=-1)
        # A ball between two slices may hold no voxel's centre: then it is the nearest voxel.
        ball: NDArray[np.bool_] = distance <= max(self.lesion.diameter_mm / 2, distance.min())
        return ball

    def _error(self, found: str) -> DataError:
        return DataError(f"Nodule {self.name}: {found}.")


def _is_rated(lesion: Lesion) -> bool:
    return lesion.kind == "nodule" and bool(lesion.malignancy)


def _is_outlined(lesion: Lesion) -> bool:
    return lesion.kind in ("primary", "nodule") and lesion.label is not None


def _attributes(lesion: Lesion) -> dict[str, float]:
    """By the same names as in patches, and, as there, the mean of every scale but that of calcification's kinds."""
    middle = {"calcification": statistics.median}
    return {
        name: float(middle.get(name, statistics.mean)(lesion.ratings[name]))
        for name in ATTRIBUTES
        if name in lesion.ratings
    }


def _volume(cohort: Cohort, case: Case, name: str) -> Volume:
    try:
        return read_volume(cohort.image_path(case))
    except DataError as error:
        raise DataError(f"Nodules of {name}: {error}") from error


def _state(places: list[_Place]) -> str:
    """SHA-256 over sizes and times of the volumes and masks: ``cohort.json`` does not say when one is replaced."""
    paths = dict.fromkeys(path for place in places for path in (place.case.image, place.case.mask) if path is not None)
    digest = hashlib.sha256()
    for path in paths:
        try:
            state = (places[0].cohort.root / path).stat()
        except OSError as error:
            raise DataError(f"Cohort {places[0].cohort.name}: {path} cannot be read ({error.strerror})") from None
        digest.update(f"{path} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
