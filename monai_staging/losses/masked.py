"""The staging loss: T, N and M, each of which may be known, known as a set, or unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum

import torch
from torch import nn

from monai_staging.errors import DataError, UsageError
from monai_staging.losses.counts import of_all
from monai_staging.losses.ordinal import masked_logsumexp, ordinal_set_loss


class LossMode(str, Enum):
    """How one letter is scored."""

    CE = "ce"
    ORDINAL = "ordinal"


def set_cross_entropy(logits: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
    r"""Marginal likelihood of a set: :math:`-\log \sum_{c \in S} p_c`, cross-entropy where S has one member.

    Args:
        logits: ``(B, K)``.
        sets: ``(B, K)`` bool, true for the categories still possible; at least one in a row.

    Returns:
        ``(B,)``, not negative, in float32 at least. 0 for the full set.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.logsumexp(logits, dim=1) - masked_logsumexp(logits, sets)


_LOSSES: dict[LossMode, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    LossMode.CE: set_cross_entropy,
    LossMode.ORDINAL: ordinal_set_loss,
}


class MaskedTNMLoss(nn.Module):
    r"""Mean loss over the letters that are known.

    A letter's target is the set of categories still possible. One category: cross-entropy (or the ordinal score);
    several: the set's marginal likelihood; all of them: nothing is known, and the letter adds exactly 0, gets no
    gradient and is not counted. With :math:`\lambda` the letter's weight and :math:`w` the mean class weight over the
    set,

    .. math::
        L = \sum_{b, l\ \mathrm{known}} \lambda_l w_{bl} \ell_{bl} \Big/ \sum_{b, l\ \mathrm{known}} \lambda_l w_{bl},

    which for one letter with one category each is `torch.nn.functional.cross_entropy` with ``weight`` and
    ``label_smoothing``. Smoothing by :math:`\epsilon` takes :math:`(1 - \epsilon)` of the loss and :math:`\epsilon` of
    the mean over every single category. If no letter of the batch is known, the loss is 0 and still connected to the
    graph.

    Args:
        classes: letter to its ordered categories; the letters' order is that of the scores, normally t, n, m.
        mode: ``"ce"`` or ``"ordinal"`` (see `monai_staging.losses.ordinal`), for all letters or for each.
        weights: weight per letter; 1 where a letter is not named.
        label_smoothing: in [0, 1).
        class_weights: letter to one weight per category; 1 where a letter is not named.

    Shape:
        logits and targets ``(B, sum of categories)``, targets 1 (or true) for each category still possible; output a
        scalar.
    """

    def __init__(
        self,
        classes: Mapping[str, Sequence[str]],
        mode: str | Mapping[str, str] = "ce",
        weights: Mapping[str, float] | None = None,
        label_smoothing: float = 0.0,
        class_weights: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        if not classes or not all(len(names) for names in classes.values()):
            raise UsageError(f"MaskedTNMLoss: every letter needs categories, found {dict(classes)}")
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"MaskedTNMLoss: label_smoothing must be in [0, 1), found {label_smoothing}")
        self.classes = {letter: tuple(names) for letter, names in classes.items()}
        for what, given in (("mode", mode), ("weights", weights), ("class_weights", class_weights)):
            stray = set(given) - set(self.classes) if isinstance(given, Mapping) else set()
            if stray:
                raise UsageError(f"MaskedTNMLoss: {what} names letters without categories: {', '.join(sorted(stray))}")
        modes = mode if isinstance(mode, Mapping) else dict.fromkeys(self.classes, mode)
        allowed = [m.value for m in LossMode]
        for letter, found in modes.items():
            if found not in allowed:
                raise UsageError(
                    f"MaskedTNMLoss: mode of {letter} must be one of {', '.join(allowed)}, found {found!r}"
                )
        self.modes = {letter: LossMode(modes.get(letter, "ce")) for letter in self.classes}
        self.weights = {letter: float((weights or {}).get(letter, 1.0)) for letter in self.classes}
        if min(self.weights.values()) < 0:
            raise UsageError(f"MaskedTNMLoss: weights must not be negative, found {self.weights}")
        self.label_smoothing = label_smoothing
        for letter, names in self.classes.items():
            values = torch.as_tensor((class_weights or {}).get(letter, [1.0] * len(names)), dtype=torch.float64)
            if values.shape != (len(names),) or bool((values < 0).any()):
                raise UsageError(
                    f"MaskedTNMLoss: class_weights of {letter} must be {len(names)} numbers, none negative, "
                    f"found {values.tolist()}"
                )
            # Not persistent: what a network was trained with is in the config, and weights load without it.
            self.register_buffer(f"class_weight_{letter}", values.float(), persistent=False)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss, a scalar in float32 at least.

        Raises:
            DataError: shapes do not fit the categories, or a row of ``targets`` leaves no category for a letter.
        """
        width = sum(len(names) for names in self.classes.values())
        if logits.ndim != 2 or logits.shape[1] != width or targets.shape != logits.shape:
            raise DataError(
                f"MaskedTNMLoss: scores and targets must both be (B, {width}), "
                f"found {tuple(logits.shape)} and {tuple(targets.shape)}"
            )
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        total = logits.sum() * 0.0
        count = torch.zeros_like(total)
        start = 0
        for letter, names in self.classes.items():
            part = slice(start, start + len(names))
            start += len(names)
            sets = targets[:, part] > 0.5
            empty = torch.nonzero(~sets.any(dim=1)).flatten().tolist()
            if empty:
                raise DataError(
                    f"MaskedTNMLoss: {letter} needs at least one category still possible, found none in rows "
                    f"{empty} of the batch (an unknown letter has all of {', '.join(names)})"
                )
            # Rows are taken out rather than multiplied by 0: what is not known cannot reach the gradient.
            known = ~sets.all(dim=1)
            loss, weight = self._letter(letter, logits[:, part][known], sets[known])
            total = total + self.weights[letter] * loss
            count = count + self.weights[letter] * weight
        count = of_all(count, total)
        return torch.where(count > 0, total / count.clamp_min(torch.finfo(count.dtype).tiny), total)

    def _letter(self, letter: str, logits: torch.Tensor, sets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted sum of the losses of a letter's known rows, and the sum of their weights."""
        score = _LOSSES[self.modes[letter]]
        class_weight = self.get_buffer(f"class_weight_{letter}").to(logits)
        row_weight = (sets * class_weight).sum(dim=1) / sets.sum(dim=1)
        loss = row_weight * score(logits, sets)
        if self.label_smoothing:
            classes = logits.shape[1]
            single = torch.eye(classes, dtype=torch.bool, device=logits.device)
            each = [score(logits, single[c].expand(len(logits), -1)) * class_weight[c] for c in range(classes)]
            smooth = torch.stack(each).mean(dim=0)
            loss = (1 - self.label_smoothing) * loss + self.label_smoothing * smooth
        return loss.sum(), row_weight.sum()
