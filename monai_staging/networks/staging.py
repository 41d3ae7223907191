"""The staging network: a backbone over axial slices, gated attention over the slices, one head per letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.cohort.lesion_groups import EVIDENCE, LESION_GROUPS, check_groups, without_side
from monai_staging.errors import UsageError
from monai_staging.networks.attention import GatedAttentionPool
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.context import MapContext, SliceContext
from monai_staging.networks.granulometry import Granulometry
from monai_staging.networks.lesion_rules import LesionRules
from monai_staging.networks.letter_classes import letter_classes
from monai_staging.networks.neck import PyramidNeck
from monai_staging.networks.size_prior import SizePrior

LETTERS = ("t", "n", "m")


class StagingOutput(NamedTuple):
    """What a staging network knows about a batch of B studies of S slices.

    Attributes:
        logits: (B, classes of T + N + M), unnormalised log-probabilities in that order.
        attention: (B, 3, S'), how much T, N and M look at each slice; each row sums to 1. S' is S, or with a 3-D
            backbone the depth of its map.
        presence: (B, groups, X', Y', S'), logit of a lesion of a group in each cell; trained where a cohort has
            lesions, a free feature elsewhere.
        diameter_mm: of the same shape, in-plane diameter in mm of the lesion's cut, if there is one.
        side: (B, 2), probability that the primary is in the left, right half.
    """

    logits: Tensor
    attention: Tensor
    presence: Tensor
    diameter_mm: Tensor
    side: Tensor


class StagingNetwork(nn.Module):
    """T, N and M of a study from its axial slices.

    Every slice goes through the backbone, whose scales a neck joins to one coarse map, and a :class:`Granulometry`
    tells how thick things are, which a few dozen patients would not teach a network by themselves. A cell of the map
    says whether it lies in a lesion, of which group (primary, hilar node, liver metastasis ...), and how large that is:
    lesions that somebody outlined are shown to the network, which takes far fewer patients than labels alone.

    Each half of the body (left, right of the grid's centre) becomes one token a slice. The half with the larger primary
    is called *ipsilateral*, and tokens are reordered to (ipsilateral, contralateral), because N and M1a are defined
    relative to the side of the primary and a network should not have to learn that from labels. Gated attention (Ilse
    et al., 2018) pools the slices once per letter, with a head start for slices where the map sees a lesion. The heads
    correct what the classification's rules make of the map: of the measured size for T (:class:`SizePrior`), of the
    lesions found for N and M (:class:`LesionRules`).

    With ``spatial_dims=3`` the backbone sees the whole volume and the depth of its map takes the part of the slices.

    Args:
        network: name of the backbone, one of ``monai_staging.networks.backbones.NETWORKS``.
        classes: categories per letter, ``{"t": [...], "n": [...], "m": [...]}``.
        in_channels: HU windows per slice.
        spatial_dims: 2 (slices) or 3 (volume).
        neighbours: how many slices above and below a slice the 2-D backbone sees with it, as further channels: in one
            slice a vessel looks like a nodule.
        cubes: edges of the granulometry's cubes, in voxels of the halved grid; none for no granulometry.
        width: scales the backbone's channels.
        features: channels of the neck's map and size of a token.
        groups: lesion groups that the map predicts, the first is ``primary``; see
            :data:`monai_staging.cohort.lesion_groups.LESION_GROUPS`.
        depth_mm: height of the grid, slices times their spacing.
        clinical_features: length of the clinical vector joined before the heads; 0 for none.
        edition: of the TNM, for the rule of sizes.
        map_gradient: how much of the letters' gradient reaches the lesion map: 0 where lesions are shown, which a few
            dozen patients' letters would only blur; 1 where the letters are all there is to learn from.
        dropout: before each head, and in the granulometry's layers.
        weights: where the backbone's initial weights come from, see
            :func:`monai_staging.networks.pretrained.load_pretrained`.
        channels_last: runs the backbone in channels-last memory, faster on most hardware.

    Raises:
        UsageError: a letter without classes, or a backbone or lesion group that is not known.
    """

    def __init__(
        self,
        network: str,
        classes: Mapping[str, Sequence[str]],
        in_channels: int = 3,
        spatial_dims: int = 2,
        neighbours: int = 0,
        cubes: Sequence[int] = (2, 3, 5, 8),
        width: float = 1.0,
        features: int = 96,
        groups: Sequence[str] = tuple(LESION_GROUPS),
        depth_mm: float = 320.0,
        clinical_features: int = 0,
        edition: str = "8",
        map_gradient: float = 1.0,
        dropout: float = 0.2,
        weights: str | None = None,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        self.classes = letter_classes(classes, "StagingNetwork")
        self.groups = check_groups(groups)
        if not self.groups or self.groups[0] != "primary":
            raise UsageError(f"StagingNetwork: the first lesion group must be primary, found {list(self.groups)}")
        # A pair (L, R) is one group here, seen from both sides.
        self._sided = list(dict.fromkeys(without_side(name) for name in self.groups))
        self.spatial_dims = spatial_dims
        self.neighbours = neighbours if spatial_dims == 2 else 0
        self.granulometry = Granulometry(in_channels, features, cubes, dropout) if cubes else None
        in_channels *= 1 + 2 * self.neighbours
        self.depth_mm = float(depth_mm)
        self.map_gradient = float(map_gradient)
        self.clinical_features = clinical_features
        self.backbone = build_backbone(
            network, spatial_dims=spatial_dims, in_channels=in_channels, width=width, weights=weights
        )
        self.neck = PyramidNeck(self.backbone, spatial_dims, in_channels, features)
        if channels_last:
            memory_format = torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
            self.backbone.to(memory_format=memory_format)  # type: ignore[call-overload]
        self.map_context = MapContext(features)
        # Presence of each group, then its diameter.
        self.lesions = nn.Linear(features, 2 * len(self.groups))
        # Hardly a cell holds a lesion: starting from there keeps the first steps calm (Lin et al., 2017, focal loss).
        nn.init.constant_(self.lesions.bias[: len(self.groups)], -4.0)
        nn.init.constant_(self.lesions.bias[len(self.groups) :], 2.0)
        if cubes:
            # The backbone is noise until it has learned something: the map starts from the thickness alone.
            self.direct = nn.Linear(features, 2 * len(self.groups), bias=False)
            nn.init.zeros_(self.lesions.weight)
        self.token = nn.Sequential(nn.Linear(2 * features + len(self._sided), features), nn.GELU())
        self.height = nn.Linear(2, features)
        self.context = nn.Sequential(SliceContext(features), SliceContext(features))
        self.pool = GatedAttentionPool(2 * features, hidden=features, heads=len(LETTERS))
        self.evidence = nn.Linear(len(self._sided), len(LETTERS), bias=False)
        # Attention starts where what a letter is read from lies.
        start = [[6.0 if name in EVIDENCE[letter] else 0.0 for name in self._sided] for letter in LETTERS]
        with torch.no_grad():
            self.evidence.weight.copy_(torch.tensor(start))
        self.norm = nn.LayerNorm(2 * features)
        self.size_prior = SizePrior(self.classes["t"], edition)
        self.rules = LesionRules(self.groups, self.classes)
        joined = 2 * features + 6 * len(self._sided) + 2 + clinical_features
        self.heads = nn.ModuleDict(
            {
                letter: nn.Sequential(
                    nn.Dropout(dropout),
                    nn.Linear(joined, features),
                    nn.GELU(),
                    nn.Dropout(dropout),
                    nn.Linear(features, len(self.classes[letter])),
                )
                for letter in LETTERS
            }
        )
        # A head starts as the rules alone: what it adds must pay.
        for head in self.heads.values():
            nn.init.zeros_(head[-1].weight)  # type: ignore[index]
            nn.init.zeros_(head[-1].bias)  # type: ignore[index]

    def slice_maps(self, image: Tensor) -> Tensor:
        """The neck's map of every slice: (B, C, X, Y, S) to (B, S', X', Y', features)."""
        batch, slices = image.shape[0], image.shape[-1]
        if self.spatial_dims == 2:
            stack = self._with_neighbours(image.permute(0, 4, 1, 2, 3)).flatten(0, 1)
            maps = self.neck(self.backbone.pyramid(stack)).permute(0, 2, 3, 1)
            return maps.reshape(batch, slices, *maps.shape[1:])
        maps = self.neck(self.backbone.pyramid(image))
        return maps.permute(0, 4, 2, 3, 1)

    def _with_neighbours(self, stack: Tensor) -> Tensor:
        """Slices (B, S, C, X, Y) with those below and above as channels; the outermost slices are their own."""
        reach, slices = self.neighbours, stack.shape[1]
        if not reach:
            return stack
        padded = torch.cat([stack[:, :1]] * reach + [stack] + [stack[:, -1:]] * reach, dim=1)
        return torch.cat([padded[:, shift : shift + slices] for shift in range(2 * reach + 1)], dim=2)

    @staticmethod
    def _halves(maps: Tensor) -> tuple[Tensor, Tensor]:
        """Left and right half of maps (B, S, X, Y, F); an odd middle column belongs to both.

        The X axis of our grids runs from the patient's left to the right (RAS), so the first half is the left one.
        """
        middle = maps.shape[2] // 2
        return maps[:, :, : maps.shape[2] - middle], maps[:, :, middle:]

    def map_of_bands(self, bands: Tensor) -> tuple[Tensor, Tensor]:
        """The lesion map as the granulometry alone tells it, before the backbone has learned anything.

        Args:
            bands: (..., count) of :meth:`Granulometry.bands`.

        Returns:
            Presence (logits) and diameter in mm, (..., groups) each.
        """
        if self.granulometry is None:
            raise UsageError("StagingNetwork: without cubes there is no granulometry to read a map from")
        presence, diameter = (self.direct(self.granulometry.mixed(bands)).float() + self.lesions.bias).chunk(2, dim=-1)
        return presence, 10 * functional.softplus(diameter)

    def details(self, image: Tensor, clinical: Tensor | None = None) -> StagingOutput:
        """Everything the network knows; see :class:`StagingOutput`.

        Args:
            image: (B, C, X, Y, S) windowed HU in 0..1 on an RAS grid.
            clinical: (B, clinical_features); zeros (nothing known) where it is left out.
        """
        maps = self.slice_maps(image)
        direct: Tensor | float = 0.0
        if self.granulometry is not None:
            thickness = self.granulometry(image, maps.shape[1:4])
            direct = self.direct(thickness).float()
            maps = maps + thickness
        maps = self.map_context(maps)
        # In cm inside, so that the values are of order one.
        presence, diameter = (self.lesions(maps).float() + direct).chunk(2, dim=-1)
        diameter = functional.softplus(diameter)
        known = presence, diameter
        maps, presence, diameter = (self._dampened(values) for values in (maps, presence, diameter))
        # Steep, so that a lesion the network is fairly sure of counts with its whole size; from a little below even
        # odds, as the focal loss leaves the outer cells of a lesion there.
        gate = torch.sigmoid(8 * presence + 2)
        profile = self._per_side(gate * diameter)
        evidence = self._per_side(torch.sigmoid(presence))
        pooled = [torch.cat([half.mean(dim=(2, 3)), half.amax(dim=(2, 3))], dim=-1) for half in self._halves(maps)]
        tokens = self.token(torch.cat([torch.stack(pooled, dim=1), profile.to(maps.dtype)], dim=-1))
        batch, _, slices, features = tokens.shape
        # Height in the scan, from -1 at the lowest slice to 1 at the highest.
        height = torch.linspace(-1, 1, slices, device=tokens.device, dtype=tokens.dtype)
        tokens = tokens + self.height(torch.stack([height, height**2], dim=-1))
        tokens = self.context(tokens.reshape(batch * 2, slices, features)).reshape(batch, 2, slices, features)
        side = torch.softmax(4 * profile[..., 0].amax(dim=2), dim=1)
        # T is read from the longest diameter, in a slice or along the body; a primary hardly seen has little of either.
        size = (gate * diameter)[..., 0].flatten(1).amax(dim=1)
        reach = gate[..., 0].amax(dim=(2, 3)).sum(dim=1) * (self.depth_mm / slices / 10)
        prior = self.evidence(evidence.amax(dim=1)).transpose(1, 2)
        attended, attention = self.pool(torch.cat(self._by_side(tokens, side), dim=-1), prior=prior)
        sizes = torch.cat(self._by_side(profile, side), dim=-1)
        likely = torch.cat(self._by_side(evidence, side), dim=-1).amax(dim=1)
        summary = torch.cat([sizes.amax(dim=1), 4 * sizes.mean(dim=1), likely, torch.stack([size, reach], 1)], dim=-1)
        if self.clinical_features:
            if clinical is None:
                clinical = image.new_zeros(batch, self.clinical_features)
            summary = torch.cat([summary, clinical.to(summary.dtype)], dim=-1)
        attended = self.norm(attended).to(summary.dtype)
        rules = {"t": self.size_prior(10 * torch.maximum(size, reach)), **self.rules(presence, side)}
        logits = [
            head(torch.cat([attended[:, index], summary], dim=-1)).float() + rules[letter]
            for index, (letter, head) in enumerate(self.heads.items())
        ]
        presence, diameter = (values.permute(0, 4, 2, 3, 1) for values in known)
        return StagingOutput(torch.cat(logits, dim=1), attention, presence, 10 * diameter, side)

    def _dampened(self, values: Tensor) -> Tensor:
        """The same values, with ``map_gradient`` of their gradient."""
        return torch.lerp(values.detach(), values, self.map_gradient)

    def _per_side(self, values: Tensor) -> Tensor:
        """Largest value of a slice (B, S, X, Y, groups) on the left and right: (B, left|right, S, groups with sides).

        Of a group that is a pair, each side is where the group says it is; of another, where the cell lies.
        """
        halves = torch.stack([half.amax(dim=(2, 3)) for half in self._halves(values)], dim=1)
        everywhere = values.amax(dim=(2, 3))
        columns = []
        for name in self._sided:
            if name in self.groups:
                columns.append(halves[..., self.groups.index(name)])
            else:
                pair = [everywhere[..., self.groups.index(f"{name} {letter}")] for letter in "LR"]
                columns.append(torch.stack(pair, dim=1))
        return torch.stack(columns, dim=-1)

    @staticmethod
    def _by_side(values: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """Reorders (B, left|right, S, F) to ipsilateral and contralateral, weighted by the probability of the side."""
        weight = side.to(values.dtype)[:, :, None, None]
        left, right = values[:, 0], values[:, 1]
        ipsilateral = weight[:, 0] * left + weight[:, 1] * right
        return ipsilateral, left + right - ipsilateral

    def forward(self, image: Tensor, clinical: Tensor | None = None, details: bool = False) -> Tensor | StagingOutput:
        """Logits (B, classes of T + N + M), or all of :class:`StagingOutput` where ``details`` is set."""
        output = self.details(image, clinical)
        return output if details else output.logits
