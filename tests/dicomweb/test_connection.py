"""Servers that fail, refuse, or are something else: asked again where it may help, and one clear error."""

from __future__ import annotations

import base64
import json
import socket
from dataclasses import replace

import pytest

from monai_staging.dicomweb import StudyAddress, find_series
from monai_staging.errors import DataError

STUDY = "1.2.3"
JSON = {"Content-Type": "application/dicom+json; charset=utf-8"}
SERIES = json.dumps(
    [
        {
            "0020000E": {"vr": "UI", "Value": ["1.2.3.4"]},
            "00080060": {"vr": "CS", "Value": ["CT"]},
            "00201209": {"vr": "IS", "Value": ["12"]},
        }
    ]
).encode()


def address_of(server, scheme="http", **parts):
    return replace(StudyAddress.parse(f"{server.service}/studies/{STUDY}".replace("http", scheme, 1)), **parts)


def test_a_server_that_recovers_is_asked_again(scripted):
    statuses = [503, 500, 429, 200]
    server = scripted(lambda number, _: (statuses[number] if number < 4 else 200, JSON, SERIES))
    (series,) = find_series(address_of(server))
    assert (series.series, series.modality, series.instances) == ("1.2.3.4", "CT", 12)
    # The next page begins with what is known already: so ends a server that passes over the offset.
    assert [path.partition("offset=")[2] for _, path, *_ in server.asked] == ["0"] * 4 + ["1"]


def test_pages_are_put_together(scripted):
    def answer(number, path):
        assert path.startswith(f"/dicom-web/studies/{STUDY}/series?")
        return 200, JSON, SERIES.replace(b"1.2.3.4", b"1.2.3.%d" % number) if number < 3 else b"[]"

    found = find_series(address_of(scripted(answer)))
    assert [series.series for series in found] == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]


def test_a_server_that_goes_on_failing(scripted):
    server = scripted(lambda *_: (502, {}, b"PatientName"))
    with pytest.raises(DataError) as caught:
        find_series(address_of(server))
    assert str(caught.value) == f"Study {STUDY} at {server.service}: the server answers 502 after 4 attempts."
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("status", "said"), [(400, "answers 400"), (405, "answers 405"), (403, "asks for credentials")]
)
def test_a_refusal_is_not_asked_again(scripted, status, said):
    server = scripted(lambda *_: (status, {}, b""))
    with pytest.raises(DataError, match=said):
        find_series(address_of(server))
    assert len(server.asked) == 1


def test_an_answer_that_is_cut_off(scripted):
    server = scripted(lambda *_: (200, JSON | {"Content-Length": "9999"}, SERIES))
    with pytest.raises(DataError, match=r"cannot be reached after 4 attempts \(the connection broke off\)"):
        find_series(address_of(server))


def test_nothing_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = StudyAddress.parse(f"http://127.0.0.1:{taken.getsockname()[1]}/dicom-web/studies/{STUDY}")
        with pytest.raises(DataError, match=r"cannot be reached after 4 attempts \(Connection refused\)"):
            find_series(address)


def test_a_host_without_address():
    with pytest.raises(DataError, match="cannot be reached after 4 attempts"):
        find_series(StudyAddress.parse(f"http://no-such-host.invalid/dicom-web/studies/{STUDY}"))


def test_a_server_that_does_not_answer(scripted, monkeypatch):
    monkeypatch.setattr("monai_staging.dicomweb.connection.TIMEOUTS_S", (1.0, 0.2))
    monkeypatch.setattr("monai_staging.dicomweb.connection.WAITS_S", ())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = StudyAddress.parse(f"http://127.0.0.1:{silent.getsockname()[1]}/dicom-web/studies/{STUDY}")
        with pytest.raises(DataError, match=r"cannot be reached \((timed out|no answer in time)\)"):
            find_series(address)


def test_tls_that_is_not_accepted_is_not_asked_again(scripted):
    server = scripted(lambda *_: (200, JSON, SERIES))
    with pytest.raises(DataError, match="REQUESTS_CA_BUNDLE"):
        find_series(address_of(server, "https"))


@pytest.mark.parametrize("body", [b"<html>Geheim</html>", b'"text"', b"[1]", b'{"error": 1'])
def test_what_is_no_dicomweb_server(scripted, body):
    server = scripted(lambda *_: (200, {"Content-Type": "text/html"}, body))
    with pytest.raises(DataError, match="no DICOMweb server answers there") as caught:
        find_series(address_of(server))
    assert "Geheim" not in str(caught.value)


def test_a_uid_that_is_a_path_is_refused(scripted):
    server = scripted(lambda *_: (200, JSON, SERIES.replace(b"1.2.3.4", b"../../etc/passwd")))
    with pytest.raises(DataError, match="a result of a search has a UID"):
        find_series(address_of(server))


def test_not_found_is_the_study_or_the_server(scripted):
    def study_missing(_, path):
        return (200, JSON, b"[]") if path.startswith("/dicom-web/studies?") else (404, {}, b"")

    with pytest.raises(DataError, match="no such study"):
        find_series(address_of(scripted(study_missing)))
    server = scripted(lambda *_: (404, {}, b""))
    with pytest.raises(DataError, match=f"no DICOMweb server answers there: {server.service}/studies is not found"):
        find_series(address_of(server))


def test_credentials_go_to_the_server_alone(scripted, caplog):
    caplog.set_level("DEBUG")
    server = scripted(lambda number, _: (200, JSON | {"Warning": "299 Geheim"}, SERIES))
    url = f"http://alice:s%C3%A9cret%2F@127.0.0.1:{server.port}/dicom-web/studies/{STUDY}"
    find_series(StudyAddress.parse(url))
    _, path, headers, _ = server.asked[0]
    assert headers["Authorization"] == "Basic " + base64.b64encode("alice:sécret/".encode()).decode()
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    find_series(StudyAddress.parse(address_of(server).__str__(), environment={"MONAI_STAGING_DICOMWEB_TOKEN": "t0ken"}))
    assert server.asked[-1][2]["Authorization"] == "Bearer t0ken"
    find_series(address_of(server))
    assert "Authorization" not in server.asked[-1][2]
    assert path in caplog.text  # logging is on
    for secret in ("alice", "cret", "t0ken", "Geheim", headers["Authorization"]):
        assert secret not in caplog.text


def test_credentials_do_not_follow_to_another_server(scripted):
    other = scripted(lambda *_: (200, JSON, SERIES))

    def elsewhere(_, path):
        return 302, {"Location": f"http://localhost:{other.port}{path}"}, b""

    server = scripted(elsewhere)
    assert find_series(StudyAddress.parse(str(address_of(server)).replace("//", "//alice:secret@")))
    assert "Authorization" not in other.asked[0][2]
    assert other.asked[0][2]["Host"] == f"localhost:{other.port}"


def test_refused_credentials(scripted):
    server = scripted(lambda *_: (401, {"WWW-Authenticate": "Basic"}, b""))
    with pytest.raises(DataError, match="asks for credentials.*MONAI_STAGING_DICOMWEB_TOKEN"):
        find_series(address_of(server))
    with pytest.raises(DataError, match=r"does not let these credentials in \(401\)") as caught:
        find_series(StudyAddress.parse(str(address_of(server)).replace("//", "//alice:secret@")))
    assert "secret" not in str(caught.value) and "alice" not in str(caught.value)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6(scripted):
    try:
        server = scripted(lambda *_: (200, JSON, SERIES), "::1")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    (series,) = find_series(StudyAddress.parse(f"http://[::1]:{server.port}/dicom-web/studies/{STUDY}"))
    assert series.instances == 12
    assert server.asked[0][2]["Host"] == f"[::1]:{server.port}"
