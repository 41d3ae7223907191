"""MIDOG 2021, 2022 and ++ (midog.deepmicroscopy.org): a COCO-like JSON beside TIFF files, one patient a file.

As downloaded: ``MIDOG.json`` (or ``MIDOG_training.json``, ``MIDOG++.json``) with the files it names in ``images`` or
beside it. Boxes are corners (x1, y1, x2, y2), not COCO's corner and size; category 1 is a mitotic figure, 2 what looks
like one. Pixels are taken for .25 um; the scanners' are .23 to .25.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from monai_staging.errors import DataError
from monai_staging.histology.slides import Point, Slide, SlideSet

MITOSIS, LOOKALIKE = 1, 2
MICRONS_PER_PIXEL = 0.25


def find_document(root: Path) -> Path | None:
    """The JSON file; the first by name where there are several."""
    found = sorted(path for path in root.glob("MIDOG*.json") if path.is_file()) if root.is_dir() else []
    return found[0] if found else None


def read_midog(root: Path) -> SlideSet:
    """Reads the set; files that have no annotation at all are those of the scanner without labels and are left out.

    Raises:
        DataError: the JSON is not as above, a file is missing, or a box lies outside its image.
    """
    path = find_document(root)
    if path is None:
        raise DataError(f"MIDOG: a MIDOG*.json lies in {root}; found none.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        images = {entry["id"]: entry for entry in document["images"]}
        points: dict[Any, dict[int, list[Point]]] = defaultdict(lambda: {MITOSIS: [], LOOKALIKE: []})
        for entry in document["annotations"]:
            points[entry["image_id"]][entry["category_id"]].append(_middle(entry, images[entry["image_id"]]))
        slides = [_slide(root, images[key], found) for key, found in points.items()]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not MIDOG's images and annotations ({type(error).__name__}: {error}).") from None
    return SlideSet("midog", tuple(slides))


def _middle(entry: dict[str, Any], image: dict[str, Any]) -> Point:
    left, upper, right, lower = map(float, entry["bbox"])
    x, y = (left + right) / 2, (upper + lower) / 2
    if not (left < right and upper < lower and 0 <= x < image["width"] and 0 <= y < image["height"]):
        raise DataError(
            f"Slide {image['file_name']}: a box is (x1, y1, x2, y2) with its middle in the image of "
            f"{image['width']} x {image['height']}, found {entry['bbox']}."
        )
    return x, y


def _slide(root: Path, image: dict[str, Any], points: dict[int, list[Point]]) -> Slide:
    name = str(image["file_name"])
    file = next((path for path in (root / "images" / name, root / name) if path.is_file()), None)
    if file is None:
        raise DataError(f"Slide {name}: its file lies in {root / 'images'} or {root}; it is in neither.")
    stem = Path(name).stem
    return Slide(stem, stem, file, MICRONS_PER_PIXEL, tuple(points[MITOSIS]), tuple(points[LOOKALIKE]))
