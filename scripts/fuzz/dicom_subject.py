"""DICOM: series, SEG and RTSTRUCT, mutated, by every way that leads in."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import dicom_mutations
import numpy as np
from dicom_files import SLICES, Base, bases
from volumes import check_volume

from monai_staging.cohort.dicom import load_series, scan
from monai_staging.cohort.dicom.series import read_series, series_positions
from monai_staging.cohort.masks import list_rois, list_segments, mask_from_rtstruct, mask_from_seg
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError
from monai_staging.predict.study import open_study


class DicomSubject:
    """Mutated DICOM files, a folder of them each time."""

    name = "dicom"

    def __init__(self, scratch: Path, real: Path | None) -> None:
        """Writes what is mutated."""
        found = bases(scratch / "phantoms", real)
        self.by_kind = {
            kind: [base for base in found if base.kind == kind] for kind in ("ct", "seg", "rtstruct", "real")
        }

    def make(self, rng: random.Random, folder: Path) -> str:
        """One slice of a series mutated, or all of them alike; or a single file."""
        kinds = [kind for kind, own in self.by_kind.items() if own]
        weights = {"ct": 6, "seg": 1, "rtstruct": 1, "real": 2}
        kind = rng.choices(kinds, [weights[own] for own in kinds])[0]
        base: Base = rng.choice(self.by_kind[kind])
        if base.images is not None:
            (folder / "images").symlink_to(base.images)
        seed, alike = rng.random(), rng.random() < 0.5
        one = rng.randrange(len(base.files))
        files = folder / "files"
        files.mkdir()
        done = ""
        for k, content in enumerate(base.files):
            if alike or k == one:
                content, done = dicom_mutations.mutate(random.Random(f"{seed}"), content)
            (files / f"{k:03d}.dcm").write_bytes(content)
        return f"{base.name}, {'all' if alike else f'file {one}'}: {done}"

    def readers(self, folder: Path) -> Mapping[str, Callable[[Path], None]]:
        """What reads series reads all; what reads masks only what may be one."""
        images = {"load_series": _load, "ingest": _ingest, "predict": _predict}
        return images if len(list((folder / "files").iterdir())) > 1 else {**images, "SEG": _seg, "RTSTRUCT": _rtstruct}


def _load(folder: Path) -> None:
    check_volume(load_series(folder / "files", allow_lossy=True))


def _ingest(folder: Path) -> None:
    found = scan(folder / "files")
    for series in found:
        positions = series_positions(series)
        volume = read_series(series)
        check_volume(volume)
        assert sorted(positions.values()) == list(range(volume.shape[2])), "positions are not the volume's slices"
    for rejection in found.rejections:
        raise DataError(rejection.found)


def _predict(folder: Path) -> None:
    # Asked for by its UID, it may be shorter than a chest.
    found = scan(folder / "files")
    study = open_study(folder / "files", found[0].series if len(found) else None, watch=iter)
    check_volume(study.volume)
    assert study.sources is not None and study.sources.shape == study.volume.shape


@cache
def _images(folder: Path) -> Volume:
    return load_series(folder)


def _drawn_on(folder: Path) -> Volume:
    images = folder / "images"
    return _images(images.resolve()) if images.exists() else Volume(np.zeros((32, 32, SLICES), np.int16), np.eye(4))


def _seg(folder: Path) -> None:
    path = next((folder / "files").iterdir())
    list_segments(path)
    for segment in mask_from_seg(path, _drawn_on(folder)):
        assert segment.mask.max() <= 1


def _rtstruct(folder: Path) -> None:
    path = next((folder / "files").iterdir())
    list_rois(path)
    for mask in mask_from_rtstruct(path, _drawn_on(folder)).values():
        assert mask.max() <= 1
