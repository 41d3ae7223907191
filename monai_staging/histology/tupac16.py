"""TUPAC16's auxiliary data set of mitoses (tupac.grand-challenge.org): 73 patients, regions as TIFF, csv with points.

As its archives unpack, side by side in one folder::

    mitoses_image_data_part_1/01/01.tif ...
    mitoses_ground_truth/01/01.csv ...

A csv holds ``row,column`` a line, without a header. A region without a csv has no mitosis. Pixels are .25 um.
"""

from __future__ import annotations

import csv
from pathlib import Path

from monai_staging.errors import DataError
from monai_staging.histology.slides import Point, Slide, SlideSet

IMAGES = "mitoses_image_data"
TRUTH = "mitoses_ground_truth"
MICRONS_PER_PIXEL = 0.25


def image_folders(root: Path) -> list[Path]:
    """The folders that the archives of images unpack to."""
    return sorted(path for path in root.glob(f"{IMAGES}*") if path.is_dir()) if root.is_dir() else []


def read_tupac16(root: Path) -> SlideSet:
    """Reads the set.

    Raises:
        DataError: no ground truth, a csv without its region or with anything but numbers, or no region at all.
    """
    truth = root / TRUTH
    if not truth.is_dir():
        raise DataError(f"TUPAC16: {TRUTH} lies beside the images in {root}; it is not there.")
    points = {f"{path.parent.name}/{path.stem}": path for path in sorted(truth.glob("*/*.csv"))}
    slides = []
    for folder in image_folders(root):
        for image in sorted(path for path in folder.glob("*/*") if path.suffix.lower() in {".tif", ".tiff"}):
            name = f"{image.parent.name}/{image.stem}"
            found = points.pop(name, None)
            mitoses = () if found is None else _read_points(found)
            slides.append(Slide(name, image.parent.name, image, MICRONS_PER_PIXEL, mitoses))
    if points:
        raise DataError(
            f"TUPAC16: every csv has its region, found none for {', '.join(sorted(points)[:3])} ({len(points)} in "
            "all); are all archives unpacked?"
        )
    return SlideSet("tupac16", tuple(slides))


def _read_points(path: Path) -> tuple[Point, ...]:
    points = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, cells in enumerate(csv.reader(file), start=1):
            if not cells:
                continue
            try:
                row, column = map(float, cells)
            except ValueError:
                raise DataError(f"{path}: a line is row,column, found {','.join(cells)!r} (line {number}).") from None
            points.append((column, row))
    return tuple(points)
