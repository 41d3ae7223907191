"""Left and right changing places, in the image and in what is known of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, RandomizableTransform

from monai_staging.cohort.lesion_groups import check_groups, mirrored
from monai_staging.errors import DataError
from monai_staging.transforms.meta import affine_of, with_affine
from monai_staging.transforms.resample import Array, as_tensor


class RandMirror(RandomizableTransform):
    """Mirrors a study at the sagittal plane; a lesion map's left groups become the right ones.

    The stage of a mirrored patient is the same: what counts is the side relative to the primary.

    The mirror is one of voxels, not of the world: a MetaTensor's affine is turned round with them, so that the voxel
    that shows a point of the patient still maps to that point's world position, and lesions in world millimetres still
    lie where they did. What sees voxels only, such as a network, sees a mirrored patient, whose sides a lesion map's
    channels name; what maps to the world sees the patient as scanned.

    Args:
        groups: lesion groups of a map's channels; needed for lesion maps only.
        prob: how often.

    Raises:
        UsageError: groups that are not known, or one side of a pair without the other.
    """

    def __init__(self, groups: Sequence[str] = (), prob: float = 0.5) -> None:
        super().__init__(prob)
        self.order = mirrored(check_groups(groups))

    def __call__(self, img: torch.Tensor | Array, lesion_map: bool = False, randomize: bool = True) -> torch.Tensor:
        """Mirrors an image, or not.

        Args:
            img: (C, X, Y, S), X along the patient's left-right axis.
            lesion_map: it is a lesion map, one channel for each of the groups.
            randomize: draw anew; without, what was drawn last happens again.

        Returns:
            As ``img``. A mirrored MetaTensor's affine has its first column negated and starts at the other end of X.

        Raises:
            DataError: a lesion map with another number of channels than there are groups.
        """
        if randomize:
            self.randomize(None)
        if lesion_map and img.shape[0] != len(self.order):
            raise DataError(
                f"RandMirror: a lesion map has one channel for each of its {len(self.order)} groups, "
                f"found {img.shape[0]} channels"
            )
        if not self._do_transform:
            return img if isinstance(img, torch.Tensor) else as_tensor(img)
        image = torch.flip(as_tensor(img), dims=(1,))
        if lesion_map:
            image = image[self.order]
        if not isinstance(img, MetaTensor):
            return image
        affine = affine_of(img)
        # Voxel index of the result to voxel index of what it was made of.
        change = np.eye(len(affine))
        change[0, 0], change[0, -1] = -1, image.shape[1] - 1
        return with_affine(image, affine @ change, img)


class RandMirrord(Randomizable, MapTransform):
    """Dictionary twin of `RandMirror`: all keys are mirrored, or none.

    Args:
        keys: images, (C, X, Y, S), X along the patient's left-right axis.
        groups: as in the array transform.
        map_keys: those of the keys that are lesion maps.
        prob: as in the array transform.
    """

    def __init__(
        self, keys: KeysCollection, groups: Sequence[str], map_keys: Sequence[str] = ("lesion_mm",), prob: float = 0.5
    ) -> None:
        MapTransform.__init__(self, keys)
        self.transform = RandMirror(groups, prob)
        self.map_keys = tuple(map_keys)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandMirrord:
        """Seeds the draw."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draws whether to mirror, once for all keys."""
        self.transform.randomize(data)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Mirrors all keys alike."""
        result = dict(data)
        self.randomize()
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key], lesion_map=key in self.map_keys, randomize=False)
        return result
