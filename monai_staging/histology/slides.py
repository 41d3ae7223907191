"""Slides with their mitoses: what is known of each, and sets of them as public data lies on disk."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_staging.cohort.splits import SplitOptions, part_size, patient_order
from monai_staging.errors import DataError, UsageError
from monai_staging.files import write_json_atomic

Point = tuple[float, float]

FILE_NAME = "slides.json"
"""Of a set in this package's own format."""
PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Slide:
    """A slide, or a region of one, in a file of its own.

    Attributes:
        name: of the slide within its set.
        patient: whose it is.
        image: the file.
        microns_per_pixel: of the file's pixels.
        mitoses: (x, y) of each mitotic figure's middle, pixels from the upper left corner.
        lookalikes: likewise, of what readers took a second look at: hard negatives.
        scanner: where it is known.
    """

    name: str
    patient: str
    image: Path
    microns_per_pixel: float
    mitoses: tuple[Point, ...] = ()
    lookalikes: tuple[Point, ...] = ()
    scanner: str | None = None

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            DataError: a pixel size that is not above 0, or a point that is not finite or before the corner.
        """
        if not (math.isfinite(self.microns_per_pixel) and self.microns_per_pixel > 0):
            raise DataError(f"Slide {self.name}: a pixel is larger than 0 um, found {self.microns_per_pixel}.")
        for x, y in (*self.mitoses, *self.lookalikes):
            if not (math.isfinite(x) and math.isfinite(y) and x >= 0 and y >= 0):
                raise DataError(f"Slide {self.name}: a point lies right of and below the corner, found ({x}, {y}).")


@dataclass(frozen=True)
class SlideSet:
    """Slides of one source.

    Attributes:
        source: ``tupac16``, ``midog``, ``phantom`` or another one of a ``slides.json``.
        slides: sorted by name.
    """

    source: str
    slides: tuple[Slide, ...]

    def __post_init__(self) -> None:
        """Sorts the slides.

        Raises:
            DataError: no slide, or two of a name.
        """
        if not self.slides:
            raise DataError(f"Slides ({self.source}): at least one is needed, found none.")
        ordered = tuple(sorted(self.slides, key=lambda slide: slide.name))
        for one, other in zip(ordered, ordered[1:], strict=False):
            if one.name == other.name:
                raise DataError(f"Slides ({self.source}): names differ, found {one.name} twice ({other.image}).")
        object.__setattr__(self, "slides", ordered)

    def split(self, options: SplitOptions) -> dict[str, tuple[Slide, ...]]:
        """Training, validation and test slides, by patient, alike in how many have mitoses.

        Args:
            options: fractions of patients; folds as of a cohort, fold 0 being the validation part.

        Raises:
            UsageError: fewer than three patients: there would be a part without one.
        """
        patients = sorted({slide.patient for slide in self.slides})
        if len(patients) < len(PARTS):
            raise UsageError(f"Slides ({self.source}): three patients make three parts, found {len(patients)}.")
        with_mitoses = {slide.patient for slide in self.slides if slide.mitoses}
        order = patient_order(patients, [int(patient in with_mitoses) for patient in patients], options.seed)
        held = part_size(options.test, len(order))
        share = options.validation
        if share is None:
            share = (1 - options.test) / options.folds if options.folds else 0.0
        # The training part is never empty.
        tuned = min(part_size(share, len(order)), len(order) - held - 1)
        place = {patient: number for number, patient in enumerate(order)}
        parts: dict[str, tuple[Slide, ...]] = {}
        for name, low, high in (
            ("test", 0, held), ("validation", held, held + tuned), ("training", held + tuned, len(order)),
        ):  # fmt: skip
            parts[name] = tuple(slide for slide in self.slides if low <= place[slide.patient] < high)
        return {name: parts[name] for name in PARTS}

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes ``slides.json`` into the folder that the images are below, and gives its path.

        Raises:
            UsageError: an image is elsewhere.
        """
        root = Path(folder)
        documents = []
        for slide in self.slides:
            if not slide.image.is_relative_to(root):
                raise UsageError(f"Slide {slide.name}: its image lies below {root}, found {slide.image}.")
            documents.append(
                {
                    **{"name": slide.name, "patient": slide.patient},
                    "image": slide.image.relative_to(root).as_posix(),
                    "microns_per_pixel": slide.microns_per_pixel,
                    "mitoses": [list(point) for point in slide.mitoses],
                    "lookalikes": [list(point) for point in slide.lookalikes],
                    "scanner": slide.scanner,
                }
            )
        write_json_atomic(root / FILE_NAME, {"source": self.source, "slides": documents})
        return root / FILE_NAME


def load_slides(dataset_dir: str | os.PathLike[str]) -> SlideSet:
    """Slides of a folder as it was downloaded: TUPAC16, MIDOG (2021, 2022, ++), or one with a ``slides.json``.

    Raises:
        DataError: none of these, a file is missing or damaged, or a point lies outside its slide.
    """
    from monai_staging.histology import midog, tupac16

    root = Path(dataset_dir)
    readers: list[tuple[bool, Callable[[Path], SlideSet]]] = [
        ((root / FILE_NAME).is_file(), _load_own),
        (bool(tupac16.image_folders(root)), tupac16.read_tupac16),
        (midog.find_document(root) is not None, midog.read_midog),
    ]
    for fits, read in readers:
        if fits:
            return read(root)
    raise DataError(
        f"Slides: {root} holds {FILE_NAME}, TUPAC16's {tupac16.IMAGES} or a MIDOG.json; found none of them."
    )


def _load_own(root: Path) -> SlideSet:
    path = root / FILE_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        slides = [_slide(root, entry) for entry in document["slides"]]
        return SlideSet(str(document["source"]), tuple(slides))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a list of slides ({type(error).__name__}: {error}).") from None


def _slide(root: Path, entry: dict[str, Any]) -> Slide:
    image = root / str(entry["image"])
    if not image.is_file():
        raise DataError(f"Slide {entry['name']}: its image {image} is not there.")
    return Slide(
        str(entry["name"]),
        str(entry["patient"]),
        image,
        float(entry["microns_per_pixel"]),
        mitoses=_points(entry["mitoses"]),
        lookalikes=_points(entry.get("lookalikes", [])),
        scanner=entry.get("scanner"),
    )


def _points(values: Sequence[Sequence[float]]) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in values)
