from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path

import pytest

from monai_staging.cli import label
from monai_staging.cli.main import main
from monai_staging.dicomweb import Archive
from monai_staging.errors import UsageError
from monai_staging.label import launch
from monai_staging.label.launch import Asked, environment


def test_without_monai_label_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["label", "--studies", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("monai-staging label: MONAI Label is not installed; `make label` does it")
    assert "pip install --no-deps -r requirements-label.txt" in line


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is checked before MONAI Label is imported needs none."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("arguments", "code", "found"),
    [
        (["--studies", "https://pacs.example/dicom-web/studies/1.2"], 2, "An archive is https://HOST/ROOT"),
        (["--studies", "nothing"], 2, "found nothing"),
        (["--studies", ".", "--work", "work"], 2, "--work is of an archive"),
        (["--port", "70000"], 2, "--port is 0 to 65535; found 70000"),
        (["--upload-limit-mib", "0"], 2, "--upload-limit-mib is at least 1; found 0"),
    ],
)
def test_what_cannot_be_served_is_said(
    installed: None, arguments: list[str], code: int, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", *arguments]) == code
    assert found in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(installed: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["label", "--studies", str(tmp_path), "--port", str(port)]) == 1
    assert f"Port {port} of 127.0.0.1: address already in use; --port takes another." in capsys.readouterr().err


def test_without_a_folder_phantoms_are_made(
    installed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    monkeypatch.setattr(launch, "ensure_phantoms", lambda folder: made.append(folder) or tmp_path / "none")
    assert main(["label"]) == 2
    assert made == [Path("data/label-phantoms")]


def test_what_monai_label_reads_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    asked = Asked(models=("tumour", "staging"), conf={"device": "cpu"})
    found = environment(asked, tmp_path, 8123)
    assert json.loads(found["MONAI_LABEL_APP_CONF"]) == {"device": "cpu", "models": "tumour,staging"}
    assert found["MONAI_LABEL_STUDIES"] == str(tmp_path.resolve())
    assert (Path(found["MONAI_LABEL_APP_DIR"]) / "main.py").is_file()
    assert found["PYTHONPATH"] == found["MONAI_LABEL_APP_DIR"]


def test_of_an_archive_processes_are_told_the_folder_and_the_password(tmp_path: Path) -> None:
    archive = Archive.parse("http://alice:geheim@127.0.0.1:8042/dicom-web")
    assert archive is not None
    found = environment(Asked(work=tmp_path), archive, 8123)
    assert json.loads(found["MONAI_LABEL_APP_CONF"])["work"] == str(tmp_path.resolve())
    assert found["MONAI_LABEL_STUDIES"] == "http://127.0.0.1:8042/dicom-web"
    assert (found["MONAI_STAGING_DICOMWEB_USER"], found["MONAI_STAGING_DICOMWEB_PASSWORD"]) == ("alice", "geheim")


def test_the_commands_models_are_those_of_the_app(monailabel_names: list[str]) -> None:
    assert list(label.MODELS) == monailabel_names


@pytest.fixture
def monailabel_names() -> list[str]:
    if importlib.util.find_spec("monailabel") is None:
        pytest.skip("tool missing: MONAI Label (pip install --no-deps -r requirements-label.txt)")
    from monai_staging.label.infers import TASKS

    return list(TASKS)


def test_settings_that_are_not_known_are_said(tmp_path: Path) -> None:
    from monai_staging.label.pieces import Settings

    assert Settings.of({"point": "2 fp/scan", "staging": "model.pt"}).weights == {"staging": "model.pt"}
    with pytest.raises(UsageError, match="--conf has the keys detection, .*; found 'colour'"):
        Settings.of({"colour": "red"})
