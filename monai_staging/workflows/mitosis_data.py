"""The slides of a mitosis training: their parts, and names that say nothing of a patient."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from monai_staging.cohort.privacy import case_name, load_key
from monai_staging.cohort.splits import SplitOptions
from monai_staging.errors import DataError, UsageError
from monai_staging.histology.phantom import DEFAULT_PATH, default_slides
from monai_staging.histology.reader import SlideReader
from monai_staging.histology.slides import FILE_NAME, PARTS, Slide, SlideSet, load_slides

SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".vms", ".bif", ".png")
"""Of slides' files."""


class MitosisData:
    """A folder of slides, by part.

    Args:
        dataset_dir: as it was downloaded, see :func:`~monai_staging.histology.slides.load_slides`; phantom slides are
            made in ``data/phantom-mitosis`` where that is asked for and not there.
        test: part of the patients.
        validation: likewise.
        split_seed: of the split.
        limit: at most so many slides a part, for quick tries.

    Attributes:
        parts: name to slides, named by keyed hashes.
        title: what the data is.
        digest: eight characters that stand for the slides and their points.

    Raises:
        DataError: no slides, or they cannot be read.
        UsageError: fewer than three patients, or a limit below 1.
    """

    def __init__(
        self,
        dataset_dir: str | os.PathLike[str] = DEFAULT_PATH,
        test: float = 0.25,
        validation: float = 0.15,
        split_seed: int = 0,
        limit: int | None = None,
    ) -> None:
        if limit is not None and limit < 1:
            raise UsageError(f"MitosisData: a limit of at least 1, found {limit}")
        self.root = ensure_slides(dataset_dir)
        slides = load_slides(self.root)
        # Divided before they get their names, whose key is another in every folder: the same seed, the same parts.
        parts = slides.split(SplitOptions(test=test, validation=validation, folds=0, seed=split_seed))
        self.parts = {name: keyed(own[:limit], self.root) for name, own in parts.items()}
        self.source = slides.source
        self.digest = _digest(slides.slides)

    def part(self, name: str) -> tuple[Slide, ...]:
        """The slides of one part.

        Raises:
            UsageError: no such part.
        """
        if name not in self.parts:
            raise UsageError(f"Slides ({self.source}): a part is one of {', '.join(PARTS)}; found {name!r}.")
        return self.parts[name]

    def title(self, name: str) -> str:
        """What a part is, for headings."""
        slides = self.part(name)
        what = "phantom slides (drawn, no tissue)" if self.source == "phantom" else f"slides of {self.source}"
        patients = len({slide.patient for slide in slides})
        return f"{what}, {name} part: {len(slides)} of {patients} patients"


def ensure_slides(dataset_dir: str | os.PathLike[str]) -> Path:
    """The folder; the default set of phantom slides is made where it is asked for and not there."""
    root = Path(dataset_dir)
    if root == Path(DEFAULT_PATH) and not (root / FILE_NAME).is_file():
        return default_slides(root)
    return root


def loose_slides(path: str | os.PathLike[str], microns_per_pixel: float | None = None) -> list[Slide]:
    """A slide's file, or all of a folder, whatever is known of them.

    Args:
        path: the file or folder.
        microns_per_pixel: of all of them; by default what each file says.

    Raises:
        DataError: nothing is there, a file cannot be read, or it does not say how large its pixels are.
    """
    given = Path(path)
    files = sorted(one for one in given.iterdir() if one.suffix.lower() in SUFFIXES) if given.is_dir() else [given]
    if not files:
        raise DataError(f"Slides: {given} holds a file of {', '.join(SUFFIXES)}; found none.")
    slides = []
    for file in files:
        with SlideReader(file) as reader:
            um = microns_per_pixel or reader.microns_per_pixel
        if um is None:
            raise DataError(
                f"Slide {file.name}: it does not say how large its pixels are; --slide_microns_per_pixel does."
            )
        slides.append(Slide(file.stem, file.stem, file, um))
    return list(SlideSet("files", tuple(slides)).slides)


def keyed(slides: Sequence[Slide], root: Path) -> tuple[Slide, ...]:
    """Slides, in their order, and patients under names of the folder's key."""
    key = load_key(root)
    return tuple(
        replace(slide, name=case_name(f"slide {slide.name}", key), patient=case_name(slide.patient, key))
        for slide in slides
    )


def patients_of(slides: Sequence[Slide]) -> Mapping[str, str]:
    """Slide to patient."""
    return {slide.name: slide.patient for slide in slides}


def _digest(slides: Sequence[Slide]) -> str:
    known = [[one.name, one.patient, one.microns_per_pixel, one.mitoses, one.lookalikes] for one in slides]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:8]
