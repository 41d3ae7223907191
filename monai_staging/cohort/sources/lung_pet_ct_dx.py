"""Lung-PET-CT-Dx (TCIA, DOI 10.7937/TCIA.2020.NNC2-0461).

CT and PET series under ``Lung_Dx-A0001``, ...; boxes as one Pascal VOC XML a slice, ``A0001/<SOPInstanceUID>.xml``; an
xlsx with T-Stage, N-Stage and an M column whose name has a full-width M. The edition is not stated; T 1c and M 1c exist
from the 8th on. The box's class letter is the histology. Several CT series a patient, not all of them with boxes: each
one that can be read is a case.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_staging.cohort.clinical import ALIASES
from monai_staging.cohort.dicom import Rejection, Rule, Series, scan, series_positions, with_progress
from monai_staging.cohort.lesions import lesions_of_boxes
from monai_staging.cohort.sources.base import (
    ANNOTATION_WITHOUT_IMAGE,
    Annotation,
    Defaults,
    Plan,
    SourceOptions,
    build_plan,
)
from monai_staging.cohort.sources.safe_xml import read_root
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError

SUBTYPES = {
    "A": "adenocarcinoma",
    "B": "small cell carcinoma",
    "E": "large cell carcinoma",
    "G": "squamous cell carcinoma",
}
ANNOTATION_OUTSIDE_IMAGE = "annotation-outside-image"
ANNOTATION_OF_ANOTHER_PATIENT = "annotation-of-another-patient"
PATIENT_PREFIX = "Lung_Dx-"


def patient_id(name: str) -> str:
    """PatientID of a patient as table and annotations name them: ``A0001`` is ``Lung_Dx-A0001``."""
    return name if name.startswith(PATIENT_PREFIX) else PATIENT_PREFIX + name


DEFAULTS = Defaults(
    aliases={**ALIASES, "patient": ("newpatientid", *ALIASES["patient"])},
    table=("*clinical*.xlsx", "clinical.csv"),
    patient_id=patient_id,
)


@dataclass(frozen=True)
class SliceBoxes:
    """One XML: the boxes on one slice, ``(class, xmin, ymin, xmax, ymax)`` in pixels, and the image size it states."""

    path: Path
    sop_uid: str
    size: tuple[int, int]
    boxes: tuple[tuple[str, float, float, float, float], ...]


@dataclass(frozen=True)
class BoxAnnotator:
    """Puts a series' boxes on its slices and joins them to lesions."""

    slices: tuple[SliceBoxes, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The XMLs."""
        return tuple(boxes.path for boxes in self.slices)

    def fingerprint(self) -> Any:
        """Nothing beside the files."""
        return None

    def annotate(self, series: Series, volume: Volume) -> Annotation:
        """Lesions with their boxes; an XML that does not fit its image is refused alone.

        It states another image size, leaves the image, or is of an image of several frames.
        """
        positions = series_positions(series)
        columns, rows, _ = volume.shape
        placed = []
        rejections = []

        def refuse(own: SliceBoxes, rule: str, found: str) -> None:
            files = (str(own.path),)
            rejections.append(Rejection(series.patient, series.study, series.series, rule, found, files))

        for own in self.slices:
            outside = [box for _, *box in own.boxes if box[0] < 0 or box[1] < 0 or box[2] > columns or box[3] > rows]
            if own.size != (columns, rows) or outside:
                stated = "x".join(map(str, own.size))
                found = f"{own.path.name}: boxes {outside}, image size {stated}; the image is {columns}x{rows}."
                refuse(own, ANNOTATION_OUTSIDE_IMAGE, found)
            elif own.sop_uid not in positions:
                found = f"{own.path.name}: its image has several frames, and it does not say which."
                refuse(own, ANNOTATION_WITHOUT_IMAGE, found)
            else:
                placed += [(positions[own.sop_uid], x0, y0, x1, y1) for _, x0, y0, x1, y1 in own.boxes]
        return Annotation(lesions_of_boxes(placed, volume.affine), None, tuple(rejections))


def plan(raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest; the table is the collection's ``...clinical...xlsx``, or the user's."""
    scanned = scan(raw, watch=with_progress)
    owners = {header.sop_uid: series for series in scanned for header in series.headers}
    slices: dict[str, list[SliceBoxes]] = defaultdict(list)
    rejections = []
    for path in sorted(raw.rglob("*.xml")):
        try:
            own = read_boxes(path)
        except DataError as error:
            rejections.append(_reject(path, Rule.UNREADABLE.value, str(error)))
            continue
        if own is None:
            continue
        series = owners.get(own.sop_uid)
        if series is None:
            found = f"no image with SOPInstanceUID {own.sop_uid} in this tree."
            rejections.append(_reject(path, ANNOTATION_WITHOUT_IMAGE, found))
        elif series.patient != _patient(path):
            found = f"the image is of patient {series.patient}."
            rejections.append(_reject(path, ANNOTATION_OF_ANOTHER_PATIENT, found))
        elif series.modality != "CT":
            found = f"its image is {series.modality or 'of no modality'}, no CT (series {series.series})."
            rejections.append(_reject(path, ANNOTATION_WITHOUT_IMAGE, found))
        else:
            slices[series.series].append(own)
    made = build_plan(
        raw,
        scanned,
        options,
        DEFAULTS,
        lambda series: BoxAnnotator(tuple(slices[series.series])) if series.series in slices else None,
        rejections=tuple(rejections),
    )
    subtypes = _subtypes({series.series: series.patient for series in scanned}, slices)
    jobs = (
        job
        if job.labels.subtype is not None
        else replace(job, labels=replace(job.labels, subtype=subtypes.get(job.series.patient)))
        for job in made.jobs
    )
    return replace(made, jobs=tuple(jobs))


def read_boxes(path: Path) -> SliceBoxes | None:
    """The boxes of one XML; ``None`` for one that is no Pascal VOC annotation.

    The numbers are edges: ``xmin`` is where the box begins and ``xmax`` where it ends, counted in pixels from the
    image's left edge.

    Raises:
        DataError: it cannot be parsed, declares a document type, or a box has no extent.
    """
    root = read_root(path, "Pascal VOC")
    if root.tag != "annotation":
        return None
    try:
        size = (int(root.findtext("size/width", "")), int(root.findtext("size/height", "")))
        boxes = []
        for item in root.iter("object"):
            x0, y0, x1, y1 = (float(item.findtext(f"bndbox/{edge}", "")) for edge in ("xmin", "ymin", "xmax", "ymax"))
            if not (x0 < x1 and y0 < y1):
                raise ValueError(f"box ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) has no extent")
            boxes.append((item.findtext("name", "").strip(), x0, y0, x1, y1))
    except ValueError as error:
        raise DataError(f"{path.name} cannot be read as Pascal VOC ({error}).") from None
    return SliceBoxes(path, path.stem, size, tuple(boxes))


def _subtypes(patients: Mapping[str, str], slices: Mapping[str, list[SliceBoxes]]) -> dict[str, str]:
    """Histology by patient, from the class of their boxes; none where the classes differ or mean nothing."""
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for series, owned in slices.items():
        classes[patients[series]].update(name.upper() for boxes in owned for name, *_ in boxes.boxes)
    return {
        patient: SUBTYPES[next(iter(found))]
        for patient, found in classes.items()
        if len(found) == 1 and next(iter(found)) in SUBTYPES
    }


def _patient(path: Path) -> str:
    """The patient whom the folder of an XML names."""
    return patient_id(path.parent.name)


def _reject(path: Path, rule: str, found: str) -> Rejection:
    return Rejection(_patient(path), "", "", rule, found, (str(path),))
