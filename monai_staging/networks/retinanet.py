"""RetinaNet (Lin et al. 2017, arXiv:1708.02002) on the package's backbones and MONAI's parts, without torchvision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.losses import DiceCELoss, FocalLoss
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import Backbone, ResNetBackbone, build_backbone
from monai_staging.transforms.ellipsoids import ellipsoid_share

CHANNELS_DIVISIBLE = 8
"""What the channels of the pyramid are a multiple of: MONAI's heads normalise in eight groups."""
# Before it has learned anything the lesion map says one cell in a hundred, as the heads do.
_RARE_LOGIT = -math.log(99)


class FPNExtractor(nn.Module):
    """Some scales of a backbone's pyramid, each enriched with all coarser ones (Lin et al. 2017, arXiv:1612.03144).

    Args:
        backbone: gives the pyramid.
        in_channels: channels of the image.
        levels: which maps of ``backbone.pyramid`` come out, from 0, finest first.
        out_channels: channels of every map that comes out.
        spatial_dims: the backbone's, 2 or 3.

    Attributes:
        strides: voxels of the image to one cell of each map that comes out, finest first; the last is what an image's
            sides must be multiples of.

    Raises:
        UsageError: levels that the backbone does not have or that do not ascend, or a number of channels that is no
            multiple of 8.
    """

    def __init__(
        self, backbone: Backbone, in_channels: int, levels: Sequence[int], out_channels: int, spatial_dims: int = 3
    ) -> None:
        super().__init__()
        shapes = pyramid_shapes(backbone, in_channels, spatial_dims)
        if not levels or list(levels) != sorted(set(levels)) or not 0 <= levels[0] <= levels[-1] < len(shapes):
            raise UsageError(
                f"Feature pyramid: levels ascend from 0 to {len(shapes) - 1} at most, found {list(levels)}"
            )
        if out_channels < 1 or out_channels % CHANNELS_DIVISIBLE:
            raise UsageError(
                f"Feature pyramid: channels are a multiple of {CHANNELS_DIVISIBLE} above 0, found {out_channels}"
            )
        self.backbone = backbone
        self.levels = tuple(levels)
        self.strides = tuple(shapes[level][1] for level in levels)
        self.out_channels = out_channels
        self.fpn = FeaturePyramidNetwork(spatial_dims, [channels for channels, _ in shapes[levels[0] :]], out_channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, in_channels, *spatial) to maps (B, out_channels, *spatial / stride), finest first."""
        maps = self.backbone.pyramid(x)
        merged = self.fpn({str(level): maps[level] for level in range(self.levels[0], len(maps))})
        return [merged[str(level)] for level in self.levels]


class PyramidRetinaNet(RetinaNet):
    """MONAI's RetinaNet that is also asked, while it learns, which cells are lesion.

    A volume has a handful of anchors that match a lesion and some hundred thousand that do not: from these alone a
    pyramid learns slowly. Outlining lesions on the finest map as well teaches it from every cell (Retina U-Net, Jaeger
    et al. 2020, arXiv:1811.08661). Detection does without the outline.

    Answers are in single precision whatever it computes in: anchors take the type of the answers, and bfloat16 cannot
    tell voxel 200 from 201.

    Args:
        anchors: a place on a map.
        extractor: gives the maps.
    """

    MAP_KEY = "lesion_map"

    def __init__(self, anchors: int, extractor: FPNExtractor) -> None:
        super().__init__(3, 1, anchors, extractor, size_divisible=extractor.strides[-1])
        self.lesion_head = nn.Conv3d(extractor.out_channels, 1, 1)
        nn.init.constant_(self.lesion_head.bias, _RARE_LOGIT)  # type: ignore[arg-type]  # a convolution with bias

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        """(B, C, X, Y, Z) to ``classification`` and ``box_regression``, a list of a map a level each.

        While training also ``lesion_map``, a list of one: (B, 1, X / stride, Y / stride, Z / stride) logits.
        """
        maps = self.feature_extractor(images)
        answers = {self.cls_key: self.classification_head(maps), self.box_reg_key: self.regression_head(maps)}
        if self.training:
            answers[self.MAP_KEY] = [self.lesion_head(maps[0])]
        return {key: [level.float() for level in levels] for key, levels in answers.items()}


class FlatRetinaNet(PyramidRetinaNet):
    """The same network with all that it says in one tensor, which is what TorchScript and MONAI's checks can take.

    Anchors come in the order in which MONAI's detector counts them: map by map, finest first, places by x, y and z, and
    at each place one after the other.
    """

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]  # one tensor is the point of it
        """(B, C, X, Y, Z) to (B, 7, N): of N anchors the log-odds and six offsets of the box."""
        answers = super().forward(images)
        return torch.cat([self._flat(answers[key]) for key in (self.cls_key, self.box_reg_key)], dim=1)

    def _flat(self, maps: list[Tensor]) -> Tensor:
        """Maps (B, anchors * K, x, y, z) to (B, K, N)."""
        parts = [level.flatten(2).unflatten(1, (self.num_anchors, -1)).permute(0, 2, 3, 1).flatten(2) for level in maps]
        return torch.cat(parts, dim=2)


class AnchorFocalLoss(nn.Module):
    """Focal loss (Lin et al. 2017, arXiv:1708.02002), summed over all anchors and divided by those that match.

    Args:
        gamma: the larger, the less it counts how sure an answer is that is right already.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        # MONAI's reduction "sum" takes the mean along all but the first two axes, and of two axes over everything.
        self.focal = FocalLoss(gamma=gamma, reduction="none")

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """(N, 1) each to a scalar."""
        loss: Tensor = self.focal(logits, target).sum() / target.sum().clamp(min=1)
        return loss


class ExactAnchors(AnchorGeneratorWithAnchorShape):
    """MONAI's anchors at their true size: MONAI rounds half of it to whole voxels, and 4 mm may become 3 or 6."""

    @staticmethod
    def generate_anchors_using_shape(
        anchor_shapes: Tensor, dtype: torch.dtype = torch.float32, device: torch.device | None = None
    ) -> Tensor:
        """(N, 3) sizes in voxels to (N, 6) corners around 0."""
        return torch.cat([-anchor_shapes / 2, anchor_shapes / 2], dim=1).to(dtype=dtype, device=device)


class AnchorDetector(RetinaNetDetector):
    """MONAI's RetinaNet detector, matching anchors without torchvision, whose ``Matcher`` the original asks about.

    Beside MONAI's losses it gives that of the lesion map: Dice over the batch, so that patches without a lesion count,
    plus cross entropy, against the ellipsoids in the boxes.
    """

    def __init__(self, network: PyramidRetinaNet, anchor_generator: AnchorGeneratorWithAnchorShape) -> None:
        super().__init__(network, anchor_generator)
        self.map_loss = DiceCELoss(sigmoid=True, batch=True)

    def compute_loss(
        self,
        head_outputs_reshape: dict[str, Tensor],
        targets: list[dict[str, Tensor]],
        anchors: list[Tensor],
        num_anchor_locs_per_level: Sequence[int],
    ) -> dict[str, Tensor]:
        """``classification``, ``box_regression`` and ``lesion_map``, a scalar each."""
        losses = super().compute_loss(head_outputs_reshape, targets, anchors, num_anchor_locs_per_level)
        key = PyramidRetinaNet.MAP_KEY
        (logits,) = head_outputs_reshape[key]
        stride = self.network.feature_extractor.strides[0]  # type: ignore[union-attr,index]  # an FPNExtractor's
        share = torch.stack([ellipsoid_share(own["boxes"] / stride, logits.shape[2:]) for own in targets])
        return {**losses, key: self.map_loss(logits, share[:, None])}

    def compute_anchor_matched_idxs(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]], num_anchor_locs_per_level: Sequence[int]
    ) -> list[Tensor]:
        """Each anchor's box by MONAI's ATSS matcher, -1 for none."""
        matched = []
        for own, target in zip(anchors, targets, strict=True):
            boxes = target[self.target_box_key].to(own.device)
            _, match = self.proposal_matcher(boxes, own, num_anchor_locs_per_level, self.num_anchors_per_loc)
            matched.append(match.to(own.device))
        return matched


def build_retinanet(
    network: str = "resnet10",
    *,
    in_channels: int = 1,
    width: float = 0.5,
    levels: Sequence[int] = (0, 1, 2),
    channels: int = 32,
    anchors: int = 2,
    stem_pool: bool = True,
    weights: str | Path | None = None,
    flat: bool = False,
) -> PyramidRetinaNet:
    """A RetinaNet for one class in 3-D.

    Args:
        network: backbone, see `monai_staging.networks.backbones.NETWORKS`.
        in_channels: channels of the image.
        width: factor on the backbone's channel counts.
        levels: of its pyramid that boxes are looked for on, see `FPNExtractor`.
        channels: of the pyramid and the heads.
        anchors: a place on a map.
        stem_pool: whether a ResNet's first convolution is followed by its pooling; without, every map is twice as fine.
        weights: of the backbone, see `monai_staging.networks.pretrained.load_pretrained`.
        flat: a `FlatRetinaNet`, for export; a detector takes one that is not.

    Raises:
        UsageError: an argument out of range.
        DataError: weights that are not there or do not fit.
    """
    backbone = build_backbone(network, spatial_dims=3, in_channels=in_channels, width=width, weights=weights)
    if not stem_pool:
        if not isinstance(backbone, ResNetBackbone):
            raise UsageError(f"RetinaNet: only a ResNet can do without its first pooling, found {network}")
        backbone.maxpool = nn.MaxPool3d(1)
    extractor = FPNExtractor(backbone, in_channels, levels, channels)
    return (FlatRetinaNet if flat else PyramidRetinaNet)(anchors, extractor)


def build_detector(
    network: PyramidRetinaNet, *, anchor_sizes: Sequence[float], candidates: int = 4, gamma: float = 2.0
) -> AnchorDetector:
    """MONAI's detector around a network, ready for training: ATSS matcher, and a focal loss over all anchors.

    Args:
        network: sees the image.
        anchor_sizes: sides of the cubes at each place of the finest map, in voxels; on the others they are larger as
            their cells are.
        candidates: cells around a box on each map that the matcher chooses from (Zhang et al. 2020, arXiv:1912.02424).
        gamma: see `AnchorFocalLoss`.

    Raises:
        UsageError: not as many anchors as the network has, or one that is not above 0.
    """
    sizes = [float(size) for size in anchor_sizes]
    if len(sizes) != network.num_anchors or not all(size > 0 for size in sizes):
        raise UsageError(f"Detector: {network.num_anchors} anchor sizes above 0 are needed, found {sizes}")
    extractor = network.feature_extractor
    assert isinstance(extractor, FPNExtractor)
    scales = [stride / extractor.strides[0] for stride in extractor.strides]
    detector = AnchorDetector(network, ExactAnchors(scales, [(size,) * 3 for size in sizes]))
    detector.set_atss_matcher(candidates, center_in_gt=False)
    detector.set_cls_loss(AnchorFocalLoss(gamma))
    return detector


@torch.no_grad()
def pyramid_shapes(backbone: Backbone, in_channels: int, spatial_dims: int) -> list[tuple[int, int]]:
    """Channels and stride of each map of a backbone's pyramid, finest first, found by looking at an image of nothing.

    Args:
        backbone: gives the pyramid.
        in_channels: channels of the image.
        spatial_dims: the backbone's, 2 or 3.
    """
    # A power of two, so that every stride divides it.
    side = 64
    training = backbone.training
    maps = backbone.eval().pyramid(torch.zeros(1, in_channels, *[side] * spatial_dims))
    backbone.train(training)
    return [(level.shape[1], side // level.shape[2]) for level in maps]
