"""What the detection bundle's engines need beyond MONAI's: batches, losses, and whole scans instead of tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents, PrepareBatch
from monai.inferers import Inferer
from torch import Tensor, nn

from monai_staging.cohort.volume import read_volume
from monai_staging.detection.detections import Detections, concatenate
from monai_staging.detection.detector import Detector

_PARTS = {"classification": "loss_classification", "box_regression": "loss_boxes", "lesion_map": "loss_lesion_map"}


def patch_batch(items: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Patches of several scans as one batch: images as a tensor, boxes and classes, of which each has another number.

    Args:
        items: a list of patches a scan, as ``RandPatchesd`` gives them.
    """
    patches = [patch for item in items for patch in item]
    names = ("boxes", "labels", "case")
    return {
        "image": torch.stack([torch.as_tensor(patch["image"]) for patch in patches]),
        **{name: [patch[name] for patch in patches] for name in names},
    }


def scan_batch(items: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Scans as they are: paths and names."""
    return {name: [item[name] for item in items] for name in ("image", "study", "case")}


class DetectionPrepareBatch(PrepareBatch):
    """Batch of :func:`patch_batch` to images and the boxes in each, as MONAI's detector takes them."""

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, list[dict[str, Tensor]], tuple[()], dict[str, Any]]:
        """Moves everything to ``device``."""

        def move(tensor: Tensor) -> Tensor:
            return torch.as_tensor(tensor).to(device=device, non_blocking=non_blocking)

        targets = [
            {"boxes": move(boxes), "labels": move(labels)}
            for boxes, labels in zip(batchdata["boxes"], batchdata["labels"], strict=True)
        ]
        return move(batchdata["image"]), targets, (), {"targets": targets}


class DetectionLoss(nn.Module):
    """Sum of the losses that MONAI's detector gives while it is trained.

    Args:
        box_weight: weight of the boxes' loss beside that of the classification.
        map_weight: weight of the lesion map's, see :class:`monai_staging.networks.retinanet.PyramidRetinaNet`.
    """

    def __init__(self, box_weight: float = 1.0, map_weight: float = 1.0) -> None:
        super().__init__()
        self.box_weight = box_weight
        self.map_weight = map_weight

    def forward(self, prediction: Mapping[str, Tensor], targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Scalar loss of a batch."""
        boxes, lesion_map = prediction["box_regression"], prediction["lesion_map"]
        return prediction["classification"] + self.box_weight * boxes + self.map_weight * lesion_map


class LossParts:
    """Puts the parts of the loss beside it in the trainer's output, so that they are logged by name."""

    def attach(self, engine: Engine) -> None:
        """Attaches to a MONAI trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._split)

    def _split(self, engine: Any) -> None:
        prediction = engine.state.output["pred"]
        engine.state.output |= {name: prediction[key].detach() for key, name in _PARTS.items()}


class ScanPrepareBatch(PrepareBatch):
    """Batch of :func:`scan_batch` to scans, each its name and its volume's path; there are no targets."""

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[list[tuple[str, str]], None]:
        """Nothing is read yet."""
        return list(zip(batchdata["study"], map(str, batchdata["image"]), strict=True)), None


class ScanInferer(Inferer):
    """Lets an evaluator run any detector on whole scans: its predictions are :class:`Detections`.

    Args:
        detector: finds lesions in a scan.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def __call__(  # type: ignore[override]
        self, inputs: Sequence[tuple[str, str | os.PathLike[str]]], network: nn.Module, *args: Any, **kwargs: Any
    ) -> Detections:
        """What is found in these scans; ``network`` is the detector's own."""
        return concatenate(self.detector.detect(read_volume(path), case) for case, path in inputs)
