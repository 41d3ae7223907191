"""One CT series to one volume, or to the reason why not."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom.codestream import loss_of
from monai_staging.cohort.dicom.geometry import Grid, lay_out
from monai_staging.cohort.dicom.header import Header, Plane
from monai_staging.cohort.dicom.pixels import check_claim, read_planes
from monai_staging.cohort.dicom.rules import BrokenRule, Rule, SeriesRefused
from monai_staging.cohort.dicom.scan import Series, group
from monai_staging.cohort.limits import oversized
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError, UsageError

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}


def read_series(series: Series, *, allow_lossy: bool = False, workers: int = 2) -> Volume:
    """The volume of a CT series, slices in order along the normal, HU exact.

    Args:
        series: one of `scan`'s.
        allow_lossy: take pixels that went, or may have gone, through a lossy compression; refused otherwise.
        workers: threads that read pixels.

    Raises:
        SeriesRefused: a rule is broken; its ``rule`` and ``found`` say which and by what.
    """
    try:
        grid, planes = _lay_out(series, allow_lossy)
        array = _read_pixels(series.headers, [planes[index] for index in grid.order], workers)
    except BrokenRule as broken:
        raise SeriesRefused(
            broken.rule, broken.found, series.patient, series.study, series.series, series.files
        ) from broken
    return Volume(array.transpose(2, 1, 0), grid.affine)


def series_positions(series: Series) -> dict[str, int]:
    """SOPInstanceUID -> slice index k in the volume of `read_series`, from the headers alone.

    A multi-frame file stands with its SOPInstanceUID and, after a ``#``, its frame number from 1: ``1.2.3#17``.

    Raises:
        SeriesRefused: as `read_series`, as far as the headers tell.
    """
    try:
        grid, planes = _lay_out(series, allow_lossy=True)
    except BrokenRule as broken:
        raise SeriesRefused(
            broken.rule, broken.found, series.patient, series.study, series.series, series.files
        ) from broken
    positions = {}
    for k, index in enumerate(grid.order):
        owner, plane = planes[index]
        header = series.headers[owner]
        positions[header.sop_uid if header.frames == 1 else f"{header.sop_uid}#{plane.frame + 1}"] = k
    return positions


def load_series(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, allow_lossy: bool = False, workers: int = 2
) -> Volume:
    """The volume of the one CT series in a folder (no subfolders) or among files; other modalities are ignored.

    Files whose identity was removed (no PatientID or UIDs) are taken as one patient's; `scan` refuses those.

    Raises:
        SeriesRefused: see `read_series`.
        DataError: no CT series, several, or a file that says it is DICOM and cannot be parsed.
        UsageError: the folder does not exist.
    """
    if isinstance(source, (str, os.PathLike)):
        folder = Path(source)
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder.")
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        name = folder.name
    else:
        paths = [Path(path) for path in source]
        name = f"{len(paths)} files"
    found = group(paths, workers=workers, anonymous=True)
    if found.rejections:
        first = found.rejections[0]
        raise DataError(f"{name}: {first.found}")
    ct = [series for series in found if series.modality == "CT"]
    if len(ct) != 1:
        others = Counter(series.modality for series in found)
        held = ", ".join(f"{count} {modality}" for modality, count in sorted(others.items())) or "none"
        raise DataError(f"{name}: expected one CT series; found {len(ct)} (series by modality: {held}).")
    return read_series(ct[0], allow_lossy=allow_lossy, workers=workers)


def _lay_out(series: Series, allow_lossy: bool) -> tuple[Grid, list[tuple[int, Plane]]]:
    """Checks everything the headers tell. The planes come with the index of their header."""
    _check_kind(series)
    if not allow_lossy:
        _check_lossless(series)
    planes = [(index, plane) for index, header in enumerate(series.headers) for plane in header.planes]
    _check_units(series, planes)
    _check_instances(series)
    return lay_out(series.headers, planes), planes


def _check_kind(series: Series) -> None:
    for header in series.headers:
        name = header.path.name
        if header.sop_class not in CT_CLASSES:
            kind = f"{_class_name(header.sop_class)}, modality {header.modality or 'not given'}"
            found = f"{name} is no CT image ({kind})."
            raise BrokenRule(Rule.NOT_CT, found)
        if header.rows < 1 or header.columns < 1:
            raise BrokenRule(Rule.TRUNCATED, f"{name} has {header.rows} rows and {header.columns} columns.")
        if any("LOCALIZER" in plane.image_type or "SCOUT" in plane.image_type for plane in header.planes):
            kind = "\\".join(header.planes[0].image_type)
            found = f"{name} is a localizer (ImageType {kind}) among {len(series.files)} files."
            raise BrokenRule(Rule.LOCALIZER, found)
        if header.samples != 1 or header.photometric != "MONOCHROME2":
            kind = f"{header.photometric or 'no photometric interpretation'}, {header.samples} samples a pixel"
            found = f"{name} is not MONOCHROME2 ({kind})."
            raise BrokenRule(Rule.NOT_GRAYSCALE, found)
        if header.frames != len(header.planes):
            found = f"{name} has {header.frames} frames and the geometry of {len(header.planes)}."
            raise BrokenRule(Rule.MISSING_GEOMETRY, found)


def _check_lossless(series: Series) -> None:
    for header in series.headers:
        loss = loss_of(header)
        if loss is not None:
            found = f"{header.path.name} {loss}; its HU cannot be taken for the scanner's."
            raise BrokenRule(Rule.LOSSY, found)


def _check_units(series: Series, planes: list[tuple[int, Plane]]) -> None:
    units = set()
    for index, plane in planes:
        name = series.headers[index].path.name
        if plane.slope is None or plane.intercept is None or plane.slope == 0:
            raise BrokenRule(Rule.NOT_HOUNSFIELD, f"{name} has no usable RescaleSlope and RescaleIntercept.")
        unit = plane.rescale_type or "HU"
        # "US" is DICOM's "unspecified": scanners write it on plain CT, but derived maps (perfusion, ...) do as well.
        if unit != "HU" and not (unit == "US" and plane.image_type[0] == "ORIGINAL"):
            kind = "\\".join(plane.image_type)
            raise BrokenRule(Rule.NOT_HOUNSFIELD, f"{name} is in {unit}, not Hounsfield units (ImageType {kind}).")
        units.add(unit)
    if len(units) > 1:
        raise BrokenRule(Rule.MIXED_RESCALE_TYPES, f"slices of rescale types {' and '.join(sorted(units))}.")


def _check_instances(series: Series) -> None:
    uids = Counter(header.sop_uid for header in series.headers)
    uid, count = uids.most_common(1)[0]
    if count > 1:
        names = " and ".join(header.path.name for header in series.headers if header.sop_uid == uid)
        found = f"SOPInstanceUID {uid} in {count} files ({names}); refuse to choose."
        raise BrokenRule(Rule.DUPLICATE_INSTANCES, found)


def _read_pixels(headers: tuple[Header, ...], planes: list[tuple[int, Plane]], workers: int) -> npt.NDArray[np.int16]:
    """Pixels of ``planes`` in their order: int16, shape (slices, rows, columns)."""
    for header in headers:
        check_claim(header)
    broken = oversized((headers[0].columns, headers[0].rows, len(planes)))
    if broken is not None:
        raise BrokenRule(Rule.IMPLAUSIBLE_SIZE, f"{broken}.")
    array = np.empty((len(planes), headers[0].rows, headers[0].columns), np.int16)
    targets: dict[int, dict[int, npt.NDArray[np.int16]]] = defaultdict(dict)
    for k, (index, plane) in enumerate(planes):
        targets[index][plane.frame] = array[k]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for _ in pool.map(lambda index: read_planes(headers[index], targets[index]), targets):
            pass
    return array


def _class_name(uid: str) -> str:
    from pydicom.uid import UID

    return UID(uid).name
