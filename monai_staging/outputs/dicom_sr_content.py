"""Findings as measurement groups of a DICOM report: one for each lesion (TID 1411), one for the stage (TID 1501)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from monai_staging.outputs import dicom_codes as codes
from monai_staging.outputs.annotation import Annotation
from monai_staging.outputs.dicom_codes import Code, category_code, grouping_code, letter_code, to_dicom
from monai_staging.outputs.dicom_sources import MANUFACTURER, SourceImages, content_uid
from monai_staging.outputs.findings import Algorithm, Findings, LesionFinding, StagingFinding
from monai_staging.tnm.descriptors import Descriptor

if TYPE_CHECKING:
    import highdicom
    from pydicom import Dataset

IMAGING = "c"
"""The prefix of a T by size: what an image shows is clinical."""
NOT_A_DEVICE = "Not a medical device: for research only, not verified by a person."
MARKED = "Not a medical device: for research only. Marked by an annotator, measured by software."


class Number(NamedTuple):
    """A number of a lesion: the attribute that holds it, its concept and unit."""

    name: str
    code: Code
    unit: Code


MEASURED = (
    Number("volume_mm3", codes.MESH_VOLUME, codes.CUBIC_MILLIMETRE),
    Number("voxel_volume_mm3", codes.VOXEL_VOLUME, codes.CUBIC_MILLIMETRE),
    Number("diameter_3d_mm", codes.DIAMETER_3D, codes.MILLIMETRE),
    Number("axial_diameter_mm", codes.LONG_AXIS, codes.MILLIMETRE),
    Number("perpendicular_mm", codes.SHORT_AXIS, codes.MILLIMETRE),
    Number("solid_diameter_mm", codes.SOLID_DIAMETER, codes.MILLIMETRE),
)
"""Lengths and volumes of :class:`monai_staging.measure.Measurement`."""
COUNTED = (
    Number("axial_axis", codes.AXIAL_AXIS, codes.NO_UNIT),
    Number("axial_slice", codes.AXIAL_SLICE, codes.NO_UNIT),
    Number("voxels", codes.VOXELS, codes.VOXEL_UNIT),
    Number("solid_voxels", codes.SOLID_VOXELS, codes.VOXEL_UNIT),
)
"""Its whole numbers."""
ESTIMATED = (
    Number("score", codes.SCORE, codes.NO_UNIT),
    Number("malignancy", codes.MALIGNANCY, codes.NO_UNIT),
)
"""Probabilities of :class:`LesionFinding`."""
_ON_THE_SLICE = (codes.LONG_AXIS, codes.SHORT_AXIS)


def lesion_group(
    lesion: LesionFinding, algorithm: Algorithm, sources: SourceImages, seg: Dataset
) -> highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """The measurement group of a lesion, with its segment of ``seg`` as the region."""
    from highdicom import sr

    found = lesion.measurement
    size = found.size_t
    category, kind = codes.CATEGORIES[lesion.category]
    slices = _image_of_slice(sources, found.axial_slice) if found.axial_axis == 2 else None
    numbers = [(number, getattr(found, number.name)) for number in (*MEASURED, *COUNTED)]
    numbers += [(number, getattr(lesion, number.name)) for number in ESTIMATED]
    numbers.append((Number("size_mm", codes.COUNTED_SIZE, codes.MILLIMETRE), size.size_mm))
    measurements = [
        _measurement(number.code, value, number.unit, image=slices if number.code in _ON_THE_SLICE else None)
        for number, value in numbers
        if value is not None
    ]
    evaluations = [
        (codes.T_MEASURED, category_code(size.measured, IMAGING)),
        (codes.T_AT_LEAST, category_code(size.at_least, IMAGING)),
        *((codes.T_BY_SIZE, category_code(category, IMAGING)) for category in size.t),
        *((codes.NOT_ASSESSED, codes.DESCRIPTORS[descriptor]) for descriptor in size.not_assessed),
    ]
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=lesion.tracking_uid, identifier=lesion.tracking_id),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=lesion.label,
            source_series=sr.SourceSeriesForSegmentation(sources.series.series),
        ),
        finding_category=to_dicom(category),
        finding_type=to_dicom(kind),
        finding_sites=[sr.FindingSite(to_dicom(codes.SITES[lesion.site]))],
        algorithm_id=_algorithm(algorithm),
        measurements=measurements,
        qualitative_evaluations=[sr.QualitativeEvaluation(to_dicom(a), to_dicom(b)) for a, b in evaluations],
    )
    _add(group, _texts(codes.REASON, size.reasons))
    return group


def staging_group(
    findings: Findings, sources: SourceImages, annotation: Annotation | None = None
) -> highdicom.sr.MeasurementsAndQualitativeEvaluations:
    """The measurement group of the stage."""
    from highdicom import sr

    staging = findings.staging
    prefix, edition = staging.tnm.prefix, staging.tnm.edition
    measurements = [_measurement(codes.LESIONS, float(len(findings.lesions)), codes.LESION_UNIT)]
    if staging.confidence is not None:
        measurements.append(_measurement(codes.CONFIDENCE, staging.confidence, codes.NO_UNIT))
    for letter in "tnm":
        values = {category_code(key, prefix): p for key, p in staging.probabilities(letter).items()}
        measurements += _probabilities(letter_code(letter, prefix), values)
    values = {codes.GROUPS[group]: p for group, p in staging.group_probabilities.items()}
    measurements += _probabilities(grouping_code(prefix), values)
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=content_uid("stage", sources, findings), identifier=f"{MANUFACTURER} stage"
        ),
        finding_type=to_dicom(codes.STAGE),
        algorithm_id=_algorithm(findings.algorithm),
        measurements=measurements,
        qualitative_evaluations=[
            sr.QualitativeEvaluation(to_dicom(codes.EDITION), to_dicom(codes.EDITIONS[edition])),
            sr.QualitativeEvaluation(to_dicom(codes.PREFIX), to_dicom(codes.PREFIX_CODES[prefix])),
        ],
    )
    for letter in "tnm":
        named = [category_code(category, prefix) for category in staging.tnm.ordered(letter)]
        _add(group, _possible(letter_code(letter, prefix), named))
    _add(group, _possible(grouping_code(prefix), [codes.GROUPS[name] for name in staging.groups]))
    _add(group, _not_assessed(staging))
    _add(group, _texts(codes.REASON, staging.reasons))
    marked = annotation is not None and annotation.annotator
    _add(group, _texts(codes.COMMENT, [MARKED if marked else NOT_A_DEVICE]))
    for code, text in [] if annotation is None else annotation.items():
        _add(group, _texts(code, [text]))
    return group


def _possible(name: Code, values: Sequence[Code]) -> list[Any]:
    """A set of categories or groups. Of several, each says that it is only possible: none is taken for certain."""
    from highdicom import sr

    items = []
    for value in values:
        item = sr.CodeContentItem(to_dicom(name), to_dicom(value), relationship_type="CONTAINS")
        if len(values) > 1:
            context = sr.CodeContentItem(
                to_dicom(codes.CONTEXT), to_dicom(codes.POSSIBLE), relationship_type="HAS CONCEPT MOD"
            )
            item.ContentSequence = sr.ContentSequence([context])
        items.append(item)
    return items


def _not_assessed(staging: StagingFinding) -> list[Any]:
    from highdicom import sr

    known = {descriptor.value: descriptor for descriptor in Descriptor}
    items = []
    for what in staging.not_assessed:
        if what in known:
            code = to_dicom(codes.DESCRIPTORS[known[what]])
            items.append(sr.CodeContentItem(to_dicom(codes.NOT_ASSESSED), code, relationship_type="CONTAINS"))
        else:
            items += _texts(codes.NOT_ASSESSED, [what])
    return items


def _probabilities(name: Code, values: Mapping[Code, float]) -> list[highdicom.sr.Measurement]:
    """Each as a number that is modified by what it is the probability of."""
    from highdicom import sr

    measurements = []
    for value, probability in values.items():
        measurement = _measurement(codes.PROBABILITY, probability, codes.NO_UNIT)
        of = sr.CodeContentItem(to_dicom(name), to_dicom(value), relationship_type="HAS CONCEPT MOD")
        measurement[0].ContentSequence = sr.ContentSequence([of])
        measurements.append(measurement)
    return measurements


def _measurement(
    name: Code, value: float, unit: Code, *, image: highdicom.sr.SourceImageForMeasurement | None = None
) -> highdicom.sr.Measurement:
    from highdicom import sr

    return sr.Measurement(
        name=to_dicom(name),
        value=float(value),  # kept whole, as FloatingPointValue; a decimal string has 16 characters
        unit=to_dicom(unit),
        referenced_images=None if image is None else [image],
    )


def _image_of_slice(sources: SourceImages, k: int) -> highdicom.sr.SourceImageForMeasurement:
    from highdicom import sr

    sop_class, sop_instance = sources.images[k]
    frame = sources.frame_number(k)
    return sr.SourceImageForMeasurement(
        sop_class, sop_instance, referenced_frame_numbers=None if frame is None else [frame]
    )


def _algorithm(algorithm: Algorithm) -> highdicom.sr.AlgorithmIdentification:
    from highdicom import sr

    return sr.AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        parameters=[f"{model.name} {model.digest}" for model in algorithm.models],
    )


def _texts(name: Code, values: Iterable[str]) -> list[Any]:
    from highdicom import sr

    return [sr.TextContentItem(to_dicom(name), value, relationship_type="CONTAINS") for value in values]


def _add(group: Any, items: Iterable[Any]) -> None:
    """Adds items that highdicom's class of the template has no argument for."""
    group[0].ContentSequence.extend(items)
