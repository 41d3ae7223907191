"""Resampling a volume to an axis-aligned RAS grid, fast: three passes along the axes where the voxels allow it.

CT series lie along the patient's axes almost always. Then trilinear interpolation, flips, axis permutation, cropping
and padding are all "which voxels of this axis, with which weights", one axis after the other, straight from int16
memory.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from monai_staging.errors import DataError
from monai_staging.transforms.grid import Affine, Grid
from monai_staging.transforms.parallel import for_each

Array = npt.NDArray[Any]

# Off-axis drift from one end of the volume to the other, in voxels, up to which its axes count as the patient's.
ALIGNED_VOXELS = 0.01
# Output coarser than the voxels by more than this is averaged over the output voxel: nothing thin falls in between.
AVERAGE_ABOVE = 1.5
# Weights below this come from rounding in the affine; without them an axis that keeps its voxels is not interpolated.
NEGLIGIBLE = 1e-4
# Elements worked on at a time: the passes over them stay in the processor's cache.
CHUNK = 2**19


class Interpolation(str, Enum):
    """How a value between voxels comes about."""

    LINEAR = "linear"
    NEAREST = "nearest"


@dataclass(frozen=True)
class Taps:
    """Where one axis of the output comes from.

    Attributes:
        start, stop: outputs in this range have a source, the others are padding.
        index: (stop - start, T) source voxels.
        weight: (stop - start, T), each row sums to 1.
    """

    start: int
    stop: int
    index: torch.Tensor
    weight: torch.Tensor

    def to(self, device: torch.device) -> Taps:
        """The same on another device."""
        return Taps(self.start, self.stop, self.index.to(device), self.weight.to(device))

    def span(self) -> tuple[int, int]:
        """First source voxel used, and how many there are up to the last."""
        low, high = self.index.aminmax()
        return int(low), int(high - low) + 1


def axis_taps(position: npt.NDArray[np.float64], count: int, mode: Interpolation, antialias: bool) -> Taps:
    """Source voxels and weights of each output sample along one axis.

    Args:
        position: (n,), where each sample lies, in source voxels; evenly spaced.
        count: source voxels along the axis.
        mode: linear, or the nearest voxel.
        antialias: a step of more than `AVERAGE_ABOVE` voxels takes the mean over the step, each voxel with the part
            of it that lies inside, rather than interpolating between two.
    """
    step = abs(float(position[1] - position[0])) if len(position) > 1 else 1.0
    # As far as half a voxel (of the coarser of both grids) around the outermost centres the volume still goes on.
    reach = 0.5 * max(step, 1.0) + 1e-6
    inside = np.flatnonzero((position >= -reach) & (position <= count - 1 + reach))
    if not len(inside):
        return Taps(0, 0, torch.zeros((0, 1), dtype=torch.long), torch.zeros((0, 1)))
    start, stop = int(inside[0]), int(inside[-1]) + 1
    at = position[start:stop]
    if mode is Interpolation.NEAREST:
        index = np.clip(np.floor(at + 0.5), 0, count - 1)[:, None]
        weight = np.ones_like(index)
    elif antialias and step > AVERAGE_ABOVE:
        first = np.floor(at - step / 2 + 0.5)
        index = first[:, None] + np.arange(int(np.ceil(step)) + 1)
        low = np.maximum(index - 0.5, (at - step / 2)[:, None])
        high = np.minimum(index + 0.5, (at + step / 2)[:, None])
        weight = np.where((index >= 0) & (index < count), np.clip(high - low, 0, None), 0.0)
    else:
        at = np.clip(at, 0, count - 1)
        below = np.floor(at + NEGLIGIBLE)
        index = below[:, None] + np.arange(2)
        weight = np.stack([1 - (at - below), at - below], axis=1)
    weight[weight < NEGLIGIBLE] = 0.0
    used = (weight > 0).any(axis=0)
    index, weight = np.clip(index[:, used], 0, count - 1), weight[:, used]
    weight /= weight.sum(axis=1, keepdims=True)
    return Taps(start, stop, torch.from_numpy(index.astype(np.int64)), torch.from_numpy(weight.astype(np.float32)))


def resample(
    volume: Array | torch.Tensor,
    affine: Affine,
    grid: Grid,
    mode: Interpolation | str = Interpolation.LINEAR,
    antialias: bool = True,
    pad_value: float = -1024.0,
) -> torch.Tensor:
    """A volume on another grid.

    Args:
        volume: (I, J, K), any real type; read once, in memory order, so a memory-mapped array is fine.
        affine: (4, 4), voxel index to RAS mm, of any orientation. Oblique volumes take a slower way.
        grid: where the output lies, see `plan_grid`.
        mode: ``"linear"`` or ``"nearest"``.
        antialias: average where the grid is coarser than the voxels by more than `AVERAGE_ABOVE`; linear only.
        pad_value: of what lies outside the volume.

    Returns:
        (X, Y, Z) float32, on the device of a tensor, else the CPU. The axes keep their order in memory, slices slowest
        if they were, so this may be a permuted view.

    Raises:
        DataError: not three axes, no voxels, or an affine that maps two axes onto one.
    """
    mode = Interpolation(mode)
    tensor = as_tensor(volume)
    affine = np.asarray(affine, dtype=np.float64)
    if tensor.ndim != 3 or not tensor.numel():
        raise DataError(f"Resampling: a volume (I, J, K) with voxels is needed, found shape {tuple(tensor.shape)}")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(f"Resampling: an invertible (4, 4) affine is needed, found {affine.tolist()}")
    axes = aligned_axes(affine, tuple(tensor.shape))
    if axes is None:
        return _resample_oblique(tensor, affine, grid, mode, antialias, pad_value)
    taps: dict[int, Taps] = {}
    for world, axis in enumerate(axes):
        samples = grid.origin_mm[world] + np.arange(grid.size[world]) * grid.spacing_mm[world]
        position = (samples - affine[world, 3]) / affine[world, axis]
        taps[axis] = axis_taps(position, tensor.shape[axis], mode, antialias).to(tensor.device)
    slow, middle, fast = sorted(range(3), key=lambda axis: tensor.stride(axis), reverse=True)
    sizes = {axis: grid.size[world] for world, axis in enumerate(axes)}
    output = _separable(
        tensor.permute(slow, middle, fast),
        (taps[slow], taps[middle], taps[fast]),
        (sizes[slow], sizes[fast], sizes[middle]),
        pad_value,
    )
    stored = (slow, fast, middle)
    return output.permute(*[stored.index(axis) for axis in axes])


def aligned_axes(affine: Affine, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """The volume's axis along each of x, y, z; None where they do not run along the patient's."""
    matrix = affine[:3, :3]
    axes = np.abs(matrix).argmax(axis=1)
    if sorted(axes) != [0, 1, 2]:
        return None
    main = np.zeros_like(matrix)
    main[np.arange(3), axes] = matrix[np.arange(3), axes]
    drift_mm = np.abs(matrix - main) * (np.asarray(shape) - 1)
    if drift_mm.sum(axis=1).max() > ALIGNED_VOXELS * np.abs(main[main != 0]).min():
        return None
    return int(axes[0]), int(axes[1]), int(axes[2])


def as_tensor(volume: Array | torch.Tensor) -> torch.Tensor:
    """A tensor on the same memory where torch can use it; read-only memory too, as nothing here writes to its input."""
    if isinstance(volume, torch.Tensor):
        return volume.as_subclass(torch.Tensor)
    array = np.asarray(volume)
    if not array.dtype.isnative or array.dtype in (np.uint16, np.uint32) or any(s < 0 for s in array.strides):
        # Torch has neither foreign byte order nor negative strides, and hardly a function for wide unsigned numbers.
        wide = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64}
        native = array.dtype.newbyteorder("=")
        array = np.ascontiguousarray(array, dtype=wide.get(native, native))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _along_rows(block: torch.Tensor, taps: Taps) -> torch.Tensor:
    """(c, n, m) of any type to (c, outputs, m) float32: a weighted sum of whole rows, which are contiguous memory."""
    first = block.index_select(1, taps.index[:, 0]).float()
    weight = taps.weight
    if weight.shape[1] == 1:
        return first
    if weight.shape[1] == 2:
        return first.lerp_(block.index_select(1, taps.index[:, 1]).float(), weight[:, 1, None])
    first.mul_(weight[:, 0, None])
    for tap in range(1, weight.shape[1]):
        first.addcmul_(block.index_select(1, taps.index[:, tap]).float(), weight[:, tap, None])
    return first


def _separable(
    volume: torch.Tensor, taps: tuple[Taps, Taps, Taps], size: tuple[int, int, int], pad_value: float
) -> torch.Tensor:
    """(slow, middle, fast) to (slow, fast, middle): within a slice, two passes on rows with a transposition between."""
    slow, middle, fast = taps
    whole = (slow.stop - slow.start, fast.stop - fast.start, middle.stop - middle.start) == size
    device = volume.device
    output = torch.empty(size, device=device) if whole else torch.full(size, float(pad_value), device=device)
    target = output[slow.start : slow.stop, fast.start : fast.stop, middle.start : middle.stop]
    if not target.numel():
        return output
    # Rows and columns that no output needs are not even read.
    for dim, part in ((1, middle), (2, fast)):
        volume = volume.narrow(dim, *part.span())
    middle, fast = (replace(part, index=part.index - part.span()[0]) for part in (middle, fast))
    interpolate = slow.index.shape[1] > 1
    # Slices one after the other as the output wants them, or each one that is needed, once, to be mixed afterwards.
    wanted, place = torch.unique(slow.index, return_inverse=True) if interpolate else (slow.index[:, 0], slow.index)
    slices = torch.empty((len(wanted), *target.shape[1:]), device=device) if interpolate else target
    chunk = max(1, CHUNK // max(volume[0].numel(), target[0].numel()))

    def within(begin: int) -> None:
        block = volume.index_select(0, wanted[begin : begin + chunk])
        turned = _along_rows(block, middle).transpose(1, 2).contiguous()
        slices[begin : begin + chunk] = _along_rows(turned, fast)

    def between(begin: int) -> None:
        rows = Taps(0, 0, place[begin : begin + chunk], slow.weight[begin : begin + chunk])
        target[begin : begin + chunk] = _along_rows(slices.flatten(1)[None], rows)[0].view(-1, *target.shape[1:])

    for_each(within, range(0, len(wanted), chunk))
    if interpolate:
        for_each(between, range(0, len(target), chunk))
    return output


def _resample_oblique(
    volume: torch.Tensor, affine: Affine, grid: Grid, mode: Interpolation, antialias: bool, pad_value: float
) -> torch.Tensor:
    """Any affine: each output voxel is looked up on its own, one slice of the output at a time."""
    image = volume.float()[None, None]
    if antialias and mode is Interpolation.LINEAR:
        voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
        # How far the output's voxel reaches along each axis of the volume, as the spacing along that axis' direction.
        step = np.linalg.norm(np.diag(grid.spacing_mm) @ (affine[:3, :3] / voxel_mm), axis=0) / voxel_mm
        factors = [min(round(s), n) if s > AVERAGE_ABOVE else 1 for s, n in zip(step, volume.shape, strict=True)]
        image = functional.avg_pool3d(image, factors, ceil_mode=True, count_include_pad=False)
        pooled = np.diag([*factors, 1.0])
        pooled[:3, 3] = (np.asarray(factors) - 1) / 2
        affine = affine @ pooled
    device = image.device
    to_voxel = torch.from_numpy(np.linalg.inv(affine) @ grid.affine).to(device)
    count = torch.tensor(image.shape[2:], dtype=torch.float64, device=device)
    reach = 0.5 * to_voxel[:3, :3].abs().sum(dim=1).clamp(min=1.0) + 1e-6
    output = torch.empty(grid.size, device=device)
    axis_y, axis_z = (torch.arange(n, dtype=torch.float64, device=device) for n in grid.size[1:])
    y, z = torch.meshgrid(axis_y, axis_z, indexing="ij")
    for x in range(grid.size[0]):
        at = torch.stack([torch.full_like(y, x), y, z], dim=-1) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        outside = ((at < -reach) | (at > count - 1 + reach)).any(dim=-1)
        # grid_sample counts from -1 to 1 and wants the fastest axis first.
        unit = torch.where(count > 1, 2 * at / (count - 1).clamp(min=1) - 1, 0.0).flip(-1)
        value = functional.grid_sample(
            image,
            unit.float()[None, None],
            mode="bilinear" if mode is Interpolation.LINEAR else "nearest",
            padding_mode="border",
            align_corners=True,
        )[0, 0, 0]
        output[x] = value.masked_fill_(outside, pad_value)
    return output
