"""What the box regressor's engines need beyond MONAI's: batches, and what is collected of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.engines import PrepareBatch
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from monai_staging.metrics.boxes import box_pair_iou
from monai_staging.metrics.intervals import FloatArray, IntArray
from monai_staging.networks.box_regressor import BoxOutput
from monai_staging.transforms.slice_boxes import LEVELS
from monai_staging.workflows.collector import EpochCollector

REACHED = 0.7
"""Mean IoU by which trainings are timed."""


class BoxPrepareBatch(PrepareBatch):
    """Batch to images in 0..1 and boxes in pixels.

    Args:
        augment: of images and boxes together; for training.
        details: ask the network for all of :class:`~monai_staging.networks.box_regressor.BoxOutput`, which
            :class:`~monai_staging.losses.boxes.BoxLoss` needs; a loss of boxes alone has them without.
    """

    def __init__(
        self, augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None, details: bool = True
    ) -> None:
        self.augment = augment
        self.details = details

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        """Moves images and boxes to ``device``."""
        image, box = (batchdata[name].to(device=device, non_blocking=non_blocking) for name in ("image", "box"))
        image = image.float() / LEVELS
        if self.augment is not None:
            image, box = self.augment(image, box)
        return image, box, (), {"details": self.details}


class BoxCollector(EpochCollector):
    """Collects an evaluator's boxes; after an epoch its metrics hold ``iou``, a mean over slices, and ``loss``.

    Args:
        loss: as the training's.
    """

    def __init__(self, loss: Callable[[Any, Tensor], Tensor]) -> None:
        self.loss = loss
        self.begin()

    def begin(self) -> None:
        """Forgets the epoch before."""
        self._found: list[FloatArray] = []
        self._truth: list[FloatArray] = []
        self._cases: list[IntArray] = []
        self._slices: list[IntArray] = []
        self._losses = 0.0

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Takes both boxes of each slice, and the loss."""
        prediction: BoxOutput | Tensor = output[Keys.PRED]
        boxes = prediction.boxes if isinstance(prediction, BoxOutput) else prediction
        found = ordered_corners(boxes.double().cpu().numpy())
        self._found.append(np.clip(found, 0, batch["image"].shape[-1]))
        self._truth.append(batch["box"].double().numpy())
        self._cases.append(batch["case"].numpy())
        self._slices.append(batch["slice"].numpy())
        self._losses += float(self.loss(prediction, output[Keys.LABEL])) * len(boxes)

    def complete(self, engine: Engine) -> None:
        """Scores the epoch."""
        engine.state.metrics["iou"] = float(box_pair_iou(self.found, self.truth).mean())
        engine.state.metrics["loss"] = self._losses / len(self.found)

    @property
    def found(self) -> FloatArray:
        """(N, 4) the network's boxes, in pixels of the images, beyond which they are cut."""
        return np.concatenate(self._found)

    @property
    def truth(self) -> FloatArray:
        """(N, 4) the readers' boxes, likewise."""
        return np.concatenate(self._truth)

    @property
    def places(self) -> tuple[IntArray, IntArray]:
        """(N) places of the cases and (N) indices of the slices."""
        return np.concatenate(self._cases), np.concatenate(self._slices)


def ordered_corners(boxes: FloatArray) -> FloatArray:
    """(N, 4) the same boxes, with no end before its beginning: a network of plain coordinates may confuse the two."""
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


def epochs_to_reach(epochs: list[dict[str, float]], iou: float = REACHED) -> float:
    """The first epoch whose validation had this mean IoU or more; NaN where none had."""
    return next((row["epoch"] for row in epochs if row.get("val_iou", 0.0) >= iou), float("nan"))
