"""From boxes or clicks to outlines: a guided segmentation network looks around each, not at the whole scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from monai_staging.cohort.lesions import Part, shared_voxels
from monai_staging.cohort.volume import Volume
from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.transforms.click import ClickedViews, Clicks
from monai_staging.transforms.lesion_parts import LesionParts
from monai_staging.workflows.inferers import AutocastInferer
from monai_staging.workflows.lesion_window import box_at, lesion_in, middle_of, window_around
from monai_staging.workflows.window_inferer import memory_format


class LesionOutliner:
    """Outlines what somebody has clicked at, or what lies in the middle of a box.

    The network is told where to look, see :class:`~monai_staging.transforms.click.ClickedViews`; which of what it finds
    is the lesion, :func:`~monai_staging.workflows.lesion_window.lesion_in` says.

    Args:
        network: guided by clicks, in evaluation mode: (B, C, X, Y, Z) to log-odds.
        views: what it sees.
        parts: makes lesions of probabilities.
        device: where it runs.
        amp: see :class:`monai_staging.workflows.inferers.AutocastInferer`.
    """

    def __init__(
        self,
        network: nn.Module,
        views: ClickedViews,
        parts: LesionParts,
        device: str | torch.device = "cpu",
        amp: bool | str = "auto",
    ) -> None:
        self.network = network
        self.views = views
        self.parts = parts
        self.device = torch.device(device)
        self._inferer = AutocastInferer(device, amp)

    def __call__(
        self,
        volume: Volume,
        boxes_mm: FloatArray,
        lungs_mm: FloatArray,
        clicks: Sequence[Clicks | None] | None = None,
    ) -> list[Part | None]:
        """The lesion in each of some boxes.

        Args:
            volume: the scan.
            boxes_mm: (N, 6) corners, RAS mm.
            lungs_mm: (2, 3), box of the lungs.
            clicks: of each box, where the lesion is and where it is not; its middle where they are ``None``.

        Returns:
            A part of the scan's voxels a box; ``None`` where nothing was found in it.

        Raises:
            UsageError: not as many clicks as boxes.
        """
        boxes = np.asarray(boxes_mm, dtype=np.float64)
        given = [None] * len(boxes) if clicks is None else list(clicks)
        if len(given) != len(boxes):
            raise UsageError(f"Outlines: clicks for each of {len(boxes)} boxes are needed; found {len(given)}")
        return [self._one(volume, box, lungs_mm, own or middle_of(box)) for box, own in zip(boxes, given, strict=True)]

    def clicked(self, volume: Volume, clicks: Clicks, lungs_mm: FloatArray) -> Part | None:
        """The lesion that somebody has clicked at.

        Args:
            volume: the scan.
            clicks: one at least inside of the lesion.
            lungs_mm: (2, 3), box of the lungs.

        Returns:
            A part of the scan's voxels; ``None`` where nothing was found around the clicks.

        Raises:
            UsageError: no click inside of the lesion.
        """
        if not clicks.inside:
            raise UsageError("Outlines: a click inside of the lesion is needed; found none")
        return self._one(volume, box_at(clicks.inside), lungs_mm, clicks)

    def _one(self, volume: Volume, box: FloatArray, lungs_mm: FloatArray, clicks: Clicks) -> Part | None:
        grid = window_around(box, volume.shape, volume.affine, self.views.spacing_mm)
        image = self.views.look(volume.array, volume.affine, grid, lungs_mm, clicks)
        batch = image[None].to(self.device, memory_format=memory_format(self.network))
        with torch.inference_mode():
            chance = self._inferer(batch, self.network).float().sigmoid()[0, 0].cpu()
        return lesion_in(chance, grid, volume.shape, volume.affine, box, clicks, self.parts)


def same_lesion(first: Part, second: Part) -> bool:
    """Whether two outlines are of one lesion: they share half of the smaller one or more."""
    return 2 * shared_voxels(first, second) >= min(first.voxels, second.voxels)


def without_repeats(parts: Sequence[Part | None]) -> tuple[list[int], dict[int, int]]:
    """Which boxes are lesions of their own, and which are more boxes of one that came before.

    Args:
        parts: the lesion in each box, the surest box first.

    Returns:
        Places of the boxes that are lesions, and, of those that repeat one, place to the place of the one.
    """
    kept: list[int] = []
    repeats: dict[int, int] = {}
    for place, part in enumerate(parts):
        if part is None:
            continue
        same = [other for other in kept if same_lesion(part, parts[other])]  # type: ignore[arg-type]
        if same:
            repeats[place] = same[0]
        else:
            kept.append(place)
    return kept, repeats
