"""What the lesions of a map say of N and M by the classification's rules, as log-probabilities to build on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.cohort.lesion_groups import check_groups

# Lesions nearer to each other than this many cells (slices, X, Y) are taken as one.
_NEIGHBOURHOOD = (7, 3, 3)
# Of the hundreds of faint peaks in a map a few can be lesions; counted all, they would make any patient N3.
_PEAKS = 3
_NOTHING = -30.0
_DISTANT = ("adrenal metastasis", "liver metastasis", "bone metastasis")
_LEAVES = {"n": ("N0", "N1", "N2", "N3"), "m": ("M0", "M1a", "M1b", "M1c")}


class LesionRules(nn.Module):
    r"""Probabilities of N and M, if the map's peaks are lesions, each by itself and with a probability.

    A peak is a cell more likely than its neighbours, of which the three surest of each group and side count; with
    logit :math:`x` it is a lesion with probability
    :math:`\sigma(a_g x + b_g)`, where :math:`a_g, b_g` are learned for each group g. The rest is counting:

    - N3 with a node of the other side or above the clavicles, else N2 with one of the mediastinum on the primary's
      side or in the midline, else N1 with one of the hilum on the primary's side, else N0;
    - M1c with two or more metastases outside the chest (a Poisson-binomial count), M1b with one, else M1a with fluid or
      a nodule in the other lung, else M0.

    These are the rules of the 7th to the 9th edition as far as a map can tell (IASLC; Detterbeck et al., Chest 2017).
    Classes that divide a category (N2a, M1c1) share it equally, and classes that join some (M1) have their sum. A
    learned share goes to all classes alike, for what the map does not see.

    Args:
        groups: lesion groups of the map's channels.
        classes: categories of N and of M, ``{"n": [...], "m": [...]}``.
    """

    def __init__(self, groups: Sequence[str], classes: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.groups = check_groups(groups)
        self.slope = nn.Parameter(torch.full((len(self.groups),), 4.0))
        self.offset = nn.Parameter(torch.zeros(len(self.groups)))
        self.unknown = nn.ParameterDict({letter: nn.Parameter(torch.tensor(-1.5)) for letter in _LEAVES})
        for letter, leaves in _LEAVES.items():
            self.register_buffer(f"share_{letter}", _shares(leaves, classes[letter]), persistent=False)

    def forward(self, presence: Tensor, side: Tensor) -> dict[str, Tensor]:
        """Log-probabilities of the classes.

        Args:
            presence: (B, S, X, Y, groups), logits, X from the patient's left to the right.
            side: (B, 2), probability that the primary is in the left, right half.

        Returns:
            ``n`` and ``m``, (B, classes) each.
        """
        absent, odds = self._absence(presence)
        none = {name: self._relative(name, absent, side) for name in self.groups}
        one = torch.ones_like(side[:, 0])

        def without(names: Sequence[tuple[str, int]]) -> Tensor:
            result = one
            for name, which in names:
                result = result * (none[name][which] if name in none else one)
            return result

        own, other = 0, 1
        no_n3 = without(
            [
                ("hilar node L", other),
                ("mediastinal node L", other),
                ("supraclavicular node", own),
                ("supraclavicular node", other),
            ]
        )
        no_n2 = without([("mediastinal node L", own), ("midline node", own), ("midline node", other)])
        no_n1 = without([("hilar node L", own)])
        nodes = torch.stack([no_n3 * no_n2 * no_n1, no_n3 * no_n2 * (1 - no_n1), no_n3 * (1 - no_n2), 1 - no_n3], dim=1)
        no_distant = without([(name, which) for name in _DISTANT for which in (own, other)])
        distant = [index for index, name in enumerate(self.groups) if name in _DISTANT]
        one_distant = no_distant * odds[:, distant].sum(dim=1)
        no_m1a = without([("nodule", other), ("effusion", own), ("effusion", other)])
        several = (1 - no_distant - one_distant).clamp(min=0)
        spread = torch.stack([no_distant * no_m1a, no_distant * (1 - no_m1a), one_distant, several], dim=1)
        return {"n": self._mixed("n", nodes), "m": self._mixed("m", spread)}

    def _absence(self, presence: Tensor) -> tuple[Tensor, Tensor]:
        """P(no lesion) (B, left|right, groups) and the sum of the odds (B, groups) of the surest peaks."""
        peaks = self._peaks(presence.float().permute(0, 4, 1, 2, 3))
        # No lesion is ever quite certain: the odds of one would outweigh everything.
        logit = (peaks * self.slope[:, None] + self.offset[:, None]).clamp(max=5.0)
        return (-functional.softplus(logit)).sum(dim=3).exp(), logit.exp().sum(dim=(1, 3))

    @staticmethod
    def _peaks(presence: Tensor) -> Tensor:
        """Logits of the surest peaks of (B, groups, S, X, Y) on the left and right: (B, left|right, groups, peaks)."""
        with torch.no_grad():
            padding = [size // 2 for size in _NEIGHBOURHOOD]
            peak = presence == functional.max_pool3d(presence, _NEIGHBOURHOOD, 1, padding)
        sure = presence.masked_fill(~peak, _NOTHING)
        middle = sure.shape[3] // 2
        # An odd middle column belongs to the left: a peak is counted once.
        first = sure.shape[3] - middle
        halves = []
        for half in (sure[:, :, :, :first], sure[:, :, :, first:]):
            # As many in the smallest grid, so that a traced network is the same for all.
            padded = functional.pad(half.flatten(2), (0, _PEAKS), value=_NOTHING)
            halves.append(padded.topk(_PEAKS, dim=2).values)
        return torch.stack(halves, dim=1)

    def _relative(self, name: str, absent: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """P(no lesion of the group) on the primary's side and on the other; of a pair, for both names the same."""
        if name.endswith((" L", " R")):
            left, right = (absent[:, :, self.groups.index(name[:-1] + s)].prod(dim=1) for s in "LR")
        else:
            left, right = absent[:, :, self.groups.index(name)].unbind(dim=1)
        return side[:, 0] * left + side[:, 1] * right, side[:, 1] * left + side[:, 0] * right

    def _mixed(self, letter: str, probability: Tensor) -> Tensor:
        shares = self.get_buffer(f"share_{letter}")
        known = probability @ shares
        share = torch.sigmoid(self.unknown[letter])
        return ((1 - share) * known / known.sum(dim=1, keepdim=True).clamp(min=1e-6) + share / shares.shape[1]).log()


def _shares(leaves: Sequence[str], classes: Sequence[str]) -> Tensor:
    """(leaves, classes): how much of a leaf's probability each class has."""
    shares = torch.zeros(len(leaves), len(classes))
    for row, leaf in enumerate(leaves):
        divided = [c for c in classes if c.startswith(leaf)]
        # M1c is M1b where an edition ends there, and M1 where a model does.
        joined = [c for c in classes if leaf.startswith(c)] or [c for c in classes if leaf == "M1c" and c == "M1b"]
        for name in divided or joined[-1:]:
            shares[row, list(classes).index(name)] = 1 / len(divided or joined[-1:])
    return shares
