"""Networks that put one box around the tumour on a slice: as published, and with attention over a backbone's map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.neck import PyramidNeck


class BoxOutput(NamedTuple):
    """What a box network gives.

    Attributes:
        boxes: (B, 4) xmin, ymin, xmax, ymax in pixels of the input: x along its columns, y along its rows.
        attention: (B, h, w) where it looked, summing to 1; empty where a network has none.
        presence: (B) log-odds that there is a tumour on the slice; 0 where a network does not say.
        first: (B, 4) boxes of a first look, if there was one; else the same as ``boxes``.
    """

    boxes: Tensor
    attention: Tensor
    presence: Tensor
    first: Tensor


class SliceBoxNetwork(nn.Module, ABC):
    """One box a slice: (B, in_channels, size, size) in 0..1 goes in."""

    @abstractmethod
    def details(self, image: Tensor) -> BoxOutput:
        """All that it says of a batch."""

    def forward(self, image: Tensor, details: bool = False) -> Tensor | BoxOutput:
        """The boxes (B, 4) in pixels, or all of :class:`BoxOutput`."""
        found = self.details(image)
        return found if details else found.boxes


class PlainBoxRegressor(SliceBoxNetwork):
    """Two convolutions and two linear layers that give pixel coordinates (Pravdyvets, 2023).

    Convolution 3x3 to 16 channels, max pool, convolution 3x3 to 32, max pool, linear to 256, linear to 4, with ReLU
    between. The first linear layer has an input for every fourth pixel along each axis: of a slice of 512 pixels
    32 * 128 * 128, which makes 134 million weights. Nothing keeps a box from ending before it begins.

    Args:
        size: pixels along each side of the input.
        in_channels: of the input.

    Raises:
        UsageError: a size that two poolings do not divide.
    """

    def __init__(self, size: int = 512, in_channels: int = 1) -> None:
        super().__init__()
        if size < 4 or size % 4:
            raise UsageError(f"PlainBoxRegressor: a size that is a multiple of 4 is needed, found {size}")
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * (size // 4) ** 2, 256),
            nn.ReLU(),
            nn.Linear(256, 4),
        )

    def details(self, image: Tensor) -> BoxOutput:
        """Boxes alone."""
        boxes = self.layers(image)
        return BoxOutput(boxes, boxes.new_zeros(len(boxes), 0, 0), boxes.new_zeros(len(boxes)), boxes)


class AttentionBoxRegressor(SliceBoxNetwork):
    """Every cell of a backbone's map proposes a box, attention over the cells weighs the proposals.

    A cell proposes the box whose edges lie so far from its own middle, in fractions of the image, never negative: a
    box cannot end before it begins. The answer is the mean of the proposals by a softmax over all cells, of which the
    mean place is a soft argmax (Levine et al., 2016, arXiv:1504.00702, section 5.1), and the mean features by the same
    weights say whether there is a tumour at all.

    Args:
        network: name of the backbone, one of ``monai_staging.networks.backbones.NETWORKS``.
        in_channels: of the input.
        width: scales the backbone's channels.
        features: channels of the map that the cells read, an eighth of the input's size.
        weights: where the backbone's initial weights come from, see
            :func:`monai_staging.networks.pretrained.load_pretrained`.
    """

    # Half an edge of the first proposals, of the image's side: about that of a tumour.
    FIRST = 0.05

    def __init__(
        self,
        network: str = "resnet10",
        in_channels: int = 1,
        width: float = 0.3125,
        features: int = 64,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(network, in_channels=in_channels, width=width, weights=weights)
        self.neck = PyramidNeck(self.backbone, 2, in_channels, features)
        self.score = nn.Conv2d(features, 1, 1)
        self.edges = nn.Conv2d(features, 4, 1)
        self.present = nn.Linear(features, 1)
        for parameter in self.edges.parameters():
            nn.init.zeros_(parameter)

    def details(self, image: Tensor) -> BoxOutput:
        """Boxes, attention and presence; in single precision whatever the backbone computed in."""
        features = self.neck(self.backbone.pyramid(image))
        height, width = features.shape[2:]
        scores = self.score(features).float()
        attention = torch.softmax(scores.flatten(1), dim=1)
        distances = self.FIRST * torch.exp(self.edges(features).float().flatten(2).clamp(-4, 3))
        y, x = (torch.arange(length, device=image.device) + 0.5 for length in (height, width))
        middles = torch.stack(torch.meshgrid(x / width, y / height, indexing="xy")).flatten(1)
        proposals = torch.cat([middles - distances[:, :2], middles + distances[:, 2:]], dim=1)
        boxes = (proposals * attention[:, None]).sum(dim=2)
        pooled = (features.float().flatten(2) * attention[:, None]).sum(dim=2)
        pixels = boxes * boxes.new_tensor([image.shape[3], image.shape[2]]).repeat(2)
        presence = self.present(pooled.to(features.dtype))[:, 0].float()
        return BoxOutput(pixels, attention.view(-1, height, width), presence, pixels)


class ZoomBoxRegressor(SliceBoxNetwork):
    """Looks at the whole slice coarsely, then again at what it found, closely.

    Both looks are an :class:`AttentionBoxRegressor`. The second sees a square around the first one's box, twice as wide
    and at a resolution of its own, as a glimpse (Mnih et al., 2014, arXiv:1406.6247): a network of a small input places
    the edges of a small tumour. No gradient passes through the place of the square; while training it is drawn a little
    beside and of another width, as the first look will err.

    Args:
        network: see :class:`AttentionBoxRegressor`.
        in_channels: likewise.
        width: likewise.
        features: likewise.
        coarse: pixels along each side of the first look; a smaller input is looked at as it is.
        close: pixels along each side of the second.
        weights: see :class:`AttentionBoxRegressor`; both looks start from them.

    Raises:
        UsageError: a look of less than 32 pixels.
    """

    # Widths of the first box that the second look takes, and the least of them in fractions of the image.
    REACH, LEAST = 2.0, 0.08
    # While training: how far beside, in widths of the square, and how much wider or narrower at most.
    BESIDE, WIDER = 0.15, 1.4

    def __init__(
        self,
        network: str = "resnet10",
        in_channels: int = 1,
        width: float = 0.3125,
        features: int = 64,
        coarse: int = 128,
        close: int = 64,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        # Of fewer the backbone's last stage sees a single cell: nothing to attend to.
        if min(coarse, close) < 32:
            raise UsageError(f"ZoomBoxRegressor: looks of 32 pixels or more are needed, found {coarse} and {close}")
        self.coarse, self.close = coarse, close
        self.look = AttentionBoxRegressor(network, in_channels, width, features, weights)
        self.look_closely = AttentionBoxRegressor(network, in_channels, width, features, weights)

    def details(self, image: Tensor) -> BoxOutput:
        """Boxes of the second look; attention and presence of the first."""
        side = int(image.shape[-1])
        seen = min(side, self.coarse)
        first = self.look.details(functional.adaptive_avg_pool2d(image, seen))
        boxes = first.boxes * (side / seen)
        middles, half = self._square(boxes.detach() / side)
        # From -1 to 1 over the image, as affine_grid counts.
        batch, channels = image.shape[:2]
        matrix = torch.zeros(batch, 2, 3, device=image.device)
        matrix[:, 0, 0] = matrix[:, 1, 1] = 2 * half
        matrix[:, :, 2] = 2 * middles - 1
        # Twice as fine, then averaged, lest a large square be full of holes.
        shape = [batch, channels, 2 * self.close, 2 * self.close]
        grid = functional.affine_grid(matrix, shape, align_corners=False)
        square = functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
        second = self.look_closely.details(functional.avg_pool2d(square, 2))
        corner = (middles - half[:, None]).repeat(1, 2)
        found = (corner + second.boxes * (2 * half / self.close)[:, None]) * side
        return BoxOutput(found, first.attention, first.presence, boxes)

    def _square(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2) middles and (B) half the widths of the squares around normalised boxes."""
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        half = self.REACH / 2 * (boxes[:, 2:] - boxes[:, :2]).amax(dim=1).clamp(min=self.LEAST)
        if self.training:
            half = half * self.WIDER ** (2 * torch.rand_like(half) - 1)
            middles = middles + 2 * self.BESIDE * half[:, None] * (2 * torch.rand_like(middles) - 1)
        return middles, half
