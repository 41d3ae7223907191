"""What the classifier of candidates learns from: cubes around those of the training scans and around true lesions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.engines import PrepareBatch
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_staging.cohort.volume import read_volume
from monai_staging.detection.detections import Detections
from monai_staging.detection.detector import Detector
from monai_staging.detection.truth import DetectionTruth
from monai_staging.detection.two_stage import CandidateCubes
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.froc.findings import Findings
from monai_staging.metrics.intervals import FloatArray
from monai_staging.progress import progress
from monai_staging.workflows.nodule_data import NoduleExamples


@dataclass(frozen=True)
class LesionCopies:
    """True lesions among the candidates: more of them, and some that are not found.

    Attributes:
        count: of each lesion.
        jitter: how far from its middle, as a part of its radius.
        seed: of the draws.

    Raises:
        UsageError: a negative count, or a jitter outside [0, 1).
    """

    count: int = 16
    jitter: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 0 or not 0 <= self.jitter < 1:
            raise UsageError(
                f"LesionCopies: a count of 0 or more and a jitter of 0 to below 1; found {self.count}, {self.jitter}"
            )

    def points(self, lesions: Findings) -> FloatArray:
        """(N * count, 3) points within the lesions, RAS mm."""
        random = np.random.default_rng(self.seed)
        direction = random.normal(size=(len(lesions), self.count, 3))
        direction /= np.linalg.norm(direction, axis=2, keepdims=True)
        # As far as the jitter at most, every place in the ball as likely.
        distance = self.jitter * lesions.radii_mm[:, None] * random.random((len(lesions), self.count)) ** (1 / 3)
        points: FloatArray = (lesions.centers_mm[:, None] + direction * distance[..., None]).reshape(-1, 3)
        return points


def mine_candidates(
    detector: Detector,
    scans: Sequence[Mapping[str, Any]],
    truth: DetectionTruth,
    cubes: CandidateCubes,
    copies: LesionCopies,
) -> NoduleExamples:
    """Cubes of the candidates that a detector has in the training scans, and of their lesions.

    A candidate within a lesion's radius is one (LUNA16's rule), one within the radius of an excluded finding is left
    out, the others are negatives.

    Args:
        detector: finds candidates.
        scans: a data list with ``study``, ``case`` and ``image``.
        truth: the lesions in them.
        cubes: what is cut out.
        copies: of the lesions.

    Returns:
        Examples with ``cube`` (C, Z, Y, X) uint8, ``label`` (1) float32, and ``case``.

    Raises:
        DataError: there is no lesion, or no candidate that is none.
    """
    images, labels, cases = [], [], []
    for scan in progress(scans, description="candidates, training part", unit="scan"):
        volume = read_volume(scan["image"])
        found = detector.detect(volume, scan["study"])
        lesions, excluded = (findings.within({scan["study"]}) for findings in (truth.lesions, truth.excluded))
        hit = hits(found, lesions)
        kept = found.rows(np.flatnonzero(hit | ~hits(found, excluded)))
        points = np.concatenate([kept.centers_mm, copies.points(lesions)])
        own = np.ones(len(points), dtype=np.float32)
        own[: len(kept)] = hits(kept, lesions)
        images.append(cubes(volume, points))
        labels.append(own)
        cases += [scan["case"]] * len(points)
    label = torch.from_numpy(np.concatenate(labels))
    positives = int(label.sum())
    if not 0 < positives < len(label):
        raise DataError(
            "Candidates: lesions and candidates that are none are needed in the training part; found "
            f"{positives} and {len(label) - positives}. A lower --threshold gives more candidates, "
            "and with --resume true the first stage is not trained again."
        )
    return NoduleExamples({"cube": torch.cat(images), "label": label[:, None], "case": cases}, range(len(label)))


def hits(found: Detections, findings: Findings) -> NDArray[np.bool_]:
    """(N) whether the middle of a detection is nearer to a finding of the same scan than its radius."""
    if not len(found) or not len(findings):
        return np.zeros(len(found), dtype=bool)
    squares = ((found.centers_mm[:, None] - findings.centers_mm) ** 2).sum(axis=-1)
    same = np.array(found.cases)[:, None] == np.array(findings.scans)
    near: NDArray[np.bool_] = ((squares < findings.radii_mm**2) & same).any(axis=1)
    return near


class CandidatePrepareBatch(PrepareBatch):
    """Batch of :func:`mine_candidates` to cubes in 0..1 and whether each is a lesion.

    Args:
        augment: of the cubes, as views of a nodule, on their device; for training.
    """

    def __init__(self, augment: Any = None) -> None:
        self.augment = augment

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """(B, 1, C, Z, Y, X) and (B, 1)."""
        cube, label = (batchdata[name].to(device=device, non_blocking=non_blocking) for name in ("cube", "label"))
        views = cube[:, None].float() / 255
        return views if self.augment is None else self.augment(views), label


def weights_digest(network: nn.Module) -> str:
    """Eight characters that stand for a network's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]
