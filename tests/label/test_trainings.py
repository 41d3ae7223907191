"""What is left of trainings when a server is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from monai_staging.label.bundle_run import end_left_behind
from monai_staging.label.trainer import Trainer
from monai_staging.label.trainings import Trainings


@pytest.fixture
def trainings(tmp_path: Path) -> Trainings:
    (tmp_path / "Miller").mkdir()
    return Trainings(tmp_path / "Miller", tmp_path / "runs")


@pytest.fixture
def sleeping() -> Any:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_look_writes_nothing(trainings: Trainings, tmp_path: Path) -> None:
    assert not trainings.begun and trainings.served() is None and trainings.states() == []
    assert [path.name for path in tmp_path.rglob("*")] == ["Miller"]


def test_a_data_store_has_a_name_of_its_own_that_does_not_say_whose_it_is(trainings: Trainings) -> None:
    trainings.new()
    assert trainings.begun and "Miller" not in trainings.name
    assert Trainings(trainings.studies, trainings.runs).root == trainings.root
    other = trainings.studies.with_name("other")
    other.mkdir()
    assert Trainings(other, trainings.runs).root != trainings.root


def test_trainings_of_one_second_have_folders_of_their_own(trainings: Trainings) -> None:
    assert len({trainings.new() for _ in range(3)}) == 3


def test_what_an_earlier_server_left_running_has_failed_and_its_process_ends(
    trainings: Trainings, sleeping: subprocess.Popen[bytes]
) -> None:
    folder = trainings.new()
    identity = {"pid": sleeping.pid, "pid_started": psutil.Process(sleeping.pid).create_time()}
    state = {"id": folder.name, "status": "RUNNING", "stage": "training", "message": "", **identity}
    trainings.save(state)
    trainer = Trainer(trainings, None, None)  # type: ignore[arg-type]  # nothing is served here
    trainer.recover()
    assert sleeping.poll() is not None
    told = trainer.status()
    assert told["status"] == "ERROR" and "the server ended during the step 'training'" in told["message"]
    assert json.loads((folder / "state.json").read_text())["status"] == "ERROR"


def test_a_process_that_was_given_the_same_number_is_left_alone(sleeping: subprocess.Popen[bytes]) -> None:
    end_left_behind({"pid": sleeping.pid, "pid_started": psutil.Process(sleeping.pid).create_time() - 60})
    end_left_behind({"pid": None})
    end_left_behind({"pid": 2**22 + 1, "pid_started": 0.0})
    assert sleeping.poll() is None
