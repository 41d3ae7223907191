"""The box regressor's data: the slices of a cohort that show a tumour, cut into images once, with their boxes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_staging.cohort import load_cohort
from monai_staging.cohort.case import Case
from monai_staging.cohort.privacy import case_name, load_key, study_names
from monai_staging.cohort.volume import read_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import IntArray
from monai_staging.progress import progress
from monai_staging.tnm.parse import plain
from monai_staging.transforms.slice_boxes import SliceImage
from monai_staging.transforms.slices import SliceMode, slice_indices
from monai_staging.workflows.boxes_slices import empty_slices, tumour_boxes
from monai_staging.workflows.boxes_split import SliceSplit, leaking_patients, split_slices
from monai_staging.workflows.nodule_data import NoduleExamples
from monai_staging.workflows.staging_data import cohort_title


@dataclass(frozen=True)
class SliceOwner:
    """Whose a slice is.

    Attributes:
        case: its name, without identity; numbered where a patient has several.
        patient: likewise, the same for all of a patient.
        subtype: histology, empty where unknown.
        shape: columns and rows of the slice.
        leaks: whether slices of this patient are learned from and held out.
    """

    case: str
    patient: str
    subtype: str
    shape: tuple[int, int]
    leaks: bool


class SliceBoxData:
    """The slices of a cohort with a tumour on them, as images with boxes, and their split.

    Args:
        dataset_dir: the cohort's folder.
        image: makes images of slices.
        split: see :class:`~monai_staging.workflows.boxes_split.SliceSplit`.
        subtypes: only cases of these; all where it is ``None``.
        slices_per_case: at most so many of a case's, evenly spread; all where it is ``None``.
        empty: for each slice to train on so many without any lesion, of the same cases; they have no box.
        limit: at most so many cases, evenly spread, for quick tries.

    Raises:
        DataError: no slice has a box, a subtype has no case, a part comes out empty, or a patient is on two sides of a
            split by patient.
        UsageError: a number out of range.
    """

    def __init__(
        self,
        dataset_dir: str | os.PathLike[str],
        image: SliceImage,
        split: SliceSplit,
        subtypes: str | Sequence[str] | None = None,
        slices_per_case: int | None = None,
        empty: float = 0.0,
        limit: int | None = None,
    ) -> None:
        if (slices_per_case is not None and slices_per_case < 1) or empty < 0:
            raise UsageError(
                "SliceBoxData: at least 1 slice a case and empty slices from 0 on are needed; found slices_per_case "
                f"{slices_per_case}, empty {empty}"
            )
        self.cohort = load_cohort(dataset_dir)
        self.image, self.split = image, split
        self.subtypes = (subtypes,) if isinstance(subtypes, str) else subtypes and tuple(subtypes)
        self._slices_per_case, self._empty = slices_per_case, empty
        chosen = self._chosen()
        # Spread over the cohort, so that every part has some.
        few = _spread(list(range(len(chosen))), len(chosen) if limit is None else limit)
        self.arrays, self._used = self._cut([chosen[place] for place in few])
        used = self._used
        owner = self._numbers("case")
        there = np.flatnonzero(~np.isnan(self._numbers("box")).any(axis=1))
        found = split_slices(self.cohort, used, owner[there], split)
        parts = {part: there[rows] for part, rows in found.items()}
        leaking = leaking_patients(used, owner, parts)
        if leaking and split.kind != "slice":
            raise DataError(
                f"Cohort {self.cohort.name}: a split by patient has each in one part, found {len(leaking)} in two; "
                "see `monai-staging audit`"
            )
        self.owners = self._owners(used, leaking)
        if empty:
            parts["training"] = np.sort(np.concatenate([parts["training"], self._without_tumour(parts)]))
        self.parts = {part: rows.tolist() for part, rows in parts.items()}

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return self.image.channels

    @property
    def leaking(self) -> float:
        """Share of the test part's patients whose slices are learned from too."""
        tested = {owner.patient: owner.leaks for owner in self._owners_of("test")}
        return float(np.mean(list(tested.values())))

    def part(self, name: str) -> NoduleExamples:
        """The slices of ``training``, ``validation`` or ``test``: ``image``, ``box``, ``case`` and ``slice``."""
        if name not in self.parts:
            raise UsageError(f"Slices: a part is one of {', '.join(self.parts)}; found {name!r}")
        return NoduleExamples(self.arrays, self.parts[name])

    def title(self, part: str = "test") -> str:
        """What the slices of a part are, and whether they leak; for tables and figures."""
        of = "" if self.subtypes is None else f", {' and '.join(self.subtypes)}"
        held_out = "slices of held-out patients"
        if self.split.kind == "slice":
            held_out = f"random slices: LEAKS, {self.leaking:.0%} of the patients are trained on"
        count = len({owner.patient for owner in self._owners_of(part)})
        return f"{cohort_title(self.cohort.root)}{of}, {held_out} ({len(self.parts[part])} slices of {count} patients)"

    def volume_path(self, place: int) -> Path:
        """Where the volume of a case lies, by the place that ``case`` gives."""
        return self.cohort.image_path(self._used[place])

    # -- how it is made ---------------------------------------------------------------------------------------------

    def _chosen(self) -> list[Case]:
        wanted = self.subtypes
        if wanted is None:
            return list(self.cohort.cases)
        there = sorted({case.subtype for case in self.cohort.cases if case.subtype is not None})
        for subtype in wanted:
            if subtype not in there:
                known = ", ".join(there) or "no subtype"
                raise DataError(f"Cohort {self.cohort.name}: no case of subtype {subtype!r}; it has {known}")
        return [case for case in self.cohort.cases if case.subtype in wanted]

    def _cut(self, cases: list[Case]) -> tuple[dict[str, Tensor | list[str]], list[Case]]:
        """Images, boxes (NaN where there is none), slice indices and owners, and the cases that they are of."""
        images, boxes, places, owners = [], [], [], []
        used: list[Case] = []
        self._shapes: list[tuple[int, int]] = []
        for case in progress(cases, total=len(cases), description="cutting slices", unit="case"):
            volume = read_volume(self.cohort.image_path(case))
            found = tumour_boxes(self.cohort, case, volume)
            if not found:
                continue
            shape = volume.shape[:2]
            kept = _spread(list(found), self._slices_per_case or len(found))
            without = _spread(empty_slices(case, volume), round(self._empty * len(kept)))
            images += [self.image(volume.array[:, :, index]) for index in kept + without]
            boxes += [self.image.to_image([found[index] for index in kept], shape), np.full((len(without), 4), np.nan)]
            places += kept + without
            owners += [len(used)] * len(kept + without)
            used.append(case)
            self._shapes.append(shape)
        if not images:
            raise DataError(
                f"Cohort {self.cohort.name}: a slice with a tumour's box or mask is needed, found none in "
                f"{len(cases)} cases"
            )
        arrays: dict[str, Tensor | list[str]] = {
            "image": torch.stack(images),
            "box": torch.from_numpy(np.concatenate(boxes)).float(),
            "slice": torch.tensor(places),
            "case": torch.tensor(owners),
        }
        return arrays, used

    def _owners(self, used: list[Case], leaking: frozenset[str]) -> list[SliceOwner]:
        key = load_key(self.cohort.root)
        every = dict(zip(map(id, self.cohort.cases), study_names(self.cohort.cases, key), strict=True))
        return [
            SliceOwner(
                every[id(case)],
                case_name(case.patient, key),
                case.subtype or "",
                shape,
                plain(case.patient) in leaking,
            )
            for case, shape in zip(used, self._shapes, strict=True)
        ]

    def _without_tumour(self, parts: dict[str, IntArray]) -> IntArray:
        """The empty slices of cases that are trained on and in no other part."""
        owner = self._numbers("case")
        trained, others = (
            {int(one) for part in names for one in owner[parts[part]]}
            for names in (("training",), ("validation", "test"))
        )
        allowed = trained if self.split.kind == "slice" else trained - others
        empty = np.isnan(self._numbers("box")).any(axis=1)
        return np.flatnonzero(empty & np.isin(owner, sorted(allowed)))

    def _numbers(self, name: str) -> Any:
        values = self.arrays[name]
        assert isinstance(values, Tensor)
        return values.numpy()

    def _owners_of(self, part: str) -> list[SliceOwner]:
        return [self.owners[place] for place in np.unique(self._numbers("case")[self.parts[part]])]


def _spread(places: list[int], count: int) -> list[int]:
    """At most so many of them, evenly spread."""
    count = min(count, len(places))
    return [places[index] for index in slice_indices(len(places), count, SliceMode.THINNED)] if count else []
