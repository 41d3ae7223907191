"""A small phantom cohort and a small network, so that bundles run in seconds."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from monai_staging.tnm.categories import LETTERS, categories


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
def start_bundle(warm_python: Any, empty_database: Path) -> Callable[..., Any]:
    """Starts `python -m monai.bundle` from the project's root, as a user does, in a process of its own."""

    def start(*arguments: str | Path, folder: Path) -> Any:
        database = folder / "mlruns.db"
        if not database.exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(empty_database, database)
        environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{database}", "PYTHONWARNINGS": "ignore"}
        return warm_python.start("monai.bundle", *arguments, env=environment)

    return start


@pytest.fixture(scope="session")
def run_bundle(start_bundle: Callable[..., Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs such a process to its end."""

    def run(*arguments: str | Path, folder: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        process = start_bundle(*arguments, folder=folder)
        code = process.wait()
        result = subprocess.CompletedProcess(arguments, code, process.stdout.read_text(), process.stderr.read_text())
        if check and result.returncode:
            raise AssertionError(f"{arguments}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}")
        return result

    return run


@pytest.fixture(scope="session")
def tracking_uri(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow database for runs that nothing is asked of."""
    path = tmp_path_factory.mktemp("tracking") / "mlruns.db"
    shutil.copy(empty_database, path)
    return f"sqlite:///{path}"


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
