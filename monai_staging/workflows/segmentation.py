"""What the segmentation bundle's engines need beyond MONAI's: batch, loss, turns at test time, sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.losses import DeepSupervisionLoss, DiceCELoss, TverskyLoss
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from torch.utils.data import WeightedRandomSampler

from monai_staging.errors import UsageError
from monai_staging.networks.segmenter import SegmentationOutput
from monai_staging.workflows.inferers import AutocastInferer
from monai_staging.workflows.nodule_data import NoduleExamples

LOSSES = ("dice_ce", "tversky")
# Of one pixel: a slice whose readers agree on no pixel has a loss too, and one of few pixels is no cliff.
_SMOOTH = 1.0


class SegmentationPrepareBatch(PrepareBatch):
    """Batch to patches in 0..1 and the share of the readers.

    Args:
        augment: of image and share together, as views of a nodule; for training.
        crop: so many pixels along each side are kept of what was augmented, the middle ones; ``None`` keeps all. A
            network that is convolutions all through learns on less than it looks at later.
    """

    def __init__(self, augment: Callable[[Tensor], Tensor] | None = None, crop: int | None = None) -> None:
        if crop is not None and crop < 1:
            raise UsageError(f"SegmentationPrepareBatch: a crop of at least 1 pixel is needed, found {crop}")
        self.augment = augment
        self.crop = crop

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        """Moves image and share to ``device``; while training the network is asked for all of its levels."""
        image, share = (
            batchdata[name].to(device=device, non_blocking=non_blocking).float() / 255 for name in ("image", "share")
        )
        if self.augment is None:
            return image, share, (), {}
        # Moved as one, so that they stay together.
        moved = self.augment(torch.cat([image, share], dim=1)[:, None])[:, 0]
        if self.crop is not None:
            for axis in range(2, moved.dim()):
                kept = min(self.crop, moved.shape[axis])
                moved = moved.narrow(axis, (moved.shape[axis] - kept) // 2, kept)
        return moved[:, :-1].contiguous(), moved[:, -1:], (), {"details": True}


class SegmentationLoss(nn.Module):
    """Loss of the foreground, of deeply supervised levels too, each level half of the one before.

    Args:
        loss: ``dice_ce``, MONAI's Dice and cross entropy, each patch by itself; ``tversky``, which weighs what is
            wrongly left out by ``beta`` and what is wrongly taken by ``1 - beta`` (Salehi et al. 2017,
            arXiv:1706.05721).
        soft: learn the share of the readers who include a voxel rather than what half of them agree on.
        beta: see there.
        pooled: count overlap over all patches of a batch rather than in each by itself, so that what is wrongly taken
            in a patch without any foreground costs overlap too.

    Raises:
        UsageError: no such loss.
    """

    def __init__(self, loss: str = "dice_ce", soft: bool = False, beta: float = 0.6, pooled: bool = False) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise UsageError(f"SegmentationLoss: one of {', '.join(LOSSES)} is needed, found {loss!r}")
        self.soft = soft
        common: dict[str, Any] = {"sigmoid": True, "smooth_nr": _SMOOTH, "smooth_dr": _SMOOTH, "batch": pooled}
        base: _Loss = DiceCELoss(**common)
        if loss == "tversky":
            base = TverskyLoss(alpha=1 - beta, beta=beta, **common)
        self.loss = DeepSupervisionLoss(base)

    def forward(self, prediction: SegmentationOutput, share: Tensor) -> Tensor:
        """Scalar loss of a batch; ``share`` is (B, 1, *spatial)."""
        # Interpolation leaves shares between those that there were.
        target = share if self.soft else (share >= 0.5).to(share.dtype)
        loss: Tensor = self.loss([prediction.logits, *prediction.deep.unbind(dim=1)], target)
        return loss


class FlippingInferer(AutocastInferer):
    """Averages probabilities over quarter turns and mirror images in plane: a nodule has no up and down.

    Args:
        device: see :class:`~monai_staging.workflows.inferers.AutocastInferer`.
        amp: likewise.
        views: 1 for none, 2 for the mirror image, 4 for the turns, 8 for the turns of both.
    """

    def __init__(self, device: str | torch.device, amp: bool | str = "auto", views: int = 8) -> None:
        super().__init__(device, amp)
        if views not in (1, 2, 4, 8):
            raise UsageError(f"FlippingInferer: views must be 1, 2, 4 or 8; found {views}")
        self.turns = {1: 1, 2: 1, 4: 4, 8: 4}[views]
        self.mirror = views in (2, 8)

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """(B, 1, *spatial) mean probability."""
        found = []
        for turn in range(self.turns):
            for flip in (False, True) if self.mirror else (False,):
                seen = inputs.rot90(turn, (-2, -1))
                logits = super().__call__(seen.flip(-1) if flip else seen, network, *args, **kwargs)
                chance = logits.float().sigmoid()
                found.append((chance.flip(-1) if flip else chance).rot90(-turn, (-2, -1)))
        return torch.stack(found).mean(dim=0)


def nodule_sampler(examples: NoduleExamples, balance: float) -> WeightedRandomSampler | None:
    """Draws slices of nodules that have many of them more seldom, as scores count nodules.

    Args:
        examples: of the training part.
        balance: a slice of a nodule with n slices has the weight n ** -balance; at 1 all nodules are drawn alike. At 0
            there is no sampler.
    """
    if not 0 <= balance <= 1:
        raise UsageError(f"Balance: 0 to 1 is needed, found {balance}")
    if not balance:
        return None
    _, owner, counts = torch.unique(examples.values("nodule"), return_inverse=True, return_counts=True)
    weights = counts[owner].double() ** -balance
    return WeightedRandomSampler(weights.tolist(), len(examples))
