"""OHIF's pages and its way to the archive, which leads nowhere else."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pydicom
import pytest

from .conftest import Running, Served


def test_its_pages_answer_and_name_this_server(served: Served) -> None:
    for path in ("/ohif/", "/ohif/viewer?StudyInstanceUIDs=1.2.3"):
        answer = served.server.ask("GET", path)
        assert (answer.status_code, "OHIF" in answer.text) == (200, True)
        assert "connect-src 'self' blob: data:" in answer.headers["content-security-policy"]
        assert unquote(answer.cookies["MONAILABEL_SERVER_URL"]) == f"{served.server.url}/"
    script = re.search(r'src="(/ohif/app\.bundle\.[0-9a-f]+\.js)"', served.server.ask("GET", "/ohif/").text)
    assert script is not None
    assert "javascript" in served.server.ask("GET", script[1]).headers["content-type"]


def test_its_configuration_knows_the_proxy_and_no_upload(served: Served) -> None:
    text = served.server.ask("GET", "/ohif/app-config.js").text
    assert '"wadoRoot": "/proxy/dicom"' in text and '"dicomUploadEnabled": false' in text
    assert "http" not in text


def test_studies_are_searched_for_and_retrieved(served: Served) -> None:
    name, study = next(iter(served.studies.items()))
    found = served.server.ask("GET", "/proxy/dicom/studies", params={"StudyInstanceUID": study}).json()
    assert [own["0020000D"]["Value"] for own in found] == [[study]]
    metadata = served.server.ask("GET", f"/proxy/dicom/studies/{study}/series/{name}/metadata")
    assert len(metadata.json()) == len(list(served.folders[name].glob("*.dcm")))
    assert served.url not in metadata.text
    instance = pydicom.dcmread(next(served.folders[name].glob("*.dcm")))
    frames = f"/proxy/dicom/studies/{study}/series/{name}/instances/{instance.SOPInstanceUID}/frames/1"
    answer = served.server.ask("GET", frames, headers={"Accept": 'multipart/related; type="application/octet-stream"'})
    assert answer.status_code == 200 and instance.PixelData in answer.content


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/proxy/dicom/", 404),
        ("GET", "/proxy/dicom/servers", 404),
        ("GET", "/proxy/dicom/studies/../../system", 404),  # requests makes it /proxy/system
        ("GET", "/proxy/dicom/studies/%2e%2e/%2e%2e/system", 400),
        ("GET", "/proxy/dicom/studies/..%2f..%2fsystem", 400),
        ("GET", "/proxy/dicom/http://127.0.0.1:9/studies", 404),
        ("GET", "/proxy/dicom//127.0.0.1:9/studies", 404),
        ("GET", "/proxy/dicom/studies@127.0.0.1:9", 404),
        ("GET", "/proxy/dicom/studies/1.2/series/1.2/instances/1.2/frames/1;2", 404),
        ("POST", "/proxy/dicom/studies", 405),
        ("PUT", "/proxy/dicom/studies/1.2", 405),
        ("DELETE", "/proxy/dicom/studies/1.2", 405),
        ("POST", "/proxy/dicom/stow/studies", 405),
        ("GET", "/ohif/..%2f..%2f..%2fmain.py", 400),
    ],
)
def test_the_proxy_leads_to_nothing_else(served: Served, method: str, path: str, status: int) -> None:
    answer = served.server.ask(method, path)
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)


def test_what_the_archive_does_not_have_is_its_own_answer(served: Served) -> None:
    assert served.server.ask("GET", "/proxy/dicom/studies/1.2.3/metadata").status_code == 404


def test_a_folder_has_neither(server: Running) -> None:
    for path in ("/ohif/", "/proxy/dicom/studies"):
        assert server.ask("GET", path).status_code == 404
