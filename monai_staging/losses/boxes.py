"""Loss of a slice's box: overlap, edges, where the network looked, and whether there is a tumour."""

from __future__ import annotations

import torch
from monai.losses import BoxGIoULoss
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.networks.box_regressor import BoxOutput

# Of the attention's mass, so that its logarithm is finite.
_LEAST = 1e-6


class BoxLoss(nn.Module):
    """GIoU (Rezatofighi et al., CVPR 2019) and L1 of normalised boxes, attention and presence.

    Coordinates are divided by the image's size, so that the same weights do for every size. The attention's part is
    minus the logarithm of its mass on the cells that the box touches. Slices without a tumour count for presence only.
    Where there was a first look, its boxes count as much as those of the second.

    Args:
        size: pixels along each side of the image.
        giou: weight of 1 - GIoU, a mean over the slices with a tumour.
        l1: weight of the summed absolute error of the four edges, a mean over the same.
        attention: weight of the attention's part, a mean over the same.
        presence: weight of the binary cross entropy, a mean over all slices.

    Raises:
        UsageError: a size below 1 or a negative weight.
    """

    def __init__(
        self, size: int, giou: float = 2.0, l1: float = 5.0, attention: float = 0.5, presence: float = 0.5
    ) -> None:
        super().__init__()
        if size < 1 or min(giou, l1, attention, presence) < 0:
            raise UsageError(
                f"BoxLoss: a size of at least 1 pixel and weights that are not negative are needed; found size {size}, "
                f"giou {giou}, l1 {l1}, attention {attention}, presence {presence}"
            )
        self.size = size
        self.weights = (giou, l1, attention, presence)
        self.giou = BoxGIoULoss()

    def forward(self, prediction: BoxOutput, boxes: Tensor) -> Tensor:
        """Scalar loss of a batch; ``boxes`` is (B, 4) in pixels, NaN where a slice has no tumour."""
        there = ~torch.isnan(boxes).any(dim=1)
        giou, l1, attention, presence = self.weights
        loss = presence * functional.binary_cross_entropy_with_logits(prediction.presence, there.to(boxes.dtype))
        if not there.any():
            return loss
        truth = boxes[there]
        looks = [prediction.boxes] if prediction.first is prediction.boxes else [prediction.boxes, prediction.first]
        for look in looks:
            # GIoU in pixels, for the same result without what MONAI adds to its denominators.
            edges = (look[there] - truth).abs().sum(dim=1).mean() / self.size
            loss = loss + (giou * self.giou(look[there], truth) + l1 * edges) / len(looks)
        on_box = (prediction.attention[there] * _touched(truth / self.size, prediction.attention.shape[1:])).sum(
            dim=(1, 2)
        )
        return loss - attention * on_box.clamp(min=_LEAST).log().mean()


def _touched(boxes: Tensor, shape: torch.Size) -> Tensor:
    """(B, h, w) 1 for the cells of a map that a normalised box touches, 0 for others."""
    inside = []
    for axis, cells in enumerate(reversed(shape)):
        starts = torch.arange(cells, device=boxes.device) / cells
        low, high = boxes[:, axis, None], boxes[:, axis + 2, None]
        inside.append((starts < high) & (starts + 1 / cells > low))
    return (inside[1][:, :, None] & inside[0][:, None, :]).to(boxes.dtype)
