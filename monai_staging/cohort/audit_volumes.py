"""The part of an audit that reads volumes: files, geometry, identical pixels."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import Cohort
from monai_staging.cohort.volume import Volume, read_mask, read_volume
from monai_staging.errors import DataError
from monai_staging.progress import progress

# Single-precision headers: positions agree to about this.
_TOLERANCE_MM = 1e-2
_CHUNK_VOXELS = 1 << 24


@dataclass(frozen=True)
class Problem:
    """A file that is missing or contradicts ``cohort.json``: whose, which rule, and what was found."""

    case: str
    rule: str
    found: str


@dataclass(frozen=True)
class Range:
    """The least, the median and the greatest, along i, j and k."""

    low: tuple[float, float, float]
    median: tuple[float, float, float]
    high: tuple[float, float, float]


@dataclass(frozen=True)
class GeometrySummary:
    """The volumes of a cohort: voxel spacing in mm, shape in voxels, orientations (``LPS``, ...) with their numbers."""

    spacing_mm: Range
    shape: Range
    orientations: Mapping[str, int]


def inspect_volumes(
    cohort: Cohort, name_of: Callable[[Case], str]
) -> tuple[tuple[Problem, ...], GeometrySummary | None, list[int]]:
    """Opens every volume and mask.

    Returns:
        The problems, the geometry of the volumes that can be read (``None`` without any), and their indices in
        ``cohort.cases``.
    """
    problems: list[Problem] = []
    readable: list[int] = []
    spacings, shapes = [], []
    orientations: Counter[str] = Counter()
    for index, case in enumerate(progress(cohort.cases, description="audit: files")):
        name = name_of(case)
        if not cohort.image_path(case).is_file():
            problems.append(Problem(name, "missing-file", case.image))
            continue
        try:
            volume = read_volume(cohort.image_path(case))
        except DataError as error:
            problems.append(Problem(name, "unreadable-volume", str(error)))
            continue
        readable.append(index)
        spacings.append(volume.spacing_mm)
        shapes.append(volume.shape)
        orientations[_orientation(volume.affine)] += 1
        problems += (Problem(name, rule, found) for rule, found in _contradictions(cohort, case, volume))
    geometry = (
        GeometrySummary(_range(spacings), _range(shapes), dict(sorted(orientations.items()))) if readable else None
    )
    return tuple(problems), geometry, readable


def pixel_groups(cohort: Cohort, indices: Iterable[int]) -> list[list[int]]:
    """Groups of two and more cases (indices in ``cohort.cases``) whose volumes have the same shape and the same voxels.

    Three slices of each volume are compared first; only volumes that share those are read whole.
    """
    paths = [cohort.image_path(case) for case in cohort.cases]
    alike: dict[Any, list[int]] = defaultdict(list)
    for index in indices:
        array = read_volume(paths[index]).array
        quarters = sorted({array.shape[2] * quarter // 4 for quarter in (1, 2, 3)})
        alike[array.shape, _digest(array[:, :, k] for k in quarters)].append(index)
    identical: dict[Any, list[int]] = defaultdict(list)
    for (shape, sample), group in alike.items():
        for index in group if len(group) > 1 else ():
            array = read_volume(paths[index]).array
            step = max(1, _CHUNK_VOXELS // (shape[0] * shape[1]))
            chunks = (array[:, :, k : k + step] for k in range(0, shape[2], step))
            identical[shape, sample, _digest(chunks)].append(index)
    return [group for group in identical.values() if len(group) > 1]


def _digest(arrays: Iterable[npt.NDArray[np.int16]]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(np.asfortranarray(array).tobytes(order="F"))
    return digest.digest()


def _contradictions(cohort: Cohort, case: Case, volume: Volume) -> Iterable[tuple[str, str]]:
    """(rule, found) for everything about a case that its files contradict."""
    import nibabel

    header: Any = nibabel.load(cohort.image_path(case)).header
    qform, code = header.get_qform(coded=True)
    if code and not np.allclose(qform, volume.affine, atol=_TOLERANCE_MM):
        yield "header-disagrees", f"the qform and the sform differ by {np.abs(qform - volume.affine).max():.3f} mm"
    if cohort.spacing is not None and not np.allclose(cohort.spacing, volume.spacing_mm, atol=1e-3):
        yield "spacing-disagrees", f"{_numbers(volume.spacing_mm)} mm, the cohort says {_numbers(cohort.spacing)} mm"
    to_index = np.linalg.inv(volume.affine)
    for number, lesion in enumerate(case.lesions):
        index = to_index[:3, :3] @ np.asarray(lesion.center_mm) + to_index[:3, 3]
        if (index < -0.5).any() or (index > np.asarray(volume.shape) - 0.5).any():
            yield "lesion-outside", f"lesion {number} at voxel {_numbers(index)}, outside {list(volume.shape)}"
    path = cohort.mask_path(case)
    if path is not None:
        yield from _mask_contradictions(path, case, volume)


def _mask_contradictions(path: Path, case: Case, volume: Volume) -> Iterable[tuple[str, str]]:
    if not path.is_file():
        yield "missing-file", str(case.mask)
        return
    try:
        mask, affine = read_mask(path)
    except DataError as error:
        yield "unreadable-mask", str(error)
        return
    if mask.shape != volume.shape or not np.allclose(affine, volume.affine, atol=_TOLERANCE_MM):
        yield "mask-off-grid", f"mask of {list(mask.shape)} on another grid than the volume of {list(volume.shape)}"
        return
    to_index = np.linalg.inv(volume.affine)
    for number, lesion in enumerate(case.lesions):
        if lesion.label is None:
            continue
        center = to_index[:3, :3] @ np.asarray(lesion.center_mm) + to_index[:3, 3]
        half = np.abs(to_index[:3, :3]) @ np.asarray(lesion.size_mm) / 2
        low = np.clip(np.floor(center - half), 0, mask.shape).astype(int)
        high = np.clip(np.ceil(center + half) + 1, 0, mask.shape).astype(int)
        box = mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        if not (box == lesion.label).any():
            yield "lesion-without-mask", f"lesion {number}: no voxel of value {lesion.label} in its box"


def _orientation(affine: npt.NDArray[np.float64]) -> str:
    import nibabel

    return "".join(str(axis) for axis in nibabel.aff2axcodes(affine))


def _range(values: list[Any]) -> Range:
    array = np.asarray(values, dtype=np.float64)
    return Range(*(_triple(reduced) for reduced in (array.min(axis=0), np.median(array, axis=0), array.max(axis=0))))


def _triple(values: Any) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 4) for value in values)
    return x, y, z


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
