"""Axial slices of a volume: which ones, as a stack, and where they lie."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, Transform

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.meta import affine_of, with_affine
from monai_staging.transforms.resample import Array, as_tensor


class SliceMode(str, Enum):
    """How slices are chosen.

    ``THINNED``: evenly spread over the whole volume, with a random phase. ``CONTIGUOUS``: neighbours, from a random
    start.
    """

    THINNED = "thinned"
    CONTIGUOUS = "contiguous"


def slice_indices(total: int, count: int | None, mode: SliceMode, phase: float = 0.5) -> list[int]:
    """Indices of the slices taken, ascending.

    Args:
        total: slices there are.
        count: slices wanted; all where it is None. More than there are repeats slices (thinned and contiguous alike).
        mode: how they are spread.
        phase: in [0, 1): where in its interval each lies (thinned), or where the run starts (contiguous); 0.5 is the
            middle.
    """
    if count is None:
        return list(range(total))
    # A phase just under 1 would round up to the next interval.
    phase = min(phase, 1 - 1e-9)
    if mode is SliceMode.CONTIGUOUS and count <= total:
        start = int(phase * (total - count + 1))
        return list(range(start, start + count))
    step = total / count
    return [min(int((k + phase) * step), total - 1) for k in range(count)]


class SampleSlices(Randomizable, Transform):
    """A given number of axial slices, which makes studies of any length equally long.

    Args:
        count: slices wanted; None keeps all.
        mode: ``"thinned"`` or ``"contiguous"``, see `SliceMode`.
        random: draw the phase (training); without, it is the middle one, and the result is always the same.

    Raises:
        UsageError: a count below 1 or an unknown mode.
    """

    def __init__(self, count: int | None, mode: str = "thinned", random: bool = False) -> None:
        if count is not None and count < 1:
            raise UsageError(f"SampleSlices: count must be at least 1, found {count}")
        if mode not in [m.value for m in SliceMode]:
            raise UsageError(f"SampleSlices: mode must be thinned or contiguous, found {mode!r}")
        self.count = count
        self.mode = SliceMode(mode)
        self.random = random
        self.phase = 0.5

    def randomize(self, data: Any = None) -> None:
        """Draws the phase."""
        self.phase = float(self.R.random()) if self.random else 0.5

    def indices(self, total: int) -> list[int]:
        """The slices that the phase drawn last takes of ``total``."""
        return slice_indices(total, self.count, self.mode, self.phase)

    def __call__(self, img: torch.Tensor | Array, randomize: bool = True) -> torch.Tensor:
        """Slices of an image.

        Args:
            img: (C, X, Y, Z).
            randomize: draw a new phase; without, the last one is used again.

        Returns:
            (C, X, Y, count). A MetaTensor's affine takes the first slice's position and the mean distance between
            slices.
        """
        if randomize:
            self.randomize()
        image = as_tensor(img)
        if image.ndim != 4 or not image.shape[3]:
            raise DataError(f"SampleSlices: an image (C, X, Y, Z) with slices is needed, found {tuple(image.shape)}")
        taken = self.indices(image.shape[3])
        output = image.index_select(3, torch.tensor(taken, device=image.device))
        if not hasattr(img, "affine"):
            return output
        step = (taken[-1] - taken[0]) / (len(taken) - 1) if len(taken) > 1 else 1.0
        # Slices that repeat one and the same leave no distance to speak of; the volume's own stays.
        change = np.diag([1.0, 1.0, step or 1.0, 1.0])
        change[2, 3] = taken[0]
        return with_affine(output, affine_of(img) @ change, img)


class SampleSlicesd(Randomizable, MapTransform):
    """Dictionary twin of `SampleSlices`: the same slices of every key.

    Args:
        keys: images, (C, X, Y, Z) of equal Z.
        count: as in the array transform.
        mode: as in the array transform.
        random: as in the array transform.
        indices_key: where the indices of the slices go, (count,) int64, so that attention can be put back in its place;
            None leaves them out.
        allow_missing_keys: leave out keys that an item does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        count: int | None,
        mode: str = "thinned",
        random: bool = False,
        indices_key: str | None = "slices",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.transform = SampleSlices(count, mode, random)
        self.indices_key = indices_key

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> SampleSlicesd:
        """Seeds the draw of the phase."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draws the phase, once for all keys."""
        self.transform.randomize()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Takes the slices of every key."""
        result = dict(data)
        self.randomize()
        totals = {str(key): int(result[key].shape[3]) for key in self.key_iterator(result)}
        if len(set(totals.values())) > 1:
            raise DataError(f"SampleSlicesd: all keys need equally many slices, found {totals}")
        for key in self.key_iterator(result):
            if self.indices_key is not None:
                result[self.indices_key] = torch.tensor(self.transform.indices(result[key].shape[3]))
            result[key] = self.transform(result[key], randomize=False)
        return result


class AxialSlices(Transform):
    """A volume as a stack of axial slices, for a 2D network: (C, X, Y, Z) to (Z, C, X, Y). Nothing is copied."""

    def __call__(self, img: torch.Tensor | Array) -> torch.Tensor:
        """The stack; a plain tensor, as an affine speaks of a volume's axes."""
        image = as_tensor(img)
        if image.ndim != 4:
            raise DataError(f"AxialSlices: an image (C, X, Y, Z) is needed, found shape {tuple(image.shape)}")
        return image.permute(3, 0, 1, 2)


class AxialSlicesd(MapTransform):
    """Dictionary twin of `AxialSlices`.

    Args:
        keys: images, (C, X, Y, Z).
        allow_missing_keys: leave out keys that an item does not have.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = AxialSlices()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The stack of every key."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


class SliceHeights(Transform):
    """Where the slices of a volume lie along the patient: (C, X, Y, Z) with an affine to (Z,) float32, RAS z in mm.

    Of a tilted volume it is the height of each slice's centre.
    """

    def __call__(self, img: torch.Tensor | Array) -> torch.Tensor:
        """The heights; raises `DataError` for an image without an affine."""
        affine = affine_of(img)
        size_x, size_y, slices = as_tensor(img).shape[1:]
        k = np.arange(slices)
        heights = affine[2, 0] * (size_x - 1) / 2 + affine[2, 1] * (size_y - 1) / 2 + affine[2, 2] * k + affine[2, 3]
        return torch.from_numpy(heights.astype(np.float32))


class SliceHeightsd(MapTransform):
    """Dictionary twin of `SliceHeights`.

    Args:
        key: the image, a MetaTensor.
        output_key: where the heights go.
    """

    def __init__(self, key: str, output_key: str = "slice_z_mm") -> None:
        super().__init__(key)
        self.key = key
        self.output_key = output_key
        self.transform = SliceHeights()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds the heights."""
        return {**data, self.output_key: self.transform(data[self.key])}
