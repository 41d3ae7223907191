"""The staging bundle's documented settings, each in a training that comes to its end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from monai.bundle import ConfigParser

BUNDLE = Path(__file__).parents[2] / "bundles" / "staging"
TRAIN = ["--size", "[48,48,24]", "--spacing_mm", "[7.0,7.0,14.0]", "--width", "0.125", "--map_start_steps", "10"]
QUIET = ["--system_metrics", "false", "--log_model", "false"]
RunBundle = Callable[..., subprocess.CompletedProcess[str]]


def test_a_cohort_of_another_edition_is_trained_on_with_its_edition_alone(
    older_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    arguments = ["run", "--config_file", BUNDLE / "train.json", "--dataset_dir", older_cohort, "--epochs", "1", *TRAIN]
    refused = run_bundle(*arguments, "--output_dir", tmp_path / "8th", folder=tmp_path, check=False)
    assert refused.returncode != 0
    assert "classes are of the 8th edition, the labelled cases 12 of the 7th" in refused.stderr
    result = run_bundle(
        *(*arguments, "--edition", "7", "--output_dir", tmp_path / "7th", "--resamples", "20", *QUIET),
        *("--figures", "false"),
        folder=tmp_path,
    )
    assert "have a T that no class of the model stands for (Tis 1)" in result.stdout
    table = pd.read_csv(tmp_path / "7th" / "predictions.csv")
    assert {"p_T1a", "p_T1b", "p_M1b"} <= set(table) and not {"p_T1c", "p_T1mi", "p_M1c"} & set(table)


@pytest.mark.parametrize(
    "settings",
    [
        ("--windows", "[[-600,1500],[40,400]]", "--neighbours", "1", "--accumulation_steps", "3", "--amp", "true"),
        ("--spatial_dims", "3", "--loss_mode", "ordinal", "--channels_last", "false", "--compile", "false"),
        ("--lesion_weight", "0", "--cubes", "[]", "--batch_size", "2", "--limit", "4", "--patience", "1"),
    ],
    ids=["numeric windows", "3-D", "letters alone"],
)
def test_settings_of_the_documentation_train_to_the_end(
    settings: tuple[str, ...], tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", tiny_cohort, "--epochs", "1"),
        *("--output_dir", tmp_path / "out", "--resamples", "20", "--attention_cases", "1", *QUIET, *TRAIN, *settings),
        folder=tmp_path,
    )
    assert "| Stage group" in result.stdout and "attention_case-" in result.stdout
    (run,) = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db").search_runs(["1"])
    assert run.info.status == "FINISHED" and "test/group_accuracy" in run.data.metrics


def test_the_long_training_is_one_of_a_few_settings(tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path) -> None:
    both = [str(BUNDLE / "train.json"), str(BUNDLE / "long.json")]
    result = run_bundle(
        *("run", "--config_file", str(both), "--dataset_dir", tiny_cohort, "--epochs", "1", "--figures", "false"),
        *("--limit", "6", "--output_dir", tmp_path / "out", "--resamples", "20", "--network", "resnet10"),
        *(*QUIET, *TRAIN),
        folder=tmp_path,
    )
    assert "| Stage group" in result.stdout
    (run,) = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db").search_runs(["1"])
    assert run.info.run_name == "resnet10-long" and run.info.status == "FINISHED"


@pytest.mark.parametrize(("given", "compiled"), [("false", False), (False, False), ("true", True), (True, True)])
def test_compile_is_off_when_the_command_line_says_false(given: object, compiled: bool, tiny_cohort: Path) -> None:
    config = ConfigParser()
    config.read_config(BUNDLE / "train.json")
    config.update({"dataset_dir": str(tiny_cohort), "width": 0.125, "compile": given, "channels_last": given})
    assert config.get_parsed_content("train#trainer").compile is compiled
