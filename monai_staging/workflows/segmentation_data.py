"""The segmentation bundle's data: nodules cut into patches once, then served as whole batches."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_staging.cohort.nodules import load_nodules
from monai_staging.cohort.nodules.nodule import NoduleRecord, NoduleVolume
from monai_staging.cohort.nodules.split import NoduleSplit, split_nodules
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.nodule_patches import NodulePatches, Spacing
from monai_staging.workflows.nodule_data import NoduleExamples


class SegmentationData:
    """A nodule set, its patches, and its split; nodules that nobody outlined are in no part.

    A training learns from the slices that a reader outlined and ``margin`` more on either side; all others are looked
    at whole.

    Args:
        dataset_dir: see :func:`monai_staging.cohort.nodules.load_nodules`.
        patches: what a network sees.
        split: see :class:`monai_staging.cohort.nodules.split.NoduleSplit`; ``None`` takes all nodules, for testing.
        limit: at most so many nodules, for quick tries.
        margin: slices; without meaning for cubes.

    Raises:
        DataError: no nodule has an outline, or one has no spacing.
        UsageError: a negative margin.
    """

    def __init__(
        self,
        dataset_dir: str | os.PathLike[str],
        patches: NodulePatches,
        split: NoduleSplit | None = None,
        limit: int | None = None,
        margin: int = 2,
    ) -> None:
        if margin < 0:
            raise UsageError(f"SegmentationData: a margin of 0 slices or more is needed, found {margin}")
        self.nodules = load_nodules(dataset_dir, outlined=True)
        self.patches = patches
        self.margin = margin
        chosen = range(len(self.nodules))[:limit]
        parts = split_nodules(self.nodules, split, unlabelled=True) if split else {"test": np.arange(len(self.nodules))}
        used = sorted(int(index) for indices in parts.values() for index in indices if index in chosen)
        self.arrays, self._outlined = self._cut(used)
        self.parts = {
            part: [int(index) for index in indices if int(index) in self._outlined] for part, indices in parts.items()
        }
        self.colours = self.nodules.read(0).image.shape[0]

    @property
    def in_channels(self) -> int:
        """Channels of a patch."""
        return self.patches.in_channels(self.colours)

    def part(self, name: str) -> NoduleExamples:
        """The patches of ``training``, ``validation`` or ``test``: ``image``, ``share``, ``nodule`` and ``case``."""
        if name not in self.parts:
            raise UsageError(f"Nodules: a part is one of {', '.join(self.parts)}; found {name!r}")
        owner = self.arrays["nodule"]
        assert isinstance(owner, Tensor)
        member = torch.isin(owner, torch.tensor(self.parts[name], dtype=torch.int64))
        if name == "training":
            near = self.arrays["near"]
            assert isinstance(near, Tensor)
            member &= near
        return NoduleExamples(self.arrays, torch.nonzero(member)[:, 0].tolist())

    def record(self, index: int) -> NoduleRecord:
        """What is known of a nodule."""
        return self.nodules.records[index]

    def volume(self, index: int) -> NoduleVolume:
        """A nodule's voxels."""
        return self.nodules.read(index)

    def spacing_mm(self, index: int) -> Spacing:
        """Of a nodule's voxels: slices, rows and columns."""
        spacing = self.nodules.records[index].spacing_mm
        assert spacing is not None  # _cut() has seen it
        return spacing

    def restore(self, index: int, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """What was found in a nodule's patches (N, *spatial), on its voxels (D, H, W)."""
        depth, height, width = self.nodules.read(index).image.shape[1:]
        return self.patches.restore(found, (depth, height, width), self.spacing_mm(index))

    def _cut(self, indices: list[int]) -> tuple[Mapping[str, Tensor | list[str]], set[int]]:
        """Patches of all these nodules, one after the other, and which of them have an outline."""
        images, shares, owners, near = [], [], [], []
        for index in indices:
            volume, record = self.nodules.read(index), self.nodules.records[index]
            if not volume.outlines.any():
                continue
            if record.spacing_mm is None:
                raise DataError(f"Nodule {record.name}: its spacing in mm is needed, found none")
            image, share = self.patches(volume, record.spacing_mm, self.nodules.value_range)
            images.append(image)
            shares.append(share)
            owners.append(np.full(len(image), index, dtype=np.int64))
            near.append(self._near(volume, len(image)))
        if not images:
            raise DataError(f"{self.nodules.name}: at least one nodule with an outline is needed; found none")
        owner = np.concatenate(owners)
        return {
            "image": torch.from_numpy(np.concatenate(images)),
            "share": torch.from_numpy(np.concatenate(shares)),
            "nodule": torch.from_numpy(owner),
            "near": torch.from_numpy(np.concatenate(near)),
            "case": [self.nodules.records[index].name for index in owner],
        }, set(owner.tolist())

    def _near(self, volume: NoduleVolume, patches: int) -> NDArray[np.bool_]:
        """(N) whether a patch is of a slice near an outline; all of a cube's are."""
        near = np.ones(patches, dtype=bool)
        if self.patches.kind != "3d":
            outlined = np.flatnonzero(volume.outlines.any(axis=(0, 2, 3)))
            place = np.arange(patches)
            near = (place >= outlined.min() - self.margin) & (place <= outlined.max() + self.margin)
        return near
