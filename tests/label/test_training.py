"""Training from labels as clients see it: real HTTP, a real training, and what is served after it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.networks.segmentation import build_segmenter

from .conftest import Running

TINY = {"epochs": 1, "patches": 1, "patch": [24, 24, 16], "batch_size": 1}
END_S = 400.0


@pytest.fixture(scope="session")
def labelled_phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    """Four tiny phantoms of small tumours and their label maps; not to be written to."""
    from monai_staging.cohort.phantom import PhantomConfig, Resolution
    from monai_staging.label.phantoms import write_labelled_phantoms

    config = PhantomConfig(
        resolution=Resolution.TINY,
        t_weights={"T1": 1.0},
        n_weights={"N0": 1.0},
        m_weights={"M0": 1.0},
        descriptor_fraction=0.0,
    )
    return write_labelled_phantoms(tmp_path_factory.mktemp("labelled"), 4, 11, config)


@dataclass
class Place:
    """A folder of a server's own, and the server in it."""

    folder: Path
    server: Running

    def ask(self, method: str, path: str, **options: Any) -> Any:
        return self.server.ask(method, path, **options)

    def end(self) -> dict[str, Any]:
        """The training's state when it has ended."""
        deadline = time.monotonic() + END_S
        while (state := self.ask("GET", "/train/").json())["status"] == "RUNNING":
            assert time.monotonic() < deadline, state
            time.sleep(0.5)
        return state

    def process(self) -> int:
        """The number of the training's process, once it has one."""
        deadline = time.monotonic() + END_S
        while (state := self.ask("GET", "/train/").json()).get("pid") is None:
            assert state["status"] == "RUNNING" and time.monotonic() < deadline, state
            time.sleep(0.1)
        return int(state["pid"])

    def champion(self) -> int | None:
        """The version that has the alias."""
        from monai_staging.label.trainings import Trainings
        from monai_staging.tracking.registry_weights import WeightsRegistry

        name = Trainings(self.server.studies, self.folder).registry.name
        return WeightsRegistry(name, f"sqlite:///{self.folder / 'mlruns.db'}").current()


@pytest.fixture(scope="module")
def serve(
    start_server: Callable[..., Running], empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Place]:
    """``serve(folder, *options)``: a server with the studies, trainings and MLflow database of a folder."""

    def start(folder: Path | None = None, *options: str) -> Place:
        folder = folder or tmp_path_factory.mktemp("place")
        database = folder / "mlruns.db"
        if not database.exists():
            shutil.copy(empty_database, database)
            (folder / "studies").mkdir()
        environment = {
            "MLFLOW_TRACKING_URI": f"sqlite:///{database}",
            "MONAI_STAGING_CACHE": str(tmp_path_factory.getbasetemp() / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        arguments = ["--conf", "runs", str(folder), "--models", "tumour", "outline_click", *options]
        return Place(folder, start_server(folder / "studies", *arguments, variables=environment))

    return start


def label(place: Place, phantoms: list[tuple[Path, Path]]) -> None:
    """Adds studies and their final labels."""
    for study, truth in phantoms:
        with open(study, "rb") as file:
            place.ask("PUT", "/datastore/image", files={"file": (study.name, file)}).raise_for_status()
        with open(truth, "rb") as file:
            target = {"image": study.stem, "tag": "final"}
            place.ask("PUT", "/datastore/label", params=target, files={"label": (truth.name, file)}).raise_for_status()


@pytest.fixture(scope="module")
def place(serve: Callable[..., Place], labelled_phantoms: list[tuple[Path, Path]]) -> Iterator[Place]:
    """A server with four labelled phantoms that serves the shipped weights."""
    made = serve()
    label(made, labelled_phantoms)
    yield made


@pytest.fixture(scope="module")
def worse(place: Place) -> dict[str, Any]:
    """The end of a training that came to nothing: one step from random weights."""
    assert place.ask("GET", "/train/").status_code == 404
    begun = place.ask("POST", "/train/outline_click", json={"start": "scratch", **TINY})
    assert begun.status_code == 200 and begun.json()["status"] == "RUNNING", begun.text
    # While it runs: another one is refused, and the server goes on answering.
    assert place.ask("POST", "/train/tumour", json=TINY).status_code == 409
    assert place.ask("GET", "/train/", params={"check_if_running": True}).status_code == 200
    assert place.ask("GET", "/info/").status_code == 200
    return place.end()


def test_a_worse_network_is_registered_and_not_served(place: Place, worse: dict[str, Any]) -> None:
    assert worse["status"] == "DONE", worse
    result = worse["result"]
    assert result["better"] is False and result["version"] == 2 and place.champion() == 1
    assert result["trained"]["value"] < result["served"]["value"]
    assert "Not better" in worse["message"] and "what was served before is served" in worse["message"]
    assert f"{result['trained']['value']:.3f}" in worse["message"] and worse["epoch"] == worse["epochs"] == 1
    assert place.ask("GET", "/train/", params={"check_if_running": True}).status_code == 404


def test_the_division_is_stated_and_stays(
    place: Place, worse: dict[str, Any], labelled_phantoms: list[tuple[Path, Path]]
) -> None:
    split = worse["split"]
    assert len(split["training"]) == len(split["validation"]) == 2
    assert all(name.startswith("case-") for part in ("training", "validation") for name in split[part])
    assert not [study.stem for study, _ in labelled_phantoms if study.stem in str(worse)]


def test_runs_are_in_mlflow(place: Place, worse: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.folder / 'mlruns.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'label-outline'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {f"label-{worse['id']}", "label-served", "label-trained"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["label-trained"].data.metrics["test/dice"] == pytest.approx(
        worse["result"]["trained"]["value"], abs=1e-4
    )


def test_a_training_that_is_killed_has_failed(place: Place, worse: dict[str, Any]) -> None:
    place.ask("POST", "/train/tumour", json=TINY).raise_for_status()
    os.kill(place.process(), signal.SIGKILL)
    state = place.end()
    assert state["status"] == "ERROR" and "its process was killed (signal 9)" in state["message"]
    assert place.champion() == 1 and len(place.ask("GET", "/train/", params={"all": True}).json()) == 2


def test_a_training_that_is_stopped_leaves_nothing_behind(place: Place, worse: dict[str, Any]) -> None:
    assert place.ask("DELETE", "/train/").status_code == 404
    place.ask("POST", "/train/outline_click", json=TINY).raise_for_status()
    place.process()
    state = place.ask("DELETE", "/train/").json()
    assert state["status"] == "STOPPED" and "what was served before is served" in state["message"]
    assert not list(place.folder.glob(f"label-*/trainings/{state['id']}/**/*.pt"))
    assert place.champion() == 1


WRONG = [
    ("nothing", {}, 404, "Model: one of"),
    ("staging", {}, 400, "not from outlines"),
    ("detection", {}, 400, "every nodule is known"),
    ("malignancy", {}, 400, "ratings"),
    ("tumour", [1], 422, ""),
    ("tumour", {"epochs": 0}, 400, "epochs is a whole number from 1 to 500; found 0"),
    ("tumour", {"epochs": True}, 400, "found True"),
    ("tumour", {"epochs": 1.5}, 400, "found 1.5"),
    ("tumour", {"learning_rate": "fast"}, 400, "found fast"),
    ("tumour", {"learning_rate": 1}, 400, "from 1e-07 to 0.1"),
    ("tumour", {"patch": [24, 24]}, 400, "three multiples of 8"),
    ("tumour", {"patch": [24, 24, 17]}, 400, "three multiples of 8"),
    ("tumour", {"start": "there"}, 400, "start is one of served, shipped, scratch"),
    ("tumour", {"accept": None}, 400, "accept is one of interval, mean"),
    ("tumour", {"dataset_dir": "/etc"}, 400, "found 'dataset_dir'"),
    ("tumour", {"imports": ["$import os"]}, 400, "found 'imports'"),
]


@pytest.mark.parametrize(("model", "params", "status", "reason"), WRONG)
def test_what_makes_no_sense_is_refused(place: Place, model: str, params: Any, status: int, reason: str) -> None:
    before = place.ask("GET", "/train/", params={"all": True}).text
    answer = place.ask("POST", f"/train/{model}", json=params)
    assert answer.status_code == status and reason in str(answer.json()["detail"]), answer.text
    assert place.ask("GET", "/train/", params={"all": True}).text == before


def test_too_few_labels_are_refused_at_once(server: Running) -> None:
    answer = server.ask("POST", "/train/tumour", json={})
    assert answer.status_code == 422 and "4 studies with a final label map are needed" in answer.json()["detail"]
    assert server.ask("GET", "/train/").status_code == 404


def test_what_can_be_trained_and_scored_is_listed(place: Place) -> None:
    info = place.ask("GET", "/info/").json()
    assert set(info["trainers"]) == {"tumour", "outline_click"} and set(info["scoring"]) == {"agreement", "model"}
    assert info["trainers"]["tumour"]["config"]["epochs"] == 12
    assert info["trainers"]["tumour"]["config"]["start"][0] == "served"


def outlined(place: Place, phantom: tuple[Path, Path]) -> int:
    """Voxels that the server outlines where somebody clicks at a phantom's lesion."""
    study, truth = phantom
    voxels = np.argwhere(np.asarray(nibabel.load(truth).dataobj) > 0)
    point = voxels[np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()].tolist()
    data = {"params": json.dumps({"foreground": [point], "background": []})}
    target = {"image": study.stem, "output": "json"}
    return int(place.ask("POST", "/infer/outline_click", params=target, data=data).json()["voxels"])


def test_a_better_network_is_served_at_once_and_after_a_restart(
    serve: Callable[..., Place], labelled_phantoms: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    write_checkpoint(tmp_path / "random.pt", build_segmenter("attention_unet", spatial_dims=3, in_channels=4), {})
    place = serve(None, "--conf", "segmentation", str(tmp_path / "random.pt"))
    label(place, labelled_phantoms)
    before = [outlined(place, phantom) for phantom in labelled_phantoms]
    # Barely trained, so that the shipped weights are what comes of it.
    order = {"start": "shipped", "learning_rate": 1e-7, **TINY}
    place.ask("POST", "/train/outline_click", json=order).raise_for_status()
    state = place.end()
    result = state["result"]
    assert state["status"] == "DONE" and result["better"] is True, state
    assert result["trained"]["value"] > result["served"]["value"] and result["difference"]["low"] > 0
    assert place.champion() == result["version"] == 2 and "it is served from now on" in state["message"]
    after = [outlined(place, phantom) for phantom in labelled_phantoms]
    assert after != before
    place.server.process.send_signal(signal.SIGINT)
    place.server.process.wait(60)
    again = serve(place.folder)
    assert [outlined(again, phantom) for phantom in labelled_phantoms] == after
    assert again.ask("GET", "/train/").json()["id"] == state["id"]
