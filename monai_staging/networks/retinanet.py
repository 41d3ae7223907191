"""RetinaNet (Lin et al. 2017, arXiv:1708.02002) on the package's backbones and MONAI's parts, without torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import Backbone, ResNetBackbone, build_backbone

CHANNELS_DIVISIBLE = 8
"""What the channels of the pyramid are a multiple of: MONAI's heads normalise in eight groups."""


class FPNExtractor(nn.Module):
    """Some scales of a backbone's pyramid, each enriched with all coarser ones (Lin et al. 2017, arXiv:1612.03144).

    Args:
        backbone: gives the pyramid.
        in_channels: channels of the image.
        levels: which maps of ``backbone.pyramid`` come out, from 0, finest first.
        out_channels: channels of every map that comes out.

    Attributes:
        strides: voxels of the image to one cell of each map that comes out, finest first; the last is what an image's
            sides must be multiples of.

    Raises:
        UsageError: levels that the backbone does not have or that do not ascend, or a number of channels that is no
            multiple of 8.
    """

    def __init__(self, backbone: Backbone, in_channels: int, levels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        shapes = _pyramid_shapes(backbone, in_channels)
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
        self.fpn = FeaturePyramidNetwork(3, [channels for channels, _ in shapes[levels[0] :]], out_channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, in_channels, X, Y, Z) to maps (B, out_channels, X / stride, Y / stride, Z / stride), finest first."""
        maps = self.backbone.pyramid(x)
        merged = self.fpn({str(level): maps[level] for level in range(self.levels[0], len(maps))})
        return [merged[str(level)] for level in self.levels]


class PyramidRetinaNet(RetinaNet):
    """MONAI's RetinaNet whose answers are in single precision whatever it computes in.

    Anchors take the type of the answers, and bfloat16 cannot tell voxel 200 from 201.
    """

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        """(B, C, X, Y, Z) to ``classification`` and ``box_regression``, a list of a map a level each."""
        return {key: [level.float() for level in levels] for key, levels in super().forward(images).items()}


class ExactAnchors(AnchorGeneratorWithAnchorShape):
    """MONAI's anchors at their true size: MONAI rounds half of it to whole voxels, and 4 mm may become 3 or 6."""

    @staticmethod
    def generate_anchors_using_shape(
        anchor_shapes: Tensor, dtype: torch.dtype = torch.float32, device: torch.device | None = None
    ) -> Tensor:
        """(N, 3) sizes in voxels to (N, 6) corners around 0."""
        return torch.cat([-anchor_shapes / 2, anchor_shapes / 2], dim=1).to(dtype=dtype, device=device)


class AnchorDetector(RetinaNetDetector):
    """MONAI's RetinaNet detector, matching anchors without torchvision, whose ``Matcher`` the original asks about."""

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
    return PyramidRetinaNet(3, 1, anchors, extractor, size_divisible=extractor.strides[-1])


def build_detector(
    network: PyramidRetinaNet,
    *,
    anchor_sizes: Sequence[float],
    candidates: int = 4,
    samples: int = 64,
    positive_fraction: float = 0.3,
    pool_size: float = 20.0,
) -> AnchorDetector:
    """MONAI's detector around a network, ready for training: ATSS matcher and hard negative sampler.

    Args:
        network: sees the image.
        anchor_sizes: sides of the cubes at each place of the finest map, in voxels; on the others they are larger as
            their cells are.
        candidates: cells around a box on each map that the matcher chooses from (Zhang et al. 2020, arXiv:1912.02424).
        samples: anchors an image that the classification learns from.
        positive_fraction: of them, at most.
        pool_size: negatives are drawn from so many times more of the highest scores.

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
    detector.set_hard_negative_sampler(samples, positive_fraction, min_neg=samples // 4, pool_size=pool_size)
    return detector


def losses_of(prediction: Mapping[str, Tensor], network: RetinaNet) -> tuple[Tensor, Tensor]:
    """Loss of the classification and of the boxes, of what a detector gives while training."""
    return prediction[network.cls_key], prediction[network.box_reg_key]


@torch.no_grad()
def _pyramid_shapes(backbone: Backbone, in_channels: int) -> list[tuple[int, int]]:
    """Channels and stride of each map of the pyramid, found by looking at an image of nothing."""
    # A power of two, so that every stride divides it.
    side = 64
    training = backbone.training
    maps = backbone.eval().pyramid(torch.zeros(1, in_channels, side, side, side))
    backbone.train(training)
    return [(level.shape[1], side // level.shape[2]) for level in maps]
