"""The box regressor as a detector of whole scans: boxes on slices become lesions in the world."""

from __future__ import annotations

import numpy as np
import torch

from monai_staging.cohort.case import Box
from monai_staging.cohort.lesions import lesions_of_boxes
from monai_staging.cohort.volume import Volume
from monai_staging.detection.detections import Detections
from monai_staging.metrics.boxes import box_pair_iou
from monai_staging.metrics.intervals import FloatArray
from monai_staging.networks.box_regressor import SliceBoxNetwork
from monai_staging.transforms.slice_boxes import LEVELS, SliceImage
from monai_staging.workflows.boxes import ordered_corners

SHARE = 0.5
"""A slice belongs to a lesion if its score is at least so much of the lesion's best."""


class SliceBoxDetector:
    """A :class:`~monai_staging.detection.detector.Detector`: a box on every slice, joined over neighbouring slices.

    A slice's score is the probability that a tumour is on it, times the larger IoU of its box with those of the two
    slices beside it: a network that always gives a box wanders where there is nothing. Boxes that overlap on
    neighbouring slices are of one lesion, see :func:`monai_staging.cohort.lesions.lesions_of_boxes`; slices at its ends
    that score less than half of its best are left out. A lesion's score is its best slice's.

    Args:
        network: gives boxes.
        image: as in the training.
        device: where the network runs.
        batch_size: slices at once.
    """

    def __init__(
        self,
        network: SliceBoxNetwork,
        image: SliceImage,
        device: str | torch.device = "cpu",
        batch_size: int = 32,
    ) -> None:
        self.network = network.to(device).eval()
        self.image = image
        self.device = torch.device(device)
        self.batch_size = batch_size

    def detect(self, volume: Volume, case: str) -> Detections:
        """Lesions in a scan; see :meth:`monai_staging.detection.detector.Detector.detect`."""
        edges, presence = self.boxes(volume)
        scores = presence * _steadiness(edges)
        # A box outside the slice is cut to nothing, and is no lesion.
        there = np.flatnonzero((edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1]))
        boxes: list[Box] = [(int(k), *(float(edge) for edge in edges[k])) for k in there]  # type: ignore[misc]
        kept: list[Box] = []
        for lesion in lesions_of_boxes(boxes, volume.affine):
            least = SHARE * max(scores[box[0]] for box in lesion.boxes)
            kept += [box for box in lesion.boxes if scores[box[0]] >= least]
        lesions = lesions_of_boxes(kept, volume.affine)
        if not lesions:
            return Detections.none()
        centers, sizes = (np.array([getattr(lesion, name) for lesion in lesions]) for name in ("center_mm", "size_mm"))
        best = np.array([max(scores[box[0]] for box in lesion.boxes) for lesion in lesions])
        return Detections.of_case(case, np.hstack([centers - sizes / 2, centers + sizes / 2]), best)

    @torch.inference_mode()
    def boxes(self, volume: Volume) -> tuple[FloatArray, FloatArray]:
        """(slices, 4) edges in pixels of the slices, and (slices) the probability of a tumour on each."""
        found, presence = [], []
        count = volume.shape[2]
        for start in range(0, count, self.batch_size):
            places = range(start, min(count, start + self.batch_size))
            images = torch.stack([self.image(volume.array[:, :, index]) for index in places])
            output = self.network.details(images.to(self.device).float() / LEVELS)
            found.append(output.boxes.double().cpu().numpy())
            presence.append(output.presence.double().sigmoid().cpu().numpy())
        edges = ordered_corners(np.concatenate(found))
        return self.image.to_slice(edges, volume.shape[:2]), np.concatenate(presence)


def _steadiness(boxes: FloatArray) -> FloatArray:
    """(slices) the larger IoU of each slice's box with those of its neighbours; 0 of a slice alone."""
    overlaps = box_pair_iou(boxes[:-1], boxes[1:]) if len(boxes) > 1 else np.zeros(0)
    steady: FloatArray = np.maximum(np.append(overlaps, 0.0), np.append(0.0, overlaps))
    return steady
