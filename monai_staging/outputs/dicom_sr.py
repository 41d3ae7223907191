"""Findings as a DICOM measurement report (TID 1500) in a Comprehensive 3D SR."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_staging.errors import UsageError
from monai_staging.outputs.annotation import Annotation
from monai_staging.outputs.dicom_codes import SCHEME
from monai_staging.outputs.dicom_sources import (
    MANUFACTURER,
    SourceImages,
    content_uid,
    equipment,
    templates,
    write_object,
)
from monai_staging.outputs.dicom_sr_boxes import box_groups
from monai_staging.outputs.dicom_sr_content import lesion_group, staging_group
from monai_staging.outputs.dicom_sr_reading import read_sr
from monai_staging.outputs.findings import Algorithm, Findings
from monai_staging.version import __version__

if TYPE_CHECKING:
    import highdicom
    from pydicom import Dataset

__all__ = ["read_sr", "write_sr"]

SERIES_NUMBER = 9002


def write_sr(
    path: str | os.PathLike[str],
    findings: Findings,
    seg: Dataset | None,
    sources: SourceImages,
    *,
    created: datetime | None = None,
    annotation: Annotation | None = None,
) -> Path:
    """Writes the report: the images, a measurement group a lesion, and one for the stage.

    A study without lesions is reported too: its stage, that there are none, and what was not assessed. `read_sr` gives
    the same findings back, value for value. UIDs follow from the content (`content_uid`).

    Args:
        path: the file to write.
        findings: what to report.
        seg: the SEG that `write_seg` wrote of the same findings; None where there is no lesion.
        sources: the images of the volume.
        created: when it was made; now by default.
        annotation: of the label that is reported; None for a prediction.

    Raises:
        UsageError: lesions without a SEG, a SEG of other lesions or images, or a slice that the series does not have.
    """
    from highdicom import sr
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom.sr.codedict import codes

    _check_seg(findings, seg, sources)
    groups: list[Any] = []
    if seg is not None:
        groups += [lesion_group(lesion, findings.algorithm, sources, seg) for lesion in findings.lesions]
    if annotation is not None:
        groups += box_groups(annotation, sources)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_person_context=None if annotation is None else annotation.observer(),
            observer_device_context=_observer(findings.algorithm),
        ),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        title=codes.DCM.OncologyMeasurementReport,
        imaging_measurements=[*groups, staging_group(findings, sources, annotation)],
    )
    # Before the measurements, where TID 1500 has it.
    report[0].ContentSequence.insert(len(report[0].ContentSequence) - 1, _image_library(sources))
    images = templates(sources)
    content = ("" if seg is None else str(seg.SOPInstanceUID)) + ("" if annotation is None else annotation.digest)
    dataset = sr.Comprehensive3DSR(
        evidence=images if seg is None else [*images, seg],
        content=report[0],
        series_instance_uid=content_uid("sr series", sources, findings, content),
        series_number=SERIES_NUMBER,
        sop_instance_uid=content_uid("sr", sources, findings, content),
        instance_number=1,
        is_complete=True,
        series_description="Lesions and stage" if annotation is None else annotation.title,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                SCHEME,
                name=f"Codes of {MANUFACTURER}",
                version=__version__,
                responsible_organization=MANUFACTURER,
            )
        ],
        **equipment(findings.algorithm),
    )
    return write_object(path, dataset, sources, created)


def _check_seg(findings: Findings, seg: Dataset | None, sources: SourceImages) -> None:
    whose = sources.whose
    if seg is None:
        if findings.lesions:
            raise UsageError(f"{whose}: lesions are reported with their SEG; found {len(findings.lesions)} and none.")
    else:
        found = {item.SegmentNumber: str(item.get("TrackingUID", "")) for item in seg.get("SegmentSequence") or []}
        expected = {lesion.label: lesion.tracking_uid for lesion in findings.lesions}
        if found != expected:
            raise UsageError(
                f"{whose}: the SEG has the lesions reported, by number and tracking UID;"
                f" found {found}, expected {expected}."
            )
        series = {str(item.SeriesInstanceUID) for item in seg.get("ReferencedSeriesSequence") or []}
        if series != {sources.series.series}:
            raise UsageError(
                f"{whose}: the SEG is of the series reported; found {', '.join(sorted(series)) or 'none'}."
            )
    slices = sources.shape
    for lesion in findings.lesions:
        axis, index = lesion.measurement.axial_axis, lesion.measurement.axial_slice
        if not 0 <= axis <= 2 or not 0 <= index < slices[axis]:
            raise UsageError(
                f"{whose}: lesion {lesion.label} was measured on slice {index} of axis {axis}; the volume is {slices}."
            )


def _observer(algorithm: Algorithm) -> highdicom.sr.ObserverContext:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    from monai_staging.cohort.dicom.objects import make_uid

    own = equipment(algorithm)
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=make_uid(MANUFACTURER, "device", repr(algorithm)),
            name=algorithm.name,
            manufacturer_name=own["manufacturer"],
            model_name=own["manufacturer_model_name"],
            serial_number=own["device_serial_number"],
        ),
    )


def _image_library(sources: SourceImages) -> highdicom.sr.ContainerContentItem:
    """TID 1600: every image, and once for all what they share. Their positions are in the images themselves."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    acquired = "HAS ACQ CONTEXT"
    group = sr.ContainerContentItem(codes.DCM.ImageLibraryGroup, relationship_type="CONTAINS")
    group.ContentSequence = sr.ContentSequence(
        [
            sr.CodeContentItem(codes.DCM.Modality, codes.DCM.ComputedTomography, relationship_type=acquired),
            sr.UIDRefContentItem(
                codes.DCM.FrameOfReferenceUID, sources.series.frame_of_reference, relationship_type=acquired
            ),
            *(
                sr.ImageContentItem(codes.SCT.Source, *image, relationship_type="CONTAINS")
                for image in dict.fromkeys(sources.images)
            ),
        ]
    )
    library = sr.ContainerContentItem(codes.DCM.ImageLibrary, relationship_type="CONTAINS")
    library.ContentSequence = sr.ContentSequence([group])
    return library
