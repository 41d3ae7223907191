"""Volumes that are resampled once and kept as files of which a patch costs a patch."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import ensure_tuple_rep

from monai_staging.cohort.volume import Volume, write_mask, write_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.grid import plan_grid
from monai_staging.transforms.loading import map_file
from monai_staging.transforms.resample import Interpolation, resample

_FORMAT = 1
"""Of what is kept; raised when a file of an older one would be another volume."""


class KeepResampled(Transform):
    """A volume's file to the file of the same volume on an RAS grid of one spacing, made where it is not there yet.

    What is kept is a ``.nii`` that memory-maps, HU rounded to whole numbers (a mask: the nearest voxel's label). Of it
    :class:`~monai_staging.transforms.patches.RandPatches` without a spacing reads patches of that spacing and
    interpolates none of them. A volume that changes is resampled anew. The folder may be deleted at any time; several
    processes may share it.

    Args:
        folder: for the files.
        spacing_mm: along x, y, z, or one for all.
        mask: the file is a mask.
        pad_value: of what lies outside the volume, HU.
        root: folder that relative paths start from.

    Raises:
        UsageError: a spacing that is not positive.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        spacing_mm: float | Sequence[float],
        mask: bool = False,
        pad_value: int = -1024,
        root: str | PathLike[str] | None = None,
    ) -> None:
        x, y, z = (float(spacing) for spacing in ensure_tuple_rep(spacing_mm, 3))
        if min(x, y, z) <= 0:
            raise UsageError(f"KeepResampled: lengths above 0 mm are needed, found {spacing_mm}")
        self.folder = Path(folder)
        self.spacing_mm = (x, y, z)
        self.mask = mask
        self.pad_value = pad_value
        self.root = Path(root) if root is not None else Path()

    def __call__(self, path: str | PathLike[str]) -> Path:
        """Gives the kept file.

        Raises:
            DataError: the file is not there or not readable.
        """
        file = self.root / path
        kept = self.folder / f"{self._name(file)}.nii"
        if not kept.exists():
            array, affine = map_file(file, self.mask)
            grid = plan_grid(array.shape, affine, self.spacing_mm)
            mode, pad = (Interpolation.NEAREST, 0) if self.mask else (Interpolation.LINEAR, self.pad_value)
            found = np.rint(resample(array, affine, grid, mode, pad_value=pad).numpy())
            if self.mask:
                write_mask(kept, found.astype(array.dtype), grid.affine)
            else:
                write_volume(kept, Volume(found.astype(np.int16), grid.affine))
        return kept

    def _name(self, file: Path) -> str:
        try:
            state = file.stat()
        except OSError as error:
            raise DataError(f"KeepResampled: {file} cannot be read ({error.strerror})") from None
        told = (_FORMAT, file.resolve(), state.st_size, state.st_mtime_ns, self.spacing_mm, self.mask, self.pad_value)
        return hashlib.sha256(repr(tuple(map(str, told))).encode()).hexdigest()[:24]


class KeepResampledd(MapTransform):
    """Dictionary twin of `KeepResampled`: each path becomes that of the kept file.

    Args:
        keys: paths of volumes of one grid.
        folder: as in the array transform.
        spacing_mm: as in the array transform.
        mask_keys: those of the keys that are masks.
        pad_value: as in the array transform.
        root: as in the array transform.
        allow_missing_keys: leave out keys that an item does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        folder: str | PathLike[str],
        spacing_mm: float | Sequence[float],
        mask_keys: KeysCollection = (),
        pad_value: int = -1024,
        root: str | PathLike[str] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        masks = {mask_keys} if isinstance(mask_keys, str) else set(mask_keys)  # type: ignore[arg-type]
        self.transforms = {key: KeepResampled(folder, spacing_mm, key in masks, pad_value, root) for key in self.keys}

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Resamples what is not kept yet.

        Raises:
            DataError: a key that is no path, or a file that is not readable.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            path = result[key]
            if not isinstance(path, (str, PathLike)):
                raise DataError(f"KeepResampledd: {key} must be a path, found a {type(path).__name__}")
            result[key] = self.transforms[key](path)
        return result
