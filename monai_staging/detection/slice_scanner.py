"""Stage one of the two-stage detector: a segmentation network on every axial slice gives candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monai_staging.cohort.volume import Volume
from monai_staging.detection.candidates import CandidateRules, find_candidates
from monai_staging.detection.detections import Detections
from monai_staging.detection.retinanet import REGIONS
from monai_staging.errors import UsageError
from monai_staging.transforms.chest_view import ChestView, ChestViews
from monai_staging.transforms.grid import plan_grid
from monai_staging.transforms.resample import resample
from monai_staging.workflows.inferers import AutocastInferer

SPACING_MM = (1.25, 1.25, 2.0)
"""Of pixels along x and y, and of slices."""


class SliceScanner:
    """A :class:`~monai_staging.detection.detector.Detector` that looks at every axial slice with its neighbours.

    The scan is put on an axis-aligned RAS grid first, so that its own spacing, order of axes and flips are of no
    account afterwards.

    Args:
        network: (B, C * slices, X, Y) in 0..1 to log-odds (B, 1, X, Y); the slices of a window one after the other.
        spacing_mm: along x, y, z.
        slices: that the network sees at once, an odd number; the middle one is what it speaks of.
        windows: of HU, see :class:`monai_staging.transforms.windows.HUWindows`.
        region: ``"lungs"``, only where a lung lesion can be, see :func:`monai_staging.transforms.lung_mask.lung_bound`;
            ``"scan"``, everywhere.
        rules: what makes a candidate.
        most: candidates a scan, the surest ones.
        batch_size: slices that go through the network together.
        device: where the network runs.
        amp: see :class:`monai_staging.workflows.inferers.AutocastInferer`.

    Raises:
        UsageError: an even number of slices, or another region.
    """

    def __init__(
        self,
        network: nn.Module,
        spacing_mm: Sequence[float] = SPACING_MM,
        slices: int = 3,
        windows: Sequence[str | Sequence[float]] = ((-300.0, 1400.0),),
        region: str = "lungs",
        rules: CandidateRules | None = None,
        most: int = 100,
        batch_size: int = 8,
        device: str | torch.device = "cpu",
        amp: bool | str = "auto",
    ) -> None:
        if slices < 1 or slices % 2 == 0:
            raise UsageError(f"SliceScanner: slices must be an odd number, found {slices}")
        if region not in REGIONS:
            raise UsageError(f"SliceScanner: region must be one of {', '.join(REGIONS)}; found {region!r}")
        self.network = network
        self.views = ChestViews(spacing_mm, windows)
        self.slices = slices
        self.region = region
        self.rules = rules or CandidateRules()
        self.most = most
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.inferer = AutocastInferer(device, amp)

    def detect(self, volume: Volume, case: str) -> Detections:
        """Candidates in a scan, the surest first; see :meth:`monai_staging.detection.detector.Detector.detect`.

        Raises:
            DataError: the scan has no lungs, where they are the region.
        """
        view = self._view(volume)
        boxes, scores = find_candidates(self.probability(view), view.grid, self.rules)
        found = Detections.of_case(case, boxes, scores)
        middles = (found.centers_mm - view.grid.origin_mm) / view.grid.spacing_mm
        x, y, z = np.rint(middles).astype(np.int64).T
        inside = np.flatnonzero(view.bound.numpy()[x, y, z])
        # Of equal scores the first stays: their order is that of the grid.
        return found.rows(inside[np.argsort(-scores[inside], kind="stable")[: self.most]])

    @torch.inference_mode()
    def probability(self, view: ChestView) -> NDArray[np.float32]:
        """(X, Y, Z) of each voxel; 0 on slices that have nothing of the bound."""
        channels, size_x, size_y, depth = view.image.shape
        result = np.zeros((size_x, size_y, depth), dtype=np.float32)
        reach = np.arange(self.slices) - self.slices // 2
        there = np.flatnonzero(view.bound.flatten(0, 1).any(dim=0).numpy())
        training = self.network.training
        self.network.eval()
        for start in range(0, len(there), self.batch_size):
            chosen = there[start : start + self.batch_size]
            neighbours = torch.from_numpy(np.clip(chosen[:, None] + reach, 0, depth - 1))
            # (C, X, Y, B, slices) to (B, C * slices, X, Y).
            stacks = view.image[:, :, :, neighbours].permute(3, 0, 4, 1, 2).reshape(len(chosen), -1, size_x, size_y)
            logits = self.inferer(stacks.to(self.device), self.network)
            result[:, :, chosen] = logits[:, 0].float().sigmoid().permute(1, 2, 0).cpu().numpy()
        self.network.train(training)
        return result

    def _view(self, volume: Volume) -> ChestView:
        if self.region == "lungs":
            return self.views(volume.array, volume.affine)
        grid = plan_grid(volume.shape, volume.affine, self.views.spacing_mm)
        image = self.views.windows(resample(volume.array, volume.affine, grid)[None])
        return ChestView(image, torch.ones(grid.size, dtype=torch.bool), grid)
