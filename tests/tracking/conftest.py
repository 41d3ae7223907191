"""An MLflow database of a test's own, a real server on the loopback interface, and trainings that cost none."""

from __future__ import annotations

import json
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.tracking.journal import JOURNAL_NAME, Journal
from monai_staging.transforms.nodule_views import NoduleViews


@pytest.fixture(autouse=True)
def quick_failures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test waits for a dead server longer than it must, and none writes a database into the checkout."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    yield
    mlflow.set_tracking_uri(before)


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> str:
    """The URI of an empty MLflow database of this test's own."""
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    return f"sqlite:///{tmp_path / 'mlruns.db'}"


class Server:
    """An MLflow server that can be killed, frozen and started again."""

    def __init__(self, folder: Path, database: str, python: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.command = ["server", "--host", "127.0.0.1", "--port", str(self.port)]
        self.command += ["--backend-store-uri", database, "--workers", "1"]
        self.artifacts = ["--artifacts-destination", str(folder / "artifacts")]
        self.python = python
        self.process: Any = None

    def start(self) -> None:
        # Eight processes that run other people's jobs are not under test.
        environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = self.python.start("mlflow", *self.command, *self.artifacts, cwd=Path.cwd(), env=environment)
        for _ in range(1200):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(self.process.stderr.read_text())

    def signal(self, number: int) -> None:
        self.process.signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None


@pytest.fixture
def server(tmp_path: Path, database: str, warm_python: Any) -> Iterator[Server]:
    """A server that is not started yet."""
    server = Server(tmp_path, database, warm_python)
    yield server
    server.kill()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Waits, at most two minutes, until something is true."""

    def wait(true: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not true():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)

    return wait


@pytest.fixture
def make_training() -> Callable[..., Path]:
    """Writes what a training of the malignancy bundle leaves behind, with random weights; gives the folder."""

    def make(
        folder: Path,
        seed: int = 0,
        auroc: float | None = 0.9,
        data: str = "d" * 64,
        key: str = "k",
        size: int = 32,
        **params: str,
    ) -> Path:
        folder.mkdir(parents=True)
        torch.manual_seed(seed)
        network = NoduleNetwork("resnet10", in_channels=2, width=0.25)
        torch.save(network.state_dict(), folder / "model.pt")
        (folder / "predictions.csv").write_text("nodule,patient,label,predicted,p_malignant,p_malignant_ruler\n")
        if auroc is not None:
            one = {"value": auroc, "low": auroc - 0.1, "high": auroc + 0.1, "n": 23}
            (folder / "metrics.json").write_text(json.dumps({"accuracy": one, "auroc": one, "ruler_auroc": one}))
        journal = Journal(folder / JOURNAL_NAME, {"key": key, "experiment": "e", "tracking_uri": "sqlite:///x.db"})
        journal.created("sqlite:///x.db", f"{seed:032x}", "1")
        views: dict[str, Any] = {"kind": "central", "size": size, "spacing_mm": 1.125}
        logged = {
            **{"loss.task": "binary", "turns": "4", "backbone_weights": "None", "data.dataset_dir": "data/gone"},
            **{"checkpoint.identity.data": data, "checkpoint.identity.views": str(vars(NoduleViews(**views)))},
            **{"network_def.network": "resnet10", "network_def.outputs": "1", "network_def.in_channels": "2"},
            **{"network_def.views": "1", "network_def.branches": "shared", "network_def.spatial_dims": "2"},
            **{
                "network_def.width": "0.25",
                "network_def.features": "0",
                "network_def.attributes": "0",
                "network_def.trees": "0",
            },
        }
        journal.append("params", params={**logged, **params})
        journal.append("tags", tags={"mlflow.source.git.commit": "c0ffee", "git.dirty": "false", "comparison": "one"})
        journal.close()
        (folder / "tracking-run.json").write_text(json.dumps({"run_key": key}))
        return folder

    return make


@pytest.fixture
def make_comparison(make_training: Callable[..., Path]) -> Callable[..., Path]:
    """Writes what a comparison of two folds and two repetitions leaves behind; gives the folder."""

    def make(folder: Path, init: str = "transfer", auroc: float = 0.9, **params: str) -> Path:
        one = {"value": auroc, "low": auroc - 0.1, "high": auroc + 0.1, "n": 23}
        for seed in range(2):
            for fold in range(2):
                arm = folder / "arms" / f"resnet-10-transfer-100pct-seed{seed}-fold{fold}"
                make_training(arm, 10 * seed + fold, **params)
                (arm / "arm.json").write_text("{}")
        best = {"network": "ResNet-10", "init": init, "fraction": 1.0}
        other = {**best, "fraction": 0.1, "auroc": {**one, "value": 0.5}}
        chosen = {**best, "seconds": 1.0, "auroc": one, "ece": {**one, "value": None}}
        (folder / "findings.json").write_text(json.dumps({"best": best, "arms": [other, chosen]}))
        (folder / "comparison.json").write_text(json.dumps({"name": "tried", "seeds": [0, 1], "folds": 2}))
        journal = Journal(folder / JOURNAL_NAME, {"key": "p", "experiment": "e", "tracking_uri": "sqlite:///x.db"})
        journal.append("tags", tags={"data.digest": "d" * 64, "mlflow.source.git.commit": "c0ffee"})
        journal.close()
        return folder

    return make
