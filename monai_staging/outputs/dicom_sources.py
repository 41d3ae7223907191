"""The images that findings refer to: read once, in the order of the volume's slices, for every output of a study."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom import Series, SeriesRefused, series_positions
from monai_staging.cohort.dicom.geometry import lay_out
from monai_staging.cohort.dicom.header import Plane
from monai_staging.cohort.dicom.objects import encode, make_uid
from monai_staging.cohort.dicom.opened import OpenDicom
from monai_staging.cohort.dicom.rules import Rule
from monai_staging.cohort.dicom.structures import Image
from monai_staging.errors import UsageError
from monai_staging.files import atomic_path
from monai_staging.outputs.findings import Algorithm, Findings
from monai_staging.version import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER = "monai_staging"
CHARACTERS = "ISO_IR 192"
_ACQUISITION = "109101"  # DCM, Acquisition Equipment
# What every object must have, empty where it is not known (type 2): written as the images have it.
_IDENTITY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
# Optional references to managed studies and patients, often emptied by anonymisers until they are invalid: left out.
_REFERENCES = ("ReferencedStudySequence", "ReferencedPatientSequence")


@dataclass(frozen=True, eq=False)
class SourceImages:
    """The images of one CT series, without their pixels.

    Attributes:
        series: what they were read from.
        datasets: one per slice, in the order of the volume's slices; a multi-frame image alone.
        planes: position, orientation and pixel spacing of each slice, in the same order.
        images: SOP class and instance of each slice.
        spacing_mm: between slices.
    """

    series: Series
    datasets: tuple[Dataset, ...]
    planes: tuple[Plane, ...]
    images: tuple[Image, ...]
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices: that of the volume, and of its masks."""
        header = self.series.headers[0]
        return header.columns, header.rows, len(self.planes)

    @property
    def whose(self) -> str:
        """For messages: the patient and the series."""
        return f"Case {self.series.patient}: series {self.series.series}"

    @property
    def thickness_mm(self) -> float:
        """SliceThickness of the images; the distance between slices where they do not say."""
        try:
            stated_mm = float(self.series.attributes.get("SliceThickness", ""))
        except ValueError:
            return self.spacing_mm
        return stated_mm if stated_mm > 0 else self.spacing_mm

    def frame_number(self, k: int) -> int | None:
        """The frame, from 1, that slice ``k`` is in a multi-frame image; None in a single-frame one."""
        return self.planes[k].frame + 1 if self.series.headers[0].frames > 1 else None

    def to_lps(self, k: int, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Points (points, 2) of slice ``k``, (column, row) in voxel indices, as (points, 3) in LPS mm."""
        plane = self.planes[k]
        assert plane.orientation is not None and plane.pixel_spacing is not None and plane.position is not None
        cosines = np.reshape(plane.orientation, (2, 3))
        # PixelSpacing is between rows, then between columns; along a row the column index moves.
        steps = cosines * np.reshape(plane.pixel_spacing[::-1], (2, 1))
        return np.asarray(points @ steps + plane.position, np.float64)


def read_sources(series: Series) -> SourceImages:
    """Reads the headers of the images that a volume of `monai_staging.cohort.dicom.read_series` came from.

    Images are put in order by their positions, whatever the order and names of their files.

    Args:
        series: one CT series, of single-frame images or one multi-frame image.

    Raises:
        SeriesRefused: as `read_series`, as far as the headers tell; no study, patient or frame of reference to belong
            to; several multi-frame images.
    """
    order = series_positions(series)
    _check_identity(series)
    planes = [(index, plane) for index, header in enumerate(series.headers) for plane in header.planes]
    grid = lay_out(series.headers, planes)
    owners = [planes[index][0] for index in grid.order]
    if len(series.headers) < len(order) and len(series.headers) > 1:
        found = f"{len(series.headers)} multi-frame images; a SEG refers to the frames of one."
        raise _refusal(series, Rule.PIXEL_LAYOUT, found)
    datasets = [_read(series, series.headers[index].path) for index in dict.fromkeys(owners)]
    return SourceImages(
        series=series,
        datasets=tuple(datasets),
        planes=tuple(planes[index][1] for index in grid.order),
        images=tuple((series.headers[index].sop_class, series.headers[index].sop_uid) for index in owners),
        spacing_mm=round(float(np.linalg.norm(grid.affine[:3, 2])), 6),  # fits a decimal string
    )


def _read(series: Series, path: Path) -> Dataset:
    """An image's data set without its pixels, with every part of an identity, if an empty one."""
    from pydicom import dcmread

    try:
        with OpenDicom(path) as file:
            dataset = dcmread(file, stop_before_pixels=True, force=True)
        for keyword in _IDENTITY:
            # Asked for here, since pydicom fails on a damaged value only then.
            if dataset.get(keyword) is None:
                setattr(dataset, keyword, "")
    except Exception as error:  # pydicom fails on a damaged file in many ways
        reason = " ".join(str(error).split())[:300]
        found = f"{path.name}: its header cannot be read ({reason}); outputs repeat its identity."
        raise _refusal(series, Rule.UNREADABLE, found) from error
    return dataset


def content_uid(kind: str, sources: SourceImages, findings: Findings, content: str = "") -> str:
    """A UID that follows from what is written: the series, the findings (models' digests included) and ``content``.

    So the same run on the same study gives the same UIDs, and storing its result again replaces it in a PACS instead of
    filling it with copies; whatever differs gives another UID.
    """
    return make_uid(
        MANUFACTURER, __version__, kind, sources.series.study, sources.series.series, findings.digest, content
    )


def lesion_uid(sources: SourceImages, algorithm: Algorithm, label: int) -> str:
    """A tracking UID for a lesion that has none yet: the same for the same series, models and label."""
    return make_uid(MANUFACTURER, "lesion", sources.series.series, repr(algorithm), label)


def mask_digest(mask: npt.NDArray[Any]) -> str:
    """SHA-256 of a mask's shape and marked voxels, in hexadecimal, whatever its type and memory order."""
    voxels = np.argwhere(mask.T)
    digest = hashlib.sha256(repr(mask.shape).encode())
    digest.update(voxels.astype("<u2").tobytes())
    digest.update(mask.T[tuple(voxels.T)].astype("<u2").tobytes())
    return digest.hexdigest()


def equipment(algorithm: Algorithm) -> dict[str, Any]:
    """Manufacturer, model, version and serial number, as highdicom's classes take them."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": algorithm.name,
        "software_versions": [algorithm.version, f"{MANUFACTURER} {__version__}"],
        "device_serial_number": make_uid(repr(algorithm))[-16:],
    }


def templates(sources: SourceImages) -> list[Dataset]:
    """The images as highdicom takes them: without an identity, which it would convert, refuse or warn of by name."""
    first = deepcopy(sources.datasets[0])
    first.SpecificCharacterSet = CHARACTERS
    for keyword in _IDENTITY:
        setattr(first, keyword, "")
    for keyword in _REFERENCES:
        first.pop(keyword, None)
    first.SliceThickness = sources.thickness_mm
    return [first, *sources.datasets[1:]]


def write_object(path: str | os.PathLike[str], dataset: Any, sources: SourceImages, created: datetime | None) -> Path:
    """Writes an object of the sources' study, atomically, with the patient's identity exactly as the images have it.

    Args:
        path: the file.
        dataset: the object.
        sources: whose it is.
        created: when it was made; now by default.
    """
    first = sources.datasets[0]
    dataset.SpecificCharacterSet = CHARACTERS  # UTF-8: holds whatever the images' own character set does
    for keyword in _IDENTITY:
        dataset[keyword] = deepcopy(first[keyword])
    moment = datetime.now() if created is None else created
    for keyword, value in _stamps(moment).items():
        if keyword in dataset or keyword.startswith("Instance"):
            setattr(dataset, keyword, value)
    for item in dataset.get("ContributingEquipmentSequence") or []:
        # The scanner contributed when it scanned; what encoded the object, when the object was made.
        if item.PurposeOfReferenceCodeSequence[0].CodeValue != _ACQUISITION and "ContributionDateTime" in item:
            item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S.%f")
    content = encode(dataset)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def _stamps(moment: datetime) -> Mapping[str, str]:
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    stamps = {}
    for what in ("InstanceCreation", "Content", "StructureSet"):
        stamps[f"{what}Date"], stamps[f"{what}Time"] = date, time
    return stamps


def check_mask(mask: npt.NDArray[Any], sources: SourceImages, findings: Findings) -> None:
    """Whether a mask lies on the series' grid and marks the lesions reported, and no others.

    Raises:
        UsageError: another shape, no whole numbers, a label without a finding, or a finding without voxels.
    """
    whose = sources.whose
    if mask.dtype.kind not in "iub" or mask.ndim != 3:
        raise UsageError(f"{whose}: a mask is a 3-D array of labels; found {mask.ndim}-D {mask.dtype}.")
    if mask.shape != sources.shape:
        raise UsageError(f"{whose}: the mask has the volume's shape, {sources.shape}; found {mask.shape}.")
    found = {int(label) for label in np.unique(mask[mask != 0])}
    reported = {lesion.label for lesion in findings.lesions}
    if found - reported:
        labels = sorted(found - reported)
        raise UsageError(f"{whose}: every label of the mask is of a lesion reported; found {labels} of none.")
    if reported - found:
        labels = sorted(reported - found)
        raise UsageError(f"{whose}: every lesion reported has voxels in the mask; found none of {labels}.")


def _check_identity(series: Series) -> None:
    wanted = {
        "PatientID": series.patient,
        "StudyInstanceUID": series.study,
        "SeriesInstanceUID": series.series,
        "FrameOfReferenceUID": series.frame_of_reference,
    }
    missing = [name for name, value in wanted.items() if not value]
    if missing:
        rule = Rule.MISSING_GEOMETRY if missing == ["FrameOfReferenceUID"] else Rule.MISSING_IDENTITY
        raise _refusal(series, rule, f"no {', '.join(missing)}: nothing that an output could belong to.")


def _refusal(series: Series, rule: Rule, found: str) -> SeriesRefused:
    return SeriesRefused(rule, found, series.patient, series.study, series.series, series.files)
