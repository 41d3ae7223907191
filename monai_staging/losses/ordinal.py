"""An ordinal score for sets of categories, from the same softmax scores as cross-entropy."""

from __future__ import annotations

import torch


def ordinal_set_loss(logits: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
    r"""Ranked ignorance score of a set-valued label.

    With :math:`F_k = \sum_{c \le k} p_c` the softmax's cumulative probability, and one threshold after each but the
    last of K ordered categories, a known category y scores

    .. math::  L(y) = -\frac{1}{K-1} \sum_{k=1}^{K-1} [y \le k] \log F_k + [y > k] \log (1 - F_k),

    the mean of K - 1 logarithmic scores "is it beyond k?", hence strictly proper (the ranked ignorance score, Tödter
    and Ahrens 2012, Monthly Weather Review 140:2005-2017; the thresholds are those of Frank and Hall 2001). It is
    cross-entropy for K = 2, and the further a probability lies from the truth, the more it costs.

    A set S says nothing about a threshold that has members on both sides, so that threshold adds 0. Where S has holes,
    the conditional likelihood :math:`-\log (P(S) / P(\mathrm{hull}\,S))` of not being in one of them is added. The
    full set scores 0.

    Args:
        logits: ``(B, K)``, categories in their order.
        sets: ``(B, K)`` bool, true for the categories still possible; at least one in a row.

    Returns:
        ``(B,)``, not negative, in float32 at least.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    classes = logits.shape[1]
    if classes < 2:
        return logits.sum(dim=1) * 0.0
    total = torch.logsumexp(logits, dim=1, keepdim=True)
    below = torch.logcumsumexp(logits, dim=1)[:, :-1] - total
    above = torch.logcumsumexp(logits.flip(1), dim=1).flip(1)[:, 1:] - total
    any_up_to = sets.cumsum(dim=1) > 0
    any_from = sets.flip(1).cumsum(dim=1).flip(1) > 0
    has_below, has_above = any_up_to[:, :-1], any_from[:, 1:]
    zero = torch.zeros((), dtype=logits.dtype, device=logits.device)
    scores = torch.where(has_above, zero, below) + torch.where(has_below, zero, above)
    hull = any_up_to & any_from
    holes = masked_logsumexp(logits, hull) - masked_logsumexp(logits, sets)
    return holes - scores.sum(dim=1) / (classes - 1)


def masked_logsumexp(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``log sum exp`` over the true entries of each row: ``(B, K)`` and ``(B, K)`` bool to ``(B,)``."""
    return torch.logsumexp(logits.masked_fill(~mask, -torch.inf), dim=1)
