"""Affines that travel with tensors, as MONAI's MetaTensor has them."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from monai_staging.errors import DataError
from monai_staging.transforms.grid import Affine
from monai_staging.transforms.resample import Array


def affine_of(img: torch.Tensor | Array) -> Affine:
    """Voxel index to RAS mm, (4, 4), of a MetaTensor; raises `DataError` for anything without an affine."""
    if not isinstance(img, MetaTensor):
        raise DataError(f"An affine is needed to know where voxels lie, found a {type(img).__name__} without one")
    affine: Affine = img.affine.detach().cpu().double().numpy()
    return affine


def with_affine(tensor: torch.Tensor, affine: Affine, source: torch.Tensor | Array) -> MetaTensor:
    """``tensor`` with an affine, and the other metadata of ``source`` where that has some."""
    meta = dict(source.meta) if isinstance(source, MetaTensor) else {}
    meta.pop("affine", None)
    return MetaTensor(tensor, affine=torch.from_numpy(np.asarray(affine, dtype=np.float64)), meta=meta)


def like(tensor: torch.Tensor, source: torch.Tensor | Array) -> torch.Tensor:
    """``tensor`` with the affine and metadata of ``source``, on whose grid it lies; as it is where that has none."""
    return with_affine(tensor, affine_of(source), source) if isinstance(source, MetaTensor) else tensor
