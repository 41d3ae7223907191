"""A server on which one has to log in, as clients see it, by real HTTP."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_staging.cli.main import main

from .conftest import Running, label_of

TOKENS = {name: secrets.token_hex(32) for name in ("anna", "ben", "carl")}
ROLES = {"anna": "annotator", "ben": "reader", "carl": "admin"}


@pytest.fixture(scope="module")
def closed(
    start_server: Callable[..., Running], phantom_studies: Path, tmp_path_factory: pytest.TempPathFactory
) -> Running:
    """A server with three accounts."""
    folder = tmp_path_factory.mktemp("closed")
    shutil.copytree(phantom_studies, folder / "studies")
    tokens = folder / "tokens"
    tokens.write_text("".join(f"{name} {token} {ROLES[name]}\n" for name, token in TOKENS.items()))
    tokens.chmod(0o600)
    return start_server(folder / "studies", "--token-file", str(tokens))


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


def save(server: Running, path: Path, headers: dict[str, str], tag: str = "final", **params: Any) -> Any:
    label_of(server.studies / "scan-1.nii", path)
    with open(path, "rb") as file:
        return server.ask(
            "PUT",
            f"/datastore/label?image=scan-1&tag={tag}",
            headers=headers,
            data={"params": json.dumps(params)},
            files={"label": ("l.nii.gz", file)},
        )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/info/"),
        ("GET", "/nothing"),
        ("GET", "/openapi.json"),
        ("GET", "/datastore/?output=all"),
        ("GET", "/datastore/image?image=scan-1"),
        ("PUT", "/datastore/label?image=scan-1"),
        ("DELETE", "/datastore/label?id=scan-1&tag=final"),
        ("POST", "/infer/tumour?image=scan-1"),
        ("POST", "/activelearning/random"),
        ("POST", "/batch/infer/tumour"),
        ("GET", "/auth/token/valid"),
    ],
)
def test_without_a_token_nothing_is_answered(closed: Running, method: str, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {'0' * 64}"},
        {"Authorization": f"Bearer {TOKENS['anna'][:-1]}"},
        {"Authorization": f"Token {TOKENS['anna']}"},
        {"Authorization": "Basic ?"},
        {"Cookie": f"token={TOKENS['anna']}"},
    ):
        answer = closed.ask(method, path, headers=headers)
        assert answer.status_code == 401, (headers, answer.text)
        assert answer.headers["www-authenticate"].startswith('Bearer realm="monai-staging"')
        assert answer.json()["detail"].startswith("Login: ")
    assert closed.ask(method, path, params={"token": TOKENS["anna"]}).status_code == 401


def test_a_label_is_its_annotators(closed: Running, tmp_path: Path) -> None:
    saved = save(closed, tmp_path / "l.nii.gz", bearer("anna"), t="T1a", user="somebody else")
    assert saved.status_code == 200, saved.text
    saved = save(closed, tmp_path / "l.nii.gz", bearer("carl"), tag="carl", t="T2a")
    assert saved.status_code == 200, saved.text
    objects = closed.ask("GET", "/datastore/?output=all", headers=bearer("ben")).json()["objects"]
    labels = objects["scan-1"]["labels"]
    assert {tag: own["info"]["user"] for tag, own in labels.items()} == {"final": "anna", "carl": "carl"}
    staging = objects["scan-1"]["image"]["info"]["staging"]
    assert {tag: (own["t"], own["user"]) for tag, own in staging.items()} == {
        "final": (["T1a"], "anna"),
        "carl": (["T2a"], "carl"),
    }


def test_roles_say_what_one_may(closed: Running, tmp_path: Path) -> None:
    assert closed.ask("GET", "/info/", headers=bearer("ben")).status_code == 200
    refused = save(closed, tmp_path / "l.nii.gz", bearer("ben"))
    assert refused.status_code == 403 and "annotator" in refused.json()["detail"]
    for name, status in (("ben", 403), ("anna", 403), ("carl", 404)):
        answer = closed.ask("DELETE", "/datastore/label?id=scan-2&tag=none", headers=bearer(name))
        assert answer.status_code == status, answer.text


def test_slicers_client_logs_in_by_name_and_token(closed: Running, tmp_path: Path) -> None:
    pytest.importorskip("cgi", reason="MONAI Label's client needs it, and Python 3.13 has it no more")
    from monailabel.client import MONAILabelClient
    from monailabel.client.client import MONAILabelClientException

    client = MONAILabelClient(closed.url, tmpdir=str(tmp_path))
    assert client.auth_enabled() and not client.auth_valid_token()
    with pytest.raises(MONAILabelClientException, match="Status: 401"):
        client.auth_token("anna", TOKENS["ben"])
    client.update_auth(client.auth_token("anna", TOKENS["anna"]))
    assert client.auth_valid_token()
    assert client.info()["name"] == "monai-staging"
    label = label_of(closed.studies / "scan-2.nii", tmp_path / "l.nii.gz")
    client.save_label("scan-2", str(label), "final", {"label_info": [{"name": "primary", "idx": 1}]})
    told = closed.ask("GET", "/datastore/label/info?label=scan-2&tag=final", headers=bearer("ben")).json()
    assert told["user"] == "anna"


def test_a_browser_logs_in_by_basic_authentication_of_the_same_site(closed: Running) -> None:
    assert closed.ask("GET", "/info/", auth=("anna", TOKENS["anna"])).status_code == 200
    assert closed.ask("GET", "/info/", auth=("ben", TOKENS["anna"])).status_code == 401
    for origin, status in ((closed.url, 200), ("https://site.example", 401), ("null", 401)):
        headers = {"Origin": origin}
        answer = closed.ask("POST", "/activelearning/random", auth=("anna", TOKENS["anna"]), headers=headers)
        assert answer.status_code == status, origin


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"username=anna", 400),
        (b"username=anna&password=%ff", 400),
        (b"\xff", 400),
        (b"x=" + b"0" * 5000, 413),
        (b"&".join(b"a=1" for _ in range(100)), 400),
        (b"username=anna&password=x", 401),
    ],
)
def test_a_form_that_is_none_is_refused(closed: Running, content: bytes, status: int) -> None:
    answer = closed.ask("POST", "/auth/token", data=content)
    assert (answer.status_code, answer.json()["detail"][:6]) == (status, "Login:")


def test_no_token_is_written_anywhere(closed: Running) -> None:
    said = closed.log.read_text() + (closed.studies / "datastore_v2.json").read_text()
    assert not [name for name, token in TOKENS.items() if token in said]


def test_who_need_not_log_in_is_told(server: Running) -> None:
    assert server.ask("GET", "/auth/").json()["enabled"] is False
    assert server.ask("POST", "/auth/token", data={"username": "a", "password": "b"}).status_code == 404


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 can be reached from other machines: --token-file FILE"),
        (["--host", "0.0.0.0", "--token-file", "nothing"], "--token-file nothing: cannot be read"),
        (["--no-login", "--token-file", "nothing"], "contradict each other"),
    ],
)
def test_other_machines_are_not_let_in_by_chance(
    monailabel: None, tmp_path: Path, options: list[str], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", "--studies", str(tmp_path), "--port", "0", *options]) == 2
    assert found in capsys.readouterr().err
