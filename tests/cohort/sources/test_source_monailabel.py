"""The data store of an annotation server as a cohort; MONAI Label is not needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_staging.cli.main import main
from monai_staging.cohort import Case, load_cohort
from monai_staging.cohort.audit import audit_cohort
from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.sources import make_plan
from monai_staging.cohort.sources.base import SourceOptions
from monai_staging.cohort.splits import SplitOptions
from monai_staging.cohort.volume import read_mask, read_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.label.markups import roi_document

AFFINE = np.array([[-0.75, 0, 0, 180.0], [0, 0.75, 0, -190], [0, 0, 1.25, -400], [0, 0, 0, 1]])
SHAPE = (14, 12, 8)
ONE = IngestOptions(split=SplitOptions(test=0), workers=1)
UNKNOWN_N = ("N0", "N1", "N2", "N3")


def chest(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(-1000, 400, SHAPE).astype(np.int16)


def labels(**places: tuple[slice, ...] | tuple[tuple[slice, ...], ...]) -> np.ndarray:
    numbers = {"primary": 1, "node": 2, "metastasis": 3, "nodule": 4, "strange": 5}
    array = np.zeros(SHAPE, np.uint8)
    for kind, place in places.items():
        for own in place if isinstance(place[0], tuple) else (place,):
            array[own] = numbers[kind]
    return array


PLACE = (slice(3, 7), slice(2, 6), slice(2, 5))
SPECK = (slice(10, 11), slice(9, 11), slice(6, 7))
NODE = (slice(0, 2), slice(0, 2), slice(0, 1))


class Store:
    """A data store as the server leaves it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects: dict[str, Any] = {}
        root.mkdir(parents=True, exist_ok=True)
        self.save()

    def study(self, name: str, image: np.ndarray | None = None, ext: str = ".nii", **info: Any) -> None:
        """A study; a folder's files are written by others."""
        if image is not None:
            nibabel.save(nibabel.Nifti1Image(image, AFFINE), self.root / (name + ext))
        self.objects[name] = {"image": {"ext": ext, "info": {"ts": 1, **info}}, "labels": {}}
        self.save()

    def label(self, name: str, label: np.ndarray | Mapping[str, Any], tag: str = "final", **info: Any) -> None:
        """A label map or markups."""
        path = self.root / "labels" / tag / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ext = ".nii.gz" if isinstance(label, np.ndarray) else ".json"
        if isinstance(label, np.ndarray):
            nibabel.save(nibabel.Nifti1Image(label, info.pop("affine", AFFINE)), f"{path}{ext}")
        else:
            Path(f"{path}{ext}").write_text(json.dumps(label))
        self.objects[name]["labels"][tag] = {"ext": ext, "info": {"ts": 1, **info}}
        self.save()

    def save(self) -> None:
        document = {"name": "data", "description": "", "images_dir": ".", "labels_dir": "labels"}
        (self.root / "datastore_v2.json").write_text(json.dumps({**document, "objects": self.objects}))


@pytest.fixture
def store(raw: Path) -> Store:
    return Store(raw)


def by_name(result: Any) -> dict[str, Case]:
    return {case.series: case for case in result.cohort.cases}


def test_final_labels_become_lesions_with_masks(store: Store, tmp_path: Path, capsys: Any) -> None:
    store.study("scan-1", chest(1))
    store.label("scan-1", labels(primary=(PLACE, SPECK), node=NODE))
    store.study("scan-2", chest(2), ".nii.gz")
    store.label("scan-2", labels())
    store.study("waits", chest(3))
    store.label("waits", labels(nodule=PLACE), "original")
    out = tmp_path / "out"
    arguments = ["ingest", "monailabel", str(store.root), str(out), "--test", "0", "--workers", "1"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "2 cases of 2 patients, 3 lesions, 2 masks" in told
    assert "1 studies have no final label, T, N or M: left out; see --unlabelled." in told
    assert "No clinical table" in told
    cohort = load_cohort(out)
    first, second = sorted(cohort.cases, key=lambda case: case.series)
    # The largest part of the primary is it, what lies apart a nodule, as in any other source.
    assert [(own.kind, own.label) for own in first.lesions] == [("primary", 1), ("node", 2), ("nodule", 3)]
    assert first.lesions[0].size_mm == pytest.approx((4 * 0.75, 4 * 0.75, 3 * 1.25))
    assert (first.patient, first.study, first.image) == ("scan-1", "scan-1", cohort.cases[0].image)
    assert (read_volume(cohort.image_path(first)).array == chest(1)).all()
    mask, _ = read_mask(out / str(first.mask))
    assert [int((mask == number).sum()) for number in (1, 2, 3)] == [48, 4, 2]
    # Somebody has looked and found nothing.
    assert (second.lesions, second.mask is not None) == ((), True)
    assert audit_cohort(cohort).problems == ()
    assert main([*arguments, "--unlabelled"]) == 0
    waits = next(case for case in load_cohort(out).cases if case.series == "waits")
    assert (waits.lesions, waits.mask) == ((), None)


def test_a_dicom_study_is_its_patients_and_of_the_series_that_was_labelled(
    store: Store, tmp_path: Path, write_ct: Callable[..., Any]
) -> None:
    def edit(_: int, dataset: Any) -> None:
        dataset.PatientID, dataset.PatientAge, dataset.StudyInstanceUID = "P-7", "061Y", "1.2.826.0.1.3680043.10.9"

    # The server chooses the thinner slices.
    uid = "1.2.826.0.1.3680043.10.1"
    write_ct(edit, folder="raw/study/thick", uid=f"{uid}.7", count=30, shape=(12, 14), step=5.0)
    written = write_ct(edit, folder="raw/study/thin", uid=uid, count=50, shape=(12, 14))
    label = np.zeros(written.hu.T.shape, np.uint8)
    label[4:7, 3:6, 20:23] = 4
    store.study("study", ext="")
    store.label("study", label, affine=written.affine)
    result = ingest("monailabel", store.root, tmp_path / "out", ONE)
    (case,) = result.cohort.cases
    assert (case.patient, case.series, case.clinical["age"]) == ("P-7", uid, 61)
    (lesion,) = case.lesions
    center = written.affine @ (5, 4, 21, 1)
    assert (lesion.kind, lesion.center_mm) == ("nodule", pytest.approx(center[:3], abs=1e-3))
    assert result.rejections == ()


def test_markups_become_lesions_without_a_mask(store: Store, tmp_path: Path) -> None:
    store.study("scan-1", chest(1))
    boxes = np.array([[172.0, -188, -398, 178, -184, -394], [171.0, -187, -397, 175, -184, -393]])
    document = roi_document(boxes, ["candidate 1 (0.93)", "primary tumour"])
    document["markups"].append({"type": "Fiducial", "name": "here"})
    document["markups"] += roi_document(boxes[:1] + 500, ["outside"])["markups"]
    store.label("scan-1", document)
    result = ingest("monailabel", store.root, tmp_path / "out", ONE)
    (case,) = result.cohort.cases
    assert case.mask is None
    assert [own.kind for own in case.lesions] == ["primary", "nodule"]
    assert case.lesions[1].center_mm == (175, -186, -396) and case.lesions[1].size_mm == (6, 4, 4)
    assert [own.rule for own in result.rejections] == ["malformed-label", "annotation-outside-image"]
    assert "found ('Fiducial', 'Box', 'mm')" in result.rejections[0].found


def test_what_was_entered_becomes_the_cases_letters(store: Store, tmp_path: Path, capsys: Any) -> None:
    store.study(
        "entered", chest(1), staging={"final": {"t": ["T2a", "T2b"], "m": ["M0"], "edition": "8", "prefix": "c"}}
    )
    store.study("stock", chest(2))
    store.label("stock", labels(primary=PLACE), t="pT1b", n="N1")
    store.study("named", chest(3))
    store.label("named", labels(primary=PLACE), label_info=[{"name": "primary", "idx": 1}, {"name": "T3 N2", "idx": 2}])
    store.study("edited", chest(4), staging={"final": {"t": ["T9"], "edition": "8", "prefix": "c"}})
    store.label("edited", labels(primary=PLACE))
    (store.root / "clinical.csv").write_text("PatientID,T,N,M\nentered,T4,N3,M1a\nedited,T1a,N0,M0\nstock,T4,N0,M0\n")
    result = ingest("monailabel", store.root, tmp_path / "out", ONE)
    cases = by_name(result)
    # The table says what was not entered, where it is of the same edition and prefix.
    assert (cases["entered"].t, cases["entered"].n, cases["entered"].m) == (("T2a", "T2b"), ("N3",), ("M0",))
    assert (cases["stock"].t, cases["stock"].n, cases["stock"].prefix) == (("T1b",), ("N1",), "p")
    assert cases["stock"].m == ("M0", "M1a", "M1b", "M1c")
    assert (cases["named"].t, cases["named"].n) == (("T3",), ("N2",))
    assert cases["edited"].t == ("T1a",)
    (refused,) = result.rejections
    assert (refused.rule, refused.series) == ("malformed-staging", "edited") and "found 'T9'" in refused.found
    assert "T, N or M was entered for 3 of 4 studies." in result.report.notes


def test_scans_that_are_said_to_be_of_one_patient_stay_together(store: Store, tmp_path: Path) -> None:
    for number in (1, 2):
        store.study(f"scan-{number}", chest(number), patient="P-1")
        store.label(f"scan-{number}", labels(nodule=PLACE))
    cohort = ingest("monailabel", store.root, tmp_path / "out", ONE).cohort
    assert {case.patient for case in cohort.cases} == {"P-1"}


@pytest.mark.parametrize(
    ("label", "rule", "found"),
    [
        (labels(strange=PLACE), "not-a-mask", "1 primary, 2 node, 3 metastasis, 4 nodule; found values from 0 to 5"),
        (np.zeros((3, 3, 3), np.uint8), "mask-off-grid", "must share one grid"),
        ({"markups": {}}, "malformed-label", "a list of markups is needed"),
        ({"markups": [{"type": "ROI", "center": [0, 0], "size": [1, 1, 1]}]}, "malformed-label", "three numbers"),
        ({"markups": [{"type": "ROI", "center": [0, 0, 0], "size": [1, -1, 1]}]}, "malformed-label", "above 0 mm"),
    ],
)
def test_a_label_that_does_not_fit_is_refused_alone(
    store: Store, tmp_path: Path, label: Any, rule: str, found: str
) -> None:
    store.study("scan-1", chest(1))
    store.label("scan-1", label)
    result = ingest("monailabel", store.root, tmp_path / "out", ONE)
    (case,) = result.cohort.cases
    assert (case.lesions, case.mask) == ((), None)
    (refused,) = result.rejections
    assert refused.rule == rule and found in refused.found
    assert refused.files == (f"labels/final/scan-1{'.nii.gz' if isinstance(label, np.ndarray) else '.json'}",)


def test_studies_that_cannot_be_taken_are_told(store: Store, tmp_path: Path, write_ct: Callable[..., Any]) -> None:
    for name in ("gone", "unlabelled"):
        store.study(name, chest(1))
        store.label(name, labels())
    (store.root / "gone.nii").unlink()
    (store.root / "labels" / "final" / "unlabelled.nii.gz").unlink()
    store.study("water", np.zeros(SHAPE, np.int16))
    store.label("water", labels())
    write_ct(folder="raw/short", count=5, shape=(12, 14))
    for copy in ("first", "second"):
        write_ct(folder=f"raw/{copy}", uid="1.2.826.0.1.3680043.10.5", count=50, shape=(12, 14))
    for name in ("short", "first", "second"):
        store.study(name, ext="")
        store.label(name, labels())
    result = ingest("monailabel", store.root, tmp_path / "out", ONE)
    assert {(own.patient, own.rule) for own in result.rejections} == {
        ("gone", "unreadable"),
        ("unlabelled", "unreadable"),
        ("water", "not-hounsfield"),
        ("short", "no-usable-series"),
        ("first", "ambiguous-identity"),
        ("second", "ambiguous-identity"),
    }
    assert not result.cohort.cases


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"objects": []}', '{"objects": {"a": 1}}', "[" * 100_000]
    + [json.dumps({"objects": {name: {"image": {"ext": ".nii"}, "labels": {}}}}) for name in ("../a", "a/b", ".a", "")]
    + [json.dumps({"objects": {"a": {"image": {"ext": "/../x"}, "labels": {}}}})]
    + [json.dumps({"images_dir": own, "objects": {}}) for own in ("/etc", "../x")],
)
def test_an_index_that_is_none_is_refused(store: Store, text: str) -> None:
    (store.root / "datastore_v2.json").write_text(text)
    with pytest.raises(DataError, match=r"datastore_v2\.json: not the index of a data store"):
        make_plan("monailabel", store.root, SourceOptions())


def test_a_folder_that_was_never_served_is_refused(raw: Path) -> None:
    raw.mkdir()
    with pytest.raises(DataError, match=r"datastore_v2\.json: no such file; `monai-staging label"):
        make_plan("monailabel", raw, SourceOptions())


def test_other_sources_know_no_unlabelled_studies(raw: Path) -> None:
    with pytest.raises(UsageError, match="with monailabel only; got folder"):
        make_plan("folder", raw, SourceOptions(unlabelled=True))


def test_only_what_was_labelled_anew_is_read_again(store: Store, tmp_path: Path, capsys: Any) -> None:
    for number in (1, 2, 3):
        store.study(f"scan-{number}", chest(number))
        store.label(f"scan-{number}", labels(nodule=PLACE))
    ingest("monailabel", store.root, tmp_path / "out", ONE)
    store.label("scan-2", labels(nodule=(PLACE, SPECK)))
    capsys.readouterr()
    result = ingest("monailabel", store.root, tmp_path / "out", ONE)
    assert "2 of 3 series were done before" in capsys.readouterr().err
    assert len(by_name(result)["scan-2"].lesions) == 2
