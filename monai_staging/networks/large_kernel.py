"""A convolution with a kernel as large as a tile, over images much larger than it, by the Fourier transform."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import UsageError

CHUNK_VALUES = 2**25
"""Complex values of a chunk of transformed kernels: 256 MB."""
WORTH = 256
"""Products of the direct convolution for one of the transformed, from which on the latter is taken.

Measured on one core with AMX, against bfloat16: 64 is even, 1000 is five times faster."""


class LargeKernelConv2d(nn.Conv2d):
    """``Conv2d`` without padding, stride or groups, that multiplies transforms where that costs far less.

    Parameters and values are those of ``Conv2d``. A kernel of k x k costs k^2 products for each channel and output; by
    overlap-save blocks of (side - k + 1) outputs it costs about side^2 of them a block, whatever k. Used only in
    evaluation: a training's tile is as large as the kernel and has one output. Transforms are in float32, and so is
    what comes out, also under autocast.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: along each side.

    Raises:
        UsageError: a kernel that is not above 0.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        if kernel_size < 1:
            raise UsageError(f"LargeKernelConv2d: a kernel of at least 1 is needed, found {kernel_size}")
        super().__init__(in_channels, out_channels, kernel_size)

    def forward(self, input: Tensor) -> Tensor:  # the name that Conv2d's argument has
        """(B, C, H, W) to (B, C', H - k + 1, W - k + 1)."""
        size = self.kernel_size[0]
        rows, columns = input.shape[-2] - size + 1, input.shape[-1] - size + 1
        if self.training or torch.is_grad_enabled() or min(rows, columns) < 1:
            return super().forward(input)
        side = transform_side(size, max(rows, columns))
        step = side - size + 1
        blocks = -(-rows // step) * -(-columns // step)
        if rows * columns * size**2 < WORTH * blocks * side**2:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return self._transformed(input.float(), rows, columns, side, step)

    def _transformed(self, image: Tensor, rows: int, columns: int, side: int, step: int) -> Tensor:
        down, across = -(-rows // step), -(-columns // step)
        wide, high = (across - 1) * step + side, (down - 1) * step + side
        padded = functional.pad(image, (0, wide - image.shape[-1], 0, high - image.shape[-2]))
        blocks = padded.unfold(2, side, step).unfold(3, side, step)
        batch, channels = image.shape[:2]
        # (frequency, blocks, channel): a product of matrices for each frequency.
        seen = torch.fft.rfft2(blocks.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels, side, side))
        seen = seen.flatten(2).permute(2, 0, 1).contiguous()
        made = image.new_empty(batch, self.out_channels, down * step, across * step)
        chunk = max(1, CHUNK_VALUES // (channels * seen.shape[0]))
        for start in range(0, self.out_channels, chunk):
            kernels = torch.fft.rfft2(self.weight[start : start + chunk].float(), s=(side, side))
            count = len(kernels)
            # The conjugate, since what networks call a convolution is a correlation.
            product = seen @ kernels.flatten(2).conj().permute(2, 1, 0)
            spectrum = product.permute(1, 2, 0).reshape(-1, count, side, side // 2 + 1)
            own = torch.fft.irfft2(spectrum, s=(side, side))[..., :step, :step]
            own = own.reshape(batch, down, across, count, step, step).permute(0, 3, 1, 4, 2, 5)
            made[:, start : start + count] = own.reshape(batch, count, down * step, across * step)
        made = made[..., :rows, :columns]
        return made if self.bias is None else made + self.bias.float()[:, None, None]


def transform_side(kernel: int, outputs: int) -> int:
    """Side of the blocks to transform for a kernel: twice as large as it, or just what the outputs need."""
    return min(2 * kernel, kernel + outputs - 1)
