"""A small phantom cohort and a small network, so that bundles run in seconds."""

from __future__ import annotations

import csv
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from monai_staging.tnm.categories import LETTERS, categories

ROOT = Path(__file__).parents[2]


@pytest.fixture
def older_cohort(tiny_cohort: Path, tmp_path: Path) -> Path:
    """The same phantoms with their stages as of the 7th edition; the first has a carcinoma in situ."""
    document = json.loads((tiny_cohort / "cohort.json").read_text())
    older = {"T1mi": "T1a", "T1b": "T1a", "T1c": "T1b", "M1c": "M1b"}
    for case in (case for part in ("training", "validation", "test") for case in document[part]):
        for letter in LETTERS:
            new = {older.get(name, name) for name in case[letter]}
            case[letter] = [name for name in categories(letter, "7") if name in new]
        case["edition"] = "7"
    document["training"][0]["t"] = ["Tis"]
    made = tmp_path / "older-cohort"
    made.mkdir()
    (made / "cohort.json").write_text(json.dumps(document))
    for name in ("volumes", "masks"):
        (made / name).symlink_to(tiny_cohort / name)
    return made


@pytest.fixture(scope="session")
def run_bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs `python -m monai.bundle` from the project's root, as a user does, in a process of its own."""
    printed = tmp_path_factory.mktemp("printed")
    one_thread = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    warm = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("warm_python.py"))],
        **{"cwd": ROOT, "env": {**os.environ, **one_thread}, "text": True},
        **{
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.DEVNULL,
            "start_new_session": True,
        },
    )
    assert warm.stdin is not None and warm.stdout is not None

    def run(*arguments: str | Path, folder: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        files = [printed / name for name in ("stdout", "stderr")]
        request = {
            "arguments": list(map(str, arguments)),
            "folder": str(ROOT),
            "environment": {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlruns.db", **one_thread},
            "stdout": str(files[0]),
            "stderr": str(files[1]),
        }
        warm.stdin.write(json.dumps(request) + "\n")
        warm.stdin.flush()
        if not select.select([warm.stdout], [], [], 600)[0]:
            os.killpg(warm.pid, signal.SIGKILL)
            raise AssertionError(f"{arguments}: no end after 600 seconds")
        code = int(warm.stdout.readline())
        result = subprocess.CompletedProcess(arguments, code, *(file.read_text() for file in files))
        if check and code:
            raise AssertionError(f"{arguments}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}")
        return result

    yield run
    warm.stdin.close()
    warm.wait(30)


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow database for runs that nothing is asked of: making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlruns.db"


@pytest.fixture
def check_properties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracking_uri: str
) -> Callable[..., ConfigWorkflow]:
    """That MONAI finds in configs all that it asks of a bundle whose kind is ``train`` or ``infer``."""

    def check(kind: str, *configs: Path, **keys: Any) -> ConfigWorkflow:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
        workflow = ConfigWorkflow(
            list(map(str, configs)),
            meta_file=str(configs[0].with_name("metadata.json")),
            workflow_type=kind,
            logging_file=False,
            output_dir=str(tmp_path / "run"),
            **keys,
        )
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.finalize()
        return workflow

    return check


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Path], list[dict[str, str]]]:
    """Reads the predictions in a folder, a row each."""

    def rows(folder: Path) -> list[dict[str, str]]:
        with open(folder / "predictions.csv", newline="") as file:
            return list(csv.DictReader(file))

    return rows
