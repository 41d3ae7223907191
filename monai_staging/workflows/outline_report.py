"""Lesions of a cohort that are clicked one by one: what a guided network outlines, scored or written as masks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys
from torch.utils.data import Dataset

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.volume import Volume, read_volume
from monai_staging.errors import DataError
from monai_staging.files import cache_folder
from monai_staging.progress import progress
from monai_staging.transforms.click import ClickedViews, Clicks
from monai_staging.transforms.loading import map_file
from monai_staging.workflows.chest_data import ChestCase
from monai_staging.workflows.chest_patches import places_to_draw
from monai_staging.workflows.chest_report import ChestCollector, ChestInference, ChestReport, ScanCollector
from monai_staging.workflows.lesion_window import box_at, lesion_in, window_around


class ClickedLesions(Dataset[dict[str, Any]]):
    """What a guided network sees of each lesion of some scans, clicked once.

    The click is at the voxel deepest inside of the lesion, or, in a scan without a mask, at the middle of the lesion's
    box. Nothing else is known of the lesion: what is looked at does not depend on its size.

    Args:
        cases: the scans.
        views: what is seen of them.
        cache: see :class:`~monai_staging.workflows.chest_patches.ChestPatches`.

    Returns:
        ``image`` (C, X, Y, Z) with its ``grid``, the ``box`` and the ``clicks`` that were given; ``scan``, the case,
        and ``case``, the same as if it had this lesion only.

    Raises:
        DataError: no scan has a lesion.
    """

    def __init__(
        self, cases: Sequence[ChestCase], views: ClickedViews, cache: str | os.PathLike[str] | None = None
    ) -> None:
        self.views = views
        folder = cache_folder(cache) / "chest"
        self.items = []
        for case in progress(cases, description="looking for lungs", unit="scan"):
            places = places_to_draw(case, folder)
            points = Clicks.of(places.middles).inside or case.centers_mm
            for number, point in enumerate(points):
                name = f"{case.name}-{number + 1}"
                own = replace(case, name=name, labels=case.labels[number : number + 1], centers_mm=(point,))
                self.items.append((case, own, places.lungs_mm))
        if not self.items:
            raise DataError(f"Clicks: a lesion to click at is needed; found none in {len(cases)} scans.")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        scan, case, lungs_mm = self.items[index]
        array, affine = map_file(case.image)
        box, clicks = box_at(case.centers_mm), Clicks.of(case.centers_mm)
        grid = window_around(box, array.shape, affine, self.views.spacing_mm)
        image = self.views.look(array, affine, grid, lungs_mm, clicks)
        return {"image": image, "grid": grid, "box": box, "clicks": clicks, "scan": scan, "case": case}


class _Clicked(ScanCollector):
    """Takes log-odds around a click to the lesion on the scan's own voxels."""

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """One lesion."""
        case: ChestCase = batch["case"]
        volume = read_volume(case.image)
        chance = output[Keys.PRED][0, 0].float().sigmoid().cpu()
        box, clicks = batch["box"], batch["clicks"]
        part = lesion_in(chance, batch["grid"], volume.shape, volume.affine, box, clicks, self.parts)
        self.take(case, volume, [] if part is None else [part])


class OutlineCollector(_Clicked, ChestCollector):
    """Scores an evaluator's clicked lesions; after an epoch its metrics hold ``dice`` and others, means over lesions.

    Args:
        parts: makes lesions of probabilities.
    """


class OutlineReport(_Clicked, ChestReport):
    """The report of :class:`~monai_staging.workflows.chest_report.ChestReport`, a row for each clicked lesion.

    Its arguments are the same. Intervals are over patients, each with all of its lesions.
    """

    unit = "lesions"
    heading = "Lesions, each clicked once"


class OutlineInference(_Clicked, ChestInference):
    """Writes what was outlined in each scan as :class:`~monai_staging.workflows.chest_report.ChestInference` does.

    Its arguments are the same. Lesions of a scan must come one after the other.
    """

    _scan: ChestCase | None = None
    _found: Sequence[Part] = ()

    def begin(self) -> None:
        """Forgets the epoch before."""
        super().begin()
        self._scan, self._found = None, []

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """One lesion."""
        if batch["scan"] is not self._scan:
            self._finish()
            self._scan = batch["scan"]
        super().keep(batch, output)

    def take(self, case: ChestCase, volume: Volume, found: list[Part]) -> None:
        """Keeps a lesion until all of its scan are there."""
        self._found = [*self._found, *found]

    def complete(self, engine: Engine) -> None:
        """Writes the last scan and the table of all."""
        self._finish()
        super().complete(engine)

    def _finish(self) -> None:
        if self._scan is not None:
            largest_first = sorted(self._found, key=lambda part: -part.voxels)
            super().take(self._scan, read_volume(self._scan.image), largest_first)
        self._found = []
