"""What a segmentation network sees of a nodule, and the way back: slices, slices with neighbours, or a cube."""

from __future__ import annotations

import numpy as np
from monai.transforms import Transform
from numpy.typing import NDArray

from monai_staging.cohort.nodules.nodule import NoduleVolume
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.grid import Grid
from monai_staging.transforms.nodule_views import consensus_share
from monai_staging.transforms.resample import resample

KINDS = ("2d", "2.5d", "3d")
Spacing = tuple[float, float, float]
Voxels = NDArray[np.float32]


class NodulePatches(Transform):
    """Cuts a nodule's voxels into patches around their middle, and puts what was found in them back.

    The middle is that of the array, not of the outline: a source cuts its voxels out around where somebody said that
    there is a nodule, and the outline must not be known. Beyond the array its edge is repeated.

    Args:
        kind: ``2d``, each slice by itself; ``2.5d``, each with its neighbours as further channels; ``3d``, a cube.
        size: pixels along each side.
        spacing_mm: of a pixel, ``3d`` along every axis; ``None`` takes the pixels as they were recorded.
        slices: of ``2.5d``, an odd number.

    Shape:
        ``(N, C, *spatial)``: of ``2d`` and ``2.5d`` a patch a slice, (D, C, size, size), of ``3d`` one of (size,) * 3.

    Raises:
        UsageError: a setting out of range.
    """

    def __init__(self, kind: str = "2.5d", size: int = 64, spacing_mm: float | None = None, slices: int = 3) -> None:
        if kind not in KINDS:
            raise UsageError(f"NodulePatches: kind must be one of {', '.join(KINDS)}; found {kind!r}")
        if size < 1 or (spacing_mm is not None and not spacing_mm > 0):
            raise UsageError(f"NodulePatches: size and spacing_mm must be above 0; found {size} and {spacing_mm}")
        if slices < 1 or slices % 2 == 0:
            raise UsageError(f"NodulePatches: slices must be an odd number; found {slices}")
        if kind == "3d" and spacing_mm is None:
            raise UsageError("NodulePatches: a cube has one spacing_mm along every axis; found none")
        self.kind = kind
        self.size = size
        self.spacing_mm = spacing_mm
        self.slices = slices

    @property
    def spatial_dims(self) -> int:
        """Dimensions of a patch."""
        return 3 if self.kind == "3d" else 2

    def in_channels(self, colours: int = 1) -> int:
        """Channels of a patch, for an image of so many."""
        return colours * (self.slices if self.kind == "2.5d" else 1)

    def __call__(
        self,
        volume: NoduleVolume,
        spacing_mm: Spacing | None = None,
        value_range: tuple[float, float] = (0.0, 255.0),
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Patches of the image ``(N, C, *spatial)``, and of the share of the readers who include a voxel.

        Args:
            volume: image (C, D, H, W) and outlines (R, D, H, W).
            spacing_mm: of the voxels.
            value_range: of the image, what becomes 0 and 255.

        Returns:
            Both, the share ``(N, 1, *spatial)``.

        Raises:
            DataError: no spacing, where one is needed.
        """
        low, high = value_range
        image = np.clip((volume.image.astype(np.float32) - low) / (high - low), 0, 1)
        cut = np.stack([self._cut(channel, spacing_mm, edge=True) for channel in image])
        share = self._cut(consensus_share(volume.outlines), spacing_mm, edge=False)
        if self.kind == "3d":
            return _stored(cut[None]), _stored(share[None, None])
        reach = self.slices // 2 if self.kind == "2.5d" else 0
        depth = cut.shape[1]
        neighbours = np.clip(np.arange(depth)[:, None] + np.arange(-reach, reach + 1), 0, depth - 1)
        # (C, D, slices, size, size) to (D, C * slices, size, size)
        beside = cut[:, neighbours].swapaxes(0, 1)
        return _stored(beside.reshape(depth, -1, self.size, self.size)), _stored(share[:, None])

    def restore(self, found: Voxels, shape: tuple[int, int, int], spacing_mm: Spacing | None = None) -> Voxels:
        """What was found in the patches, on the voxels they were cut from; 0 where no patch was.

        Args:
            found: ``(N, *spatial)``, one value a pixel.
            shape: (D, H, W) of the voxels.
            spacing_mm: of the voxels.
        """
        if self.spacing_mm is None:
            whole = np.zeros(shape, dtype=np.float32)
            rows, columns = (_overlap(length, self.size) for length in shape[1:])
            whole[:, rows[0], columns[0]] = found[:, rows[1], columns[1]]
            return whole
        grid = self._grid(shape, spacing_mm)
        affine = grid.affine
        target = Grid(shape, self._needed(spacing_mm), (0.0, 0.0, 0.0))
        voxels = found[0] if self.kind == "3d" else found
        restored: Voxels = resample(voxels, affine, target, pad_value=0.0).numpy()
        return restored

    def _cut(self, voxels: Voxels, spacing_mm: Spacing | None, edge: bool) -> Voxels:
        """(D, size, size), or (size,) * 3 of ``3d``, of (D, H, W) voxels."""
        if self.spacing_mm is None:
            rows, columns = (np.arange(self.size) + (length - self.size) // 2 for length in voxels.shape[1:])
            if edge:
                rows, columns = (
                    np.clip(index, 0, length - 1)
                    for index, length in zip((rows, columns), voxels.shape[1:], strict=True)
                )
                return voxels[:, rows[:, None], columns]
            patch = np.zeros((len(voxels), self.size, self.size), dtype=np.float32)
            inner = [_overlap(length, self.size) for length in voxels.shape[1:]]
            patch[:, inner[0][1], inner[1][1]] = voxels[:, inner[0][0], inner[1][0]]
            return patch
        shape = (voxels.shape[0], voxels.shape[1], voxels.shape[2])
        native = self._needed(spacing_mm)
        grid = self._grid(shape, spacing_mm)
        affine = np.diag([*native, 1.0])
        if edge:
            # As far as the patch may reach; the voxels move, and the origin with them.
            reach = [
                max(0, int(np.ceil(-begin / step)) + 1) for begin, step in zip(grid.origin_mm, native, strict=True)
            ]
            voxels = np.pad(voxels, [(one, one) for one in reach], mode="edge")
            affine[:3, 3] = -np.array(reach) * np.array(native)
        patch = resample(voxels, affine, grid, pad_value=0.0).numpy()
        return patch

    def _grid(self, shape: tuple[int, int, int], spacing_mm: Spacing | None) -> Grid:
        """Where the patch's pixels lie, in mm from the first voxel."""
        native = self._needed(spacing_mm)
        assert self.spacing_mm is not None
        middle = [(length - 1) / 2 * step for length, step in zip(shape, native, strict=True)]
        pixel = self.spacing_mm
        start = [center - (self.size - 1) / 2 * pixel for center in middle]
        if self.kind == "3d":
            return Grid((self.size,) * 3, (pixel,) * 3, (start[0], start[1], start[2]))
        return Grid((shape[0], self.size, self.size), (native[0], pixel, pixel), (0.0, start[1], start[2]))

    def _needed(self, spacing_mm: Spacing | None) -> Spacing:
        if spacing_mm is None:
            raise DataError(f"Nodules: patches of {self.spacing_mm} mm a pixel need the voxels' spacing, found none")
        return spacing_mm


def _overlap(length: int, size: int) -> tuple[slice, slice]:
    """Where a patch of ``size`` around the middle and an axis of ``length`` have pixels in common, in both."""
    start = (length - size) // 2
    low, high = max(0, start), min(length, start + size)
    return slice(low, high), slice(low - start, high - start)


def _stored(values: Voxels) -> NDArray[np.uint8]:
    stored: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
    return stored
