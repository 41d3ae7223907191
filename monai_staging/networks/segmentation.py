"""Segmentation networks by name. Adding one is a class and a line in `_BUILDERS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.networks.nets import DynUNet, SegResNet
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.networks.alexnet import scaled
from monai_staging.networks.attention_unet import AttentionUNet
from monai_staging.networks.pyramid_attention import PyramidAttention
from monai_staging.networks.segmenter import Segmenter

CHANNELS = (16, 32, 64, 128)
"""Of each level at a width of 1, finest first."""
BLOCKS = (1, 2, 2, 4)
"""Residual blocks of each level of SegResNet's encoder, as MONAI has them; its decoder has one a level."""
SUPERVISED = 2
"""Levels of DynUNet's decoder, besides the finest, that are supervised."""


class SegResNetSegmenter(Segmenter):
    """MONAI's SegResNet (Myronenko 2018, arXiv:1810.11654).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        channels: of each level, finest first, each twice the one before.
        pyramid: see :class:`~monai_staging.networks.attention_unet.AttentionUNet`.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: tuple[int, ...], pyramid: bool = False) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.stride = 2 ** (len(channels) - 1)
        self.net = SegResNet(
            spatial_dims,
            init_filters=channels[0],
            in_channels=in_channels,
            out_channels=1,
            blocks_down=BLOCKS[: len(channels)],
            blocks_up=(1,) * (len(channels) - 1),
        )
        self.neck = PyramidAttention(spatial_dims, channels[0] * self.stride) if pyramid else nn.Identity()

    def compute(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Log-odds."""
        coarsest, levels = self.net.encode(x)
        return self.net.decode(self.neck(coarsest), levels[::-1]), [], []


class _PyramidDynUNet(DynUNet):
    def get_bottleneck(self) -> nn.Module:
        bottleneck: nn.Module = super().get_bottleneck()  # type: ignore[no-untyped-call]  # MONAI has no hints here
        return nn.Sequential(bottleneck, PyramidAttention(self.spatial_dims, self.filters[-1]))


class DynUNetSegmenter(Segmenter):
    """MONAI's DynUNet, nnU-Net's network (Isensee et al. 2021, 10.1038/s41592-020-01008-z), deeply supervised.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        channels: of each level, finest first.
        pyramid: see :class:`~monai_staging.networks.attention_unet.AttentionUNet`.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: tuple[int, ...], pyramid: bool = False) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.stride = 2 ** (len(channels) - 1)
        halved = [2] * (len(channels) - 1)
        self.net = (_PyramidDynUNet if pyramid else DynUNet)(
            spatial_dims,
            in_channels,
            out_channels=1,
            kernel_size=[3] * len(channels),
            strides=[1, *halved],
            upsample_kernel_size=halved,
            filters=channels,
            deep_supervision=True,
            deep_supr_num=min(SUPERVISED, len(channels) - 2),
        )

    def compute(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Log-odds; while training those of the supervised levels too, enlarged to the image's size."""
        found: Tensor = self.net(x)
        if not self.training:
            return found, [], []
        finest, *coarser = found.unbind(dim=1)
        return finest, coarser, []


_BUILDERS: dict[str, Callable[..., Segmenter]] = {
    "attention_unet": AttentionUNet,
    "segresnet": SegResNetSegmenter,
    "dynunet": DynUNetSegmenter,
}
NETWORKS: tuple[str, ...] = tuple(_BUILDERS)
"""Names that `build_segmenter` knows."""


def build_segmenter(
    name: str,
    *,
    spatial_dims: int = 2,
    in_channels: int = 1,
    width: float = 1.0,
    pyramid: bool = False,
    **settings: Any,
) -> Segmenter:
    """A segmentation network by its name; neighbouring slices (2.5D) are channels of a 2D one.

    Args:
        name: one of `NETWORKS`.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        width: factor on every channel count of `CHANNELS`.
        pyramid: pyramid attention between encoder and decoder.
        settings: what only this network has.

    Raises:
        UsageError: a name that is not in `NETWORKS`, or another argument out of range.
    """
    if name not in _BUILDERS:
        raise UsageError(f"Segmentation network: one of {', '.join(NETWORKS)} is needed, found {name!r}")
    if spatial_dims not in (2, 3) or in_channels < 1:
        raise UsageError(
            f"Segmentation network: 2 or 3 dimensions and at least 1 channel; found {spatial_dims} and {in_channels}"
        )
    # Each level has twice the channels of the one before, as SegResNet needs it.
    first = scaled(CHANNELS[0], width)
    channels = tuple(first * 2**level for level in range(len(CHANNELS)))
    network = _BUILDERS[name](spatial_dims, in_channels, channels, pyramid=pyramid, **settings)
    network.network = name
    return network
