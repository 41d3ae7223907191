"""What is left of a prediction: DICOM objects, mask, JSON and a page; all of it or nothing."""

from __future__ import annotations

from pathlib import Path

import pydicom

from monai_staging.cohort.volume import write_packed_mask
from monai_staging.detection.detections import write_detections
from monai_staging.files import write_json_atomic
from monai_staging.outputs.dicom_rtstruct import write_rtstruct
from monai_staging.outputs.dicom_seg import write_seg
from monai_staging.outputs.dicom_sources import SourceImages
from monai_staging.outputs.dicom_sr import write_sr
from monai_staging.outputs.report_html import write_report
from monai_staging.outputs.report_json import study_document
from monai_staging.predict.pipeline import Prediction

REPORT, DOCUMENT, MASK, BOXES = "report.html", "report.json", "lesions.nii.gz", "detections.csv"
SEG, SR, RTSTRUCT = "seg.dcm", "sr.dcm", "rtstruct.dcm"


def write_prediction(
    folder: Path, prediction: Prediction, sources: SourceImages | None, rtstruct: bool = False
) -> list[Path]:
    """Writes a prediction into a folder that is there and empty.

    Args:
        folder: that is written to.
        prediction: what was found.
        sources: the images of a DICOM study; without them there are no DICOM outputs.
        rtstruct: write one too.

    Returns:
        The files, those for a workstation first.
    """
    reported = prediction.reported
    written: list[Path] = []
    if sources is not None:
        findings = reported.findings
        seg = write_seg(folder / SEG, reported.mask, findings, sources)
        dataset = None if seg is None else pydicom.dcmread(seg)
        written += [path for path in (seg, write_sr(folder / SR, findings, dataset, sources)) if path is not None]
        if rtstruct and (path := write_rtstruct(folder / RTSTRUCT, reported.mask, findings, sources)) is not None:
            written.append(path)
    write_packed_mask(folder / MASK, reported.mask, reported.volume.affine)
    write_detections(folder / BOXES, prediction.detections)
    write_json_atomic(folder / DOCUMENT, study_document(reported))
    write_report(folder / REPORT, reported)
    return [*written, *(folder / name for name in (MASK, BOXES, DOCUMENT, REPORT))]
