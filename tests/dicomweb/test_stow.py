"""What a server may say of objects that are stored in it."""

from __future__ import annotations

import json

import pydicom
import pytest

from monai_staging.dicomweb import StudyAddress, store
from monai_staging.errors import DataError

JSON = {"Content-Type": "application/dicom+json; charset=utf-8"}
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def post(scripted, small):
    """``post(status, answer)`` stores two files in a server that answers so: the server, the UIDs and the error."""
    sent = small(count=2)
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in sent.files]

    def run(status, answer, *, found=(), headers=JSON):
        def respond(number, path):
            if "instances?" in path:
                uid = path.partition("SOPInstanceUID=")[2].partition("&")[0]
                hits = [{"00080018": {"vr": "UI", "Value": [one]}} for one in found if one == uid]
                return 200, JSON, json.dumps(hits).encode()
            own = answer(uids[number]) if callable(answer) else answer
            return status, headers, own if isinstance(own, bytes) else json.dumps(own).encode()

        server = scripted(respond)
        try:
            store(StudyAddress.parse(f"{server.service}/studies/{sent.study}"), sent.files)
        except DataError as error:
            return server, uids, str(error)
        return server, uids, None

    return run


def entry(uid, **reason):
    tags = {"failure": "00081197", "warning": "00081196"}
    item = {"00081150": {"vr": "UI", "Value": [CT]}, "00081155": {"vr": "UI", "Value": [uid]}}
    return item | {tags[name]: {"vr": "US", "Value": [value]} for name, value in reason.items()}


def failed(value=None):
    reason = {} if value is None else {"failure": value}
    return lambda uid: {"00081198": {"vr": "SQ", "Value": [entry(uid, **reason)]}}


def succeeded(**reason):
    return lambda uid: {"00081199": {"vr": "SQ", "Value": [entry(uid, **reason)]}}


def test_files_are_sent_whole_one_a_request(post):
    server, uids, error = post(200, succeeded())
    assert error is None
    assert len(server.asked) == 2
    for uid, (method, _, headers, body) in zip(uids, server.asked, strict=True):
        assert method == "POST" and headers["Accept"] == "application/dicom+json"
        assert "Transfer-Encoding" not in headers
        assert uid.encode() in body


@pytest.mark.parametrize("status", [200, 202, 409])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0xA700, "out of resources (A700)"),
        (0xA900, "does not match its SOP class (A900)"),
        (0xC000, "cannot be understood (C000)"),
        (0xC122, "transfer syntax not supported (C122)"),
        (0x0124, "not authorized (0124)"),
        (0x0001, "a reason of the server's own (0001)"),
        (None, "no reason given"),
    ],
)
def test_failures_are_listed_with_class_and_reason(post, status, code, words):
    _, uids, error = post(status, failed(code))
    listed = "; ".join(f"CT Image Storage {uid}: {words}" for uid in uids)
    assert error.endswith(f": 2 of 2 files not stored as they are: {listed}.")
    assert "Geheim" not in error and "GEHEIM" not in error


@pytest.mark.parametrize("code", [0x0111, 0xB00E])
@pytest.mark.parametrize("status", [202, 409])
def test_what_is_there_already_is_no_failure(post, status, code):
    assert post(status, failed(code))[2] is None


def test_a_coerced_identity_is_no_failure_and_lost_elements_are(post):
    assert post(202, succeeded(warning=0xB000))[2] is None
    assert "stored without some of its elements (B006)" in post(202, succeeded(warning=0xB006))[2]


@pytest.mark.parametrize("answer", [b"", b"<NativeDicomModel/>", [], {"00081199": 1}, {"x": {}}])
def test_a_server_that_does_not_say_is_asked(post, answer):
    headers = JSON if answer not in (b"", b"<NativeDicomModel/>") else {"Content-Type": "text/plain"}
    _, uids, error = post(200, answer, headers=headers)
    assert error.count("the server does not have it afterwards") == 2
    assert post(200, answer, found=uids, headers=headers)[2] is None


@pytest.mark.parametrize("answer", [b"no", {"00081198": {"vr": "SQ"}}])
def test_a_conflict_that_says_nothing_more(post, answer):
    _, _, error = post(409, answer)
    assert error.endswith("the server answers 409.")


def test_files_that_cannot_be_stored_are_known_before_any_is(scripted, small, tmp_path):
    server = scripted(lambda *_: (200, JSON, b"{}"))
    sent = small(count=2)
    address = StudyAddress.parse(f"{server.service}/studies/{sent.study}")
    garbage = tmp_path / "garbage.dcm"
    garbage.write_bytes(b"Geheim" * 100)
    other = StudyAddress.parse(f"{server.service}/studies/1.2.3")
    nameless = pydicom.dcmread(sent.files[1])
    del nameless.SOPInstanceUID
    nameless.save_as(tmp_path / "nameless.dcm")
    for at, paths, said in (
        (address, [*sent.files, garbage], r"garbage\.dcm: cannot be read as DICOM \(InvalidDicomError\)"),
        (address, [*sent.files, tmp_path / "none.dcm"], r"none\.dcm: cannot be read as DICOM \(FileNotFoundError\)"),
        (address, [*sent.files, tmp_path / "nameless.dcm"], "no SOPClassUID or SOPInstanceUID"),
        (other, sent.files, f"is of study {sent.study}, to be stored in study 1.2.3"),
    ):
        with pytest.raises(DataError, match=said):
            store(at, paths)
    assert server.asked == []
