"""A report gives the findings back, value for value, and other readers understand it."""

from __future__ import annotations

import json
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from monai_staging.cohort.dicom.objects import make_uid
from monai_staging.errors import DataError, UsageError
from monai_staging.measure import Measurement
from monai_staging.outputs.dicom_seg import write_seg
from monai_staging.outputs.dicom_sources import read_sources
from monai_staging.outputs.dicom_sr import read_sr, write_sr
from monai_staging.outputs.findings import Algorithm, Category, Findings, LesionFinding, Model, Site, StagingFinding
from monai_staging.tnm import (
    EDITIONS,
    PREFIXES,
    TNM,
    Descriptor,
    categories,
    descriptors,
    groups,
    main_categories,
    t_from_size,
)


@pytest.fixture
def written(study, tmp_path):
    """Paths of the SEG and the report of a study."""
    seg = write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources)
    return seg, write_sr(tmp_path / "sr.dcm", study.findings, pydicom.dcmread(seg), study.sources)


def test_findings_come_back(study, written, dciodvfy_errors):
    _, path = written
    assert read_sr(path) == study.findings
    assert read_sr(pydicom.dcmread(path)) == study.findings
    assert dciodvfy_errors(path) == []


def test_a_study_without_lesions_is_reported_too(study, tmp_path, dciodvfy_errors):
    findings = study.without_lesions()
    path = write_sr(tmp_path / "sr.dcm", findings, None, study.sources)
    assert read_sr(path) == findings
    assert dciodvfy_errors(path) == []
    report = highdicom.sr.srread(path).content
    assert report.get_volumetric_roi_measurement_groups() == []
    (stage,) = report.get_image_measurement_groups()
    count = stage.get_measurements(highdicom.sr.CodedConcept("LESIONS", "99MONAISTAGING", "Number of lesions reported"))
    assert [measurement.value for measurement in count] == [0]


def test_highdicom_finds_lesions_and_measurements(study, written):
    seg_path, path = written
    seg = pydicom.dcmread(seg_path)
    report = highdicom.sr.srread(path).content
    found = report.get_volumetric_roi_measurement_groups(
        referenced_sop_instance_uid=seg.SOPInstanceUID, reference_type=codes.DCM.ReferencedSegment
    )
    assert len(found) == len(study.findings.lesions)
    for group, lesion in zip(found, study.findings.lesions, strict=True):
        assert (group.tracking_identifier, group.tracking_uid) == (lesion.tracking_id, lesion.tracking_uid)
        segment = group.referenced_segment.referenced_segment_numbers
        assert segment == [lesion.label]
        named = {measurement.name.value: measurement for measurement in group.get_measurements()}
        size = lesion.measurement
        for value, unit, expected in (
            ("RNU0", "mm3", size.volume_mm3),
            ("YEKZ", "mm3", size.voxel_volume_mm3),
            ("L0JK", "mm", size.diameter_3d_mm),
            ("103339001", "mm", size.axial_diameter_mm),
            ("103340004", "mm", size.perpendicular_mm),
            ("111047", "1", 2 / 3),
        ):
            assert (named[value].value, named[value].unit.value) == (expected, unit)
        images = named["103339001"].referenced_images
        assert [image.referenced_sop_instance_uid for image in images] == [study.sources.images[size.axial_slice][1]]
    assert found[0].finding_sites[0].value.value == "42400003"
    assert [group.finding_type.meaning for group in found] == ["Neoplasm, Primary", "Lymph Node"]
    assert report.get_volumetric_roi_measurement_groups(tracking_uid="1.2.3") == []


def test_highdicom_finds_the_stage(study, written):
    report = highdicom.sr.srread(written[1]).content
    (stage,) = report.get_image_measurement_groups(finding_type=highdicom.sr.CodedConcept("385356007", "SCT", "-"))
    answers = [(answer.name.meaning, answer.value.meaning) for answer in stage.get_qualitative_evaluations()]
    assert ("cM category", "American Joint Committee on Cancer cM0") in answers
    assert [value[-2:] for name, value in answers if name == "cN category"] == ["N0", "N1", "N2", "N3"]
    assert ("TNM edition", "AJCC Cancer Staging Manual, 8th edition") in answers


def test_what_is_only_possible_says_so(written):
    items = {}
    for item in pydicom.dcmread(written[1]).ContentSequence[-1].ContentSequence[-1].ContentSequence:
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        context = [child.ConceptCodeSequence[0].CodeMeaning for child in item.get("ContentSequence", [])]
        items.setdefault(name, []).append((item.ValueType, context))
    assert items["cM category"] == [("CODE", [])]
    assert items["cN category"] == [("CODE", ["Known possible"])] * 4
    # Probabilities name their category, so that none is taken for an assertion of it.
    assert len(items["Probability"]) == 8
    assert all(kind == "NUM" and len(context) == 1 for kind, context in items["Probability"])
    assert [kind for kind, _ in items["Not assessed"]] == ["CODE", "TEXT", "CODE"]
    assert [kind for kind, _ in items["Comment"]] == ["TEXT"]


def test_every_image_and_the_seg_are_evidence(study, written):
    seg_path, path = written
    seg, dataset = pydicom.dcmread(seg_path), pydicom.dcmread(path)
    (evidence,) = dataset.CurrentRequestedProcedureEvidenceSequence
    found = {
        item.ReferencedSOPInstanceUID
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    images = {uid for _, uid in study.sources.images}
    assert found == images | {seg.SOPInstanceUID}
    (library,) = (item for item in dataset.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "111028")
    listed = [item for item in library.ContentSequence[0].ContentSequence if item.ValueType == "IMAGE"]
    assert {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in listed} == images
    assert dataset.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99MONAISTAGING"
    assert (dataset.CompletionFlag, dataset.VerificationFlag, dataset.PreliminaryFlag) == (
        *("COMPLETE", "UNVERIFIED"),
        "PRELIMINARY",
    )


def test_dcmqi_reads_lesions_and_measurements(study, written, tmp_path, tool):
    done = tool(
        "tid1500reader", "--inputDICOM", written[1], "--outputMetadata", tmp_path / "sr.json", package="pip: dcmqi"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "sr.json").read_text())
    found = {own["TrackingIdentifier"]: own for own in document["Measurements"] if "ReferencedSegment" in own}
    for lesion in study.findings.lesions:
        own = found[lesion.tracking_id]
        assert (own["ReferencedSegment"], own["TrackingUniqueIdentifier"]) == (lesion.label, lesion.tracking_uid)
        values = {item["quantity"]["CodeValue"]: float(item["value"]) for item in own["measurementItems"]}
        assert values["RNU0"] == lesion.measurement.volume_mm3
        assert values["L0JK"] == lesion.measurement.diameter_3d_mm


def test_the_identity_is_kept_and_files_are_the_same(study, written, tmp_path):
    seg = pydicom.dcmread(written[0])
    first = write_sr(tmp_path / "a.dcm", study.findings, seg, study.sources, created=study.created)
    again = write_sr(tmp_path / "b.dcm", study.findings, seg, read_sources(study.series), created=study.created)
    assert first.read_bytes() == again.read_bytes()
    dataset = pydicom.dcmread(first)
    assert (dataset.PatientID, dataset.PatientSex, dataset.StudyInstanceUID) == ("LUNG1-001", "F", study.series.study)
    assert dataset.ContentDate == "20260102"


TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=30).filter(
    lambda text: text == text.strip() and text.isprintable()
)
NAMES = TEXTS.filter(lambda text: "\\" not in text)
LENGTHS = st.floats(1e-3, 1e4, allow_subnormal=False)


@st.composite
def measurements(draw, shape, edition) -> Measurement:
    present = draw(st.sets(st.sampled_from(descriptors(edition)), max_size=3))
    absent = draw(st.sets(st.sampled_from(Descriptor), max_size=9)) - present
    size_mm = draw(LENGTHS)
    solid_mm = draw(st.none() | st.floats(0, size_mm))
    axis = draw(st.integers(0, 2))
    return Measurement(
        *draw(st.tuples(*[LENGTHS] * 5)),
        solid_diameter_mm=draw(st.none() | LENGTHS),
        size_t=t_from_size(size_mm, edition, solid_mm=solid_mm, present=present, absent=absent),
        axial_axis=axis,
        axial_slice=draw(st.integers(0, shape[axis] - 1)),
        voxels=draw(st.integers(1, 2**40)),
        solid_voxels=draw(st.none() | st.integers(0, 2**40)),
    )


@st.composite
def distributions(draw, names) -> dict[str, float]:
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=6))
    weights = [draw(st.floats(1e-6, 1)) for _ in chosen]
    return {name: weight / sum(weights) for name, weight in zip(chosen, weights, strict=True)}


@st.composite
def all_findings(draw, shape) -> Findings:
    edition, prefix = draw(st.sampled_from(EDITIONS)), draw(st.sampled_from(sorted(PREFIXES)))
    sets = {letter: draw(st.sets(st.sampled_from(categories(letter, edition)), min_size=1)) for letter in "tnm"}
    if draw(st.booleans()):
        sets["t"] = draw(st.sampled_from([{"T0"}, {"TX"}]))
    chances = st.none() | st.floats(0, 1)
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    lesions = tuple(
        LesionFinding(
            number,
            name,
            make_uid("any", name, draw(st.integers())),
            draw(st.sampled_from(Category)),
            draw(st.sampled_from(Site)),
            draw(measurements(shape, edition)),
            draw(chances),
            draw(chances),
        )
        for number, name in enumerate(names, start=1)
    )
    known = groups(edition, occult=True)
    named = draw(st.sets(st.sampled_from(known)))
    staging = StagingFinding(
        TNM(**sets, edition=edition, prefix=prefix),
        tuple(group for group in known if group in named),
        draw(chances),
        *(
            draw(distributions(sorted({*categories(letter, edition), *main_categories(letter, edition)})))
            for letter in "tnm"
        ),
        draw(distributions(known)),
        tuple(draw(st.lists(TEXTS, max_size=3))),
        tuple(draw(st.lists(TEXTS | st.sampled_from([own.value for own in Descriptor]), max_size=4))),
    )
    words = NAMES.filter(lambda text: " " not in text)
    models = draw(st.lists(st.builds(Model, words, words), max_size=3, unique_by=lambda model: model.name))
    return Findings(lesions, staging, Algorithm(draw(NAMES), draw(NAMES), tuple(models)))


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_findings_come_back(study, tmp_path, data):
    findings = data.draw(all_findings(study.volume.shape))
    mask = np.zeros(study.volume.shape, np.uint8)
    for lesion in findings.lesions:
        mask[lesion.label, 1, 2] = lesion.label
    seg = write_seg(tmp_path / "seg.dcm", mask, findings, study.sources)
    path = write_sr(tmp_path / "sr.dcm", findings, None if seg is None else pydicom.dcmread(seg), study.sources)
    back = read_sr(path)
    assert back == findings
    assert back.digest == findings.digest
    # The order of probabilities too.
    for letter in "tnm":
        assert list(back.staging.probabilities(letter)) == list(findings.staging.probabilities(letter))


def test_a_report_and_its_seg_belong_together(study, written, write_ct, study_of, tmp_path):
    seg = pydicom.dcmread(written[0])
    path = tmp_path / "other.dcm"

    def refused(findings, seg, sources, words):
        with pytest.raises(UsageError, match=f"Case LUNG1-001: series .*{words}"):
            write_sr(path, findings, seg, sources)
        assert not path.exists()

    first, second = study.findings.lesions
    refused(study.findings, None, study.sources, "lesions are reported with their SEG; found 2 and none")
    refused(study.without_lesions(), seg, study.sources, "the SEG has the lesions reported, by number and tracking UID")
    renamed = replace(study.findings, lesions=(first, replace(second, tracking_uid="1.2.3")))
    refused(renamed, seg, study.sources, "expected .*1.2.3")
    other = study_of(write_ct(folder="other", uid="1.2.3").folder, lambda volume: study.mask[:7, :6].copy())
    refused(study.findings, seg, other.sources, f"the SEG is of the series reported; found {study.series.series}")
    beyond = replace(first, measurement=replace(first.measurement, axial_slice=6))
    refused(
        replace(study.findings, lesions=(beyond, second)),
        seg,
        study.sources,
        r"lesion 1 was measured on slice 6 of axis 2; the volume is \(11, 9, 6\)",
    )


def test_what_is_no_report_of_ours_is_refused(study, written, tmp_path):
    seg_path, path = written
    with pytest.raises(
        DataError, match="seg.dcm: a measurement report .TID 1500. is expected; found Segmentation Storage"
    ):
        read_sr(seg_path)
    with pytest.raises(DataError, match="Report: a measurement report .* found an object without SOP class"):
        read_sr(pydicom.Dataset())
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(DataError, match="text.dcm: cannot be parsed as DICOM"):
        read_sr(tmp_path / "text.dcm")

    def broken(change, words):
        dataset = pydicom.dcmread(path)
        change(dataset.ContentSequence[-1].ContentSequence)
        with pytest.raises(DataError, match=words):
            read_sr(dataset)

    def without(value):
        def change(groups):
            for group in groups:
                group.ContentSequence = [
                    item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue != value
                ]

        return change

    def no_stage(groups):
        del groups[-1]

    def a_lesion_less(groups):
        del groups[0]

    def another_site(groups):
        (item,) = (
            item for item in groups[0].ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "363698007"
        )
        item.ConceptCodeSequence[0].CodeValue = "1"

    def no_number(groups):
        (item,) = (item for item in groups[0].ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "RNU0")
        del item.MeasuredValueSequence

    broken(no_stage, "Report: a report of ours has one group for the stage; found 0")
    broken(a_lesion_less, "the stage was reported with 2 lesions; found 1")
    broken(another_site, "the report has the code 1 of SCT, which means nothing there")
    broken(no_number, "a part of the report is damaged .AttributeError")
    broken(without("RNU0"), "a measurement group has one Volume of Mesh; found 0")
    broken(without("112039"), "a measurement group has one tracking identifier; found 0")
    broken(without("399387003"), "M must hold at least one category")
