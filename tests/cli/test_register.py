"""`monai-staging register` as a user meets it; what it registers is a training with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
import torch

from monai_staging.cli.main import main
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.tracking.journal import JOURNAL_NAME, Journal
from monai_staging.tracking.registry import load_model
from monai_staging.transforms.nodule_views import NoduleViews


@pytest.fixture(autouse=True)
def own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database that is made where a command is run."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(tmp_path)


def training(folder: Path, auroc: float) -> Path:
    """What the malignancy bundle leaves behind."""
    folder.mkdir()
    torch.manual_seed(round(100 * auroc))
    torch.save(NoduleNetwork("resnet10", in_channels=2, width=0.25).state_dict(), folder / "model.pt")
    (folder / "predictions.csv").write_text("nodule,patient,label,predicted,p_malignant\n")
    (folder / "metrics.json").write_text(json.dumps({"auroc": {"value": auroc, "low": 0.5, "high": 1, "n": 9}}))
    journal = Journal(folder / JOURNAL_NAME, {"key": "k"})
    network = {"network": "resnet10", "outputs": 1, "in_channels": 2, "views": 1, "branches": "shared"}
    network |= {"spatial_dims": 2, "width": 0.25, "features": 0, "attributes": 0, "trees": 0, "landmarks": 0}
    views = vars(NoduleViews("central", size=32, spacing_mm=1.125))
    params = {
        "loss.task": "binary",
        "turns": 4,
        "checkpoint.identity.data": "d" * 64,
        "checkpoint.identity.views": views,
    }
    params |= {f"network_def.{name}": value for name, value in network.items()}
    journal.append("params", params={name: str(value) for name, value in params.items()})
    journal.close()
    return folder


def test_training_is_registered_once_and_a_worse_one_not_made_champion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, worse = training(tmp_path / "good", 0.9), training(tmp_path / "worse", 0.8)
    assert main(["register", str(good), "--name", "nodules"]) == 0
    assert capsys.readouterr().out == "nodules, version 1 (1 network), registered: models:/nodules@champion\n"
    assert main(["register", str(good), "--name", "nodules"]) == 0
    assert "was registered already" in capsys.readouterr().out
    assert main(["register", str(worse), "--name", "nodules", "--json"]) == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (document["version"], document["created"], document["alias"]) == (2, True, None)
    assert document["kept"] in printed.err and "--force moves it" in printed.err
    assert load_model("models:/nodules@champion").settings.digest != document["digest"]
    assert main(["register", str(worse), "--name", "nodules", "--json", "--force"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["alias"], document["kept"], document["uri"]) == ("champion", None, "models:/nodules@champion")
    assert load_model("models:/nodules@champion").settings.digest == document["digest"]
    assert document["tags"]["metric.auroc"] == "0.8"
    assert not mlflow.is_tracking_uri_set()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no-such-folder", "--name", "nodules"], 1, "found neither"),
        ([".", "--name", "a/b"], 2, "a name is of letters"),
        ([".", "--name", "nodules", "--alias", "latest"], 2, "an alias is of letters"),
    ],
)
def test_what_cannot_be_registered(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["register", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == "" and said in printed.err


def test_server_that_is_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = training(tmp_path / "run", 0.9)
    assert main(["register", str(folder), "--name", "nodules", "--tracking-uri", "http://127.0.0.1:9"]) == 1
    assert "MLflow at http://127.0.0.1:9 cannot be reached" in capsys.readouterr().err
