"""Patches and slices of a cohort's volumes, for tasks that need no label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from monai_staging.cohort.image_sets import ImageSet
from monai_staging.errors import UsageError
from monai_staging.progress import progress
from monai_staging.transforms.patches import RandPatches
from monai_staging.transforms.windows import HUWindows

# A patch of which less than this varies (standard deviation, in a window) is air, or all of one organ.
_VARIED = 0.05
_TRIES = 3


@dataclass(frozen=True)
class PatchSettings:
    """How images are cut out of volumes; of other images only ``size`` and ``spatial_dims`` count.

    Attributes:
        size: voxels along each axis.
        spatial_dims: 2 for axial slices, 3 for cubes.
        spacing_mm: of the voxels.
        count: patches a volume.
        windows: HU windows, one channel each.
        seed: of the patches' places.

    Raises:
        UsageError: a size or count below 1, other axes, or a spacing that is not positive.
    """

    size: int = 64
    spatial_dims: int = 2
    spacing_mm: float = 2.0
    count: int = 32
    windows: tuple[str | tuple[float, float], ...] = ((0.0, 2000.0),)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.count < 1 or self.spatial_dims not in (2, 3) or not self.spacing_mm > 0:
            raise UsageError(
                f"Patches: size ({self.size}) and count ({self.count}) must be at least 1, spatial_dims "
                f"({self.spatial_dims}) 2 or 3, spacing_mm ({self.spacing_mm}) above 0"
            )


def cohort_patches(name: str, volumes: Sequence[tuple[Path, str]], settings: PatchSettings) -> ImageSet:
    """Patches of every volume, through HU windows, as bytes; of each volume always the same ones.

    Args:
        name: of the cohort.
        volumes: file and patient of each volume; only the pages that patches lie on are read.
        settings: what is cut out. Patches in which nothing is to be seen are drawn anew, a few times.

    Returns:
        (N, windows, *size), with the patient of each.

    Raises:
        DataError: a volume that cannot be read.
    """
    size = [settings.size] * settings.spatial_dims + [1] * (3 - settings.spatial_dims)
    draw = RandPatches(size, settings.spacing_mm, settings.count, lesion_fraction=0.0)
    window = HUWindows(settings.windows)
    images, patients = [], []
    for number, (path, patient) in enumerate(progress(volumes, description="reading patches", unit="volume")):
        # SeedSequence: neighbouring seeds give unrelated draws.
        draw.set_random_state(int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0]))
        kept = _varied(path, draw, window, settings)
        images.append(kept)
        patients += [patient] * len(kept)
    return ImageSet(name, torch.cat(images).numpy(), patients=tuple(patients))


def _varied(path: Path, draw: RandPatches, window: HUWindows, settings: PatchSettings) -> Tensor:
    """``count`` patches (count, windows, *size), the varied ones first come."""
    kept: list[Tensor] = []
    for last in [False] * (_TRIES - 1) + [True]:
        for patch in draw(path):
            shown = window(patch.as_tensor() if hasattr(patch, "as_tensor") else patch)
            shown = shown[..., 0] if settings.spatial_dims == 2 else shown
            if len(kept) < settings.count and (last or float(shown.std()) >= _VARIED):
                kept.append(shown.mul(255).round_().to(torch.uint8))
        if len(kept) == settings.count:
            break
    return torch.stack(kept)
