"""The slices bundle's data: each study cut once into its images, with the class of every slice and of every cell."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from monai_staging.cohort import load_cohort
from monai_staging.cohort.case import Case
from monai_staging.cohort.privacy import case_name, load_key, study_names
from monai_staging.cohort.volume import Volume, read_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import FloatArray, IntArray
from monai_staging.progress import progress
from monai_staging.transforms.study_slices import StudyImages, StudySlices
from monai_staging.workflows.slice_classes import CLASSES, UNKNOWN, NoduleSpan, nodule_spans, slice_classes
from monai_staging.workflows.staging_data import cohort_title

STRIDE = 8
"""Pixels of an image along each side of a cell: what the third-last scale of every backbone has."""


@dataclass(frozen=True, eq=False)
class Study:
    """A study, without its images.

    Attributes:
        case: its name, without identity; numbered where a patient has several.
        patient: likewise, the same for all of a patient.
        places: (S) index of each slice in the volume.
        z_mm: (S) RAS height of each.
        classes: (S) of :data:`~monai_staging.workflows.slice_classes.CLASSES`, or unknown.
        spans: the nodules.
        source: the cohort's case.
    """

    case: str
    patient: str
    places: IntArray
    z_mm: FloatArray
    classes: IntArray
    spans: tuple[NoduleSpan, ...]
    source: Case

    def rows_of(self, span: NoduleSpan) -> IntArray:
        """Which of the S slices show a nodule."""
        return np.flatnonzero((self.places >= span.slices.start) & (self.places < span.slices.stop))


class SliceStudies:
    """The studies of a cohort's parts, cut into images.

    Args:
        dataset_dir: the cohort's folder.
        images: cuts a study.
        parts: of the cohort.
        limit: at most so many cases of each part, for quick tries.
        labels: whether the nodules are looked at; without, nothing is known of any slice.

    Raises:
        DataError: a part has no case, or a volume cannot be read.
        UsageError: a part that is not known.
    """

    def __init__(
        self,
        dataset_dir: str | os.PathLike[str],
        images: StudySlices,
        parts: str | Sequence[str] = ("training", "validation", "test"),
        limit: int | None = None,
        labels: bool = True,
    ) -> None:
        self.cohort = load_cohort(dataset_dir)
        self.cut = images
        names = (parts,) if isinstance(parts, str) else tuple(parts)
        if unknown := [name for name in names if name not in self.cohort.parts]:
            raise UsageError(f"Slices: a part is one of {', '.join(self.cohort.parts)}; found {unknown[0]!r}")
        chosen = {name: self.cohort.parts[name][:limit] for name in names}
        if not any(chosen.values()):
            raise DataError(f"Cohort {self.cohort.name}: {' and '.join(names)} have 0 cases; at least 1 is needed")
        self.studies: list[Study] = []
        self._views: list[StudyImages] = []
        self._affines: list[FloatArray] = []
        pixels, cells = [], []
        key = load_key(self.cohort.root)
        named = dict(zip(map(id, self.cohort.cases), study_names(self.cohort.cases, key), strict=True))
        cases = [case for own in chosen.values() for case in own]
        for case in progress(cases, total=len(cases), description="cutting studies", unit="scan"):
            volume = read_volume(self.cohort.image_path(case))
            view = images(volume)
            spans = tuple(nodule_spans(case, volume)) if labels else ()
            classes = slice_classes(list(spans), volume.shape[2])[view.places]
            classes = classes if labels else np.full_like(classes, UNKNOWN)
            middle = (np.array(volume.shape[:2]) - 1) / 2
            index = np.column_stack([np.tile(middle, (len(view.places), 1)), view.places])
            z_mm = index @ volume.affine[2, :3] + volume.affine[2, 3]
            study = Study(named[id(case)], case_name(case.patient, key), view.places, z_mm, classes, spans, case)
            self.studies.append(study)
            pixels.append(view.images)
            cells.append(_cells(study, view, volume, images))
            # Without the images, which are kept once.
            self._views.append(replace(view, images=view.images[:0]))
            self._affines.append(volume.affine)
        self.images, self.cells = torch.stack(pixels), torch.stack(cells)
        self.classes = torch.from_numpy(np.stack([study.classes for study in self.studies]))
        ends = np.cumsum([0, *(len(own) for own in chosen.values())])
        self.parts = {name: range(a, b) for name, a, b in zip(chosen, ends[:-1], ends[1:], strict=True)}

    @property
    def channels(self) -> int:
        """Of an image."""
        return self.cut.channels

    def whole(self, part: str | Sequence[str]) -> StretchedSlices:
        """The studies of one or several parts, each as a whole."""
        parts = (part,) if isinstance(part, str) else part
        return StretchedSlices(self, [(study, 0) for name in parts for study in self._of(name)], self.images.shape[1])

    def stretches(self, part: str, length: int) -> StretchedSlices:
        """Stretches of so many slices around every slice of a part's studies, in the order of studies and slices.

        Raises:
            DataError: the part does not have a slice of every class.
            UsageError: a length that a study does not have.
        """
        total = self.images.shape[1]
        if not 1 <= length <= total:
            raise UsageError(f"Slices: a stretch of 1 to {total} slices is needed, found {length}")
        counts = [int((self.classes[list(self._of(part))] == kind).sum()) for kind in range(len(CLASSES))]
        if not all(counts):
            told = ", ".join(f"{name} {count}" for name, count in zip(CLASSES, counts, strict=True))
            raise DataError(
                f"Cohort {self.cohort.name}: slices of every class are needed in part {part}, found {told}; classes "
                "come from the readers' ratings of the nodules (malignancy)"
            )
        first = [min(max(0, place - length // 2), total - length) for place in range(total)]
        return StretchedSlices(self, [(study, start) for study in self._of(part) for start in first], length)

    def title(self, part: str | Sequence[str]) -> str:
        """What the studies of one or several parts are, for tables and figures."""
        return cohort_title(self.cohort.root, part)

    def volume(self, study: int) -> Volume:
        """A study's volume."""
        return read_volume(self.cohort.image_path(self.studies[study].source))

    def pixels_mm(self, study: int, pixels: FloatArray) -> FloatArray:
        """(S, 2) a place in each image of a study, x and y in its pixels, as RAS x and y in mm."""
        view, affine = self._views[study], self._affines[study]
        boxes = np.concatenate([pixels, pixels], axis=1)
        index = self.cut.image.to_slice(boxes, view.shape)[:, :2] + view.low - 0.5
        index = np.column_stack([index, view.places])
        found: FloatArray = (index @ affine[:3, :3].T + affine[:3, 3])[:, :2]
        return found

    def _of(self, part: str) -> range:
        if part not in self.parts:
            raise UsageError(f"Slices: a part is one of {', '.join(self.parts)}; found {part!r}")
        return self.parts[part]


class StretchedSlices(Dataset[dict[str, Any]]):
    """Neighbouring slices as items; whole batches are taken at once.

    Args:
        data: the studies.
        starts: study and first slice of each item.
        length: how many slices an item has.

    Returns:
        ``image`` (L, C, size, size) uint8, ``height`` (L) from 0 at the foot to 1 at the head, ``class`` (L), ``cells``
        (L, h, w), ``study`` (its number) and ``start``; of a batch each with one more axis in front.
    """

    def __init__(self, data: SliceStudies, starts: list[tuple[int, int]], length: int) -> None:
        self.data, self.length = data, length
        self.starts = torch.tensor(starts, dtype=torch.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """The batch of these items."""
        study, start = self.starts[indices].T
        rows = start[:, None] + torch.arange(self.length)
        whose = study[:, None].expand_as(rows)
        data = self.data
        return {
            "image": data.images[whose, rows],
            "height": (rows + 0.5) / data.images.shape[1],
            "class": data.classes[whose, rows],
            "cells": data.cells[whose, rows].long(),
            "study": study,
            "start": start,
        }

    @property
    def centres(self) -> Tensor:
        """(items) class of the slice that each stretch was cut around, of stretches around every slice."""
        total = self.data.images.shape[1]
        studies = self.starts[::total, 0]
        return self.data.classes[studies].flatten()


class ThinnedSlices(Sampler[int]):
    """Stretches around as many slices of each class, in random order: the more frequent classes are thinned.

    Args:
        stretches: around every slice.
        count: how many an epoch; as many of each class as the rarest has by default.
        redraw: draw others in every epoch, so that nothing is thrown away for good, from torch's global generator; else
            the same ones, by ``seed``.
        seed: of what is drawn once.

    Raises:
        UsageError: fewer than one of each class.
    """

    def __init__(
        self, stretches: StretchedSlices, count: int | None = None, redraw: bool = False, seed: int = 0
    ) -> None:
        centres = stretches.centres
        self.of_class = [torch.nonzero(centres == kind)[:, 0] for kind in range(len(CLASSES))]
        rarest = min(len(own) for own in self.of_class)
        self.each = rarest if count is None else math.ceil(count / len(CLASSES))
        if self.each < 1:
            raise UsageError(f"ThinnedSlices: at least 1 slice of each class is needed, found {self.each}")
        self.fixed = None if redraw else self._draw(torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return self.each * len(self.of_class)

    def __iter__(self) -> Iterator[int]:
        drawn = self._draw(None) if self.fixed is None else self.fixed
        return iter(drawn[torch.randperm(len(drawn))].tolist())

    def _draw(self, generator: torch.Generator | None) -> Tensor:
        found = []
        for own in self.of_class:
            # Of a class with fewer each comes as often as any other of it, give or take one.
            rounds = [torch.randperm(len(own), generator=generator) for _ in range(-(-self.each // len(own)))]
            found.append(own[torch.cat(rounds)[: self.each]])
        return torch.cat(found)


def _cells(study: Study, view: StudyImages, volume: Volume, cut: StudySlices) -> Tensor:
    """(S, h, w) class of each cell, uint8 but for unknown ones: those of nodules in the box of each."""
    side = math.ceil(cut.image.size / STRIDE)
    cells = np.zeros((len(view.places), side, side), dtype=np.int8)
    inverse = np.linalg.inv(volume.affine)
    # The worst last, so that it stays.
    for span in sorted(study.spans, key=lambda span: (span.kind > 0, span.kind)):
        half = np.asarray(span.lesion.size_mm) / 2
        corners = np.asarray(span.lesion.center_mm) + np.array([-half, half])
        index = corners @ inverse[:3, :3].T + inverse[:3, 3]
        low, high = index.min(axis=0)[:2] + 0.5 - view.low, index.max(axis=0)[:2] + 0.5 - view.low
        box = cut.image.to_image([[*low, *high]], view.shape)[0] / STRIDE
        columns, rows = _covered(box[0], box[2], side), _covered(box[1], box[3], side)
        for row in study.rows_of(span):
            cells[row, rows, columns] = span.kind
    return torch.from_numpy(cells)


def _covered(low: float, high: float, side: int) -> slice:
    """The cells of which half is covered, and the one in the middle of what is smaller."""
    first, last = round(low), round(high)
    if last <= first:
        first = math.floor((low + high) / 2)
        last = first + 1
    return slice(max(0, min(first, side - 1)), min(max(1, last), side))
