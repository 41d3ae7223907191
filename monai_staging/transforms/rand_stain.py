"""Stains of a histology tile varied in training, see :mod:`monai_staging.transforms.stain`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from torch import Tensor

from monai_staging.errors import UsageError
from monai_staging.transforms.stain import REFERENCE, Stains, mix


class RandStain(RandomizableTransform):
    """A tile with a little more or less of each stain (Tellez et al., IEEE TMI 2018, 10.1109/TMI.2018.2820199).

    The concentration c of each stain becomes a c + b.

    Args:
        scale: a is drawn from 1 - scale to 1 + scale.
        shift: b is drawn from -shift to shift, as a part of the largest concentration.
        stains: whose colours are varied.
        prob: of varying a tile at all.

    Raises:
        UsageError: a scale outside 0 to below 1, or a negative shift.
    """

    def __init__(self, scale: float = 0.15, shift: float = 0.05, stains: Stains = REFERENCE, prob: float = 1.0) -> None:
        super().__init__(prob)
        if not 0 <= scale < 1 or shift < 0:
            raise UsageError(f"RandStain: scale is 0 to below 1 and shift at least 0; found {scale} and {shift}")
        self.scale, self.shift = scale, shift
        self.stains = stains
        self.factors = np.ones(3)
        self.offsets = np.zeros(3)

    def randomize(self, data: Any = None) -> None:
        """Draws."""
        super().randomize(data)
        self.factors = self.R.uniform(1 - self.scale, 1 + self.scale, 3)
        self.offsets = self.R.uniform(-self.shift, self.shift, 3) * self.stains.largest

    def __call__(self, img: Tensor | npt.NDArray[Any], randomize: bool = True) -> Tensor:
        """(3, H, W) RGB, uint8, and back."""
        if randomize:
            self.randomize()
        if not self._do_transform:
            return torch.as_tensor(img)
        matrix = self.stains.matrix
        return mix(img, matrix @ np.diag(self.factors) @ np.linalg.inv(matrix), matrix @ self.offsets)


class RandStaind(Randomizable, MapTransform):
    """Dictionary twin of `RandStain`: all keys' tiles are varied alike, or none.

    Args:
        keys: tiles.
        scale: as in the array transform.
        shift: as in the array transform.
        stains: as in the array transform.
        prob: as in the array transform.

    Raises:
        UsageError: as in the array transform.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scale: float = 0.15,
        shift: float = 0.05,
        stains: Stains = REFERENCE,
        prob: float = 1.0,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.transform = RandStain(scale, shift, stains, prob)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandStaind:
        """Seeds the draws."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draws, once for all keys."""
        self.transform.randomize(data)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Varies all keys' tiles alike."""
        result = dict(data)
        self.randomize()
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key], randomize=False)
        return result
