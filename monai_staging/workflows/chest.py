"""What the engines of whole-scan segmentation need beyond MONAI's: one scan at a time, with the bound of its lungs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch
from torch import Tensor
from torch.utils.data import Dataset

from monai_staging.cohort.volume import read_volume
from monai_staging.errors import DataError
from monai_staging.transforms.chest_view import ChestViews
from monai_staging.workflows.chest_data import ChestCase


class ChestScans(Dataset[dict[str, Any]]):
    """Whole scans as a network sees them: ``image`` (C, X, Y, Z), ``bound`` (X, Y, Z), their ``grid`` and the ``case``.

    Args:
        cases: the scans.
        views: what is seen of them.
    """

    def __init__(self, cases: Sequence[ChestCase], views: ChestViews) -> None:
        self.cases = list(cases)
        self.views = views

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        case = self.cases[index]
        volume = read_volume(case.image)
        try:
            view = self.views(volume.array, volume.affine)
        except DataError as error:
            raise DataError(f"Case {case.name}: {error}") from None
        return {"image": view.image, "bound": view.bound, "grid": view.grid, "case": case}


def one_scan(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Collates the one scan of a batch; scans differ in size."""
    (item,) = items
    return {**item, "image": item["image"][None]}


class ChestPrepareBatch(PrepareBatch):
    """A scan to ``device``, with its bound as an argument of the inferer."""

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, None, tuple[()], dict[str, Any]]:
        """Image, no target (it lies on the scan's own voxels), and the bound."""
        image, bound = (batchdata[name].to(device=device, non_blocking=non_blocking) for name in ("image", "bound"))
        return image, None, (), {"bound": bound}
