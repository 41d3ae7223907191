"""The server on an archive, as clients and the archive see it: a real Orthanc, real HTTP."""

from __future__ import annotations

import io
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import requests

from monai_staging.cli.main import main
from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.masks import mask_from_seg
from monai_staging.cohort.volume import read_mask
from monai_staging.dicomweb import (
    Archive,
    StudyAddress,
    connection,
    find_archived,
    find_objects,
    retrieve_object,
    store,
)
from monai_staging.dicomweb.qido import RemoteObject
from monai_staging.label.kinds import KINDS, write_labels
from monai_staging.measure.images import check_same_grid, read_image
from monai_staging.outputs.annotation import read_annotation
from monai_staging.outputs.dicom_sr import read_sr
from monai_staging.predict.study import open_study

from ..orthanc import Orthanc
from .conftest import Running, Served, label_of


def kinds_of(image: Path, path: Path) -> np.ndarray:
    """A label map with lesions of every kind on an image's grid, written to ``path``."""
    grid = read_image(image)
    labels = np.zeros(grid.shape, dtype=np.uint8, order="F")
    labels[3:9, 4:9, 5:9] = 1
    labels[9:11, 4:9, 5:9] = 2  # touches the primary
    labels[20:22, 20:22, 2] = 3
    labels[30, 30, 3] = labels[33:36, 30:34, 3:5] = 4
    write_labels(path, labels, grid.affine)
    return labels


def archive_datastore(url: str, work: Path) -> Any:
    from monai_staging.label.archive import ArchiveDatastore

    return ArchiveDatastore(Archive(url), work)


def save(served: Served, name: str, path: Path, tag: str, **entered: object) -> requests.Response:
    with open(path, "rb") as file:
        return served.server.ask(
            "PUT",
            "/datastore/label",
            params={"image": name, "tag": tag},
            data={"params": json.dumps(entered)},
            files={"label": (path.name, file)},
        )


def given_label(served: Served, name: str, tag: str, path: Path) -> np.ndarray:
    answer = served.server.ask("GET", "/datastore/label", params={"label": name, "tag": tag})
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    return np.asarray(nibabel.load(path).dataobj)


def tumour_of(served: Served, name: str, folder: Path) -> np.ndarray:
    answer = served.server.ask("POST", "/infer/tumour", params={"image": name, "output": "image"})
    (folder / "t.nii.gz").write_bytes(answer.content)
    return np.asarray(nibabel.load(folder / "t.nii.gz").dataobj)


def in_archive(served: Served, name: str, tag: str) -> dict[str, Any]:
    """What is known of a label, and its SEG and SR as the archive has them."""
    info = served.server.ask("GET", "/datastore/label/info", params={"label": name, "tag": tag}).json()
    address = served.archive.address(served.studies[name])
    places = {kind: info["archive"][kind] for kind in ("SEG", "SR")}
    objects = {kind: retrieve_object(address, RemoteObject(*place, "")) for kind, place in places.items() if place}
    return {**objects, "info": info}


@pytest.fixture
def image(served: Served, tmp_path: Path) -> Path:
    """The second image as NIfTI."""
    answer = served.server.ask("GET", "/datastore/image", params={"image": served.images[1]})
    (tmp_path / "image.nii").write_bytes(answer.content)
    return tmp_path / "image.nii"


def test_the_images_are_the_ct_series_of_the_archive(served: Served) -> None:
    status = served.server.ask("GET", "/datastore/", params={"output": "all"}).json()
    assert sorted(status["objects"]) == served.images
    for name, study in served.studies.items():
        info = served.server.ask("GET", "/datastore/image/info", params={"image": name}).json()
        assert (info["StudyInstanceUID"], info["SeriesInstanceUID"], info["Modality"]) == (study, name, "CT")
        assert info["instances"] == len(list(served.folders[name].glob("*.dcm")))
    assert served.server.ask("GET", "/info/").json()["datastore"]["total"] == len(served.images)


def test_an_image_is_given_as_nifti(served: Served, image: Path) -> None:
    given, volume = read_image(image), open_study(served.folders[served.images[1]], watch=iter).volume
    np.testing.assert_array_equal(given.read(given.whole), volume.array)
    np.testing.assert_allclose(given.affine, volume.affine, atol=1e-4)


def test_a_label_is_a_seg_and_a_report_in_the_archive(served: Served, image: Path, tmp_path: Path) -> None:
    name = served.images[1]
    labels = kinds_of(image, tmp_path / "sent.nii.gz")
    saved = save(served, name, tmp_path / "sent.nii.gz", "reader-1", t="T2a", n="N1", m="M0", note="großer Knoten")
    staging = {"t": ["T2a"], "n": ["N1"], "m": ["M0"], "edition": "8", "prefix": "c"}
    assert (saved.status_code, saved.json()) == (200, {"image": name, "label": name, "staging": staging})
    objects = in_archive(served, name, "reader-1")

    # By highdicom's own reader, on the images of the series.
    seg = highdicom.seg.Segmentation.from_dataset(objects["SEG"])
    described = {number: seg.get_segment_description(number) for number in seg.segment_numbers}
    assert [own.algorithm_type.value for own in described.values()] == ["MANUAL"] * 5
    kinds = {number: KINDS[own.segment_label.split()[0]] for number, own in described.items()}
    files = served.folders[name].glob("*.dcm")
    slices = sorted(map(pydicom.dcmread, files), key=lambda own: own.ImagePositionPatient[2])
    uids = [own.SOPInstanceUID for own in slices]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    theirs = sum(kind * pixels[..., number - 1].astype(np.uint8) for number, kind in kinds.items())
    np.testing.assert_array_equal(theirs.T, labels)
    assert seg.SeriesDescription == "Label: reader-1"

    findings = read_sr(objects["SR"])
    found = [lesion.category.value for lesion in findings.lesions]
    assert found == ["primary", "node", "metastasis", "nodule", "nodule"]
    assert str(findings.staging.tnm) == "cT2a N1 M0 (8th edition)" and findings.staging.groups == ("IIB",)
    annotation = read_annotation(objects["SR"])
    assert (annotation.tag, annotation.annotator) == ("reader-1", objects["info"]["user"])
    assert annotation.parameters["note"] == objects["info"]["note"] == "großer Knoten"
    assert abs(objects["info"]["ts"] - time.time()) < 600
    for own in (objects["SEG"], objects["SR"]):
        assert (own.PatientID, own.StudyInstanceUID) == (slices[0].PatientID, slices[0].StudyInstanceUID)

    # By the server, and by another one that knows nothing but the archive.
    np.testing.assert_array_equal(given_label(served, name, "reader-1", tmp_path / "back.nii.gz"), labels)
    check_same_grid(read_image(image), read_image(tmp_path / "back.nii.gz"))
    other = archive_datastore(served.url, tmp_path / "other")
    np.testing.assert_array_equal(nibabel.load(other.get_label_uri(name, "reader-1")).dataobj, labels)
    assert other.get_label_info(name, "reader-1") == objects["info"]


def test_the_newer_label_of_a_tag_counts_and_the_older_stays(served: Served, image: Path, tmp_path: Path) -> None:
    name, address = served.images[1], served.archive.address(served.studies[served.images[1]])
    for count in (8, 5, 8):  # what was there before comes again
        path = label_of(image, tmp_path / "l.nii.gz", value=4, count=count)
        save(served, name, path, "again", count=count).raise_for_status()
        assert np.count_nonzero(given_label(served, name, "again", tmp_path / "back.nii.gz")) == count
    reports = [read_annotation(retrieve_object(address, own)) for own in find_objects(address, "SR")]
    assert sorted(own.parameters["count"] for own in reports if own.tag == "again") == [5, 8, 8]


def test_labels_become_a_cohort(served: Served, image: Path, tmp_path: Path) -> None:
    name = served.images[1]
    labels = kinds_of(image, tmp_path / "sent.nii.gz")
    save(served, name, tmp_path / "sent.nii.gz", "final", t="T2a|T2b").raise_for_status()
    other = archive_datastore(served.url, tmp_path / "other")
    made = ingest("monailabel", other.as_folder(), tmp_path / "cohort", IngestOptions(workers=1))
    assert made.rejections == ()
    (case,) = (case for case in made.cohort.cases if case.series == name)
    assert case.t == ("T2a", "T2b") and case.mask is not None
    mask, _ = read_mask(tmp_path / "cohort" / case.mask)
    np.testing.assert_array_equal(mask != 0, labels != 0)
    # Again, after a label came: what was linked before is not in the way.
    assert other.as_folder() == tmp_path / "other" / ".labelled"


def test_a_label_without_a_lesion_is_a_report_alone(served: Served, image: Path, tmp_path: Path) -> None:
    name = served.images[1]
    save(served, name, label_of(image, tmp_path / "l.nii.gz", count=0), "empty").raise_for_status()
    objects = in_archive(served, name, "empty")
    assert "SEG" not in objects and read_sr(objects["SR"]).lesions == ()
    assert not given_label(served, name, "empty", tmp_path / "back.nii.gz").any()


def test_boxes_are_kept_in_a_report(served: Served, tmp_path: Path) -> None:
    from monai_staging.label.markups import roi_document

    name = served.images[1]
    document = roi_document(np.array([[-10.0, -20, 30, 5, 6, 70], [1, 2, 3, 4, 5, 6]]), ["a", "b"])
    (tmp_path / "boxes.json").write_text(json.dumps(document, indent=2))
    save(served, name, tmp_path / "boxes.json", "boxes").raise_for_status()
    answer = served.server.ask("GET", "/datastore/label", params={"label": name, "tag": "boxes"})
    assert answer.json() == document
    objects = in_archive(served, name, "boxes")
    assert set(objects) == {"SR", "info"} and read_sr(objects["SR"]).lesions == ()
    # By highdicom's own reader: each box as the volume between two rectangles, LPS mm.
    report = highdicom.sr.Comprehensive3DSR.from_dataset(objects["SR"])
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["1 a", "2 b"]
    corners = np.concatenate(groups[0].roi.graphic_data)
    np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [[-5, -6, 30], [10, 20, 70]])


def test_a_label_is_corrected_and_withdrawn(served: Served, image: Path, tmp_path: Path) -> None:
    name = served.images[1]
    target = {"label": name, "tag": "final"}
    labels = kinds_of(image, tmp_path / "sent.nii.gz")
    save(served, name, tmp_path / "sent.nii.gz", "final", t="T1b").raise_for_status()
    served.server.ask("PUT", "/datastore/label/info", params=target, data={"info": '{"n": "N2"}'}).raise_for_status()
    assert served.server.ask("GET", "/info/").json()["datastore"]["completed"] == 1
    objects = in_archive(served, name, "final")
    assert (objects["info"]["t"], objects["info"]["n"]) == (["T1b"], ["N2"])
    assert read_sr(objects["SR"]).staging.tnm.n == {"N2"}
    np.testing.assert_array_equal(given_label(served, name, "final", tmp_path / "back.nii.gz"), labels)
    # Saved again without them, they stay; withdrawn, they are the study's.
    answer = save(served, name, tmp_path / "sent.nii.gz", "final", m="M0|M1a")
    assert answer.json()["staging"] == {"t": ["T1b"], "n": ["N2"], "m": ["M0", "M1a"], "edition": "8", "prefix": "c"}
    answer = served.server.ask("DELETE", "/datastore/label", params={"id": name, "tag": "final"})
    assert answer.status_code == 200
    assert served.server.ask("GET", "/datastore/label", params=target).status_code == 404
    assert served.server.ask("GET", "/info/").json()["datastore"]["completed"] == 0
    assert served.server.ask("GET", "/datastore/image/info", params={"image": name}).json()["t"] == ["T1b"]


def test_what_is_entered_for_a_study_is_in_the_archive(served: Served, tmp_path: Path) -> None:
    name = served.images[2]
    for entered in ({"t": "T3"}, {"n": "N0", "note": "two"}):
        data = {"info": json.dumps(entered)}
        served.server.ask("PUT", "/datastore/image/info", params={"image": name}, data=data).raise_for_status()
    info = served.server.ask("GET", "/datastore/image/info", params={"image": name}).json()
    assert (info["t"], info["n"], info["note"], info["SeriesInstanceUID"]) == (["T3"], ["N0"], "two", name)
    other = archive_datastore(served.url, tmp_path / "other")
    assert other.get_image_info(name)["t"] == ["T3"]
    assert "study" not in other.get_labels_by_image_id(name)
    assert served.server.ask("GET", f"/datastore/label?label={name}&tag=study").status_code == 404


@pytest.mark.parametrize("strategy", ["random", "epistemic", "diversity"])
def test_each_strategy_names_a_series_that_waits(served: Served, strategy: str) -> None:
    found = served.server.ask("POST", f"/activelearning/{strategy}", json={"client_id": "reader"}).json()
    assert found["id"] in served.images and "wait for a label" in found["reason"]
    assert found["StudyInstanceUID"] == served.studies[found["id"]]


def test_values_are_inferred(served: Served) -> None:
    found = served.server.ask("POST", "/infer/staging", params={"image": served.images[0], "output": "json"}).json()
    assert sum(found["t"].values()) == pytest.approx(1)
    told = json.dumps(found)
    dataset = pydicom.dcmread(next(served.folders[served.images[0]].glob("*.dcm")), stop_before_pixels=True)
    assert str(dataset.PatientID) not in told and str(dataset.PatientName) not in told


def test_a_segmentation_is_given_as_dicom_seg(served: Served, tmp_path: Path) -> None:
    name = next(own for own in served.images if tumour_of(served, own, tmp_path).any())
    labels = tumour_of(served, name, tmp_path)
    answer = served.server.ask("POST", "/infer/tumour", params={"image": name, "output": "dicom_seg"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom")
    seg = highdicom.seg.segread(io.BytesIO(answer.content))
    assert seg.StudyInstanceUID == served.studies[name]
    found = {seg.get_segment_description(number).algorithm_type.value for number in seg.segment_numbers}
    assert found == {"AUTOMATIC"}
    masks = mask_from_seg(seg, open_study(served.folders[name], watch=iter).volume)
    np.testing.assert_array_equal(sum(own.mask for own in masks) > 0, labels > 0)


def test_a_batch_goes_into_the_archive(served: Served, tmp_path: Path) -> None:
    asked = {"images": "unlabeled", "label_tag": "batch", "max_batch_size": 2}
    served.server.ask("POST", "/batch/infer/tumour", params=asked).raise_for_status()
    deadline = time.monotonic() + 240
    while (task := served.server.ask("GET", "/batch/infer").json())["status"] not in ("DONE", "ERROR"):
        assert time.monotonic() < deadline, task
        time.sleep(0.5)
    assert task["status"] == "DONE", task["details"]
    time.sleep(1.1)  # the server asks the archive again after a second
    objects = served.server.ask("GET", "/datastore/", params={"output": "all"}).json()["objects"]
    done = [name for name, own in objects.items() if "batch" in own["labels"]]
    assert len(done) == 2, task
    for name in done:
        assert in_archive(served, name, "batch")["info"]["model"] == "tumour"
        labels = given_label(served, name, "batch", tmp_path / "back.nii.gz")
        np.testing.assert_array_equal(labels, tumour_of(served, name, tmp_path))


BOXES = ("l.json", b'{"markups": []}')
MALFORMED = [
    ("GET", "/datastore/image?image=1.2.3", {}, 404),
    ("GET", "/datastore/label?label=IMAGE&tag=none", {}, 404),
    ("DELETE", "/datastore/label?id=IMAGE&tag=none", {}, 404),
    ("PUT", "/datastore/image?image=x", {"files": {"file": ("a.nii.gz", b"x")}}, 422),
    ("PUT", "/datastore/label?image=IMAGE", {"files": {"label": ("l.nii.gz", b"x")}}, 422),
    ("PUT", "/datastore/label?image=IMAGE", {"files": {"label": BOXES}, "data": {"params": '{"t": "large"}'}}, 400),
    ("PUT", "/datastore/label?image=IMAGE", {"files": {"label": BOXES}, "data": {"params": '{"n": [1]}'}}, 400),
    ("PUT", "/datastore/label?image=IMAGE&tag=study", {"files": {"label": BOXES}}, 400),
    ("PUT", "/datastore/image/info?image=IMAGE", {"data": {"info": '{"t": "large"}'}}, 400),
    ("POST", "/infer/staging?image=IMAGE&output=dicom_seg", {}, 400),
    ("POST", "/infer/detection?image=IMAGE&output=dicom_seg", {}, 400),
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_what_is_malformed_is_refused_with_a_reason(served: Served, number: int) -> None:
    method, path, options, status = MALFORMED[number]
    before = find_archived(Archive(served.url), "SR")
    answer = served.server.ask(method, path.replace("IMAGE", served.images[0]), **options)
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True), answer.text
    assert find_archived(Archive(served.url), "SR") == before


def test_a_killed_server_has_every_label_that_it_acknowledged(
    served: Served, start_server: Callable[..., Running], image: Path, tmp_path: Path
) -> None:
    name, acknowledged = served.images[1], [0]
    server = start_server(tmp_path / "work", archive=served.url)

    def save_for_ever() -> None:
        for count in range(1, 10_000):
            path = label_of(image, tmp_path / "l.nii.gz", count=count)
            try:
                answer = save(replace(served, server=server), name, path, "killed", count=count)
            except OSError:
                return
            assert answer.status_code == 200, answer.text
            acknowledged.append(count)

    thread = threading.Thread(target=save_for_ever)
    thread.start()
    deadline = time.monotonic() + 120
    while len(acknowledged) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(30)
    thread.join()
    assert acknowledged[-1] >= 3
    shutil.rmtree(tmp_path / "work")
    other = archive_datastore(served.url, tmp_path / "work")
    count = other.get_label_info(name, "killed")["count"]
    assert acknowledged[-1] <= count <= acknowledged[-1] + 1
    assert np.count_nonzero(nibabel.load(other.get_label_uri(name, "killed")).dataobj) == count


def test_an_archive_that_dies_is_said_and_no_secret_with_it(
    start_orthanc: Callable[..., Orthanc],
    start_server: Callable[..., Running],
    stored_phantoms: dict[str, Path],
    tmp_path: Path,
) -> None:
    archive = start_orthanc(users={"alice": "geheim"})
    url = archive.service.replace("//", "//alice:geheim@")
    name, folder = next(iter(stored_phantoms.items()))
    files = sorted(folder.glob("*.dcm"))
    study = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    store(StudyAddress.parse(f"{url}/studies/{study}"), files)
    server = start_server(tmp_path / "work", archive=url)
    assert server.ask("GET", "/datastore/").json()["total"] == 1
    archive.kill()
    time.sleep(1.1)
    answer = server.ask("GET", "/datastore/image", params={"image": name})
    assert answer.status_code == 502
    assert answer.json()["detail"].startswith(f"The archive at {archive.service}: the server cannot be reached")
    told = answer.text + server.log.read_text() + server.ask("GET", "/info/").text
    assert "geheim" not in told and "Traceback" not in told


def test_what_is_wrong_with_an_archive_is_said_at_once(
    start_orthanc: Callable[..., Orthanc],
    monkeypatch: pytest.MonkeyPatch,
    monailabel: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(connection, "WAITS_S", (0.01, 0.02, 0.03))
    archive = start_orthanc(users={"alice": "geheim"})
    for url, found in (
        (archive.service, "asks for credentials (401)"),
        (archive.service.replace("//", "//alice:falsch@"), "does not let these credentials in (401)"),
        (archive.service.replace("//", "//alice:geheim@") + "/nothing", "no DICOMweb server answers there"),
        ("http://127.0.0.1:9/dicom-web", "cannot be reached after 4 attempts"),
    ):
        assert main(["label", "--studies", url, "--port", "0"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("monai-staging label: The archive at http://127.0.0.1:") and found in line
        assert "falsch" not in line and "geheim" not in line


def test_ohifs_panel_gets_label_maps_as_nrrd(served: Served, tmp_path: Path) -> None:
    nrrd = pytest.importorskip("nrrd")
    name = served.images[0]
    data = {"params": json.dumps({"result_extension": ".nrrd"})}
    answer = served.server.ask("POST", "/infer/tumour", params={"image": name, "output": "image"}, data=data)
    (tmp_path / "l.nrrd").write_bytes(answer.content)
    labels, header = nrrd.read(str(tmp_path / "l.nrrd"), index_order="F")
    np.testing.assert_array_equal(labels, tumour_of(served, name, tmp_path))
    assert (header["encoding"], header["type"]) == ("raw", "uint8")
    first = min(map(pydicom.dcmread, served.folders[name].glob("*.dcm")), key=lambda own: own.ImagePositionPatient[2])
    np.testing.assert_allclose(header["space origin"], first.ImagePositionPatient, atol=1e-3)
