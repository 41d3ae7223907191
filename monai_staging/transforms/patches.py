"""Patches out of volumes on disk: around lesions and elsewhere, without reading the volume."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from monai.utils import ensure_tuple_rep

from monai_staging.cohort.volume import read_patch
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.grid import Affine, plan_grid
from monai_staging.transforms.loading import map_file
from monai_staging.transforms.resample import as_tensor, resample

Vector = npt.NDArray[np.float64]


class RandPatches(RandomizableTransform):
    """Random patches of a memory-mapped volume, a part of them around lesions.

    A patch around a lesion is centred on one drawn at random from those given, moved by up to ``jitter_mm`` along each
    axis. The others are drawn uniformly from where a patch lies wholly inside the volume (along an axis that is too
    short for one: centred). With ``spacing_mm`` patches lie on an RAS grid of that spacing; without, they are the
    file's own voxels. In both cases only the pages of the file that the patch lies on are read. A ``zoom`` above 1
    makes lesions larger or smaller at no cost: the grid of each patch is up to that much finer or coarser, and its
    affine says so.

    Args:
        size: voxels of a patch along its three axes.
        spacing_mm: of the patches along x, y, z; None for the file's voxels in the file's orientation.
        count: patches per volume.
        lesion_fraction: probability that a patch is around a lesion; without lesions, all patches are elsewhere.
        jitter_mm: largest distance of the patch's centre from the lesion's, along each axis.
        zoom: largest factor on a patch's spacing, and on its inverse; drawn log-uniformly. Needs ``spacing_mm``.
        pad_value: of what lies outside the volume, HU.
        root: folder that relative paths start from.

    Raises:
        UsageError: a size, spacing or count that is not positive, a fraction outside [0, 1], a negative jitter, or a
            zoom below 1 or without a spacing.
    """

    def __init__(
        self,
        size: Sequence[int] | int,
        spacing_mm: float | Sequence[float] | None = None,
        count: int = 1,
        lesion_fraction: float = 0.5,
        jitter_mm: float = 8.0,
        zoom: float = 1.0,
        pad_value: int = -1024,
        root: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.size = np.asarray(ensure_tuple_rep(size, 3), dtype=int)
        self.spacing_mm = None if spacing_mm is None else tuple(float(s) for s in ensure_tuple_rep(spacing_mm, 3))
        if (self.size < 1).any() or count < 1 or (self.spacing_mm is not None and min(self.spacing_mm) <= 0):
            raise UsageError(
                f"RandPatches: size, spacing and count must be positive, found {size}, {spacing_mm}, {count}"
            )
        if not 0 <= lesion_fraction <= 1 or jitter_mm < 0:
            raise UsageError(
                f"RandPatches: lesion_fraction must be in [0, 1] and jitter_mm not negative, "
                f"found {lesion_fraction} and {jitter_mm}"
            )
        if zoom < 1 or (zoom > 1 and self.spacing_mm is None):
            raise UsageError(f"RandPatches: zoom must be at least 1, and 1 without spacing_mm, found {zoom}")
        self.count = count
        self.lesion_fraction = lesion_fraction
        self.jitter_mm = jitter_mm
        self.zoom = zoom
        self.pad_value = pad_value
        self.root = Path(root) if root is not None else Path()
        self.places: list[tuple[Vector, float]] = []

    def randomize(self, data: tuple[Sequence[Vector], tuple[int, ...], Affine]) -> None:
        """Draws the patches' centres and zooms, given lesions' centres (RAS mm), the volume's shape and its affine."""
        lesions, shape, affine = data
        extent = self._extent_voxels(affine)
        free = np.maximum(np.asarray(shape) - extent, 0)
        start = np.where(np.asarray(shape) > extent, extent / 2 - 0.5, (np.asarray(shape) - 1) / 2)
        self.places = []
        for _ in range(self.count):
            # Always the same draws, so that the random state does not depend on what an item holds.
            chance, pick = self.R.random(2)
            jitter, place = self.R.uniform(-1, 1, 3), self.R.random(3)
            if len(lesions) and chance < self.lesion_fraction:
                center = lesions[int(pick * len(lesions))] + jitter * self.jitter_mm
            else:
                center = affine[:3, :3] @ (start + place * free) + affine[:3, 3]
            # Without a zoom not a draw is spent on it: patches stay what they were.
            factor = self.zoom ** self.R.uniform(-1, 1) if self.zoom > 1 else 1.0
            self.places.append((center, factor))

    def _extent_voxels(self, affine: Affine) -> Vector:
        """How many voxels of the file the largest patch covers along each of the file's axes."""
        if self.spacing_mm is None:
            return self.size.astype(float)
        matrix: Vector = affine[:3, :3]
        voxel_mm = np.linalg.norm(matrix, axis=0)
        size_mm = self.size * np.asarray(self.spacing_mm) * self.zoom
        extent: Vector = np.abs(matrix / voxel_mm).T @ size_mm / voxel_mm
        return extent

    def __call__(
        self,
        path: str | PathLike[str],
        lesions_mm: Sequence[Sequence[float]] = (),
        mask: bool = False,
        randomize: bool = True,
    ) -> list[MetaTensor]:
        """Draws and reads the patches.

        Args:
            path: of a cohort's ``.nii``.
            lesions_mm: the lesions' centres, RAS mm.
            mask: the file is a mask: nearest voxel, padded with 0, kept as int16.
            randomize: draw new centres; without, the last ones are used again, as for the mask of a volume.

        Returns:
            ``count`` patches, each ``(1, *size)`` with its affine.

        Raises:
            DataError: the file is not there or not readable.
        """
        file = self.root / path
        array, affine = map_file(file, mask)
        if randomize:
            self.randomize(([np.asarray(point, dtype=np.float64) for point in lesions_mm], array.shape, affine))
        return [self.read(file, center, affine, mask, factor) for center, factor in self.places]

    def read(self, path: Path, center: Vector, affine: Affine, mask: bool = False, factor: float = 1.0) -> MetaTensor:
        """One patch.

        Args:
            path: the volume's file.
            center: of the patch, RAS mm.
            affine: (4, 4) of the file's voxel index to RAS mm.
            mask: the file is a mask.
            factor: on the spacing.

        Returns:
            ``(1, *size)``.
        """
        pad = 0 if mask else self.pad_value
        if self.spacing_mm is None:
            voxel = np.linalg.solve(affine[:3, :3], center - affine[:3, 3])
            start = np.rint(voxel - (self.size - 1) / 2).astype(int)
            patch = read_patch(path, start.tolist(), self.size.tolist(), pad=pad)
            corner = affine.copy()
            corner[:3, 3] = affine[:3, :3] @ start + affine[:3, 3]
            tensor = as_tensor(patch)
            tensor = tensor.to(torch.int16) if mask else tensor.float()
            return MetaTensor(tensor[None], affine=torch.from_numpy(corner))
        array, _ = map_file(path, mask)
        (x, y, z), (a, b, c) = center, np.asarray(self.spacing_mm) * factor
        grid = plan_grid(array.shape, affine, (a, b, c), tuple(self.size), (x, y, z))
        tensor = resample(array, affine, grid, "nearest" if mask else "linear", pad_value=pad)
        tensor = tensor.to(torch.int16) if mask else tensor
        return MetaTensor(tensor[None], affine=torch.from_numpy(grid.affine))


class RandPatchesd(Randomizable, MapTransform):
    """Dictionary twin of `RandPatches`: the same patches of a volume and of its masks.

    Args:
        keys: paths of volumes of one grid; the first says where patches lie.
        size: as in the array transform.
        spacing_mm: as in the array transform.
        count: patches per item.
        lesion_fraction: as in the array transform.
        jitter_mm: as in the array transform.
        zoom: as in the array transform.
        mask_keys: those of the keys that are masks: nearest voxel, padded with 0, kept as int16.
        lesions_key: where an item has its lesions, each a mapping (or object) with ``center_mm`` (RAS).
        kinds: kinds of lesions to draw from; all where it is None.
        center_key: where a patch's centre goes (RAS mm, (3,) float32).
        pad_value: as in the array transform.
        root: as in the array transform.

    Returns:
        As MONAI's random crops: a list of ``count`` items, each with all that the item had, its keys now
        ``(1, *size)``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int] | int,
        spacing_mm: float | Sequence[float] | None = None,
        count: int = 1,
        lesion_fraction: float = 0.5,
        jitter_mm: float = 8.0,
        zoom: float = 1.0,
        mask_keys: KeysCollection = (),
        lesions_key: str = "lesions",
        kinds: Sequence[str] | None = None,
        center_key: str = "patch_center_mm",
        pad_value: int = -1024,
        root: str | PathLike[str] | None = None,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.transform = RandPatches(size, spacing_mm, count, lesion_fraction, jitter_mm, zoom, pad_value, root)
        self.masks = {mask_keys} if isinstance(mask_keys, str) else set(mask_keys)  # type: ignore[arg-type]
        self.lesions_key = lesions_key
        self.kinds = None if kinds is None else set(kinds)
        self.center_key = center_key

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandPatchesd:
        """Seeds the draws."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def randomize(self, data: tuple[Sequence[Vector], tuple[int, ...], Affine]) -> None:
        """Draws the patches' centres and zooms, once for all keys."""
        self.transform.randomize(data)

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Draws and reads the patches.

        Raises:
            DataError: a key that is no path, or files of different grids.
        """
        paths = {key: self._path(key, data[key]) for key in self.key_iterator(dict(data))}
        first = next(iter(paths))
        shape, affine = self._geometry(first, paths)
        self.randomize((self._lesions(data), shape, affine))
        items = []
        for center, factor in self.transform.places:
            item = dict(data)
            for key, path in paths.items():
                item[key] = self.transform.read(path, center, affine, key in self.masks, factor)
            item[self.center_key] = torch.tensor(center, dtype=torch.float32)
            items.append(item)
        return items

    def _path(self, key: Hashable, value: Any) -> Path:
        if not isinstance(value, (str, PathLike)):
            raise DataError(f"RandPatchesd: {key} must be a path, found a {type(value).__name__}")
        return self.transform.root / value

    def _geometry(self, first: Hashable, paths: Mapping[Hashable, Path]) -> tuple[tuple[int, ...], Affine]:
        grids = {key: map_file(path, key in self.masks) for key, path in paths.items()}
        array, affine = grids[first]
        for key, (other, other_affine) in grids.items():
            if other.shape != array.shape or not np.allclose(other_affine, affine, atol=1e-3):
                raise DataError(
                    f"RandPatchesd: {key} must lie on the grid of {first} (shape {array.shape}), found shape "
                    f"{other.shape} and an affine that differs by {np.abs(other_affine - affine).max():.3g}"
                )
        return array.shape, affine

    def _lesions(self, data: Mapping[Hashable, Any]) -> list[Vector]:
        points = []
        for lesion in data.get(self.lesions_key) or ():
            field = lesion.get if isinstance(lesion, Mapping) else lambda name, owner=lesion: getattr(owner, name, None)
            if self.kinds is None or field("kind") in self.kinds:
                points.append(np.asarray(field("center_mm"), dtype=np.float64))
        return points
