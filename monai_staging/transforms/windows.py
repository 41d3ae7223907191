"""Hounsfield windows as channels: what a radiologist looks through, in [0, 1]."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.meta import like
from monai_staging.transforms.resample import Array, as_tensor

WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0),
    "mediastinum": (40.0, 400.0),
    "bone": (400.0, 1800.0),
}
"""Level and width in HU by name."""


class HUWindows(Transform):
    """Hounsfield units through one or more windows, one channel each.

    A window of level L and width W maps L - W/2 to 0 and L + W/2 to 1, linearly; what lies outside is clipped.

    Args:
        windows: names out of `WINDOWS` or (level, width) in HU.
        dtype: of the output, ``"float32"`` or ``"float16"``.

    Raises:
        UsageError: a name that is not known, a width that is not above 0, or another dtype.

    Example:
        ``HUWindows(["lung", (40, 400)])(volume)`` turns (1, X, Y, Z) into (2, X, Y, Z).
    """

    def __init__(
        self,
        windows: Sequence[str | Sequence[float]] = ("lung", "mediastinum", "bone"),
        dtype: str = "float32",
    ) -> None:
        if not windows or isinstance(windows, str):
            raise UsageError(f"HUWindows: a list of windows is needed, found {windows!r}")
        self.windows = [_level_width(window) for window in windows]
        types = {"float32": torch.float32, "float16": torch.float16}
        if dtype not in types:
            raise UsageError(f"HUWindows: dtype must be one of {', '.join(types)}, found {dtype!r}")
        self.dtype = types[dtype]

    def __call__(self, img: torch.Tensor | Array) -> torch.Tensor:
        """Windows of an image in HU.

        Args:
            img: ``(1, *spatial)``, HU, any real type.

        Returns:
            ``(windows, *spatial)`` in [0, 1]; a MetaTensor stays one, with its affine.

        Raises:
            DataError: not exactly one channel.
        """
        image = as_tensor(img)
        if image.ndim < 2 or image.shape[0] != 1:
            raise DataError(f"HUWindows: one channel of HU is needed (1, *spatial), found shape {tuple(image.shape)}")
        hu = image[0]
        # The channels lie in memory as the image does, so that every pass runs through both in order.
        order = sorted(range(hu.ndim), key=lambda axis: hu.stride(axis), reverse=True)
        stored = torch.empty(
            (len(self.windows), *(hu.shape[axis] for axis in order)), dtype=self.dtype, device=hu.device
        )
        output = stored.permute(0, *(1 + order.index(axis) for axis in range(hu.ndim)))
        exact = hu if hu.dtype == torch.float32 else hu.float()
        for channel, (level, width) in zip(output, self.windows, strict=True):
            low = level - width / 2
            if self.dtype == torch.float32:
                torch.sub(exact, low, out=channel).mul_(1 / width).clamp_(0, 1)
            else:
                # Half precision would round HU before the window is taken.
                channel.copy_(((exact - low) / width).clamp_(0, 1))
        return like(output, img)


class HUWindowsd(MapTransform):
    """Dictionary twin of `HUWindows`.

    Args:
        keys: images, ``(1, *spatial)`` in HU.
        windows: as in the array transform.
        dtype: as in the array transform.
        allow_missing_keys: leave out keys that an item does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        windows: Sequence[str | Sequence[float]] = ("lung", "mediastinum", "bone"),
        dtype: str = "float32",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = HUWindows(windows, dtype)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Windows of every key."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


def _level_width(window: str | Sequence[float]) -> tuple[float, float]:
    if isinstance(window, str):
        if window not in WINDOWS:
            raise UsageError(f"HUWindows: one of {', '.join(WINDOWS)} or (level, width) is needed, found {window!r}")
        return WINDOWS[window]
    if len(window) != 2 or not window[1] > 0:
        raise UsageError(f"HUWindows: (level, width) in HU with a width above 0 is needed, found {window!r}")
    return float(window[0]), float(window[1])
