"""The images of a pretraining: read once, brought to one size, kept in memory as one tensor of bytes."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from monai_staging.cohort import load_cohort
from monai_staging.cohort.cohort import FILE_NAME
from monai_staging.cohort.default import ensure_cohort
from monai_staging.cohort.image_sets import PUBLIC_SETS, ImageSet, nodules, read_public_set
from monai_staging.errors import DataError, UsageError
from monai_staging.tnm.parse import plain
from monai_staging.workflows.pretrain_patches import PatchSettings, cohort_patches
from monai_staging.workflows.pretrain_split import (
    Excluded,
    check_found,
    digest,
    read_patients,
    validation_patients,
    without_patients,
)
from monai_staging.workflows.staging_data import cohort_title, without_leaks

logger = logging.getLogger("monai_staging.workflows")

_CHUNK = 2048
# Of the draw of the validation images: fixed, so that trainings of several seeds are compared on the same ones.
_SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Images:
    """One part of the data.

    Attributes:
        images: (N, channels, *spatial) uint8.
        labels: (N,) int64, -1 where there are none.
        groups: (N,) int64, the unit of resampling: a number for each patient, or for each image.
    """

    images: Tensor
    labels: Tensor
    groups: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class PretrainData:
    """What a pretraining is given.

    Attributes:
        title: what the data is, for readers.
        name: of the set or cohort.
        classes: names of the classes; none for unlabelled data.
        training: to train on.
        validation: to choose by.
        test: to report on; the validation part where nobody looks at labels.
        unit: what the intervals resample: ``image`` or ``patient``.
        digest: SHA-256 of the set or of the cohort's ``cohort.json``.
        ras: whether the axes are the patient's x, y (and z), not rows and columns.
        excluded: patients that were to be left out.
        excluded_digest: SHA-256 of their names, see `pretrain_split.digest`; empty without any.
    """

    title: str
    name: str
    classes: tuple[str, ...]
    training: Images
    validation: Images
    test: Images
    unit: str
    digest: str
    ras: bool = False
    excluded: int = 0
    excluded_digest: str = ""

    @property
    def facts(self) -> dict[str, str | int]:
        """Plain values for a run's tags and a checkpoint: never a patient."""
        return {
            "data": self.name,
            "data_digest": self.digest,
            "training_images": len(self.training),
            "excluded_patients": self.excluded,
            "excluded_digest": self.excluded_digest,
        }


class ImageBatches(Dataset[dict[str, Tensor]]):
    """A part as a data set that is indexed by whole batches, so that no item is ever handled by itself in Python.

    Args:
        part: the images.
    """

    def __init__(self, part: Images) -> None:
        self.part = part

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: Sequence[int]) -> dict[str, Tensor]:
        """The images, labels, groups and numbers of a batch."""
        chosen = torch.as_tensor(index)
        part = self.part
        return {
            "image": part.images[chosen],
            "label": part.labels[chosen],
            "group": part.groups[chosen],
            "index": chosen,
        }


def even_batches(count: int, batch_size: int) -> list[list[int]]:
    """All numbers below ``count`` in order, in batches of at least ``batch_size`` where there are as many."""
    return [batch.tolist() for batch in np.array_split(np.arange(count), max(1, count // batch_size))]


def is_public(task: str) -> bool:
    """Whether a task is the classification of a public set, which has labels and files of its own."""
    return task in PUBLIC_SETS


def cohort_of(task: str, dataset_dir: str | os.PathLike[str]) -> str | None:
    """The cohort that a task's run is tracked with: none where it reads no cohort."""
    folder = Path(dataset_dir)
    return None if is_public(task) or (folder / nodules.FILE).is_file() else str(folder)


def load_data(
    task: str,
    dataset_dir: str | os.PathLike[str],
    *,
    in_channels: int,
    patches: PatchSettings,
    validation_share: float = 0.1,
    exclude_patients: Excluded = None,
    parts: Sequence[str] = ("training",),
    limit: int | None = None,
) -> PretrainData:
    """The data of a task.

    Args:
        task: the name of a public set, which is then classified; any other task takes images without labels.
        dataset_dir: of a public set its files; else a cohort, or a folder with ``lidc_nodules_64.npz``.
        in_channels: of the network. Images of more channels are averaged to one; one channel is repeated batch by
            batch, not here.
        patches: size of the images, and how they are cut out of volumes.
        validation_share: of the training images, by class; or of the patients.
        exclude_patients: never seen, by list or file.
        parts: of a cohort; its validation and test parts belong to those who are compared later.
        limit: at most so many training, validation and test images, for quick tries.

    Raises:
        UsageError: settings that do not fit each other.
        DataError: no data, or data that breaks a rule.
    """
    excluded = read_patients(exclude_patients)
    if is_public(task):
        if excluded:
            raise UsageError(f"exclude_patients: the images of {task} are of no patients; leave it out")
        return _public(task, dataset_dir, in_channels, patches, validation_share, limit)
    folder = Path(dataset_dir)
    if (folder / nodules.FILE).is_file() and not (folder / FILE_NAME).is_file():
        whole = nodules.read_nodules(folder)
        allowed, source, title, ras = _without(whole, excluded), whole.digest, "LIDC-IDRI nodule slices", False
    else:
        cohort = load_cohort(without_leaks(ensure_cohort(folder)))
        unknown = [part for part in parts if part not in cohort.parts]
        if unknown or not parts:
            raise UsageError(f"parts must be some of {', '.join(cohort.parts)}, found {list(parts)}")
        wanted = {id(case) for part in parts for case in cohort.parts[part]}
        cases = [case for case in without_patients(cohort.cases, excluded) if id(case) in wanted]
        if not cases:
            raise DataError(f"Cohort {cohort.name}: {' + '.join(parts)} has no case that may be seen")
        allowed = cohort_patches(cohort.name, [(cohort.image_path(case), case.patient) for case in cases], patches)
        source, title, ras = cohort.digest, cohort_title(cohort.root, list(parts)), True
    images = _resized(allowed, in_channels, patches)
    assert allowed.patients is not None
    names = [plain(patient) for patient in allowed.patients]
    validating = validation_patients(names, validation_share)
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    groups = torch.tensor([number[name] for name in names])
    chosen = np.asarray([name in validating for name in names])
    # In an order of their own: neighbours in a volume would otherwise be neighbours in a batch.
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(names))
    unlabelled = torch.full((len(names),), -1)
    parted = [_part(images, unlabelled, groups, order[chosen[order] == side], limit) for side in (False, True)]
    logger.info("%s: %d patients to train on, %d to validate", title, len(number) - len(validating), len(validating))
    return PretrainData(
        title,
        allowed.name,
        (),
        *(parted[0], parted[1], parted[1]),
        unit="patient",
        digest=source,
        ras=ras,
        excluded=len(set(excluded)),
        excluded_digest=digest(excluded) if excluded else "",
    )


def _public(
    task: str,
    folder: str | os.PathLike[str],
    in_channels: int,
    patches: PatchSettings,
    validation_share: float,
    limit: int | None,
) -> PretrainData:
    from sklearn.model_selection import train_test_split

    if patches.spatial_dims != 2:
        raise UsageError(f"task {task}: its images have 2 axes, found spatial_dims={patches.spatial_dims}")
    if not 0 < validation_share < 1:
        raise UsageError(f"validation_share must be above 0 and below 1, found {validation_share}")
    known, held_out = read_public_set(task, Path(folder))
    assert known.labels is not None and held_out.labels is not None
    count = math.ceil(validation_share * len(known))
    if not len(known.classes) <= count <= len(known) - len(known.classes):
        raise UsageError(
            f"validation_share {validation_share} leaves {count} of {len(known)} images to validate "
            f"{len(known.classes)} classes; each needs one, and one to train on"
        )
    training, validation = train_test_split(
        np.arange(len(known)), test_size=validation_share, stratify=known.labels, random_state=_SPLIT_SEED
    )
    images, labels = _resized(known, in_channels, patches), torch.from_numpy(known.labels)
    own = torch.arange(len(known))
    return PretrainData(
        task,
        known.name,
        known.classes,
        _part(images, labels, own, training, limit),
        _part(images, labels, own, validation, limit),
        _part(
            _resized(held_out, in_channels, patches),
            torch.from_numpy(held_out.labels),
            torch.arange(len(held_out)),
            np.arange(len(held_out)),
            limit,
        ),
        "image",
        known.digest,
    )


def _without(whole: ImageSet, excluded: Sequence[str]) -> ImageSet:
    assert whole.patients is not None
    names = {plain(patient) for patient in excluded}
    kept = np.asarray([plain(patient) not in names for patient in whole.patients])
    check_found(int((~kept).sum()), names)
    if not kept.any():
        raise DataError(f"{whole.name}: every patient is left out")
    return whole.take(np.flatnonzero(kept))


def _part(images: Tensor, labels: Tensor, groups: Tensor, index: Any, limit: int | None) -> Images:
    chosen = torch.as_tensor(np.asarray(index[:limit]))
    return Images(images[chosen], labels[chosen], groups[chosen])


def _resized(given: ImageSet, in_channels: int, patches: PatchSettings) -> Tensor:
    """(N, channels, *size) uint8: averaged to one channel where the network has one, and of the size asked for."""
    images = torch.from_numpy(given.images)
    channels, size = images.shape[1], (patches.size,) * patches.spatial_dims
    if images.dim() - 2 != patches.spatial_dims:
        raise UsageError(
            f"{given.name}: its images have {images.dim() - 2} axes, found spatial_dims={patches.spatial_dims}"
        )
    if channels not in (1, in_channels) and in_channels != 1:
        raise UsageError(
            f"{given.name}: {channels} channels are kept, or averaged to 1; found in_channels={in_channels}"
        )
    if tuple(images.shape[2:]) == size and channels in (1, in_channels):
        return images
    kept = channels if channels == in_channels else 1
    result = torch.empty(len(images), kept, *size, dtype=torch.uint8)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].float()
        chunk = chunk if channels == kept else chunk.mean(dim=1, keepdim=True)
        if tuple(chunk.shape[2:]) != size:
            chunk = functional.interpolate(chunk, size=size, mode="bilinear", align_corners=False, antialias=True)
        result[start : start + _CHUNK] = chunk.round_().clamp_(0, 255).to(torch.uint8)
    return result
