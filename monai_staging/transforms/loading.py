"""Volumes from files: a cohort's memory-mapped NIfTI, or a folder with one DICOM series."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from os import PathLike
from pathlib import Path

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from monai_staging.cohort.dicom import load_series
from monai_staging.cohort.volume import read_mask, read_volume
from monai_staging.errors import DataError
from monai_staging.transforms.grid import Affine
from monai_staging.transforms.meta import with_affine
from monai_staging.transforms.resample import Array, as_tensor


class LoadVolume(Transform):
    """A CT volume in HU, or a mask, in the orientation it is stored in.

    A ``.nii`` of a cohort is memory-mapped: nothing is read before a transform asks for it, and then only what it asks
    for. Writing to the result changes a private copy, never the file. A folder is read as DICOM and must hold one CT
    series.

    Args:
        root: folder that relative paths start from; the current one where it is left out.
        mask: the file is a mask (uint8 or uint16) rather than HU.
    """

    def __init__(self, root: str | PathLike[str] | None = None, mask: bool = False) -> None:
        self.root = Path(root) if root is not None else Path()
        self.mask = mask

    def __call__(self, path: str | PathLike[str]) -> MetaTensor:
        """Reads a volume.

        Args:
            path: a ``.nii`` of a cohort, or a folder with one DICOM series.

        Returns:
            (1, I, J, K), int16 HU, or a mask's labels; affine from voxel index to RAS mm.

        Raises:
            DataError: not there, not readable, or no or several series in a folder; refused by the DICOM rules.
        """
        file = self.root / path
        if file.is_dir():
            if self.mask:
                raise DataError(f"Mask {file.name}: a .nii file is needed, found a folder")
            volume = load_series(file)
            array, affine = volume.array, volume.affine
        else:
            array, affine = map_file(file, self.mask)
        tensor = as_tensor(array)[None]
        return with_affine(tensor, affine, tensor)


class LoadVolumed(MapTransform):
    """Dictionary twin of `LoadVolume`: each path becomes its volume.

    Args:
        keys: paths.
        root: as in the array transform.
        mask_keys: those of the keys that are masks.
        allow_missing_keys: leave out keys that an item does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        root: str | PathLike[str] | None = None,
        mask_keys: KeysCollection = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        masks = {mask_keys} if isinstance(mask_keys, str) else set(mask_keys)  # type: ignore[arg-type]
        self.transforms = {key: LoadVolume(root, key in masks) for key in self.keys}

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Reads every key."""
        result = dict(data)
        for key in self.key_iterator(result):
            path = result[key]
            if not isinstance(path, (str, PathLike)):
                raise DataError(f"LoadVolumed: {key} must be a path, found a {type(path).__name__}")
            result[key] = self.transforms[key](path)
        return result


def map_file(path: Path, mask: bool = False) -> tuple[Array, Affine]:
    """A cohort's volume or mask (I, J, K), memory-mapped copy on write, and its affine to RAS mm."""
    if mask:
        array, affine = read_mask(path)
        return _private(array), affine
    volume = read_volume(path)
    return _private(volume.array), volume.affine


def _private(array: Array) -> Array:
    """The same memory map, copy on write: what is written stays in this process instead of ending it."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return array
    order: str = "F" if array.flags.f_contiguous else "C"
    return np.memmap(array.filename, array.dtype, "c", array.offset, array.shape, order)  # type: ignore[call-overload]
