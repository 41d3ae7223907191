"""What every set of images is once it is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size in memory.

    Attributes:
        name: what the set is called.
        images: (N, channels, *spatial) uint8.
        labels: (N,) int64 class of each image; ``None`` where there are none.
        classes: names of the classes, in the order of their numbers.
        patients: whose each image is; ``None`` where the set does not say.

    Raises:
        DataError: shapes or types that do not go together, or a label that is no class.
    """

    name: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    patients: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim not in (4, 5) or not len(self.images):
            raise DataError(
                f"{self.name}: images must be (N, channels, *spatial) of uint8 with N above 0, found shape "
                f"{self.images.shape} of {self.images.dtype}"
            )
        for what, values in (("labels", self.labels), ("patients", self.patients)):
            if values is not None and len(values) != len(self.images):
                raise DataError(f"{self.name}: one of {what} an image, found {len(values)} for {len(self.images)}")
        if self.labels is not None and not ((self.labels >= 0) & (self.labels < len(self.classes))).all():
            found = f"{self.labels.min()}..{self.labels.max()}"
            raise DataError(f"{self.name}: labels lie in 0..{len(self.classes) - 1}, found {found}")

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of images and labels, as they were read."""
        found = hashlib.sha256(repr(self.images.shape).encode())
        for array in (self.images, self.labels):
            if array is not None:
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def take(self, index: npt.NDArray[Any]) -> ImageSet:
        """The images of these numbers, in this order."""
        return ImageSet(
            self.name,
            self.images[index],
            None if self.labels is None else self.labels[index],
            self.classes,
            None if self.patients is None else tuple(self.patients[int(i)] for i in index),
        )
