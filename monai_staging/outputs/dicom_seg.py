"""Lesions as a DICOM SEG on the images they were found in."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom.objects import make_uid
from monai_staging.outputs.annotation import Annotation
from monai_staging.outputs.dicom_codes import ARTIFICIAL_INTELLIGENCE, CATEGORIES, SITES, to_dicom
from monai_staging.outputs.dicom_sources import (
    SourceImages,
    check_mask,
    content_uid,
    equipment,
    mask_digest,
    templates,
    write_object,
)
from monai_staging.outputs.findings import Algorithm, Findings, LesionFinding

if TYPE_CHECKING:
    import highdicom

SERIES_NUMBER = 9001


def write_seg(
    path: str | os.PathLike[str],
    mask: npt.NDArray[Any],
    findings: Findings,
    sources: SourceImages,
    *,
    created: datetime | None = None,
    annotation: Annotation | None = None,
) -> Path | None:
    """Writes a binary SEG: segment n is lesion n, on the images' own grid, with frames only where it has voxels.

    Each segment has its category and site coded (DICOM CID 7151), the lesion's tracking identifiers, and what found it;
    the object refers to every image of the series. UIDs follow from the content (`content_uid`).
    What an annotator marked is called manual, and has their name.

    Args:
        path: the file to write.
        mask: (I, J, K) labels on the volume's grid, 0 for background, as `read_series` orders its voxels.
        findings: the lesions, by label.
        sources: the images of the volume.
        created: when it was made; now by default.
        annotation: of the label that it is; None for a prediction.

    Returns:
        The path; None, and nothing is written, where there is no lesion: a SEG has at least one segment.

    Raises:
        UsageError: a mask of another shape, a label that no lesion has, or a lesion without voxels.
    """
    import highdicom

    check_mask(mask, sources, findings)
    if not findings.lesions:
        return None
    frames = np.ascontiguousarray(mask.T, np.uint8 if len(findings.lesions) < 256 else np.uint16)
    plane = sources.planes[0]
    digest = mask_digest(mask) + ("" if annotation is None else annotation.digest)
    manual = annotation is not None and bool(annotation.annotator)
    dataset = highdicom.seg.Segmentation(
        source_images=templates(sources),
        pixel_array=frames[_frame_order(sources)] if len(sources.datasets) < len(frames) else frames,
        segmentation_type="BINARY",
        segment_descriptions=[_segment(lesion, None if manual else findings.algorithm) for lesion in findings.lesions],
        series_instance_uid=content_uid("seg series", sources, findings, digest),
        series_number=SERIES_NUMBER,
        sop_instance_uid=content_uid("seg", sources, findings, digest),
        instance_number=1,
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=plane.pixel_spacing or (),
            slice_thickness=sources.thickness_mm,
            spacing_between_slices=sources.spacing_mm,
        ),
        content_label="LESIONS",
        content_description="Lesions found" if annotation is None else "Lesions of a label",
        series_description="Lesions" if annotation is None else annotation.title,
        content_creator_name=annotation.creator if annotation is not None and manual else None,
        **equipment(findings.algorithm),
    )
    _set_dimensions(dataset)
    return write_object(path, dataset, sources, created)


def _set_dimensions(dataset: Any) -> None:
    """Gives the organisation of frames a UID that follows from the object's: highdicom draws one."""
    uid = make_uid(dataset.SOPInstanceUID, "dimensions")
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _frame_order(sources: SourceImages) -> npt.NDArray[np.intp]:
    """Slice of each frame of the one multi-frame image."""
    return np.argsort([plane.frame for plane in sources.planes])


def _segment(lesion: LesionFinding, algorithm: Algorithm | None) -> highdicom.seg.SegmentDescription:
    import highdicom

    category, kind = CATEGORIES[lesion.category]
    return highdicom.seg.SegmentDescription(
        segment_number=lesion.label,
        segment_label=lesion.tracking_id,
        segmented_property_category=to_dicom(category),
        segmented_property_type=to_dicom(kind),
        algorithm_type="MANUAL" if algorithm is None else "AUTOMATIC",
        algorithm_identification=None if algorithm is None else _identification(algorithm),
        tracking_uid=lesion.tracking_uid,
        tracking_id=lesion.tracking_id,
        anatomic_regions=[to_dicom(SITES[lesion.site])],
        display_color=_colour(lesion.label),
    )


def _identification(algorithm: Algorithm) -> highdicom.AlgorithmIdentificationSequence:
    import highdicom

    return highdicom.AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=to_dicom(ARTIFICIAL_INTELLIGENCE),
        version=algorithm.version,
        parameters={model.name: model.digest for model in algorithm.models} or None,
    )


def _colour(number: int) -> highdicom.color.CIELabColor:
    """The colour that the structure of the same number has in an RTSTRUCT."""
    import highdicom
    from skimage.color import rgb2lab

    from monai_staging.cohort.dicom.structures import COLOURS

    lightness, a, b = rgb2lab(np.array(COLOURS[number % len(COLOURS)]) / 255, illuminant="D50").tolist()
    return highdicom.color.CIELabColor(lightness, a, b)
