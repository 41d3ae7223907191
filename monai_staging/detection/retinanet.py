"""The one-stage detector: RetinaNet in windows over the whole scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from monai_staging.cohort.volume import Volume
from monai_staging.detection.detections import Detections
from monai_staging.detection.patch_boxes import boxes_to_world
from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.networks.retinanet import AnchorDetector
from monai_staging.transforms.grid import Grid, plan_grid
from monai_staging.transforms.lung_mask import LungBound, lung_bound
from monai_staging.transforms.resample import as_tensor, resample
from monai_staging.transforms.windows import HUWindows
from monai_staging.workflows.inferers import AutocastInferer

REGIONS = ("lungs", "scan")


class RetinaNetScanner:
    """Looks for lesions in windows that overlap over a scan resampled to the network's spacing.

    The scan is put on an axis-aligned RAS grid first, so that its own spacing, order of axes and flips are of no
    account afterwards, and boxes are cubes of the patient's axes.

    Args:
        detector: MONAI's detector with the network; its inference settings are set here.
        spacing_mm: of the network's voxels.
        size: voxels of a window along each axis, a multiple of what the network halves them down to.
        windows: of HU, see :class:`monai_staging.transforms.windows.HUWindows`.
        region: ``"lungs"``, only where a lung lesion can be, see :func:`monai_staging.transforms.lung_mask.lung_bound`;
            ``"scan"``, everywhere.
        overlap: of neighbouring windows along each axis, in 0..1 of their size.
        batch_size: windows that go through the network together.
        score: detections below are not kept.
        iou: of boxes that overlap by more than this the surest is kept.
        most: detections a scan, the surest ones.
        device: where the network runs.
        amp: see :class:`monai_staging.workflows.inferers.AutocastInferer`.

    Raises:
        UsageError: a size that the network cannot look at, another region, or an overlap out of range.
    """

    def __init__(
        self,
        detector: AnchorDetector,
        spacing_mm: float = 1.5,
        size: int = 64,
        windows: Sequence[str | Sequence[float]] = ((-300.0, 1400.0),),
        region: str = "lungs",
        overlap: float = 0.25,
        batch_size: int = 4,
        score: float = 0.02,
        iou: float = 0.2,
        most: int = 100,
        device: str | torch.device = "cpu",
        amp: bool | str = "auto",
    ) -> None:
        step = detector.size_divisible[0]
        if size < step or size % step:
            raise UsageError(f"RetinaNetScanner: size must be a multiple of {step} for this network, found {size}")
        if region not in REGIONS:
            raise UsageError(f"RetinaNetScanner: region must be one of {', '.join(REGIONS)}; found {region!r}")
        if not 0 <= overlap < 1:
            raise UsageError(f"RetinaNetScanner: overlap must be at least 0 and below 1, found {overlap}")
        self.detector = detector
        self.spacing_mm = float(spacing_mm)
        self.region = region
        self.size, self.step = size, step
        self.windows = HUWindows(windows)
        self.device = torch.device(device)
        self.inferer = AutocastInferer(device, amp)
        # Windows begin at whole cells of the coarsest map, or their maps would not fit together.
        kept = max(step, round(size * (1 - overlap) / step) * step)
        detector.set_sliding_window_inferer(size, batch_size, overlap=1 - kept / size, mode="gaussian")
        detector.set_box_selector_parameters(score, nms_thresh=iou, detections_per_img=most)

    def detect(self, volume: Volume, case: str) -> Detections:
        """Lesions in a scan, see :class:`monai_staging.detection.detector.Detector`.

        Raises:
            DataError: the scan has no lungs, where they are the region.
        """
        bound = lung_bound(volume.array, volume.affine) if self.region == "lungs" else None
        grid = self._grid(volume, bound)
        hu = resample(as_tensor(volume.array).to(self.device), volume.affine, grid)
        image = self.windows(hu[None]).contiguous()
        training = self.detector.training
        self.detector.eval()
        # Not inference mode: the anchors are kept, and a training goes on with them.
        with torch.no_grad():
            found = self.inferer(image[None], self.detector, use_inferer=True)[0]
        self.detector.train(training)
        boxes = found[self.detector.target_box_key].double().cpu().numpy()
        scores = found[self.detector.pred_score_key].double().cpu().numpy()
        detections = Detections.of_case(case, boxes_to_world(boxes, grid.affine), scores)
        return detections if bound is None else detections.rows(np.flatnonzero(_within(detections.centers_mm, bound)))

    def _grid(self, volume: Volume, bound: LungBound | None) -> Grid:
        """Around all of the region, at least one window large, each side a multiple of the network's step."""
        spacing = (self.spacing_mm,) * 3
        if bound is None:
            tight = plan_grid(volume.shape, volume.affine, spacing)
        else:
            places = np.argwhere(bound.bound)
            corner = np.array(bound.grid.origin_mm) + places.min(axis=0) * bound.grid.spacing_mm
            affine = np.diag([*bound.grid.spacing_mm, 1.0])
            affine[:3, 3] = corner
            tight = plan_grid(tuple(np.ptp(places, axis=0) + 1), affine, spacing)
        x, y, z = (max(self.size, -(-count // self.step) * self.step) for count in tight.size)
        return Grid((x, y, z), spacing, tight.origin_mm)


def _within(points_mm: FloatArray, bound: LungBound) -> NDArray[np.bool_]:
    """(N) whether the voxel of the bound that a point is in, or next to, is set."""
    places = np.rint((points_mm - bound.grid.origin_mm) / bound.grid.spacing_mm).astype(np.int64)
    x, y, z = np.clip(places, 0, np.array(bound.bound.shape) - 1).T
    inside: NDArray[np.bool_] = bound.bound[x, y, z]
    return inside
