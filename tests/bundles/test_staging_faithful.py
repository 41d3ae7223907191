"""The staging bundle's networks as published, and their comparison from random weights and by transfer."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from monai.bundle import ConfigParser

from monai_staging.cluster.executor import InProcess
from monai_staging.compare.plan import comparison_of, read_comparison
from monai_staging.compare.runner import Runner

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "staging"
SMALL = ["--size", "[64,64,8]", "--spacing_mm", "[5.0,5.0,40.0]", "--width", "0.125"]
RunBundle = Callable[..., subprocess.CompletedProcess[str]]


def configs(name: str) -> str:
    return str([str(BUNDLE / f"{name}.json"), str(BUNDLE / "faithful.json")])


@pytest.fixture(scope="module")
def trained(tiny_cohort: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training on half of the labels, told of as one of many is; its folder holds the MLflow database."""
    folder = tmp_path_factory.mktemp("faithful")
    run_bundle(
        *("run", "--config_file", configs("train"), "--dataset_dir", tiny_cohort, "--epochs", "1"),
        *("--label_fraction", "0.5", "--figures", "false", "--log_model", "false", "--system_metrics", "false"),
        *("--tags", "{'arm.network': 'AlexNet'}", "--output_dir", folder / "run", "--resamples", "20", *SMALL),
        folder=folder,
    )
    return folder


def test_one_training_of_many_is_told_of_in_tables_alone(trained: Path) -> None:
    assert not (trained / "run" / "figures").exists()
    assert {"metrics.json", "predictions.csv", "history.json", "backbone.pt"} <= {
        path.name for path in (trained / "run").iterdir()
    }
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    experiment = client.get_experiment_by_name("staging")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.tags["arm.network"] == "AlexNet"
    assert not any(name.startswith("system/") for name in run.data.metrics)
    assert not client.search_logged_models([experiment.experiment_id])


def test_the_network_has_no_lesion_map(trained: Path) -> None:
    names = set(torch.load(trained / "run" / "best.pt", weights_only=True))
    assert {name.split(".")[0] for name in names} == {"backbone", "norm", "pool", "heads"}


def test_evaluate_takes_the_faithful_config_too(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    run_bundle(
        *("run", "--config_file", configs("evaluate"), "--dataset_dir", tiny_cohort, "--resamples", "20"),
        *("--weights", trained / "run" / "best.pt", "--output_dir", tmp_path / "out", *SMALL),
        *("--attention_cases", "1"),
        folder=tmp_path,
    )
    (attention,) = (tmp_path / "out" / "figures").glob("attention_*.png")
    (maps,) = (tmp_path / "out" / "figures").glob("maps_*.png")
    assert maps.name.removeprefix("maps_") == attention.name.removeprefix("attention_")
    given = (trained / "run" / "predictions.csv").read_text().splitlines()
    found = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert [line.split(",")[:16] for line in found] == [line.split(",")[:16] for line in given]


def parsed(cohort: Path, **settings: object) -> ConfigParser:
    config = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / "train.json"), str(BUNDLE / "faithful.json")]))
    config.update({"dataset_dir": str(cohort), "width": 0.125, **settings})
    return config


def test_a_backbone_of_one_training_starts_another(trained: Path, tiny_cohort: Path) -> None:
    path = trained / "run" / "backbone.pt"
    network = parsed(tiny_cohort, backbone_weights=str(path)).get_parsed_content("network_def")
    whole = torch.load(trained / "run" / "best.pt", weights_only=True)
    for name, value in network.backbone.state_dict().items():
        torch.testing.assert_close(value, whole[f"backbone.{name}"], rtol=0, atol=0)


def test_a_fraction_of_the_labels_depends_on_the_seed_alone(tiny_cohort: Path) -> None:
    def studies(part: str, **settings: object) -> list[str]:
        return [item["study"] for item in parsed(tiny_cohort, **settings).get_parsed_content(f"{part}#dataset").data]

    whole, half = studies("train"), studies("train", label_fraction=0.5, network="vgg16")
    assert set(half) < set(whole) and studies("train", label_fraction=0.5, network="alexnet") == half
    assert set(studies("train", label_fraction=0.25)) < set(half)
    assert any(studies("train", label_fraction=0.5, seed=seed) != half for seed in (1, 2, 3))
    for part in ("validate", "test"):
        assert studies(part, label_fraction=0.25) == studies(part)
    counts = parsed(tiny_cohort, label_fraction=0.5).get_parsed_content("test#report").baseline
    assert sum(counts["t"].values()) <= len(half)


def test_the_comparison_s_settings_are_keys_of_both_bundles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    comparison = comparison_of(read_comparison(BUNDLE / "compare.yaml"))
    assert len(comparison.arms) == 4 * 2 * 3
    runner = Runner(comparison, tmp_path, InProcess(), None, "comparisons", "digest")
    networks = set()
    for arm in comparison.arms:
        overrides = runner.task(arm).overrides
        networks.add((overrides["network"], overrides["width"]))
        assert (overrides["backbone_weights"] is None) == (arm.init == "scratch")
    assert networks == {(name, 0.25) for name in ("alexnet", "vgg16", "vgg19", "resnet18")}


def test_monai_staging_compare_staging_ends_with_the_accuracies_of_every_arm(
    tiny_cohort: Path, warm_python: Any, empty_database: Path, tmp_path: Path
) -> None:
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlruns.db"}
    command = ["compare", "staging", "--dataset-dir", str(tiny_cohort)]
    command += ["--networks", "AlexNet", "--seeds", "1", "--set", "epochs=1", "width=0.125", "limit=8"]
    command += ["--workers", "2", "--resamples", "50", "--permutations", "50", "--out", str(tmp_path / "out"), "--json"]
    result = warm_python.run("monai_staging.cli", *command, env=environment)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert [(arm["network"], arm["init"]) for arm in document["arms"]] == [
        ("AlexNet", "scratch"),
        ("AlexNet", "transfer"),
    ]
    for arm in document["arms"]:
        for letter in ("t", "n", "m", "group"):
            assert {"value", "low", "high", "n"} <= set(arm[f"{letter}_accuracy"])
    assert {one["measure"] for one in document["differences"]} == {
        f"{letter}_accuracy" for letter in ("t", "n", "m", "group")
    }
    # The source of the transfer is the training part's pictures; the network starts from it.
    folder = tmp_path / "out" / "arms" / "alexnet-transfer-100pct-seed0"
    weights = json.loads((folder / "arm.json").read_text())["settings"]["backbone_weights"]
    source = torch.load(weights, weights_only=True)["source"]
    assert (source["task"], source["network"], source["in_channels"]) == ("restoration", "alexnet", 3)
