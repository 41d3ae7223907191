"""Instances as servers send them, whole, cut off, or something else."""

from __future__ import annotations

import json

import pydicom
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.dicomweb import RemoteObject, StudyAddress, retrieve_object, retrieve_study
from monai_staging.dicomweb.connection import CutOff
from monai_staging.dicomweb.wado import only_part
from monai_staging.errors import DataError

JSON = {"Content-Type": "application/dicom+json"}
MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=bb'}
BOUNDARIES = st.text("abcXYZ019'()+_,-./:=?", min_size=1, max_size=70)
CONTENTS = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from((b"\r\n", b"--", b"a", b"\0"))).map(b"".join))


def message(content, boundary="bb", *, preamble=b"", headers=b"Content-Type: application/dicom\r\n"):
    mark = b"--" + boundary.encode()
    return preamble + mark + b"\r\n" + headers + b"\r\n" + content + b"\r\n" + mark + b"--\r\n"


def answer(body, kind):
    response = requests.Response()
    response._content = body
    response.headers["Content-Type"] = kind
    return response


@given(CONTENTS, BOUNDARIES, st.sampled_from((b"", b"\r\n", b"preamble\r\n")), st.booleans())
def test_the_part_is_what_was_sent(content, boundary, preamble, named):
    headers = b"Content-Type: application/dicom\r\nMIME-Version: 1.0\r\n" if named else b""
    body = message(content, boundary, preamble=preamble, headers=headers)
    if body.count(b"--" + boundary.encode()) == 2:  # a boundary is what the content does not have
        response = answer(body, f'Multipart/Related; boundary="{boundary}"; type="application/dicom"')
        assert bytes(only_part(response)) == content


@given(CONTENTS, st.data())
def test_a_part_that_is_cut_off_anywhere_is_never_taken_for_whole(content, data):
    body = message(content, "b" * 30)
    cut = data.draw(st.integers(0, len(body) - 3))  # without the last line's end it is whole
    with pytest.raises(requests.RequestException) as caught:
        only_part(answer(body[: cut - 2 if cut == len(body) - 3 else cut], f"multipart/related; boundary={'b' * 30}"))
    assert isinstance(caught.value, (CutOff, requests.exceptions.ContentDecodingError))


def test_other_answers():
    assert bytes(only_part(answer(b"DICM", "application/dicom"))) == b"DICM"
    for kind in ("text/html", "multipart/related", "", "multipart/mixed; boundary=bb"):
        with pytest.raises(requests.exceptions.ContentDecodingError, match="expected multipart/related"):
            only_part(answer(message(b""), kind))
    two = message(b"one")[: -len(b"--\r\n")] + message(b"two")[len("--bb") :]
    with pytest.raises(requests.exceptions.ContentDecodingError, match="several"):
        only_part(answer(two, MULTIPART["Content-Type"]))


@pytest.fixture
def serve(scripted, small):
    """``serve(instance)``: a server with one series, whose count and instances a test may get wrong."""
    sent = small(count=3)
    datasets = [pydicom.dcmread(path) for path in sent.files]
    series = str(datasets[0].SeriesInstanceUID)
    files = {str(dataset.SOPInstanceUID): path for dataset, path in zip(datasets, sent.files, strict=True)}

    def run(instance=lambda uid, body: (200, MULTIPART, body), count=3, modality="CT"):
        def respond(_, path):
            path, _, query = path.partition("?")
            if path.endswith("/series"):
                items = [
                    {
                        "0020000E": {"Value": [series]},
                        "00080060": {"Value": [modality]},
                        "00201209": {"Value": [count] if count is not None else []},
                    }
                ]
            elif path.endswith("/instances"):
                items = [{"00080018": {"Value": [uid]}} for uid in files]
            else:
                uid = path.rpartition("/")[2]
                return instance(uid, message(files[uid].read_bytes()))
            return 200, JSON, b"[]" if "offset=0" not in query else json.dumps(items).encode()

        server = scripted(respond)
        return StudyAddress.parse(f"{server.service}/studies/{sent.study}"), series, files, server

    return run


def test_the_original_transfer_syntax_is_asked_for(serve, tmp_path):
    address, _, files, server = serve(count=None)
    assert {path.stem for path in retrieve_study(address, tmp_path / "back").rglob("*.dcm")} == set(files)
    accepts = [headers["Accept"] for _, path, headers, _ in server.asked if "/instances/" in path]
    assert accepts == ['multipart/related; type="application/dicom"; transfer-syntax=*'] * 3


def test_an_instance_that_fails_for_a_while(serve, tmp_path):
    asked = []

    def instance(uid, body):
        asked.append(uid)
        kinds = {0: (503, {}, b""), 1: (200, MULTIPART, body[:-20]), 2: (200, {"Content-Length": "99999999"}, body)}
        return kinds.get(asked.count(uid) - 1, (200, MULTIPART, body))

    address, _, files, _ = serve(instance)
    found = {path.stem: path for path in retrieve_study(address, tmp_path / "back").rglob("*") if path.is_file()}
    assert {uid: path.read_bytes() for uid, path in found.items()} == {
        uid: path.read_bytes() for uid, path in files.items()
    }
    assert len(asked) == 12
    # What is there is not asked for again.
    retrieve_study(address, tmp_path / "back")
    assert len(asked) == 12


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        (lambda _, body: (200, MULTIPART, body[:-20]), r"reached after 4 attempts \(the answer is cut off\)"),
        (lambda *_: (200, {"Content-Type": "text/html"}, b"<html>"), "no DICOMweb server answers there"),
        (lambda *_: (404, {}, b""), r"not found \(404\)\. Asked for instance"),
        (lambda *_: (200, MULTIPART, message(b"garbage" * 99)), "cannot be parsed as DICOM"),
    ],
)
def test_an_instance_that_cannot_be_had(serve, tmp_path, instance, said):
    address, series, files, _ = serve(instance)
    with pytest.raises(DataError, match=said):
        retrieve_study(address, tmp_path / "back")
    assert not [path for path in tmp_path.joinpath("back").rglob("*") if path.is_file()]
    with pytest.raises(DataError, match=said):
        retrieve_object(address, RemoteObject(series, next(iter(files)), ""))


def test_another_instance_than_asked_for(serve, tmp_path):
    def instance(uid, body):
        return 200, MULTIPART, message(other.read_bytes())

    address, series, files, _ = serve(instance)
    uid, other = next(iter(files)), list(files.values())[-1]
    with pytest.raises(DataError, match=f"asked for instance {uid} of series {series}, got another"):
        retrieve_object(address, RemoteObject(series, uid, ""))
    with pytest.raises(DataError, match="got another"):
        retrieve_study(address, tmp_path / "back")


def test_fewer_instances_than_stated(serve, tmp_path):
    address, series, _, _ = serve(count="4")
    with pytest.raises(DataError, match=f"series {series} has 4 instances; found 3"):
        retrieve_study(address, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_no_ct(serve, tmp_path):
    address, *_ = serve(modality="PT")
    with pytest.raises(DataError, match=r"no series of CT; found 1 PT\."):
        retrieve_study(address, tmp_path / "back")
