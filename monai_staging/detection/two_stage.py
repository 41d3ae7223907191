"""The two-stage detector: candidates on slices, then a classifier that looks at each in three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from monai_staging.cohort.volume import Volume
from monai_staging.detection.detections import Detections
from monai_staging.detection.detector import Detector
from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.transforms.grid import plan_grid
from monai_staging.transforms.resample import resample
from monai_staging.transforms.windows import HUWindows
from monai_staging.workflows.inferers import AutocastInferer

_CERTAIN = 1e-4
"""Probabilities are taken for at least this, and at most 1 minus it: their log-odds are finite."""

_MIRRORED: dict[int, list[tuple[int, ...]]] = {
    1: [()],
    2: [(), (-1,)],
    4: [(), (-1,), (-2,), (-1, -2)],
    8: [(), (-1,), (-2,), (-3,), (-1, -2), (-1, -3), (-2, -3), (-1, -2, -3)],
}
"""Number of mirror images to the axes of (..., Z, Y, X) that are mirrored in each."""


class CandidateCubes:
    """Cuts the surroundings of points out of a scan.

    Args:
        size: voxels along each side.
        spacing_mm: of a voxel.
        windows: of HU, see :class:`monai_staging.transforms.windows.HUWindows`.

    Raises:
        UsageError: a size or spacing that is not above 0.
    """

    def __init__(
        self,
        size: int = 32,
        spacing_mm: float = 1.25,
        windows: Sequence[str | Sequence[float]] = ((-300.0, 1400.0),),
    ) -> None:
        if size < 1 or not spacing_mm > 0:
            raise UsageError(f"CandidateCubes: size and spacing_mm must be above 0; found {size} and {spacing_mm}")
        self.size = size
        self.spacing_mm = float(spacing_mm)
        self.windows = HUWindows(windows)

    def __call__(self, volume: Volume, centers_mm: FloatArray) -> Tensor:
        """(N, C, Z, Y, X) uint8 of 0 to 255 around (N, 3) points, RAS mm; slices first, so that a turn is an axial one.

        Only what is cut out is read.
        """
        side, step = (self.size,) * 3, (self.spacing_mm,) * 3
        cubes = torch.zeros((len(centers_mm), len(self.windows.windows), *side), dtype=torch.uint8)
        for cube, (x, y, z) in zip(cubes, centers_mm.tolist(), strict=True):
            grid = plan_grid(volume.shape, volume.affine, step, side, (x, y, z))
            image = self.windows(resample(volume.array, volume.affine, grid)[None])
            cube.copy_(image.mul_(255).round_().permute(0, 3, 2, 1))
        return cubes


class CandidateClassifier:
    """Says how likely a candidate is a lesion.

    Args:
        network: (B, 1, C, Z, Y, X) in 0..1 to log-odds (B, 1), as a
            :class:`monai_staging.networks.nodule.NoduleNetwork`.
        device: where it runs.
        amp: see :class:`monai_staging.workflows.inferers.AutocastInferer`.
        batch_size: candidates at once.
        flips: 1 for the cube as it is; 2, 4 or 8 for the mean log-odds of its mirror images along x, along x and y, or
            along all axes.

    Raises:
        UsageError: another number of flips.
    """

    def __init__(
        self,
        network: nn.Module,
        device: str | torch.device = "cpu",
        amp: bool | str = "auto",
        batch_size: int = 64,
        flips: int = 1,
    ) -> None:
        if flips not in _MIRRORED:
            raise UsageError(f"CandidateClassifier: flips must be 1, 2, 4 or 8; found {flips!r}")
        self.mirrored = _MIRRORED[flips]
        self.network = network
        self.device = torch.device(device)
        self.inferer = AutocastInferer(device, amp)
        self.batch_size = batch_size

    @torch.inference_mode()
    def __call__(self, cubes: Tensor) -> FloatArray:
        """(N) probabilities of cubes as :class:`CandidateCubes` cuts them."""
        training = self.network.training
        self.network.eval()
        found = [self._chances(batch.to(self.device)[:, None].float() / 255) for batch in cubes.split(self.batch_size)]
        self.network.train(training)
        chances: FloatArray = torch.cat([torch.zeros(0, dtype=torch.float64), *found]).numpy()
        return chances

    def _chances(self, views: Tensor) -> Tensor:
        """(B) on the CPU."""
        log_odds = [self.inferer(views.flip(axes), self.network).double()[:, 0] for axes in self.mirrored]
        return torch.stack(log_odds).mean(dim=0).sigmoid().cpu()


class TwoStageDetector:
    """A :class:`~monai_staging.detection.detector.Detector`: another one's candidates, each judged a second time.

    The score is a logarithmic opinion pool (Genest and Zidek 1986, 10.1214/ss/1177013825) of both: the candidate's and
    the classifier's log-odds, weighted. The classifier sees depth but only a cube; what proposed the candidate sees a
    slice but a large part of it. A mean of log-odds lets a firm no of either speak, which a mean of probabilities does
    not.

    Args:
        candidates: finds them; scores in 0..1.
        cubes: what the classifier sees of each.
        classifier: judges them.
        weight: of the classifier, 0 to 1; the rest is the candidate's.
        score: detections below are not kept.
        iou: of boxes that overlap by more than this the surest is kept.

    Raises:
        UsageError: a weight out of range.
    """

    def __init__(
        self,
        candidates: Detector,
        cubes: CandidateCubes,
        classifier: CandidateClassifier,
        weight: float = 0.75,
        score: float = 0.0,
        iou: float = 0.2,
    ) -> None:
        if not 0 <= weight <= 1:
            raise UsageError(f"TwoStageDetector: the classifier's weight is 0 to 1, found {weight}")
        self.candidates = candidates
        self.cubes = cubes
        self.classifier = classifier
        self.weight = weight
        self.score = score
        self.iou = iou

    def detect(self, volume: Volume, case: str) -> Detections:
        """Lesions in a scan; see :meth:`monai_staging.detection.detector.Detector.detect`."""
        found = self.candidates.detect(volume, case)
        second = self.classifier(self.cubes(volume, found.centers_mm))
        judged = Detections(found.cases, found.boxes_mm, pooled(second, found.scores, self.weight))
        return judged.at_least(self.score).suppressed(self.iou)


def pooled(first: FloatArray, second: FloatArray, weight: float) -> FloatArray:
    """(N) probabilities whose log-odds are the weighted mean of two; ``weight`` is that of the first."""
    mean = weight * _log_odds(first) + (1 - weight) * _log_odds(second)
    chances: FloatArray = 1 / (1 + np.exp(-mean))
    return chances


class Remembering:
    """A :class:`~monai_staging.detection.detector.Detector` that has another one look at each case only once.

    Args:
        detector: that must not change meanwhile.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self._found: dict[str, Detections] = {}

    def detect(self, volume: Volume, case: str) -> Detections:
        """What the other found when it was asked for this case first."""
        if case not in self._found:
            self._found[case] = self.detector.detect(volume, case)
        return self._found[case]


def _log_odds(chances: FloatArray) -> FloatArray:
    kept = np.clip(chances, _CERTAIN, 1 - _CERTAIN)
    odds: FloatArray = np.log(kept / (1 - kept))
    return odds
