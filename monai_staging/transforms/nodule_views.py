"""What a network sees of a nodule: a slice, neighbouring slices, three planes or a cube, at a scale in millimetres."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray

from monai_staging.cohort.nodules.nodule import NoduleVolume
from monai_staging.errors import UsageError
from monai_staging.transforms.grid import Grid
from monai_staging.transforms.resample import resample

KINDS = ("central", "2.5d", "planes", "3d")
CHANNELS = ("image", "outline")
PADDINGS = ("edge", "zero")
# Array axes of a plane's rows and columns, and the one it is perpendicular to.
_PLANES = ((1, 2, 0), (0, 2, 1), (0, 1, 2))


class NoduleViews(Transform):
    """Cuts what a network sees out of a nodule's voxels, always at the same size of a pixel in millimetres.

    A nodule's size is the strongest sign of malignancy: a view that is stretched to fill the picture, or keeps native
    pixels of .5 to .9 mm, hides it.

    Args:
        kind: ``central``, the slice with the largest outline; ``2.5d``, slices ``step_mm`` above and below it as
            further image channels; ``planes``, the axial, coronal and sagittal plane through the nodule's centre as
            three views; ``3d``, a cube.
        size: pixels along each side.
        spacing_mm: of a pixel, along every axis.
        step_mm: between the slices of ``2.5d``.
        slices: of ``2.5d``, an odd number.
        channels: of :data:`CHANNELS`; ``outline`` is the share of the readers who include a voxel.
        padding: the image where nothing was recorded: ``edge`` repeats the outermost voxels (patches of only the
            outlined slices would else end in a black bar that says how many there were), ``zero`` is black. A picture
            without an outline is always set in black.

    Shape:
        (V, C, size, size), V 3 for ``planes`` and else 1, or (1, C, size, size, size) for ``3d``; uint8, the image's
        ``value_range`` and a share of 0 to 1 both as 0 to 255.
    """

    def __init__(
        self,
        kind: str = "central",
        size: int = 48,
        spacing_mm: float = 0.75,
        step_mm: float = 3.0,
        slices: int = 3,
        channels: Sequence[str] = CHANNELS,
        padding: str = "edge",
    ) -> None:
        if kind not in KINDS:
            raise UsageError(f"NoduleViews: kind must be one of {', '.join(KINDS)}; found {kind!r}")
        if size < 1 or not spacing_mm > 0 or not step_mm > 0:
            raise UsageError(
                f"NoduleViews: size, spacing_mm and step_mm must be above 0; found {size}, {spacing_mm}, {step_mm}"
            )
        if slices < 1 or slices % 2 == 0:
            raise UsageError(f"NoduleViews: slices must be an odd number; found {slices}")
        if "image" not in channels or set(channels) - set(CHANNELS) or len(set(channels)) < len(channels):
            raise UsageError(
                f"NoduleViews: channels are 'image' and maybe 'outline', each once; found {list(channels)}"
            )
        self.kind = kind
        self.size = size
        self.spacing_mm = spacing_mm
        self.step_mm = step_mm
        self.slices = slices
        if padding not in PADDINGS:
            raise UsageError(f"NoduleViews: padding must be one of {', '.join(PADDINGS)}; found {padding!r}")
        self.padding = padding
        self.channels = tuple(name for name in CHANNELS if name in channels)

    @property
    def views(self) -> int:
        """How many pictures are made of a nodule."""
        return len(_PLANES) if self.kind == "planes" else 1

    @property
    def spatial_dims(self) -> int:
        """Dimensions of a view."""
        return 3 if self.kind == "3d" else 2

    def image_channels(self, colours: int = 1) -> int:
        """How many channels of a view are image, for an image of so many."""
        return colours * (self.slices if self.kind == "2.5d" else 1)

    def in_channels(self, colours: int = 1) -> int:
        """Channels of a view, for an image of so many."""
        return self.image_channels(colours) + ("outline" in self.channels)

    def __call__(
        self,
        volume: NoduleVolume,
        spacing_mm: tuple[float, float, float] | None = None,
        value_range: tuple[float, float] = (0.0, 255.0),
    ) -> NDArray[np.uint8]:
        """The views of one nodule.

        Args:
            volume: image (C, D, H, W) and outlines (R, D, H, W).
            spacing_mm: of the voxels; where the source has none, the whole image fills the view.
            value_range: of the image, what becomes 0 and 255.
        """
        image = volume.image.astype(np.float32)
        low, high = value_range
        stored = [np.clip((channel - low) / (high - low), 0, 1) for channel in image]
        share = consensus_share(volume.outlines) if "outline" in self.channels else None
        if spacing_mm is None:
            depth, height, width = image.shape[1:]
            field = self.size * self.spacing_mm
            edge = field / max(height, width)
            spacing_mm = (edge if depth == 1 else field / depth, edge, edge)
        center = nodule_center(volume.outlines, image.shape[1:]) * np.asarray(spacing_mm)
        if self.padding == "edge" and volume.outlines.any():
            # As far as a view may reach. The voxels move, and the centre with them.
            reach = [int(np.ceil(self.size * self.spacing_mm / 2 / step)) + 1 for step in spacing_mm]
            stored = [np.pad(channel, [(one, one) for one in reach], mode="edge") for channel in stored]
            if share is not None:
                share = np.pad(share, [(one, one) for one in reach])
            center = center + np.array(reach) * np.asarray(spacing_mm)
        cut = [self._cut(channel, spacing_mm, center, offsets=True) for channel in stored]
        parts = [np.concatenate(cut, axis=1)]
        if share is not None:
            parts.append(self._cut(share, spacing_mm, center, offsets=False))
        views: NDArray[np.uint8] = np.rint(np.concatenate(parts, axis=1) * 255).astype(np.uint8)
        return views

    def _cut(
        self, voxels: NDArray[np.float32], spacing_mm: tuple[float, float, float], center: NDArray[Any], offsets: bool
    ) -> NDArray[np.float32]:
        """(V, channels, *spatial) of one array of voxels."""
        if self.kind == "3d":
            return self._sample(voxels, spacing_mm, center, (self.size,) * 3)[None, None]
        if self.kind == "planes":
            planes = []
            for rows, columns, through in _PLANES:
                size = [self.size] * 3
                size[through] = 1
                plane = self._sample(voxels, spacing_mm, center, (size[0], size[1], size[2]))
                planes.append(plane.transpose(rows, columns, through)[..., 0])
            return np.stack(planes)[:, None]
        reach = self.slices // 2 if self.kind == "2.5d" and offsets else 0
        shape = (1, self.size, self.size)
        steps = [np.array([place * self.step_mm, 0.0, 0.0]) for place in range(-reach, reach + 1)]
        return np.stack([self._sample(voxels, spacing_mm, center + step, shape)[0] for step in steps])[None]

    def _sample(
        self,
        voxels: NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        center: NDArray[Any],
        size: tuple[int, int, int],
    ) -> NDArray[np.float32]:
        origin = center - (np.asarray(size) - 1) / 2 * self.spacing_mm
        grid = Grid(size, (self.spacing_mm,) * 3, (origin[0], origin[1], origin[2]))
        sampled: NDArray[np.float32] = resample(voxels, np.diag([*spacing_mm, 1.0]), grid, pad_value=0.0).numpy()
        return sampled


class NoduleViewsd(MapTransform):
    """Dictionary twin of `NoduleViews`.

    Args:
        keys: where an item has a `NoduleVolume`; each becomes its views, a uint8 tensor.
        views: the array transform.
        spacing_key: where an item has the voxels' spacing in mm, or ``None``.
        value_range: of the image.
        allow_missing_keys: leave out keys that an item does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        views: NoduleViews,
        spacing_key: str = "spacing_mm",
        value_range: tuple[float, float] = (0.0, 255.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.views = views
        self.spacing_key = spacing_key
        self.value_range = value_range

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The views of every key."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = torch.from_numpy(self.views(result[key], result[self.spacing_key], self.value_range))
        return result


def consensus_share(outlines: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(D, H, W) share of the readers (R, D, H, W) who include a voxel; 0 everywhere where there is no reader."""
    if not len(outlines):
        return np.zeros(outlines.shape[1:], dtype=np.float32)
    return outlines.mean(axis=0, dtype=np.float32)


def consensus(outlines: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(D, H, W) voxels that at least half of the readers include; where there is none, what any reader includes."""
    share = consensus_share(outlines)
    agreed: NDArray[np.bool_] = share >= 0.5
    return agreed if agreed.any() else share > 0


def nodule_center(outlines: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(3) voxel index: the consensus's largest slice, and its centroid there; the array's middle without an outline."""
    region = consensus(outlines)
    if not region.any():
        return (np.asarray(shape, dtype=np.float64) - 1) / 2
    areas = region.sum(axis=(1, 2))
    # Of several equally large slices the middle one.
    largest = np.flatnonzero(areas == areas.max())
    slice_index = int(largest[(len(largest) - 1) // 2])
    rows, columns = np.nonzero(region[slice_index])
    return np.array([slice_index, rows.mean(), columns.mean()])
