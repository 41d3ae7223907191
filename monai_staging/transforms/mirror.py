"""Left and right changing places, in the image and in what is known of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

from monai_staging.cohort.lesion_groups import check_groups, mirrored


class RandMirrord(Randomizable, MapTransform):
    """Mirrors studies at the sagittal plane; a lesion map's left groups become the right ones.

    The stage of a mirrored patient is the same: what counts is the side relative to the primary.

    Args:
        keys: images, (C, X, Y, S), X along the patient's left-right axis.
        groups: lesion groups of the maps' channels.
        map_keys: those of the keys that are lesion maps.
        prob: how often.
    """

    def __init__(
        self, keys: KeysCollection, groups: Sequence[str], map_keys: Sequence[str] = ("lesion_mm",), prob: float = 0.5
    ) -> None:
        MapTransform.__init__(self, keys)
        self.order = mirrored(check_groups(groups))
        self.map_keys = tuple(map_keys)
        self.prob = prob
        self.mirrors = False

    def randomize(self, data: Any = None) -> None:
        """Draws whether to mirror."""
        self.mirrors = bool(self.R.random() < self.prob)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Mirrors all keys alike."""
        result = dict(data)
        self.randomize()
        if self.mirrors:
            for key in self.key_iterator(result):
                image = torch.flip(result[key], dims=(1,))
                result[key] = image[self.order] if key in self.map_keys else image
        return result
