"""A study as a fixed number of square images, from foot to head, however many slices it has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.transforms import Transform
from torch import Tensor

from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import IntArray
from monai_staging.transforms.grid import Affine
from monai_staging.transforms.lung_mask import lung_bound
from monai_staging.transforms.slice_boxes import SliceImage
from monai_staging.transforms.slices import SliceMode, slice_indices

_LEAST = 32
"""Pixels of a slice along each side that are left at least."""


@dataclass(frozen=True, eq=False)
class StudyImages:
    """A study's images.

    Attributes:
        images: (S, C, size, size) uint8, rows first, from foot to head.
        places: (S) index of each in the volume.
        low: columns and rows of the volume's slices that were cut off before the images' first.
        shape: columns and rows that they show.
    """

    images: Tensor
    places: IntArray
    low: tuple[int, int]
    shape: tuple[int, int]


class StudySlices(Transform):
    """So many slices of a study, evenly spread over its length: the k-th of each lies at about the same height of body.

    Args:
        image: makes images of slices.
        slices: how many; of a study with fewer some repeat.
        slab: adds a channel with the brightest voxels from half way to the slice before to half way to the next one, in
            the first window: between two slices that are taken a small nodule would be seen by neither.
        lungs: cuts the slices to the box around the lungs first, so that pixels are not spent on arms and table.

    Raises:
        UsageError: fewer than two slices.
    """

    def __init__(self, image: SliceImage, slices: int = 65, slab: bool = False, lungs: bool = False) -> None:
        if slices < 2:
            raise UsageError(f"StudySlices: at least 2 slices are needed, found {slices}")
        self.image, self.slices = image, slices
        self.slab, self.lungs = slab, lungs

    @property
    def channels(self) -> int:
        """Of an image: one a window, and the slab's."""
        return self.image.channels + self.slab

    def places(self, total: int, affine: Affine) -> IntArray:
        """(S) indices of the slices taken of ``total``, from foot to head.

        Raises:
            DataError: slices that do not follow each other along the body.
        """
        along = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
        if abs(along[2]) < np.sqrt(0.5):
            raise DataError(f"StudySlices: axial slices are needed, found slices along ({along.round(2).tolist()})")
        taken = np.array(slice_indices(total, self.slices, SliceMode.THINNED))
        return taken if along[2] > 0 else total - 1 - taken

    def __call__(self, volume: Volume) -> StudyImages:
        """The images of a volume; its array, (I, J, K) HU, is read slice by slice."""
        array, total = volume.array, volume.shape[2]
        places = self.places(total, volume.affine)
        columns, rows = self._cut(volume)
        # From half way to the slice before to half way to the next, whatever the direction.
        ends = np.concatenate([[0], (np.sort(places)[1:] + np.sort(places)[:-1] + 1) // 2, [total]])
        first = dict(zip(np.sort(places).tolist(), ends[:-1].tolist(), strict=True))
        last = dict(zip(np.sort(places).tolist(), ends[1:].tolist(), strict=True))
        images = []
        for place in places.tolist():
            shown = self.image(np.asarray(array[columns, rows, place]))
            if self.slab:
                slab = np.asarray(array[columns, rows, first[place] : max(last[place], place + 1)])
                shown = torch.cat([shown, self.image(slab.max(axis=2))[:1]])
            images.append(shown)
        shape = (columns.stop - columns.start, rows.stop - rows.start)
        return StudyImages(torch.stack(images), places, (columns.start, rows.start), shape)

    def _cut(self, volume: Volume) -> tuple[slice, slice]:
        """Columns and rows that are kept."""
        shape = volume.shape[:2]
        if not self.lungs:
            return slice(0, shape[0]), slice(0, shape[1])
        low, high = lung_bound(volume.array, volume.affine).box_mm
        corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
        inverse = np.linalg.inv(volume.affine)
        index = corners @ inverse[:3, :3].T + inverse[:3, 3]
        first = np.clip(np.floor(index.min(axis=0))[:2].astype(int), 0, None)
        last = np.clip(np.ceil(index.max(axis=0))[:2].astype(int) + 1, None, shape)
        missing = np.maximum(0, _LEAST - (last - first))
        first = np.clip(first - missing // 2, 0, None)
        last = np.clip(last + missing - missing // 2, None, shape)
        return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))
