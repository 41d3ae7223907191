"""Labels as DICOM objects of their study, and back: a SEG with a segment a lesion, and a report that has the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from monai_staging.cohort.dicom.objects import make_uid
from monai_staging.cohort.lesions import Part, components, paint
from monai_staging.cohort.masks import union_from_seg
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError
from monai_staging.label.kinds import KINDS
from monai_staging.label.letters import EDITION, letters_after
from monai_staging.measure.images import read_image
from monai_staging.measure.lesion import measure_lesion
from monai_staging.outputs.annotation import Annotation
from monai_staging.outputs.dicom_seg import write_seg
from monai_staging.outputs.dicom_sources import MANUFACTURER, SourceImages
from monai_staging.outputs.dicom_sr import write_sr
from monai_staging.outputs.findings import Algorithm, Category, Findings, LesionFinding, Site, StagingFinding
from monai_staging.predict.combine import moved_to, on_scan
from monai_staging.predict.study import Study
from monai_staging.tnm import TNM
from monai_staging.tnm.categories import LETTERS
from monai_staging.version import __version__

MOST = 500
"""Lesions of a label: each is a segment, and is measured."""
ALGORITHM = Algorithm("monai-staging label", __version__)
SEG, SR = "seg.dcm", "sr.dcm"


def write_label(folder: Path, label: Path | None, study: Study, annotation: Annotation) -> list[Path]:
    """Writes a label as the objects that an archive keeps: SEG (where a voxel is marked) and report, in this order.

    Args:
        folder: that they are written to.
        label: label map with numbers of :data:`KINDS` on the study's grid; None where there is no mask.
        study: of a DICOM series.
        annotation: what else is known of the label; ``t``, ``n``, ``m``, ``edition`` and ``prefix`` of its parameters
            become the report's stage.

    Raises:
        UsageError: the stage that was entered is none.
        DataError: the study is no DICOM series, or the label has more lesions than :data:`MOST`.
    """
    staging = entered_stage(annotation.parameters)
    labels = None if label is None else _read_labels(label)
    mask, findings = _findings(labels, study, staging, (annotation.tag, annotation.saved_at.isoformat()))
    sources = sources_of(study)
    given: dict[str, Any] = {"created": annotation.saved_at.astimezone(), "annotation": annotation}
    seg = write_seg(folder / SEG, mask, findings, sources, **given) if findings.lesions else None
    dataset = None if seg is None else pydicom.dcmread(seg)
    report = write_sr(folder / SR, findings, dataset, sources, **given)
    return [report] if seg is None else [seg, report]


def write_label_seg(path: Path, label: Path, study: Study, algorithm: Algorithm) -> Path:
    """Writes a label map that networks made as a SEG.

    Raises:
        DataError: the study is no DICOM series, or nothing is marked: a SEG has at least one segment.
    """
    sources = sources_of(study)
    mask, findings = _findings(_read_labels(label), study, entered_stage({}), (), algorithm)
    if write_seg(path, mask, findings, sources) is None:
        raise DataError("Nothing was found: a DICOM SEG has one segment at least; output=image gives an empty mask.")
    return path


def read_label_map(seg: Any, findings: Findings, volume: Volume, frame_of_reference: str = "") -> npt.NDArray[np.uint8]:
    """The label map that `write_label` was given, (columns, rows, slices).

    Args:
        seg: path or data set of the SEG; None where there is none.
        findings: of its report.
        volume: of its study.
        frame_of_reference: of the study's images.

    Raises:
        SeriesRefused: the SEG is damaged, or does not lie on the volume's grid.
    """
    labels: npt.NDArray[np.uint8] = np.zeros(volume.shape, dtype=np.uint8, order="F")
    if seg is not None:
        kinds = {lesion.label: lesion.category.value for lesion in findings.lesions}
        for kind, mask in union_from_seg(seg, volume, kinds, frame_of_reference=frame_of_reference).items():
            labels[mask != 0] = KINDS[kind]
    return labels


def entered_stage(parameters: Mapping[str, Any]) -> StagingFinding:
    """The stage that was entered with a label; what was not is unknown.

    Raises:
        UsageError: a letter, the edition or the prefix is none.
    """
    known = letters_after(parameters, {})
    t, n, m = ("|".join(known.get(letter, ())) for letter in LETTERS)
    tnm = TNM.parse(t, n, m, known.get("edition", EDITION), known.get("prefix"))
    entered = [letter.upper() for letter in LETTERS if letter in known]
    reason = f"{', '.join(entered)} as entered by the annotator" if entered else "no T, N or M was entered"
    return StagingFinding(tnm, tnm.groups, reasons=(reason,))


def sources_of(study: Study) -> SourceImages:
    """The images of a study.

    Raises:
        DataError: it is no DICOM series.
    """
    if study.sources is None:
        raise DataError("A DICOM SEG refers to the images of its study: a DICOM study is needed; this one is NIfTI.")
    return study.sources


def _read_labels(path: Path) -> npt.NDArray[Any]:
    image = read_image(path)
    return image.read(image.whole)


def _findings(
    labels: npt.NDArray[Any] | None,
    study: Study,
    staging: StagingFinding,
    of: Sequence[object],
    algorithm: Algorithm = ALGORITHM,
) -> tuple[npt.NDArray[Any], Findings]:
    """A mask with a label a lesion, and the lesions: each connected part of each kind is one."""
    volume, parts = study.volume, list[tuple[Part, str]]()
    for kind, number in KINDS.items() if labels is not None else ():
        parts += [(part, kind) for part in components(np.asarray(labels == number))]
        if len(parts) > MOST:
            raise DataError(f"Label: at most {MOST} separate lesions are taken; found more. Are there specks in it?")
    series = sources_of(study).series.series
    lesions = []
    for label, (part, kind) in enumerate(parts, start=1):
        affine = moved_to(volume.affine, part.corner)
        size = measure_lesion(part.mask, affine, volume.array[part.box], edition=staging.tnm.edition)
        lesions.append(
            LesionFinding(
                label=label,
                tracking_id=f"{kind} {label}",
                tracking_uid=make_uid(MANUFACTURER, "label", series, *of, label),
                category=Category(kind),
                site=Site.LUNG if kind in ("primary", "nodule") else Site.THORAX,
                measurement=on_scan(size, part.corner),
            )
        )
    return paint([part for part, _ in parts], volume.shape), Findings(tuple(lesions), staging, algorithm)
