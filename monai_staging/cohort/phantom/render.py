"""From fields to slices: upsampling, edges, bone, table, thin things, lesions and noise."""

from __future__ import annotations

import numpy as np
import torch

from monai_staging.cohort.phantom.anatomy import Anatomy
from monai_staging.cohort.phantom.canvas import Canvas
from monai_staging.cohort.phantom.grid import Array
from monai_staging.cohort.phantom.noise import Noise, streaks
from monai_staging.cohort.phantom.scanner import rotation
from monai_staging.cohort.phantom.splat import SliceDropper

CORTEX_HU, MARROW_HU = 780.0, 190.0
AIR_HU = -1000.0


def _plane_weights(anatomy: Anatomy, canvas: Canvas, k: int) -> tuple[slice, Array, Array]:
    """Planes of the coarse grid under slice ``k`` with their weights.

    Returns:
        The planes; the weights of the mean over the slice's thickness; those of the difference between its faces.
    """
    grid, scanner = anatomy.grid, canvas.scanner
    z = canvas.z_mm(k) / canvas.scale
    half = scanner.slice_thickness_mm / 2
    # Breathing smears what moves: the bases.
    half += scanner.motion_mm * float(np.clip((-z - 30.0) / 60.0, 0, 1))
    half = half / canvas.scale
    position = (z + np.linspace(-half, half, 7) - grid.low[2]) / grid.step_mm
    position = np.clip(position, 0, grid.shape[0] - 1.001)
    first, last = int(position[0]), int(position[-1]) + 2
    weights = np.zeros(last - first, dtype=np.float32)
    base = position.astype(int)
    np.add.at(weights, base - first, 1 - (position - base))
    np.add.at(weights, base - first + 1, position - base)
    across = np.zeros_like(weights)
    for sign, at in ((-1.0, position[0]), (1.0, position[-1])):
        low = int(at) - first
        across[low] += sign * (1 - at % 1)
        across[low + 1] += sign * (at % 1)
    return slice(first, last), weights / weights.sum(), across


def _mean(field: Array, planes: slice, weights: Array) -> Array:
    return np.tensordot(weights, field[planes], axes=1)


class Base:
    """Renders the healthy anatomy, one slice at a time."""

    def __init__(self, anatomy: Anatomy, canvas: Canvas) -> None:
        """Prepares what all slices share: where pixels lie in the anatomy, and the table."""
        self.anatomy, self.canvas = anatomy, canvas
        scanner, grid = canvas.scanner, anatomy.grid
        c, s = rotation(scanner)
        axis = canvas.origin[0] + np.arange(scanner.matrix) * scanner.spacing_mm
        x = axis[None, :] - scanner.offset_mm[0]
        y = axis[:, None] - scanner.offset_mm[1]
        px = (c * x + s * y) / canvas.scale
        py = (-s * x + c * y) / canvas.scale
        u = 2 * (px - grid.low[0]) / (grid.step_mm * (grid.shape[2] - 1)) - 1
        v = 2 * (py - grid.low[1]) / (grid.step_mm * (grid.shape[1] - 1)) - 1
        self.where = torch.from_numpy(np.stack([u, v], axis=-1).astype(np.float32))[None]
        self.background = self._table(axis)
        thick = scanner.slice_thickness_mm / canvas.scale
        self.bone_parts = 1 if thick <= 2.0 else (2 if thick <= 3.5 else 3)

    def _table(self, axis: Array) -> Array:
        """Air and the table's shells (HU), in the scanner's frame."""
        canvas = self.canvas
        scanner = canvas.scanner
        rows = np.flatnonzero((self.anatomy.chest.body < 0).any(axis=(0, 2)))
        back = (self.anatomy.grid.low[1] + rows[-1] * self.anatomy.grid.step_mm) * canvas.scale + scanner.offset_mm[1]
        x, y = axis[None, :] / 240.0, axis[:, None]
        top = back + scanner.table_mm - 42.0 * x * x
        depth = y - top
        shell = np.maximum(1.4 - np.abs(depth), 0) / 1.4
        lower = np.maximum(1.2 - np.abs(depth - 38.0 + 30.0 * x * x), 0) / 1.2
        foam = np.clip(depth, 0, 1) * np.clip(38.0 - 30.0 * x * x - depth, 0, 1)
        image = AIR_HU + 45.0 * foam + 850.0 * np.minimum(shell, 1) + 700.0 * np.minimum(lower, 1)
        return image.astype(np.float32)

    def slice(self, k: int) -> Array:
        """Slice ``k`` without lesions, thin things and noise, in HU."""
        a, scale = self.anatomy, self.canvas.scale
        blur = self.canvas.scanner.blur_mm / scale
        planes, weights, across = _plane_weights(a, self.canvas, k)
        lung = _mean(a.lung, planes, weights)
        # A slanted edge is as wide as the slice makes it.
        slant = np.abs(_mean(a.lung, planes, across))
        channels = [
            _mean(a.soft, planes, weights), lung / (blur + slant), _mean(a.chest.body, planes, weights) / blur,
            _mean(a.lung_hu, planes, weights),
        ]  # fmt: skip
        parts = np.array_split(np.arange(planes.start, planes.stop), min(self.bone_parts, planes.stop - planes.start))
        channels += [a.bone[part].mean(0) for part in parts]
        stack = torch.from_numpy(np.stack(channels).astype(np.float32))[None]
        fine = torch.nn.functional.grid_sample(
            stack, self.where, mode="bilinear", padding_mode="border", align_corners=True
        )
        soft, lung_q, body_q, lung_hu, *bone = fine[0].numpy()
        hu = soft + np.clip(0.5 - lung_q, 0, 1) * (lung_hu - soft)
        for distance in bone:
            depth = -distance
            shell = MARROW_HU + (CORTEX_HU - MARROW_HU) * np.clip(1.5 - 0.95 * np.abs(depth - 0.8), 0, 1)
            hu += np.clip(0.5 + depth / blur, 0, 1) / len(bone) * (shell - hu)
        return self.background + np.clip(0.5 - body_q, 0, 1) * (hu - self.background)


def drop_thin(hu: Array, droppers: list[tuple[SliceDropper, float]], k: int) -> None:
    """Mixes thin things into slice ``k``, in the order given, in place."""
    for dropper, value in droppers:
        found = dropper.slice(k)
        if found is not None:
            part, rows, columns = found
            view = hu[rows, columns]
            view += part * (value - view)


class Finish:
    """Adds noise and streaks and makes integers."""

    def __init__(self, rng: np.random.Generator, anatomy: Anatomy, canvas: Canvas) -> None:
        """Makes the noise and the map of its strength (more in the middle of the body)."""
        self.rng, self.canvas = rng, canvas
        self.noise = Noise(rng, canvas.scanner)
        n = canvas.scanner.matrix
        axis = np.linspace(-1, 1, n, dtype=np.float32)
        self.strength = 1.1 - 0.45 * np.clip(axis[None, :] ** 2 + axis[:, None] ** 2, 0, 1.2)

    def slice(self, k: int) -> np.ndarray:
        """Slice ``k`` as int16 HU."""
        canvas = self.canvas
        scanner = canvas.scanner
        z = canvas.z_mm(k) / canvas.scale
        shoulders = float(np.clip((z - 62.0) / 35.0, 0, 1))
        level = scanner.noise_hu * (1.0 + 0.6 * shoulders)
        hu = canvas.hu[k] + self.noise.slice() * (np.float32(level) * self.strength)
        if shoulders > 0:
            n = scanner.matrix
            body = np.clip((canvas.hu[k] + 600.0) / 300.0, 0, 1)
            hu += np.float32(26.0 * scanner.streaks * shoulders) * streaks(self.rng, n, n) * body
        return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
