"""What ``monai-staging phantom`` writes: CT series, SEG or RTSTRUCT of the lesions, and tables.

Letters come from ``clinical.csv``, of screened patients who has a cancer from ``cancer.csv``; lesions from
``lesions.csv``, masks from the SEG or RTSTRUCT, whose regions' names begin with the lesion's label.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_staging.cohort.case import Lesion
from monai_staging.cohort.dicom import Rejection, Series, SeriesRefused, scan, with_progress
from monai_staging.cohort.masks import list_rois, list_segments
from monai_staging.cohort.phantom.tree import CANCER_TABLE
from monai_staging.cohort.sources.base import Annotation, Defaults, Plan, SourceOptions, build_plan
from monai_staging.cohort.sources.dsb2017 import label_cancer, read_cancer
from monai_staging.cohort.sources.regions import MALFORMED, MODALITIES, RegionFile, match_regions, read_regions
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError
from monai_staging.tnm.reading import open_table

LESION_WITHOUT_REGION = "lesion-without-region"
DEFAULTS = Defaults(table=("clinical.csv",))


@dataclass(frozen=True)
class TableAnnotator:
    """Takes the lesions from the table and their mask from the regions."""

    lesions: tuple[Lesion, ...]
    regions: tuple[RegionFile, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The SEG or RTSTRUCT."""
        return tuple(region.path for region in self.regions)

    def fingerprint(self) -> Any:
        """The rows of the table."""
        return [lesion.to_json() for lesion in self.lesions]

    def annotate(self, series: Series, volume: Volume) -> Annotation:
        """The lesions, and a mask with their labels; a file that does not fit the volume is refused alone."""
        labels = [lesion.label or 0 for lesion in self.lesions]
        mask = np.zeros(volume.shape, np.uint8 if max(labels, default=0) < 256 else np.uint16, order="F")
        rejections: list[Rejection] = []
        for file in self.regions:
            try:
                of_name = list_rois if file.modality == "RTSTRUCT" else lambda path: list_segments(path).values()
                names = {name: _label(name) for name in of_name(file.path)}
                wanted = [name for name, label in names.items() if label in labels]
                for name, region in read_regions(file, series, volume, wanted):
                    mask[region != 0] = names[name]
            except SeriesRefused as refused:
                rejections.append(file.rejection(refused.rule.value, refused.found))
            except MALFORMED as error:
                rejections.append(file.malformed(error))
        if rejections:
            return Annotation(self.lesions, None, tuple(rejections))
        without = sorted(set(labels) - set(np.unique(mask).tolist()))
        if without:
            found = f"lesions {', '.join(map(str, without))} of lesions.csv have no region in the SEG or RTSTRUCT."
            files = tuple(map(str, self.files))
            rejections.append(
                Rejection(series.patient, series.study, series.series, LESION_WITHOUT_REGION, found, files)
            )
        # The table has every lesion of the tree: a scan without a row has none, and its mask is empty.
        known = self.regions or not self.lesions
        return Annotation(self.lesions, mask if known else None, tuple(rejections))


def plan(raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest.

    Raises:
        DataError: ``lesions.csv`` is missing or not as it should be.
    """
    lesions = read_lesions(raw / "lesions.csv")
    scanned = scan(raw, watch=with_progress)
    regions, rejections = match_regions(scanned)
    here = {series.series for series in scanned}
    elsewhere = sum(uid not in here for uid in lesions)
    made = build_plan(
        raw,
        scanned,
        options,
        DEFAULTS,
        lambda series: TableAnnotator(lesions.get(series.series, ()), regions.get(series.series, ())),
        annotations=MODALITIES,
        rejections=rejections,
        notes=(f"lesions.csv has lesions of {elsewhere} series that are not in this tree.",) if elsewhere else (),
    )
    path = raw / CANCER_TABLE
    if not path.is_file():
        return made
    jobs, rejected = label_cancer(made.jobs, read_cancer([path]))
    return replace(made, jobs=jobs, rejections=(*made.rejections, *rejected))


def read_lesions(path: Path) -> Mapping[str, tuple[Lesion, ...]]:
    """The lesions of ``lesions.csv`` by SeriesInstanceUID, by label."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; a phantom's tree has it")
    table = open_table(path)
    found: dict[str, list[Lesion]] = defaultdict(list)
    for row in table.rows:
        values = dict(zip(table.header, row.cells, strict=False))
        try:
            found[values["series"]].append(
                Lesion(
                    kind=values["kind"],
                    site=values["site"] or None,
                    center_mm=(float(values["x_mm"]), float(values["y_mm"]), float(values["z_mm"])),
                    size_mm=(float(values["dx_mm"]), float(values["dy_mm"]), float(values["dz_mm"])),
                    diameter_mm=_number(values["diameter_mm"]),
                    solid_diameter_mm=_number(values["solid_diameter_mm"]),
                    label=int(values["label"]),
                    malignancy=tuple(map(int, values.get("malignancy", "").split())),
                )
            )
        except (KeyError, ValueError, DataError) as error:
            raise DataError(f"{path.name}, line {row.line}: not a lesion ({error})") from None
    return {series: tuple(sorted(own, key=lambda lesion: lesion.label or 0)) for series, own in found.items()}


def _number(text: str) -> float | None:
    return float(text) if text else None


def _label(name: str) -> int | None:
    """The label that a region's name begins with."""
    match = re.match(r"\d+", name)
    return int(match[0]) if match else None
