"""The lesion that a mask marks: one label, one connected part, on the grid of the image.

A mask is an image of whole numbers (0 is background), a DICOM SEG or an RTSTRUCT. One call measures one lesion: where a
mask holds several labels, segments or structures, one has to be named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.lesions import Part, components, part_of_mask
from monai_staging.errors import DataError, UsageError
from monai_staging.measure.images import Image, check_same_grid, read_image
from monai_staging.measure.mesh import Affine


@dataclass(frozen=True, eq=False)
class Marked:
    """What is measured.

    Attributes:
        part: the lesion, cut to its box.
        affine: (4, 4), voxel index of the whole grid to RAS millimetres.
        label: what the mask calls it.
        left_out: voxels of each further part that has the label and does not touch the lesion, largest first.
    """

    part: Part
    affine: Affine
    label: str
    left_out: tuple[int, ...]


def read_marked(path: Path, image: Image, label: str | None = None) -> Marked:
    """The lesion in the mask at ``path``: of the label, the largest connected part (corners connect).

    Args:
        path: ``.nii``, ``.nii.gz``, ``.mhd``, DICOM SEG or RTSTRUCT.
        image: on whose grid the mask must be.
        label: the value, the number of the segment, or the name of the structure; needed where there are several.

    Raises:
        UsageError: several labels and none named, or one that is no number where numbers are.
        DataError: the mask cannot be read, is on another grid, holds fractions, or marks nothing of that label.
        OSError: it is not there.
    """
    path.stat()
    read = _read_dicom if _is_dicom(path) else _read_voxels
    mask, affine, label = read(path, image, label)
    parts = components(mask)
    if not parts:
        raise DataError(f"Mask {path.name}: a lesion has one voxel at least; {label} has none.")
    return Marked(parts[0], affine, label, tuple(part.voxels for part in parts[1:]))


def _read_voxels(path: Path, image: Image, label: str | None) -> tuple[npt.NDArray[Any], Affine, str]:
    if path.is_dir():
        raise DataError(f"Mask {path.name}: a mask is one file; found a folder.")
    own = read_image(path)
    check_same_grid(image, own)
    values = own.read(own.whole)
    marked = part_of_mask(values)
    if marked is None:
        raise DataError(f"Mask {path.name}: a lesion has one voxel at least; all {values.size} are 0.")
    # The box of what is marked is small; sorting a whole scan's voxels for their values is not.
    inside = values[marked.box]
    found, counts = np.unique(inside[marked.mask], return_counts=True)
    broken = found[~np.isfinite(found) | (found != np.rint(found))]
    if len(broken):
        raise DataError(f"Mask {path.name}: labels are whole numbers; found {broken[0]:g}.")
    voxels = {str(int(value)): int(count) for value, count in zip(found, counts, strict=True)}
    if label is not None:
        try:
            label = str(int(label))
        except ValueError:
            raise UsageError(f"Mask {path.name}: --label is a whole number here; found {label!r}.") from None
        if label not in voxels:
            raise DataError(f"Mask {path.name}: no voxel has the label {label}; it has {_listed(voxels)}.")
    chosen = label if label is not None else _only(path, voxels, "labels")
    mask = np.zeros(own.shape, np.bool_, order="F")
    mask[marked.box] = inside == int(chosen)
    return mask, own.affine, f"label {chosen}"


def _read_dicom(path: Path, image: Image, label: str | None) -> tuple[npt.NDArray[Any], Affine, str]:
    """A SEG's segment or an RTSTRUCT's structure, placed on the image's grid by patient coordinates."""
    from pydicom import dcmread

    from monai_staging.cohort.masks import list_rois, list_segments, mask_from_rtstruct, mask_from_seg
    from monai_staging.cohort.volume import Volume

    # Where it lies is all that the readers ask of the volume.
    volume = Volume(np.broadcast_to(np.int16(0), image.shape), image.affine)
    frame = _frame_of_reference(image.path)
    kind = str(dcmread(path, stop_before_pixels=True, specific_tags=["Modality"]).get("Modality", ""))
    if kind == "RTSTRUCT":
        contours = {name: count for name, count in list_rois(path).items() if count}
        name = label if label is not None else _only(path, contours, "structures")
        mask = mask_from_rtstruct(path, volume, rois=[name], frame_of_reference=frame)[name]
        return mask, image.affine, f"structure {name}"
    names = {str(number): text for number, text in list_segments(path).items()}
    chosen = label if label is not None else _only(path, names, "segments")
    if not chosen.isdecimal():
        raise UsageError(f"Mask {path.name}: --label is the number of a segment here; found {chosen!r}.")
    (segment,) = mask_from_seg(path, volume, segments=[int(chosen)], frame_of_reference=frame)
    return segment.mask, image.affine, f"segment {segment.number} ({segment.label})"


def _is_dicom(path: Path) -> bool:
    if path.is_dir():
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _frame_of_reference(folder: Path) -> str:
    """FrameOfReferenceUID of the CT series in a folder; empty for other images, which have none."""
    from monai_staging.cohort.dicom.scan import group

    if not folder.is_dir():
        return ""
    found = group(sorted(path for path in folder.iterdir() if path.is_file()), anonymous=True)
    return next((series.frame_of_reference for series in found if series.modality == "CT"), "")


def _only(path: Path, known: Mapping[str, object], what: str) -> str:
    """The only label there is."""
    if not known:
        raise DataError(f"Mask {path.name}: a lesion has one voxel at least; it has no {what}.")
    if len(known) > 1:
        raise UsageError(
            f"Mask {path.name}: one lesion is measured, of several {what} --label names one; found {_listed(known)}."
        )
    return next(iter(known))


def _listed(known: Mapping[str, object]) -> str:
    """Labels, each with its voxels, contours or name; of many the first."""
    shown = [f"{label} ({about})" for label, about in list(known.items())[:10]]
    return ", ".join(shown) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
