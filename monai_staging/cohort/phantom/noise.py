"""Image noise with the texture of a reconstruction kernel, and streaks at the shoulders."""

from __future__ import annotations

import numpy as np

from monai_staging.cohort.phantom.grid import Array, smooth_noise
from monai_staging.cohort.phantom.scanner import Scanner

BLOCK = 8  # slices of noise that are made; the others are these, shifted, mirrored and mixed


class Noise:
    """Noise for the slices of one scan, in HU of standard deviation one."""

    def __init__(self, rng: np.random.Generator, scanner: Scanner) -> None:
        """Filters white noise with the kernel's transfer function.

        Args:
            rng: where the noise comes from.
            scanner: its sharpness and pixel size give the texture.
        """
        self.rng = rng
        size = scanner.matrix + 32
        white = rng.standard_normal((BLOCK, size, size), dtype=np.float32)
        fy = np.fft.fftfreq(size, scanner.spacing_mm)[:, None]
        fx = np.fft.rfftfreq(size, scanner.spacing_mm)[None, :]
        f = np.sqrt(fx * fx + fy * fy)
        # Filtered back-projection: rising like a ramp, cut off by the kernel (lines per mm).
        cut = 0.24 + 0.42 * scanner.sharpness
        transfer = np.sqrt(f + 0.02) * np.exp(-((f / cut) ** 2))
        filtered = np.fft.irfft2(np.fft.rfft2(white) * transfer, s=(size, size)).astype(np.float32)
        self.block = filtered / filtered.std()
        self.matrix = scanner.matrix

    def slice(self) -> Array:
        """Noise for one more slice (rows, columns): two shifted and mirrored slices of the block, mixed."""
        picks = self.rng.integers(0, BLOCK, 2)
        second = (picks[0] + 1 + picks[1] % (BLOCK - 1)) % BLOCK
        angle = self.rng.uniform(0.4, 1.2)
        return np.float32(np.cos(angle)) * self._window(int(picks[0])) + np.float32(np.sin(angle)) * self._window(
            int(second)
        )

    def _window(self, k: int) -> Array:
        i, j, flip = (int(v) for v in self.rng.integers(0, (32, 32, 8)))
        part = self.block[k, i : i + self.matrix, j : j + self.matrix]
        if flip & 1:
            part = part[::-1]
        if flip & 2:
            part = part[:, ::-1]
        return part.T if flip & 4 else part


def streaks(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Horizontal streaks (rows, columns) of about unit strength."""
    fine = rng.standard_normal((rows, max(2, columns // 64)), dtype=np.float32)
    fine = 0.5 * fine + 0.25 * (np.roll(fine, 1, 0) + np.roll(fine, -1, 0))
    import torch

    wide = torch.nn.functional.interpolate(torch.from_numpy(fine)[None, None], size=(rows, columns), mode="bilinear")
    return wide[0, 0].numpy() + 0.5 * smooth_noise(rng, (rows, columns), 24)
