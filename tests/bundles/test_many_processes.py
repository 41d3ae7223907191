"""A training in two processes is the training in one: same weights, same metrics, one run, and either goes on.

Bundles as a user runs them. What learns in parallel is tested by itself in tests/workflows/test_distributed.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / "bundles"
STAGING = BUNDLES / "staging"
BOTH = json.dumps([str(STAGING / "train.json"), str(STAGING / "multi_gpu_train.json")])
RunBundle = Callable[..., subprocess.CompletedProcess[str]]
# Without what each process draws by itself, and in single precision: sums in another order are all that differs.
EXACT = ["--train#augmentation", "[]", "--network_def#dropout", "0.0", "--amp", "false"]
# An optimizer that divides by the gradient's size, as AdamW does, makes much of the last digits of a small one.
EXACT += ["--optimizer#_target_", "torch.optim.SGD"]
SMALL = ["--size", "[48,48,24]", "--spacing_mm", "[7.0,7.0,14.0]", "--network", "resnet10", "--width", "0.125"]
SMALL += ["--map_start_steps", "10", "--resamples", "20", "--figures", "false", "--log_model", "false"]
SMALL += ["--system_metrics", "false"]


def command(cohort: Path, folder: Path, batch_size: int) -> list[str]:
    """What one process and two are told alike, but for the batch."""
    own = ["--dataset_dir", str(cohort), "--output_dir", str(folder)]
    return [*own, "--batch_size", str(batch_size), "--epochs", "3", *SMALL, *EXACT]


def network(folder: Path, epoch: int) -> dict[str, torch.Tensor]:
    state = torch.load(folder / f"checkpoint-{epoch:04d}.pt", weights_only=True)["network"]
    assert not any(name.startswith(("module.", "_orig_mod.")) for name in state)
    return state


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def assert_same_metrics(one: Path, other: Path) -> None:
    found, wanted = (json.loads((folder / "metrics.json").read_text()) for folder in (other, one))
    assert found.keys() == wanted.keys()
    for name, metric in wanted.items():
        assert found[name] == pytest.approx(metric, abs=1e-5, nan_ok=True), name


@pytest.fixture(scope="module")
def alone(tiny_cohort: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training in one process, two cases a step."""
    folder = tmp_path_factory.mktemp("alone")
    given = command(tiny_cohort, folder / "run", 2)
    run_bundle("run", "--config_file", STAGING / "train.json", *given, folder=folder)
    return folder / "run"


def test_torchrun_with_two_processes_equals_one_with_twice_the_batch(
    alone: Path, tiny_cohort: Path, run_bundle: RunBundle, empty_database: Path, tmp_path: Path
) -> None:
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    given = command(tiny_cohort, tmp_path / "run", 1)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
            *("-m", "monai.bundle", "run", "--config_file", BOTH, *given),
        ],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": 300},
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlruns.db", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert_same(network(alone, 3), network(tmp_path / "run", 3))
    assert_same_metrics(alone, tmp_path / "run")
    rows = [json.loads((folder / "history.json").read_text()) for folder in (alone, tmp_path / "run")]
    for one, other in zip(*rows, strict=True):
        # The losses told are of both processes, too.
        assert one.pop("seconds") and other.pop("seconds")
        assert other == pytest.approx(one, abs=1e-5)
    # Every patient once; one table, one run.
    studies = [line.split(",")[0] for line in (tmp_path / "run" / "predictions.csv").read_text().splitlines()]
    assert len(set(studies)) == len(studies) == 1 + len(json.loads((tiny_cohort / "cohort.json").read_text())["test"])
    assert done.stdout.count("| Stage group ") == 2  # once for accuracies, once for the rest
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
    (run,) = client.search_runs([client.get_experiment_by_name("staging").experiment_id])
    assert run.info.status == "FINISHED" and run.data.metrics["val/score"] == rows[1][-1]["val_score"]
    # One process finds nothing left to train, and evaluates the very weights as two did.
    files = {name: (tmp_path / "run" / name).read_bytes() for name in ("metrics.json", "predictions.csv")}
    run_bundle("run", "--config_file", STAGING / "train.json", *given, "--resume", "true", folder=tmp_path)
    assert {name: (tmp_path / "run" / name).read_bytes() for name in files} == files


def test_killed_with_two_processes_and_resumed_with_one(
    alone: Path, tiny_cohort: Path, run_bundle: RunBundle, warm_python: Any, empty_database: Path, tmp_path: Path
) -> None:
    shutil.copy(empty_database, tmp_path / "killed.db")
    given = command(tiny_cohort, tmp_path / "killed", 1)
    ranks = start(2, warm_python, f"sqlite:///{tmp_path}/killed.db", "run", "--config_file", BOTH, *given)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "checkpoint-0001.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    for one in ranks:
        one.signal(signal.SIGKILL)
    assert [one.wait(30) for one in ranks] == [-signal.SIGKILL, -signal.SIGKILL]
    given = command(tiny_cohort, tmp_path / "killed", 2)
    result = run_bundle(
        *("run", "--config_file", STAGING / "train.json", *given, "--resume", "true"),
        folder=tmp_path,
    )
    assert "Resume: " in result.stderr + result.stdout
    assert_same(network(alone, 3), network(tmp_path / "killed", 3))
    assert_same_metrics(alone, tmp_path / "killed")


def start(processes: int, warm_python: Any, tracking_uri: str, *arguments: str) -> list[Any]:
    """What torchrun does, without the seconds of imports in each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"MLFLOW_TRACKING_URI": tracking_uri, "PYTHONWARNINGS": "ignore"}
    return [
        warm_python.start("monai.bundle", *arguments, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]


def test_the_configs_are_one_mechanism() -> None:
    paths = sorted(BUNDLES.glob("*/multi_gpu_train.json"))
    assert {path.parent for path in paths} == {path.parent for path in BUNDLES.glob("*/train.json")}
    configs = [json.loads(path.read_text()) for path in paths]
    for config in configs:
        (handler,) = config["+train#handlers"]
        handler.pop("find_unused_parameters", None)
    assert all(config == configs[0] for config in configs)
