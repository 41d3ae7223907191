"""Patches of whole scans to learn from, and the places around which they are drawn."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.volume import read_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.files import atomic_path, cache_folder
from monai_staging.progress import progress
from monai_staging.transforms.chest_view import ChestViews
from monai_staging.transforms.grid import Affine, Grid, plan_grid
from monai_staging.transforms.loading import map_file
from monai_staging.transforms.lung_mask import lung_bound
from monai_staging.transforms.resample import resample
from monai_staging.workflows.chest_data import ChestCase

logger = logging.getLogger("monai_staging.workflows")

LESION_POINTS, BACKGROUND_POINTS = 256, 2048
"""Places to draw patches from, of each lesion and of the surroundings of the lungs."""
NEAR_MM = 15.0
"""From a lesion's border: what is nearer could be taken for a part of it."""
_VERSION = 3  # of those places


class ChestPatches(Dataset[dict[str, Any]]):
    """Random patches of whole scans, a part of them with a lesion; a patch costs a patch, not a volume.

    A patch with a lesion has a random voxel of one in it, each lesion being as likely as the others of its scan; the
    others lie around a random place near the lungs. Where these are is looked up once a scan and kept in a cache. Draws
    come from torch's global generator. Of the others some lie where a network was wrong, once
    :class:`~monai_staging.workflows.hard_places.HardPlaces` has found such places.

    Args:
        cases: scans with masks.
        views: spacing and windows.
        size: voxels of a patch along x, y, z.
        count: patches a scan and epoch.
        lesion_fraction: of the patches.
        hard_fraction: of the patches, of scans in which the network was wrong.
        reach: how far from its place a patch's centre may be, as a part of the patch's size.
        cache: folder, see :func:`monai_staging.files.cache_folder`.

    Returns:
        ``image`` (C, *size) and ``share`` (1, *size), of each voxel the part that is lesion, both uint8 of 0 to 255.

    Raises:
        UsageError: a setting out of range.
    """

    def __init__(
        self,
        cases: Sequence[ChestCase],
        views: ChestViews,
        size: Sequence[int] = (64, 64, 40),
        count: int = 2,
        lesion_fraction: float = 0.6,
        hard_fraction: float = 0.0,
        reach: float = 0.3,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        if len(size) != 3 or min(size) < 1 or count < 1 or not 0 <= lesion_fraction <= 1 or not 0 <= reach <= 0.5:
            raise UsageError(
                "ChestPatches: three sizes and a count of at least 1, a fraction of 0 to 1 and a reach of 0 to 0.5 are "
                f"needed; found {list(size)}, {count}, {lesion_fraction} and {reach}"
            )
        if hard_fraction < 0 or lesion_fraction + hard_fraction > 1:
            raise UsageError(
                "ChestPatches: lesion_fraction and a hard_fraction of at least 0 come to 1 at most; "
                f"found {lesion_fraction} and {hard_fraction}"
            )
        self.cases = list(cases)
        self.views = views
        self.size = (int(size[0]), int(size[1]), int(size[2]))
        self.count = count
        self.lesion_fraction = lesion_fraction
        self.hard_fraction = hard_fraction
        self.hard: dict[str, list[npt.NDArray[np.float32]]] = {}
        self.extent_mm = 2 * reach * np.asarray(size) * np.asarray(views.spacing_mm)
        folder = cache_folder(cache) / "chest"
        self.places = [
            places_to_draw(case, folder) for case in progress(self.cases, description="looking for lungs", unit="scan")
        ]

    def __len__(self) -> int:
        return len(self.cases) * self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        which_case = index % len(self.cases)
        case, places = self.cases[which_case], self.places[which_case]
        chance, which, point, *jitter = torch.rand(6).tolist()
        # Without the last bit a float32 just below 1 may become 1 when multiplied.
        which, point = min(which, 1 - 1e-6), min(point, 1 - 1e-6)
        hard = self.hard.get(case.name, [])
        if places.lesions and chance < self.lesion_fraction:
            points = places.lesions[int(which * len(places.lesions))]
        elif hard and chance >= 1 - self.hard_fraction:
            points = hard[int(which * len(hard))]
        else:
            points = places.elsewhere
        center = points[int(point * len(points))] + (np.asarray(jitter) - 0.5) * self.extent_mm
        return {**self.read(which_case, center), "case": case.name}

    def read(self, index: int, center_mm: npt.NDArray[np.floating[Any]]) -> dict[str, Tensor]:
        """The patch of a scan around a point (RAS mm)."""
        case = self.cases[index]
        array, affine = map_file(case.image)
        grid = self.grid(array.shape, affine, center_mm)
        image = self.views.look(array, affine, grid, self.places[index].lungs_mm)
        return {"image": stored(image), "share": stored(lesion_share_of(case, grid)[None])}

    def grid(self, shape: tuple[int, ...], affine: Affine, center_mm: npt.NDArray[np.floating[Any]]) -> Grid:
        """That of a patch around a point (RAS mm)."""
        x, y, z = (float(value) for value in center_mm)
        return plan_grid(shape, affine, self.views.spacing_mm, self.size, (x, y, z))


def lesion_share_of(case: ChestCase, grid: Grid, labels: Sequence[int] | None = None) -> Tensor:
    """(X, Y, Z), of each voxel of a grid the part that lesions of a scan with a mask make up.

    Args:
        case: the scan.
        grid: where it is looked at.
        labels: of the lesions; those of the target where it is left out.
    """
    assert case.mask is not None
    values, affine = map_file(case.mask, mask=True)
    return _share(values, affine, grid, case.labels if labels is None else labels)


def _share(labels: npt.NDArray[Any], affine: Affine, grid: Grid, wanted: Sequence[int]) -> Tensor:
    """(X, Y, Z), of each voxel of a grid the part that some labels of a mask make up; read where the grid lies."""
    ends = np.stack(np.meshgrid(*[(-1, length) for length in grid.size], indexing="ij"), axis=-1).reshape(-1, 3)
    to_mask = np.linalg.inv(affine) @ grid.affine
    corners = ends @ to_mask[:3, :3].T + to_mask[:3, 3]
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, labels.shape)
    if (high <= low).any():
        return torch.zeros(grid.size)
    box = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ low
    chosen = np.isin(box, wanted)
    return resample(chosen.view(np.uint8), moved, grid, pad_value=0.0) if chosen.any() else torch.zeros(grid.size)


def stored(values: Tensor) -> Tensor:
    """Values of 0 to 1 as uint8: a batch on its way is a quarter as large."""
    return values.mul(255).round_().to(torch.uint8).contiguous()


@dataclass(frozen=True, eq=False)
class Places:
    """Where patches of a scan are drawn, in RAS mm.

    Attributes:
        lesions: (N, 3) points of each lesion.
        middles: (3) of each lesion, the voxel deepest inside.
        nearby: (N, 3) points around each lesion, no farther than :data:`NEAR_MM` from it; of another lesion, some.
        elsewhere: (N, 3) points around the lungs.
        lungs_mm: (2, 3), box of the lungs.
    """

    lesions: list[npt.NDArray[np.float32]]
    middles: list[npt.NDArray[np.float32]]
    nearby: list[npt.NDArray[np.float32]]
    elsewhere: npt.NDArray[np.float32]
    lungs_mm: npt.NDArray[np.float64]


_OF_LESIONS = ("lesions", "middles", "nearby")


def places_to_draw(case: ChestCase, folder: Path) -> Places:
    """Of a scan, from the cache or looked for now."""
    files = [path.stat() for path in (case.image, case.mask) if path is not None]
    identity = [_VERSION, case.image.stem, list(case.labels), [[file.st_size, file.st_mtime_ns] for file in files]]
    path = folder / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]}.npz"
    try:
        with np.load(path) as kept:
            own = {name: [kept[f"{name}_{label}"] for label in case.labels] for name in _OF_LESIONS}
            return Places(**own, elsewhere=kept["elsewhere"], lungs_mm=kept["lungs_mm"])
    except (OSError, ValueError, KeyError):
        places = _look(case)
    try:
        with atomic_path(path) as temporary:
            arrays: dict[str, Any] = {
                f"{name}_{label}": points
                for name in _OF_LESIONS
                for label, points in zip(case.labels, getattr(places, name), strict=True)
            }
            np.savez(temporary, elsewhere=places.elsewhere, lungs_mm=places.lungs_mm, **arrays)
    except OSError as error:
        logger.warning("%s cannot be written (%s): lungs are looked for each time.", path, error.strerror)
    return places


def _look(case: ChestCase) -> Places:
    volume = read_volume(case.image)
    try:
        lungs = lung_bound(volume.array, volume.affine)
    except DataError as error:
        raise DataError(f"Case {case.name}: {error}") from None
    draw = np.random.default_rng(len(volume.array))
    parts = case.reference()
    lesions = [some_points(np.argwhere(part.mask) + part.corner, LESION_POINTS, volume.affine, draw) for part in parts]
    elsewhere = some_points(np.argwhere(lungs.bound), BACKGROUND_POINTS, lungs.grid.affine, draw)
    around = [_around(part, volume.shape, volume.affine, draw) for part in parts]
    return Places(lesions, [own[0] for own in around], [own[1] for own in around], elsewhere, lungs.box_mm)


def _around(
    part: Part, shape: tuple[int, int, int], affine: Affine, draw: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The middle of a lesion, (3), and points near it, (N, 3)."""
    from scipy import ndimage

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    reach = np.ceil(NEAR_MM / spacing).astype(int)
    low = np.maximum(np.asarray(part.corner) - reach, 0)
    high = np.minimum(np.asarray(part.corner) + part.mask.shape + reach, shape)
    mask = np.zeros(high - low, dtype=bool)
    first = np.asarray(part.corner) - low
    mask[tuple(slice(a, a + n) for a, n in zip(first, part.mask.shape, strict=True))] = part.mask
    away = ndimage.distance_transform_edt(~mask, sampling=spacing)
    near = np.argwhere((away > 0) & (away <= NEAR_MM)) + low
    # Beyond the lesion's box nothing is lesion: with a frame its faces are a border as well.
    depth = ndimage.distance_transform_edt(np.pad(part.mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    middle = np.unravel_index(int(depth.argmax()), depth.shape) + np.asarray(part.corner)
    return some_points(middle[None], 1, affine, draw)[0], some_points(near, LESION_POINTS, affine, draw)


def some_points(
    indices: npt.NDArray[np.int64], count: int, affine: Affine, draw: np.random.Generator
) -> npt.NDArray[np.float32]:
    """So many voxels' centres at most, in RAS mm."""
    chosen = indices if len(indices) <= count else draw.choice(indices, count, replace=False)
    points: npt.NDArray[np.float32] = (chosen @ affine[:3, :3].T + affine[:3, 3]).astype(np.float32)
    return points
