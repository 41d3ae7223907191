"""How thick things are, before anything is learned: a granulometry of the study, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import UsageError


class Granulometry(nn.Module):
    """Multi-scale morphological openings of every channel, joined to what lies around and to the place in the scan.

    An opening with a cube takes away what is bright and thinner than the cube: a vessel goes, a nodule of its size
    stays. What one opening leaves and the next, larger one takes is a *band* of thickness (Serra, Image Analysis and
    Mathematical Morphology, 1982, chapter X), and the same of the inverted image tells how thick dark things are. A
    network that starts from bands needs not learn from a few dozen patients that tumours are thick and vessels thin.

    Nothing before the last two layers is learned; the openings are exact, on 8-bit values at half the in-plane
    resolution.

    Args:
        in_channels: channels of the image, values in 0..1.
        features: channels of the result.
        sizes: edges of the cubes, in voxels of the halved grid, ascending: 10 to 40 mm on the staging bundle's grid.
        dropout: of the learned layers: a few dozen patients have too few lesions for them otherwise.

    Raises:
        UsageError: sizes that do not ascend from 2.
    """

    def __init__(
        self, in_channels: int, features: int, sizes: Sequence[int] = (2, 3, 5, 8), dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        # Set where the layers are fitted and stay: then the statistics must stay too.
        self.settled = False
        if not self.sizes or self.sizes[0] < 2 or list(self.sizes) != sorted(set(self.sizes)):
            raise UsageError(f"Granulometry: sizes must ascend from at least 2, found {list(self.sizes)}")
        # Bright and dark bands and rests, and the mean; each also of the neighbourhood, twice; and the place.
        count = 3 * in_channels * (2 * len(self.sizes) + 3) + 3
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("variance", torch.ones(count))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.mix = nn.Sequential(
            nn.Linear(count, features),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(features, features),
            nn.GELU(),
            nn.Dropout(dropout),
        )

    def forward(self, image: Tensor, cells: Sequence[int]) -> Tensor:
        """Maps an image (B, C, X, Y, S) to (B, S', X', Y', features), ``cells`` being (S', X', Y')."""
        bands = self.bands(image, cells)
        if self.training and not self.settled:
            self.observe(bands)
        return self.mixed(bands)

    def mixed(self, bands: Tensor) -> Tensor:
        """Maps bands (..., count) to (..., features)."""
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        # By what was seen of all patients: by the batch's own spread, a large tumour would be as thick as a small one.
        values = functional.batch_norm(bands.flatten(0, -2).float(), mean, variance, training=False)
        result: Tensor = self.mix(values)
        return result.unflatten(0, bands.shape[:-1])

    def observe(self, bands: Tensor) -> None:
        """Takes a batch into mean and variance, at first as an average of all batches, then of the last hundred."""
        values = bands.flatten(0, -2)
        seen = self.get_buffer("seen")
        seen += 1
        weight = 1 / seen.clamp(max=100).to(values.dtype)
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        apart = values.mean(dim=0) - mean
        mean += weight * apart
        # Within the batch, and of the batches about the mean.
        variance += weight * (values.var(dim=0, correction=0) + (1 - weight) * apart**2 - variance)

    @torch.no_grad()
    def bands(self, image: Tensor, cells: Sequence[int]) -> Tensor:
        """What the layers see: (B, S', X', Y', count), not normalised."""
        slices, columns, rows = cells
        half = functional.avg_pool3d(image.float(), (2, 2, 1))
        bright = (half * 255).round().clamp(0, 255).to(torch.uint8)
        whole = torch.cat([bright, 255 - bright], dim=1)
        parts, before = [], whole
        for size in self.sizes:
            opened = opening(whole, size)
            # An opening by an even cube need not lie within that by a smaller one.
            parts.append(before - torch.minimum(before, opened))
            before = opened
        parts.append(before)
        thick = functional.adaptive_max_pool3d(torch.cat(parts, dim=1).float() / 255, (columns, rows, slices))
        mean = functional.adaptive_avg_pool3d(half, (columns, rows, slices))
        own = torch.cat([thick, mean], dim=1)
        wider = functional.pad(own, (2, 2, 1, 1, 1, 1), mode="replicate")
        around = functional.avg_pool3d(wider, (3, 3, 5), 1)
        above = functional.max_pool3d(wider[:, :, 1:-1, 1:-1, 1:-1], (1, 1, 3), 1)
        axes = [torch.linspace(-1, 1, n, device=image.device) for n in (columns, rows, slices)]
        place = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(image.shape[0], -1, -1, -1, -1)
        return torch.cat([own, above, around, place], dim=1).permute(0, 4, 2, 3, 1)


def opening(image: Tensor, size: int) -> Tensor:
    """Grey opening of an 8-bit image (B, C, X, Y, S) by a cube of ``size`` voxels; its border goes on outside."""
    return _dilate(255 - _dilate(255 - image, size, (size - 1) // 2), size, size // 2)


def _dilate(image: Tensor, size: int, before: int) -> Tensor:
    """Largest value in the cube that reaches ``before`` voxels down and the rest of ``size`` up, along X, Y and S."""
    for axis in (2, 3, 4):
        last = image.shape[axis] - 1
        first = [image.narrow(axis, 0, 1)] * before
        image = torch.cat([*first, image, *[image.narrow(axis, last, 1)] * (size - 1 - before)], dim=axis)
        reach = 1
        # Of windows of n and of m side by side or overlapping comes the window of both: a few passes for any size.
        while reach < size:
            step = min(reach, size - reach)
            left = image.shape[axis] - step
            image = torch.maximum(image.narrow(axis, 0, left), image.narrow(axis, step, left))
            reach += step
    return image
