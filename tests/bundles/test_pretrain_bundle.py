"""The pretraining bundle as a user runs it: every task, evaluation, a kill and what is kept."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from monai_staging.cohort.nodules.patches import PatchTable, write_patches
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.pretrained import read_checkpoint

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "pretrain"
SMALL = {"network": "resnet10", "width": 0.125, "size": 32, "batch_size": 16, "resamples": 20}
RunBundle = Callable[..., subprocess.CompletedProcess[str]]
Run = Callable[..., Path]


@pytest.fixture
def run(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a config to its end in this process; gives the output folder."""
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns.db")

    def run_config(name: str = "train", **settings: object) -> Path:
        settings = {**SMALL, "output_dir": str(tmp_path / "out"), **settings}
        kind = "train" if name == "train" else "infer"
        workflow = ConfigWorkflow(str(BUNDLE / f"{name}.json"), workflow_type=kind, logging_file=False, **settings)
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()
        return Path(str(settings["output_dir"]))

    return run_config


@pytest.fixture
def nodules(tmp_path: Path) -> Path:
    """Slices of 8 patients, in the layout of LIDC-IDRI's nodule file."""
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 64, 64), dtype=np.uint8)
    rows = [{"patient_id": f"SECRET-{n}", "slice_thickness_mm": 2.0, "pixel_spacing_mm": 0.7} for n in range(8)]
    return write_patches(tmp_path / "nodules", PatchTable(rows, images, [np.zeros((4, 4, 64, 64), bool)] * 8))


@pytest.fixture(scope="module")
def trained(run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on the digits from the command line; its folder also holds the MLflow database."""
    folder = tmp_path_factory.mktemp("trained")
    settings = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--epochs", "3", "--output_dir", folder / "run", *settings),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_the_digits_are_learned_without_any_file(trained: Path) -> None:
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert metrics["accuracy"]["low"] > 0.5 > metrics["majority_accuracy"]["high"]
    assert metrics["accuracy"]["n"] == 360
    text = (trained / "stdout.txt").read_text()
    assert "digits: 360 images" in text and "accuracy" in text and "mlflow ui --backend-store-uri" in text
    names = {path.name for path in (trained / "run" / "figures").iterdir()}
    assert names == {"confusion.png", "training.png"}


def test_the_backbone_says_where_it_comes_from_and_is_a_source(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    experiment = client.get_experiment_by_name("pretrain")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert {"train/loss", "train/images_per_second", "val/accuracy", "test/accuracy"} <= set(run.data.metrics)
    assert "backbone.pt" in {item.path for item in client.list_artifacts(run.info.run_id)}
    assert run.data.tags["pretrain.data"] == "digits"

    document = torch.load(trained / "run" / "backbone.pt", weights_only=True)
    source = document["source"]
    known = {"network": "resnet10", "spatial_dims": 2, "in_channels": 1, "width": 0.125, "task": "digits"}
    assert known.items() <= source.items() and {"epochs", "seed", "size", "experiment"} <= set(source)
    assert source["run_id"] == run.info.run_id and source["run_key"] == run.data.tags["monai_staging.run_key"]
    best = json.loads((trained / "run" / "best.json").read_text())
    assert source["best_epoch"] == best["epoch"]
    backbone = build_backbone("resnet10", in_channels=1, width=0.125)
    backbone.load_state_dict(read_checkpoint(trained / "run" / "backbone.pt").state)
    whole = torch.load(trained / "run" / "best.pt", weights_only=True)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, whole[f"backbone.{name}"])
    # As `backbone_weights` of a bundle whose images have three channels, from the file and from MLflow.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{trained}/mlruns.db")
    for where in (trained / "run" / "backbone.pt", f"runs:/{run.info.run_id}/backbone.pt"):
        wider = build_backbone("resnet10", in_channels=3, width=0.125, weights=where)
        grey = torch.rand(2, 1, 32, 32)
        torch.testing.assert_close(
            wider.eval()(grey.expand(-1, 3, -1, -1)), backbone.eval()(grey), atol=1e-4, rtol=1e-4
        )


def test_evaluate_gives_the_training_s_own_numbers_again(trained: Path, run: Run) -> None:
    output = run("evaluate", weights=str(trained / "run" / "best.pt"))
    assert (output / "metrics.json").read_bytes() == (trained / "run" / "metrics.json").read_bytes()


def test_a_killed_training_resumes_to_the_same_backbone(
    trained: Path, run: Run, start_bundle: Callable[..., Any], tmp_path: Path
) -> None:
    settings = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    process = start_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--epochs", "3", "--output_dir", tmp_path / "out", *settings),
        folder=tmp_path,
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "out" / "checkpoint-0001.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert not (tmp_path / "out" / "backbone.pt").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the other training: sums in another order are other sums
    try:
        output = run(epochs=3, resume=True)
    finally:
        torch.set_num_threads(threads)
    killed, whole = (read_checkpoint(folder / "backbone.pt") for folder in (output, trained / "run"))
    assert all(torch.equal(value, whole.state[name]) for name, value in killed.state.items())
    assert (output / "metrics.json").read_bytes() == (trained / "run" / "metrics.json").read_bytes()
    assert killed.source["best_epoch"] == whole.source["best_epoch"]


def test_mnist_from_its_files(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 40)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, count, 28, 28) + images.tobytes())
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + labels.tobytes())
    output = run(task="mnist", dataset_dir=str(tmp_path), epochs=1, in_channels=3)
    assert json.loads((output / "metrics.json").read_text())["accuracy"]["n"] == 40
    assert read_checkpoint(output / "backbone.pt").source["in_channels"] == 3


def test_cifar10_from_its_files(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        content = {b"labels": list(range(10)) * 2, b"data": rng.integers(0, 256, (20, 3072), dtype=np.uint8)}
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=3))
    output = run(task="cifar10", dataset_dir=str(tmp_path), epochs=1, in_channels=3)
    assert json.loads((output / "metrics.json").read_text())["accuracy"]["n"] == 20


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_restoration_on_a_cohort(spatial_dims: int, run: Run, tiny_cohort: Path, tmp_path: Path) -> None:
    training = json.loads((tiny_cohort / "cohort.json").read_text())["training"]
    left_out = tmp_path / "fold.json"
    left_out.write_text(json.dumps([training[0]["patient"]]))
    size = 32 if spatial_dims == 2 else 16
    output = run(
        task="restoration",
        dataset_dir=str(tiny_cohort),
        epochs=1,
        spatial_dims=spatial_dims,
        size=size,
        patches_per_volume=6,
        exclude_patients=str(left_out),
    )
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics) == {"mse", "mse_corrupted"} and metrics["mse"]["n"] == 1
    assert {path.name for path in (output / "figures").iterdir()} == {"restoration.png", "training.png"}
    source = read_checkpoint(output / "backbone.pt").source
    assert source["task"] == "restoration" and source["spatial_dims"] == spatial_dims
    assert source["training_images"] == 6 * (len({case["patient"] for case in training}) - 2)
    assert source["excluded_patients"] == 1
    backbone = build_backbone("resnet10", spatial_dims=spatial_dims, in_channels=1, width=0.125)
    backbone.load_state_dict(read_checkpoint(output / "backbone.pt").state)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_an_autoencoder_of_a_cohort(spatial_dims: int, run: Run, tiny_cohort: Path) -> None:
    output = run(
        task="autoencoder",
        dataset_dir=str(tiny_cohort),
        epochs=10,
        spatial_dims=spatial_dims,
        size=32,
        patches_per_volume=16,
        batch_size=16,
        # As above.
        amp="auto" if spatial_dims == 2 else False,
    )
    metrics = {name: entry["value"] for name, entry in json.loads((output / "metrics.json").read_text()).items()}
    assert set(metrics) == {"mse", "mse_of_mean"} and metrics["mse_of_mean"] > 0
    assert metrics["mse"] < 0.1  # of an image of zeros it is several times that
    assert {path.name for path in (output / "figures").iterdir()} == {"decoded.png", "training.png"}
    assert read_checkpoint(output / "backbone.pt").source["task"] == "autoencoder"


def test_contrastive_on_nodule_slices_names_no_patient(run: Run, nodules: Path, tmp_path: Path) -> None:
    output = run(
        task="contrastive", dataset_dir=str(nodules), epochs=1, validation_share=0.3, exclude_patients=["SECRET-3"]
    )
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics) == {"nt_xent", "top1"} and metrics["top1"]["n"] == 2
    source = read_checkpoint(output / "backbone.pt").source
    assert source["excluded_patients"] == 1 and source["training_images"] == 20
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
    (run_,) = client.search_runs(["1"])
    config = client.download_artifacts(run_.info.run_id, "config.json")
    assert "SECRET" not in json.dumps([run_.data.params, run_.data.tags]) + Path(config).read_text()
    assert "SECRET" not in (output / "tracking-spool.jsonl").read_text()


def test_a_refusal_is_a_failed_run_that_says_why(run_bundle: RunBundle, tmp_path: Path) -> None:
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--task", "mnist", "--dataset_dir", tmp_path / "nothing"),
        *("--output_dir", tmp_path / "out"),
        folder=tmp_path,
        check=False,
    )
    assert result.returncode != 0 and "train-images-idx3-ubyte.gz is needed" in result.stderr
    (run,) = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db").search_runs(["1"])
    assert run.info.status == "FAILED" and "DataError" in run.data.tags["failure"]


def test_the_configs_agree_on_what_the_network_is_shown() -> None:
    train, evaluate = (ConfigParser.load_config_file(str(BUNDLE / f"{name}.json")) for name in ("train", "evaluate"))
    shared = ("task", "network", "spatial_dims", "in_channels", "width", "size", "windows", "spacing_mm", "parts")
    for key in (*shared, "patches_per_volume", "validation_share", "tasks", "task_def", "data", "patches"):
        assert train[key] == evaluate[key], key
