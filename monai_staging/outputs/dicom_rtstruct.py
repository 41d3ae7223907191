"""Lesions as a DICOM RTSTRUCT, for planning systems that read no SEG."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.lesions import part_of_mask
from monai_staging.outputs.dicom_sources import (
    SourceImages,
    check_mask,
    content_uid,
    equipment,
    mask_digest,
    write_object,
)
from monai_staging.outputs.findings import Findings

SERIES_NUMBER = 9003


def write_rtstruct(
    path: str | os.PathLike[str],
    mask: npt.NDArray[Any],
    findings: Findings,
    sources: SourceImages,
    *,
    created: datetime | None = None,
) -> Path | None:
    """Writes an RTSTRUCT: structure n is lesion n, named by its tracking identifier, outlined on every slice it is on.

    Outlines run half-way between centres inside and outside, so that the voxels come back by the even-odd rule.

    Args:
        path: the file to write.
        mask: (I, J, K) labels on the volume's grid, 0 for background.
        findings: the lesions, by label.
        sources: the images of the volume.
        created: when it was made; now by default.

    Returns:
        The path; None, and nothing is written, where there is no lesion.

    Raises:
        UsageError: a mask of another shape, a label that no lesion has, or a lesion without voxels.
    """
    from pydicom.uid import RTStructureSetStorage

    from monai_staging.cohort.dicom.objects import new_file
    from monai_staging.cohort.dicom.structures import ImageSeries, Structure, add_structures

    check_mask(mask, sources, findings)
    if not findings.lesions:
        return None
    digest = mask_digest(mask)
    dataset: Any = new_file(RTStructureSetStorage, content_uid("rtstruct", sources, findings, digest))
    series = sources.series
    own = equipment(findings.algorithm)
    dataset.Modality, dataset.SeriesDescription, dataset.SeriesNumber = "RTSTRUCT", "Lesions", SERIES_NUMBER
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = series.study, series.frame_of_reference
    dataset.SeriesInstanceUID = content_uid("rtstruct series", sources, findings, digest)
    dataset.PositionReferenceIndicator = dataset.OperatorsName = ""
    dataset.InstanceNumber = 1
    dataset.StructureSetDate = dataset.StructureSetTime = ""
    dataset.Manufacturer, dataset.ManufacturerModelName = own["manufacturer"], own["manufacturer_model_name"]
    dataset.SoftwareVersions = own["software_versions"]
    dataset.DeviceSerialNumber = own["device_serial_number"]
    structures = [
        Structure(lesion.label, lesion.tracking_id, "AUTOMATIC", _contours(mask == lesion.label, sources))
        for lesion in findings.lesions
    ]
    images = list(dict.fromkeys(sources.images))
    add_structures(
        dataset, "LESIONS", ImageSeries(series.study, series.series, series.frame_of_reference, images), structures
    )
    return write_object(path, dataset, sources, created)


def _contours(marked: npt.NDArray[np.bool_], sources: SourceImages) -> list[Any]:
    from monai_staging.cohort.dicom.structures import Contour, contours_of

    part = part_of_mask(marked)
    assert part is not None
    corner = part.corner
    found = []
    for k in range(part.mask.shape[2]):
        if part.mask[:, :, k].any():
            for line in contours_of(part.mask[:, :, k].T):
                own = corner[2] + k
                points = sources.to_lps(own, line + corner[:2])
                found.append(Contour(points, sources.images[own], sources.frame_number(own)))
    return found
