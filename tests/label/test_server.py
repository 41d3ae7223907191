"""The server as clients see it, by real HTTP."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import nibabel
import numpy as np
import pytest

from monai_staging.cohort.case import LESION_KINDS
from monai_staging.cohort.masks import mask_from_seg
from monai_staging.measure.images import check_same_grid, read_image
from monai_staging.predict.study import open_study

from .conftest import DICOM, LIMIT_MIB, Running, label_of

MODELS = ["tumour", "detection", "staging", "malignancy", "outline_click"]


def labels_in(content: bytes, path: Path) -> np.ndarray:
    path.write_bytes(content)
    return np.asarray(nibabel.load(path).dataobj)


def test_info_lists_models_and_strategies(server: Running) -> None:
    info = server.ask("GET", "/info/").json()
    assert list(info["models"]) == MODELS
    assert list(info["strategies"]) == ["random", "epistemic", "diversity"]
    assert info["models"]["tumour"]["labels"] == {kind: number for number, kind in enumerate(LESION_KINDS, start=1)}
    assert info["models"]["outline_click"]["type"] == "deepgrow"
    assert info["datastore"]["total"] == 3


def test_a_dicom_study_is_given_as_nifti(server: Running, phantom_studies: Path, tmp_path: Path) -> None:
    answer = server.ask("GET", "/datastore/image", params={"image": DICOM})
    path = tmp_path / "given.nii"
    path.write_bytes(answer.content)
    volume = open_study(phantom_studies / DICOM, watch=iter).volume
    given = read_image(path)
    np.testing.assert_array_equal(given.read(given.whole), volume.array)
    np.testing.assert_allclose(given.affine, volume.affine, atol=1e-4)


def test_tumour_gives_a_label_map_on_the_scans_voxels(server: Running, tmp_path: Path) -> None:
    answer = server.ask("POST", "/infer/tumour", params={"image": "scan-1", "output": "image"})
    assert answer.status_code == 200
    labels = labels_in(answer.content, tmp_path / "labels.nii.gz")
    assert set(np.unique(labels)) <= {0, 1, 4}
    check_same_grid(read_image(server.studies / "scan-1.nii"), read_image(tmp_path / "labels.nii.gz"))


def test_of_a_dicom_study_a_label_map_is_given_as_dicom_seg(server: Running, tmp_path: Path) -> None:
    target = {"image": DICOM, "output": "image"}
    labels = labels_in(server.ask("POST", "/infer/tumour", params=target).content, tmp_path / "labels.nii.gz")
    answer = server.ask("POST", "/infer/tumour", params={"image": DICOM, "output": "dicom_seg"})
    if not labels.any():
        assert answer.status_code == 422 and "Nothing was found" in answer.json()["detail"]
        return
    (tmp_path / "seg.dcm").write_bytes(answer.content)
    volume = open_study(server.studies / DICOM, watch=iter).volume
    masks = [own.mask for own in mask_from_seg(tmp_path / "seg.dcm", volume)]
    np.testing.assert_array_equal(np.any(masks, axis=0), labels > 0)


def test_detection_gives_boxes_for_slicer_and_as_values(server: Running) -> None:
    answer = server.ask("POST", "/infer/detection", params={"image": "scan-1"})
    assert answer.headers["content-type"].startswith("multipart/form-data; boundary=")
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    parts = [part.partition(b"\r\n\r\n")[2].strip() for part in answer.content.split(f"--{boundary}".encode())[1:-1]]
    values, markups = map(json.loads, parts)
    assert len(values["boxes"]) == len(markups["markups"])
    for box, roi in zip(values["boxes"], markups["markups"], strict=True):
        low, high = np.reshape(box["box_mm"], (2, 3))
        np.testing.assert_allclose(roi["center"], (low + high) / 2 * [-1, -1, 1], atol=1e-3)
        np.testing.assert_allclose(roi["size"], high - low, atol=2e-3)


def test_staging_gives_probabilities_of_each_letter(server: Running) -> None:
    found = server.ask("POST", "/infer/staging", params={"image": DICOM, "output": "json"}).json()
    for letter in "tnm":
        assert sum(found[letter].values()) == pytest.approx(1)
        assert all(name.startswith(letter.upper()) for name in found[letter])
        assert sum(found["attention"]["weights"][letter]) == pytest.approx(1)
    assert [own["label"] for own in found["prediction"]] == [*found["t"], *found["n"], *found["m"]]
    assert found["study"] != DICOM and "Not a medical device" in found["notice"]


def test_malignancy_gives_a_probability(server: Running) -> None:
    found = server.ask("POST", "/infer/malignancy", params={"image": "scan-1", "output": "json"}).json()
    (surest,) = found["prediction"]
    assert 0 <= surest["score"] <= 1
    assert surest["score"] == max((own["malignancy"] for own in found["lesions"]), default=0)


def test_a_click_gives_the_outline_there(server: Running, tmp_path: Path) -> None:
    data = {"params": json.dumps({"foreground": [[40, 60, 20]], "background": [[42, 60, 20]]})}
    target = {"image": "scan-2", "output": "image"}
    labels = labels_in(
        server.ask("POST", "/infer/outline_click", params=target, data=data).content, tmp_path / "l.nii.gz"
    )
    told = server.ask("POST", "/infer/outline_click", params={"image": "scan-2", "output": "json"}, data=data).json()
    assert np.count_nonzero(labels == 1) == np.count_nonzero(labels) == told["voxels"]


def test_a_file_that_is_sent_along_is_inferred(server: Running) -> None:
    with open(server.studies / "scan-1.nii", "rb") as file:
        answer = server.ask("POST", "/infer/staging?output=json", files={"file": ("ct.nii", file)})
    stored = server.ask("POST", "/infer/staging", params={"image": "scan-1", "output": "json"}).json()
    assert answer.json()["t"] == pytest.approx(stored["t"])


@pytest.mark.parametrize("strategy", ["random", "epistemic", "diversity"])
def test_each_strategy_names_a_waiting_study_and_its_reason(server: Running, strategy: str) -> None:
    found = server.ask("POST", f"/activelearning/{strategy}", json={"client_id": "reader"}).json()
    status = server.ask("GET", "/datastore/", params={"output": "all"}).json()
    assert "final" not in status["objects"][found["id"]]["labels"]
    assert "wait for a label" in found["reason"]
    assert status["objects"][found["id"]]["image"]["info"]["strategy"][strategy]["client_id"] == "reader"


def test_a_saved_label_comes_back_with_what_was_entered(server: Running, tmp_path: Path) -> None:
    sent = label_of(server.studies / "scan-1.nii", tmp_path / "label.nii.gz", value=2)
    entered = {"t": "T2a|T2b", "label_info": [{"name": "Nodule", "idx": 2}]}
    with open(sent, "rb") as file:
        target = {"image": "scan-1", "tag": "final"}
        data = {"params": json.dumps(entered)}
        saved = server.ask("PUT", "/datastore/label", params=target, data=data, files={"label": ("l.nii.gz", file)})
    known = {"t": ["T2a", "T2b"], "edition": "8", "prefix": "c"}
    assert saved.status_code == 200
    assert saved.json() == {"image": "scan-1", "label": "scan-1", "staging": known}
    name = {"label": "scan-1", "tag": "final"}
    back = labels_in(server.ask("GET", "/datastore/label", params=name).content, tmp_path / "back.nii.gz")
    # As 3D Slicer numbers them it was 2; in every label of the store a nodule is 4.
    assert np.unique(back).tolist() == [0, 4] and np.count_nonzero(back) == 8
    assert server.ask("GET", "/datastore/label/info", params=name).json()["t"] == ["T2a", "T2b"]
    assert server.ask("GET", "/info/").json()["datastore"]["completed"] == 1
    server.ask("PUT", "/datastore/label/info", params=name, data={"info": '{"n": "N1"}'}).raise_for_status()
    assert server.ask("GET", "/datastore/label/info", params=name).json()["n"] == ["N1"]
    # A label in place of it that comes without letters does not take them away.
    with open(sent, "rb") as file:
        data = {"params": json.dumps({"label_info": entered["label_info"]})}
        again = server.ask("PUT", "/datastore/label", params=target, data=data, files={"label": ("l.nii.gz", file)})
    assert again.json()["staging"] == {**known, "n": ["N1"]}
    assert server.ask("DELETE", "/datastore/label", params={"id": "scan-1", "tag": "final"}).status_code == 200
    kept = server.ask("GET", "/datastore/image/info", params={"image": "scan-1"}).json()["staging"]
    assert kept == {"final": {**known, "n": ["N1"], "user": "admin"}}
    assert server.ask("GET", "/info/").json()["datastore"]["completed"] == 0


def test_monai_labels_own_client_goes_the_whole_way(server: Running, tmp_path: Path) -> None:
    pytest.importorskip("cgi", reason="MONAI Label's client needs it, and Python 3.13 has it no more")
    from monailabel.client import MONAILabelClient

    client = MONAILabelClient(server.url, tmpdir=str(tmp_path), client_id="reader")
    assert not client.auth_enabled()
    sample = client.next_sample("random", {})
    file, params = client.infer("outline_click", sample["id"], {"foreground": [[40, 60, 20]], "background": []})
    assert Path(file).stat().st_size and params["foreground"] == [[40, 60, 20]]
    assert client.save_label(sample["id"], file, "mine", {"label_info": [{"name": "primary", "idx": 1}]})["label"]
    assert labels_in(Path(client.download_label(sample["id"], "mine")).read_bytes(), tmp_path / "b.nii.gz").ndim == 3
    assert client.datastore()["objects"][sample["id"]]["labels"]["mine"]["info"]["client_id"] == "reader"


def test_an_added_study_is_there_and_never_overwritten(server: Running) -> None:
    content = gzip.compress((server.studies / "scan-2.nii").read_bytes(), 1)
    for expected in (200, 400):
        files = {"file": ("new.nii.gz", io.BytesIO(content))}
        assert server.ask("PUT", "/datastore/image?image=added", files=files).status_code == expected
    assert (server.studies / "added.nii.gz").read_bytes() == content
    assert "added" in server.ask("GET", "/datastore/?output=all").json()["objects"]


def test_a_batch_runs_in_a_process_of_its_own(server: Running) -> None:
    # No study has a final label here: what is tested is that the process starts, with the app and its settings.
    server.ask("POST", "/batch/infer/tumour", params={"images": "labeled"}).raise_for_status()
    deadline = time.monotonic() + 240
    while (task := server.ask("GET", "/batch/infer").json())["status"] not in ("DONE", "ERROR"):
        assert time.monotonic() < deadline, task
        time.sleep(0.5)
    assert task["status"] == "DONE", task["details"]
    assert "Total number of images for batch inference: 0" in "".join(task["details"])


GOOD, TRUNCATED = "scan-1.nii", b"\x1f\x8b\x08\x00 cut off"
CLICK = "/infer/outline_click?image=scan-1&output=json"
MALFORMED = [
    ("GET", "/datastore/image?image=nothing", {}, 404),
    ("GET", "/datastore/image?image=../scan-1", {}, 400),
    ("GET", "/datastore/image?image=%2Fetc%2Fpasswd", {}, 400),
    ("GET", "/datastore/image?image=a%00b", {}, 400),
    ("GET", "/datastore/image?image=%ff%fe", {}, 400),
    ("GET", "/datastore/image", {}, 422),
    ("GET", "/datastore/label?label=scan-1&tag=..%2F..", {}, 400),
    ("GET", "/datastore/label?label=scan-1&tag=none", {}, 404),
    ("GET", "/datastore/?output=everything", {}, 422),
    ("DELETE", "/datastore/image?id=scan-1", {}, 405),
    ("DELETE", "/datastore/label?id=scan-1&tag=none", {}, 404),
    ("GET", "/nothing", {}, 404),
    ("GET", "/..%2f..%2fetc", {}, 400),
    ("PATCH", "/info/", {}, 405),
    ("POST", "/infer/nothing?image=scan-1", {}, 404),
    ("POST", "/infer/staging?image=nothing", {}, 404),
    ("POST", "/infer/staging?image=/etc/hostname", {}, 400),
    ("POST", "/infer/staging?image=monai_staging", {}, 404),
    ("POST", "/infer/staging", {}, 400),
    ("POST", "/infer/staging?image=scan-1&output=image", {}, 400),
    ("POST", "/infer/staging?image=scan-1&output=dicom_seg", {}, 400),
    ("POST", "/infer/tumour?image=scan-1&output=dicom_seg", {}, 400),
    ("POST", "/infer/tumour?image=nothing&output=dicom_seg", {}, 404),
    ("POST", "/infer/staging?image=scan-1&output=png", {}, 422),
    ("POST", "/infer/staging?image=scan-1", {"data": {"params": "{"}}, 400),
    ("POST", "/infer/staging?image=scan-1", {"data": {"params": "[" * 100000}}, 400),
    ("POST", "/infer/staging?image=scan-1", {"data": {"params": '{"image": "/etc/hostname"}'}}, 400),
    ("POST", "/infer/staging?output=json", {"files": {"file": ("ct.nii.gz", TRUNCATED)}}, 422),
    ("POST", "/infer/staging?output=json", {"files": {"file": ("../../evil.sh", b"x")}}, 400),
    ("POST", CLICK, {}, 400),
    ("POST", CLICK, {"data": {"params": '{"foreground": "here"}'}}, 400),
    ("POST", CLICK, {"data": {"params": '{"foreground": [[1, 2]]}'}}, 400),
    ("POST", CLICK, {"data": {"params": '{"foreground": [[1, 2, 9999]]}'}}, 400),
    ("POST", CLICK, {"data": {"params": '{"foreground": [[NaN, 1, 1]]}'}}, 400),
    ("POST", CLICK, {"data": {"params": '{"foreground": [[true, 1, 1]]}'}}, 400),
    ("POST", "/activelearning/nothing", {}, 404),
    ("POST", "/activelearning/random", {"json": [1]}, 422),
    ("POST", "/activelearning/random", {"data": b"{", "headers": {"content-type": "application/json"}}, 422),
    ("POST", "/activelearning/random", {"data": b"[" * 99999, "headers": {"content-type": "application/json"}}, 400),
    ("POST", "/batch/infer/nothing", {}, 404),
    ("POST", "/batch/infer/staging", {}, 400),
    ("POST", "/batch/infer/tumour?images=some", {}, 422),
    ("POST", "/batch/infer/tumour?label_tag=../x", {}, 400),
    ("PUT", "/datastore/label?image=scan-1", {}, 422),
    ("PUT", "/datastore/label?image=scan-1", {"files": {"label": ("l.nii.gz", TRUNCATED)}}, 422),
    ("PUT", "/datastore/label?image=scan-1", {"files": {"label": ("l.nii.gz", b"")}}, 422),
    ("PUT", "/datastore/label?image=scan-1", {"files": {"label": ("l.png", b"x")}}, 400),
    ("PUT", "/datastore/label?image=scan-1", {"files": {"label": ("l.json", b"[]")}}, 422),
    ("PUT", "/datastore/label?image=scan-1", {"files": {"label": ("l.nii", GOOD)}}, 422),
    ("PUT", "/datastore/label?image=nothing", {"files": {"label": ("l.json", b'{"markups": []}')}}, 404),
    ("PUT", "/datastore/label?image=../x", {"files": {"label": ("l.json", b'{"markups": []}')}}, 400),
    ("PUT", "/datastore/label?image=scan-1&tag=../x", {"files": {"label": ("l.json", b'{"markups": []}')}}, 400),
    ("PUT", "/datastore/image?image=../x", {"files": {"file": ("a.nii", GOOD)}}, 400),
    ("PUT", "/datastore/image", {"files": {"file": ("../../.nii", GOOD)}}, 400),
    ("PUT", "/datastore/image?image=x", {"files": {"file": ("a.nii.gz", TRUNCATED)}}, 422),
    ("PUT", "/datastore/image/info?image=scan-1", {"data": {"info": "7"}}, 400),
    ("PUT", "/datastore/image/info?image=scan-1", {"data": {"info": '{"strategy": 7}'}}, 400),
    ("PUT", "/datastore/image/info?image=scan-1", {"data": {"info": '{"t": "T5"}'}}, 400),
    ("PUT", "/datastore/image/info?image=nothing", {"data": {"info": "{}"}}, 404),
    ("PUT", "/datastore/label/info?label=scan-1&tag=none", {"data": {"info": "{}"}}, 404),
]


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.parent.rglob("*") if not {".looks", ".converted"} & set(path.parts)}


@pytest.mark.parametrize("number", range(len(MALFORMED)), ids=[f"{row[0]} {row[1]}"[:60] for row in MALFORMED])
def test_what_is_malformed_is_refused_with_a_reason(server: Running, number: int) -> None:
    method, path, options, status = MALFORMED[number]
    if "files" in options:
        options = {
            "files": {
                key: (name, (server.studies / GOOD).read_bytes() if content is GOOD else content)
                for key, (name, content) in options["files"].items()
            }
        }
    before = everything(server.studies)
    answer = server.ask(method, path, **options)
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True), answer.text
    assert "Traceback" not in answer.text
    assert everything(server.studies) == before


@pytest.mark.parametrize("told", [True, False], ids=["its length is told", "chunked"])
def test_a_body_that_is_too_large_is_cut_off(server: Running, told: bool) -> None:
    begin = b'--x\r\nContent-Disposition: form-data; name="label"; filename="l.nii.gz"\r\n\r\n'
    content = begin + b"0" * (LIMIT_MIB << 20)
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    body = content if told else (content[place : place + 65536] for place in range(0, len(content), 65536))
    headers = {"content-type": "multipart/form-data; boundary=x"}
    try:
        connection.request("PUT", "/datastore/label?image=scan-1", body=body, headers=headers)
        assert connection.getresponse().status == 413
    except (ConnectionResetError, BrokenPipeError):
        pass  # the server did not wait for the rest
    finally:
        connection.close()
    assert server.ask("GET", "/info/").status_code == 200


def test_other_sites_are_not_answered(server: Running) -> None:
    answer = server.ask("GET", "/info/", headers={"Origin": "https://site.example"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert server.ask("GET", "/info/", headers={"Host": "site.example"}).status_code == 400
