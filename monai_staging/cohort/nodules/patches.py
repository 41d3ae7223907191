"""Nodule patches in one ``.npz`` and a table: LIDC-IDRI's nodules as slices of 64 by 64 native pixels.

``lidc_nodules_64.npz`` holds ``images`` (slices, 64, 64) uint8, every slice that a reader outlined, and
``masks_packed`` = ``numpy.packbits`` of four readers' outlines (slices, 4, 64, 64) along the last axis; ``nodules.csv``
says which slices are whose, at what spacing, and what the readers thought. Intensities are stretched per patch: not HU.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.archives import read_npz
from monai_staging.cohort.nodules.nodule import (
    BENIGN,
    MALIGNANT,
    NoduleRecord,
    NoduleSet,
    NoduleVolume,
    label_of_ratings,
)
from monai_staging.errors import DataError
from monai_staging.files import atomic_path

VOLUMES = "lidc_nodules_64.npz"
TABLE = "nodules.csv"
IMAGES, MASKS = "images", "masks_packed"
SIZE, READERS = 64, 4
PHANTOM = "phantom"
"""Patients whose name begins so are phantoms."""
ATTRIBUTES = {
    "subtlety": "subtlety_mean",
    "texture": "texture_mean",
    "spiculation": "spiculation_mean",
    "lobulation": "lobulation_mean",
    "margin": "margin_mean",
    "sphericity": "sphericity_mean",
    "calcification": "calcification_median",
}
"""What readers rate besides malignancy: our name to the table's column."""
UNREADABLE = (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises for an archive that is damaged, or lacks an array."""
_NEEDED = ("nodule_index", "patient_id", "slice_thickness_mm", "pixel_spacing_mm", "npz_first_slice", "npz_n_slices")


def slice_patients(folder: Path) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Every slice, (slices, 64, 64) uint8, and whose it is, by the name in the table; for learning without labels.

    Raises:
        DataError: as :func:`load_patches`, or a slice that belongs to no nodule.
    """
    images, _ = _read_volumes(folder / VOLUMES)
    rows = _read_table(folder / TABLE)
    owner = [""] * len(images)
    for row, (first, end) in zip(rows, _spans(folder, rows, len(images)), strict=True):
        owner[first:end] = [row["patient_id"]] * (end - first)
    if "" in owner:
        raise DataError(f"{folder / TABLE}: slice {owner.index('')} of {len(images)} has no row: whose is it?")
    return images, tuple(owner)


def is_patches(folder: Path) -> bool:
    """Whether a folder holds this layout."""
    return (folder / VOLUMES).is_file() and (folder / TABLE).is_file()


def load_patches(folder: str | os.PathLike[str]) -> NoduleSet:
    """The nodules of a folder in this layout.

    Args:
        folder: with :data:`VOLUMES` and :data:`TABLE`.

    Raises:
        DataError: a file is missing, damaged or does not fit the other; the row and the rule are named.
    """
    root = Path(folder)
    images, masks = _read_volumes(root / VOLUMES)
    rows = _read_table(root / TABLE)
    patients = {name: place for place, name in enumerate(dict.fromkeys(row["patient_id"] for row in rows), start=1)}
    width = max(3, len(str(len(patients))))
    records: list[NoduleRecord] = []
    spans = _spans(root, rows, len(images))
    for row in rows:
        whose = _whose(root, row)
        records.append(
            NoduleRecord(
                name=row["nodule_index"],
                patient=f"patient-{patients[row['patient_id']]:0{width}d}",
                label=_label(row, whose),
                spacing_mm=_spacing(row, whose),
                ratings=_ratings(row, whose),
                attributes={
                    name: _number(row, column, whose) for name, column in ATTRIBUTES.items() if row.get(column)
                },
            )
        )
    repeated = [name for name, count in Counter(record.name for record in records).items() if count > 1]
    if repeated:
        raise DataError(f"{root / TABLE}: nodule_index must be unique; {repeated[0]} occurs more than once.")

    def read(index: int) -> NoduleVolume:
        span = slice(*spans[index])
        outlines = np.unpackbits(masks[span], axis=-1, count=SIZE).astype(bool).swapaxes(0, 1)
        return NoduleVolume(images[span][None], outlines[outlines.any(axis=(1, 2, 3))])

    synthetic = all(name.startswith(PHANTOM) for name in patients)
    return NoduleSet(
        name="phantom nodules" if synthetic else "LIDC-IDRI nodules",
        source="lidc-nodules",
        digest=files_digest([root / VOLUMES, root / TABLE]),
        task="binary",
        classes=(BENIGN, MALIGNANT),
        records=tuple(records),
        read=read,
        value_range=(0.0, 255.0),
        synthetic=synthetic,
    )


@dataclass(frozen=True, eq=False)
class PatchTable:
    """Nodules to be written.

    Attributes:
        rows: the table's columns but for the index and the slices, one mapping a nodule.
        images: (slices, 64, 64) uint8 each.
        outlines: (4, slices, 64, 64) bool each.
    """

    rows: Sequence[Mapping[str, object]]
    images: Sequence[NDArray[np.uint8]]
    outlines: Sequence[NDArray[np.bool_]]


def write_patches(folder: str | os.PathLike[str], table: PatchTable) -> Path:
    """Writes nodules in this layout; gives the folder. The table comes last: where it is, the volumes are whole."""
    root = Path(folder)
    masks = [np.packbits(one.swapaxes(0, 1), axis=-1) for one in table.outlines]
    with atomic_path(root / VOLUMES) as temporary:
        arrays: dict[str, Any] = {IMAGES: np.concatenate(list(table.images)), MASKS: np.concatenate(masks)}
        np.savez_compressed(temporary, **arrays)
    first = 0
    with atomic_path(root / TABLE) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, ["nodule_index", *table.rows[0], "npz_first_slice", "npz_n_slices"], lineterminator="\n"
        )
        writer.writeheader()
        for index, (row, image) in enumerate(zip(table.rows, table.images, strict=True)):
            writer.writerow({"nodule_index": index, **row, "npz_first_slice": first, "npz_n_slices": len(image)})
            first += len(image)
    return root


def files_digest(paths: Sequence[Path]) -> str:
    """SHA-256 over the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _read_volumes(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    state = path.stat()
    return _cached_volumes(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4)
def _cached_volumes(path: str, size: int, time_ns: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    try:
        found = read_npz(path, (IMAGES, MASKS))
    except UNREADABLE as error:
        raise DataError(f"{path}: arrays {IMAGES!r} and {MASKS!r} are needed and cannot be read: {error}") from error
    images, masks = found[IMAGES], found[MASKS]
    if images.ndim != 3 or images.shape[1:] != (SIZE, SIZE) or images.dtype != np.uint8:
        raise DataError(f"{path}: {IMAGES} must be (slices, {SIZE}, {SIZE}) uint8; found {images.shape} {images.dtype}")
    wanted = (len(images), READERS, SIZE, SIZE // 8)
    if masks.shape != wanted or masks.dtype != np.uint8:
        raise DataError(f"{path}: {MASKS} must be {wanted} uint8; found {masks.shape} {masks.dtype}")
    return images, masks


def _whose(root: Path, row: Mapping[str, str]) -> str:
    return f"{root / TABLE}: nodule {row['nodule_index']}"


def _spans(root: Path, rows: Sequence[Mapping[str, str]], slices: int) -> list[tuple[int, int]]:
    """First slice of each nodule, and the one after its last."""
    spans: list[tuple[int, int]] = []
    owner = np.full(slices, -1)
    for number, row in enumerate(rows):
        whose = _whose(root, row)
        first, count = _whole(row, "npz_first_slice", whose), _whole(row, "npz_n_slices", whose)
        if first < 0 or count < 1 or first + count > slices:
            raise DataError(f"{whose}: its slices must lie in 0..{slices - 1}; found {count} from slice {first} on.")
        other = int(owner[first : first + count].max())
        if other >= 0:
            name = rows[other]["nodule_index"]
            raise DataError(f"{whose}: a slice is one nodule's alone; found some of nodule {name}'s.")
        owner[first : first + count] = number
        spans.append((first, first + count))
    return spans


def _read_table(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: must be UTF-8 text: {error}") from error
    missing = [name for name in _NEEDED if rows and name not in rows[0]]
    if missing or not rows:
        raise DataError(f"{path}: columns {', '.join(_NEEDED)} are needed; missing: {', '.join(missing) or 'all rows'}")
    for number, row in enumerate(rows, start=1):
        absent = [name for name in ("nodule_index", "patient_id") if not row[name]]
        if absent:
            raise DataError(f"{path}: row {number}: {absent[0]} must not be empty.")
    return rows


def _label(row: Mapping[str, str], whose: str) -> tuple[int, ...] | None:
    ratings: Sequence[float] = _ratings(row, whose)
    if not ratings and row.get("malignancy_mean"):
        ratings = [_number(row, "malignancy_mean", whose)]
    try:
        return label_of_ratings(ratings)
    except DataError as error:
        raise DataError(f"{whose}: {error}") from None


def _ratings(row: Mapping[str, str], whose: str) -> tuple[int, ...]:
    words = (row.get("malignancy_ratings") or "").split()
    try:
        return tuple(int(word) for word in words)
    except ValueError:
        raise DataError(f"{whose}: malignancy_ratings are whole numbers; found {' '.join(words)!r}") from None


def _spacing(row: Mapping[str, str], whose: str) -> tuple[float, float, float]:
    thickness, pixel = (_number(row, name, whose) for name in ("slice_thickness_mm", "pixel_spacing_mm"))
    if thickness <= 0 or pixel <= 0:
        raise DataError(f"{whose}: slice thickness and pixel size must be above 0 mm; found {thickness} and {pixel}")
    return thickness, pixel, pixel


def _number(row: Mapping[str, str], column: str, whose: str) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError):  # a short row has nothing there at all
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{whose}: {column} must be a number; found {row[column]!r}")
    return value


def _whole(row: Mapping[str, str], column: str, whose: str) -> int:
    value = _number(row, column, whose)
    if value != int(value):
        raise DataError(f"{whose}: {column} must be a whole number; found {row[column]!r}")
    return int(value)
