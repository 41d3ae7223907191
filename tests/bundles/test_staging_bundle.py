"""The staging bundle as a user runs it: train, evaluate, infer, resume."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mlflow
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose

from monai_staging.metrics.levels import level_classes
from monai_staging.networks.pretrained import read_checkpoint
from monai_staging.networks.weights import load_weights

ROOT = Path(__file__).parents[2]
SMALL = ["--size", "[48,48,24]", "--spacing_mm", "[7.0,7.0,14.0]", "--network", "resnet10", "--width", "0.125"]
TRAIN = [*SMALL, "--map_start_steps", "10"]
BUNDLE = ROOT / "bundles" / "staging"
RunBundle = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def trained(tiny_cohort: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of two epochs; its folder also holds the MLflow database."""
    folder = tmp_path_factory.mktemp("trained")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", tiny_cohort, "--epochs", "2"),
        *("--output_dir", folder / "run", "--resamples", "50", *TRAIN),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    (folder / "stderr.txt").write_text(result.stderr)
    return folder


def test_training_ends_with_the_table_the_figures_and_the_mlflow_command(trained: Path) -> None:
    text = (trained / "stdout.txt").read_text()
    assert "| Stage group" in text and "majority class" in text
    assert "phantoms (synthetic CT), test part" in text
    assert "figures/confusion_t.png" in text
    assert "mlflow ui --backend-store-uri" in text
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    for name in ("t_accuracy", "n_balanced_accuracy", "m_macro_f1", "group_auroc", "t_ece", "group_majority_accuracy"):
        assert set(metrics[name]) == {"value", "low", "high", "n"}
    assert 0 <= metrics["group_accuracy"]["value"] <= 1
    figures = {path.name for path in (trained / "run" / "figures").glob("*.png")}
    assert {"confusion_group.png", "roc_t.png", "reliability_m.png"} <= figures
    shown = {name.removeprefix("attention_") for name in figures if name.startswith("attention_case-")}
    assert len(shown) == 2 and {name.removeprefix("maps_") for name in figures if name.startswith("maps_")} == shown


def test_a_training_leaves_its_course_and_a_start_for_others(trained: Path) -> None:
    rows = json.loads((trained / "run" / "history.json").read_text())
    assert [row["epoch"] for row in rows] == [1, 2] and 0 < rows[0]["seconds"] < rows[1]["seconds"]
    best = json.loads((trained / "run" / "best.json").read_text())
    assert rows[best["epoch"] - 1]["val_score"] == max(row["val_score"] for row in rows) == best["value"]
    assert all({"loss", "val_t_accuracy", "val_n_accuracy"} <= set(row) for row in rows)
    found = read_checkpoint(trained / "run" / "backbone.pt")
    assert (found.source["network"], found.source["in_channels"], found.source["task"]) == ("resnet10", 3, "staging")
    assert found.source["best_epoch"] == best["epoch"] and found.source["run_id"]
    # The backbone of the weights that were evaluated.
    whole = torch.load(trained / "run" / "best.pt", weights_only=True)
    for name, value in found.state.items():
        torch.testing.assert_close(value, whole[f"backbone.{name}"], rtol=0, atol=0)


def test_attention_is_drawn_where_a_viewer_shows_the_slices(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    config = ConfigParser()
    config.read_config(BUNDLE / "evaluate.json")
    config.update({"dataset_dir": str(tiny_cohort), "size": [48, 48, 24], "spacing_mm": [7.0, 7.0, 14.0]})
    item = config.get_parsed_content("dataset")[0]
    volume = nib.load(config.get_parsed_content("dataset").data[0]["image"])
    corners = nib.affines.apply_affine(volume.affine, [[0, 0, 0], [0, 0, volume.shape[2] - 1]])
    middle = corners[:, 2].mean()
    assert item["slice_z_mm"].numpy() == pytest.approx(middle + 14.0 * (np.arange(24) - 11.5), abs=1e-3)
    # The lesions' ranges are in the same coordinates: the primary shows in the map where they say.
    low, high = json.loads(item["lesion_z_mm"])["primary"][0]
    shown = item["slice_z_mm"][item["lesion_mm"][0].amax(dim=(0, 1)) > 0]
    assert len(shown) and float(shown.min()) >= low - 14 and float(shown.max()) <= high + 14


def test_a_volume_that_changed_is_read_anew(tiny_cohort: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    shutil.copytree(tiny_cohort, cohort, ignore=shutil.ignore_patterns("cache"))

    def mean() -> float:
        config = ConfigParser()
        config.read_config(BUNDLE / "inference.json")
        config.update({"dataset_dir": str(cohort), "size": [48, 48, 24], "spacing_mm": [7.0, 7.0, 14.0], "limit": 1})
        dataset = config.get_parsed_content("dataset")
        volumes.append(Path(dataset.data[0]["image"]))
        return float(dataset[0]["image"].mean())

    volumes: list[Path] = []
    before = mean()
    assert mean() == before
    content = bytearray(volumes[0].read_bytes())
    content[352:] = np.full((len(content) - 352) // 2, 300, dtype="<i2").tobytes()
    volumes[0].write_bytes(content)
    assert mean() > before + 0.1


def test_what_was_preprocessed_once_is_read_again(trained: Path) -> None:
    # MONAI recomputes, with a warning alone, what it cannot load again with weights_only.
    assert "cache file" not in (trained / "stderr.txt").read_text()


def test_another_process_finds_what_was_preprocessed(tiny_cohort: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from monai.bundle import ConfigParser; p = ConfigParser(); p.read_config(sys.argv[1]);"
        "p['dataset_dir'] = sys.argv[2]; p['cache_dir'] = sys.argv[3];"
        "p['size'] = [48, 48, 24]; p['spacing_mm'] = [7.0, 7.0, 14.0];"
        "list(p.get_parsed_content('train#dataset')); list(p.get_parsed_content('validate#dataset'))"
    )

    def cached() -> dict[Path, int]:
        # Not the cohort's own cache: other tests use it at the same time.
        subprocess.run([sys.executable, "-c", code, BUNDLE / "train.json", tiny_cohort, tmp_path], check=True)
        return {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    first = cached()
    assert first and cached() == first


@pytest.mark.parametrize(("lesion_weight", "steps"), [(4.0, 1600), (0, 0)])
def test_on_the_letters_alone_no_lesion_is_shown_before_training_either(
    lesion_weight: float, steps: int, tiny_cohort: Path
) -> None:
    config = ConfigParser()
    config.read_config(BUNDLE / "train.json")
    config.update({"dataset_dir": str(tiny_cohort), "lesion_weight": lesion_weight, "width": 0.125})
    assert config.get_parsed_content("map_start").steps == steps


def test_augmentation_leaves_the_lesions_sizes_alone(tiny_cohort: Path) -> None:
    config = ConfigParser()
    config.read_config(BUNDLE / "train.json")
    config.update({"dataset_dir": str(tiny_cohort), "size": [48, 48, 24], "spacing_mm": [7.0, 7.0, 14.0]})
    config.parse()
    data = config.get_parsed_content("train#dataset").data
    preprocess = Compose(config.get_parsed_content("train#preprocessing"))
    augment = Compose(config.get_parsed_content("train#augmentation"))
    augment.set_random_state(0)
    for item in data:
        before = preprocess(dict(item))
        sizes = set(before["lesion_mm"].unique().tolist())
        for _ in range(3):
            assert set(augment(dict(before))["lesion_mm"].unique().tolist()) <= sizes


def test_the_run_is_in_mlflow_with_config_metrics_figures_and_model(trained: Path, tiny_cohort: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    experiment = client.get_experiment_by_name("staging")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["network"] == "resnet10"
    assert {"train/loss", "val/score", "val/t_accuracy", "test/group_accuracy"} <= set(run.data.metrics)
    assert any(name.startswith("system/") for name in run.data.metrics)
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"config.json", "figures"} <= names
    drawn = {f"figures/{path.name}" for path in (trained / "run" / "figures").iterdir()}
    assert {item.path for item in client.list_artifacts(run.info.run_id, "figures")} == drawn
    assert client.search_logged_models([experiment.experiment_id])
    # No patient in anything that was logged.
    patients = {case["patient"] for case in json.loads((tiny_cohort / "cohort.json").read_text())["training"]}
    logged = json.dumps([run.data.params, run.data.tags])
    assert not any(patient in logged for patient in patients)


def test_evaluate_gives_the_training_s_own_table_again(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    run_bundle(
        *("run", "--config_file", BUNDLE / "evaluate.json", "--dataset_dir", tiny_cohort),
        *("--weights", trained / "run" / "best.pt", "--output_dir", tmp_path / "out", "--resamples", "50", *SMALL),
        *("--figures", "false"),
        folder=tmp_path,
    )
    for name in ("metrics.json", "predictions.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (trained / "run" / name).read_bytes()
    assert not (tmp_path / "out" / "figures").exists()


def test_inference_needs_no_labels_and_names_no_patient(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    cohort = tmp_path / "unlabelled"
    cohort.mkdir()
    document = json.loads((tiny_cohort / "cohort.json").read_text())
    case = {**document["test"][0], "lesions": [], "clinical": {}}
    for letter, fine in (("t", "t_fine"), ("n", "n"), ("m", "m_fine")):
        case[letter] = list(level_classes("8")[fine])
    (cohort / "cohort.json").write_text(json.dumps({**document, "training": [case], "validation": [], "test": []}))
    (cohort / "volumes").symlink_to(tiny_cohort / "volumes")
    (cohort / "masks").symlink_to(tiny_cohort / "masks")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "inference.json", "--dataset_dir", cohort),
        *("--weights", trained / "run" / "best.pt", "--output_dir", tmp_path / "out", *SMALL),
        folder=tmp_path,
    )
    (prediction,) = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert prediction["case"].startswith("case-") and case["patient"] not in result.stdout
    # The line names the main group, as the figure does, and the likeliest sub-group beside it.
    line = next(line for line in result.stdout.splitlines() if line.startswith(prediction["case"]))
    main: Counter[str] = Counter()
    for name, probability in prediction["group"]["probabilities"].items():
        main[name.rstrip("ABC123")] += probability
    ((group, probability),) = main.most_common(1)
    finest = f"{prediction['group']['most_likely']} ({prediction['group']['p']:.2f})"
    said = re.search(r"over all T, N and M: (\w+) \((\d\.\d\d)\), likeliest sub-group (.*)$", line)
    assert said is not None and (said[1], said[3]) == (group, finest)
    assert float(said[2]) == pytest.approx(probability, abs=0.006)  # the document's are rounded
    for name in ("t", "n", "m", "group"):
        assert sum(prediction[name]["probabilities"].values()) == pytest.approx(1, abs=1e-2)
    assert len(list((tmp_path / "out" / "figures").glob("attention_*.png"))) == 1


def test_a_study_is_inferred_whatever_its_labels_are(
    trained: Path, older_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    cohort = older_cohort
    document = json.loads((cohort / "cohort.json").read_text())
    first, second = document["training"][:2]
    # Two studies of one patient, one of them of the 8th edition and pathological; neither stage matters here.
    second |= {"patient": first["patient"], "edition": "8", "prefix": "p", "t": ["Tis"], "n": ["N0"], "m": ["M1c"]}
    (cohort / "cohort.json").write_text(
        json.dumps({**document, "training": [first, second], "validation": [], "test": []})
    )
    run_bundle(
        *("run", "--config_file", BUNDLE / "inference.json", "--dataset_dir", cohort),
        *("--weights", trained / "run" / "best.pt", "--output_dir", tmp_path / "out", *SMALL),
        folder=tmp_path,
    )
    one, other = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert one["case"] == other["case"] and one["edition"] == other["edition"] == "8"
    assert [one["study"], other["study"]] == [f"{one['case']}-1", f"{one['case']}-2"]
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {
        f"attention_{document['study']}.png" for document in (one, other)
    }


def test_a_killed_training_resumes_to_the_same_predictions(
    tiny_cohort: Path, run_bundle: RunBundle, empty_database: Path, tmp_path: Path
) -> None:
    arguments = ["run", "--config_file", str(BUNDLE / "train.json"), "--dataset_dir", str(tiny_cohort)]
    arguments += ["--epochs", "3", "--resamples", "20", *TRAIN, "--figures", "false", "--log_model", "false"]
    arguments += ["--system_metrics", "false"]
    run_bundle(*arguments, "--output_dir", tmp_path / "whole", folder=tmp_path)
    shutil.copy(empty_database, tmp_path / "killed.db")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/killed.db", "OMP_NUM_THREADS": "1"}
    # A Python of its own: nothing may depend on the order of its sets.
    command = [sys.executable, "-m", "monai.bundle", *arguments, "--output_dir", str(tmp_path / "killed")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (tmp_path / "killed" / "checkpoint-0001.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run_bundle(*arguments, "--resume", "true", "--output_dir", tmp_path / "killed", folder=tmp_path)
    for name in ("metrics.json", "predictions.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    whole, killed = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("whole", "killed"))
    assert [{**row, "seconds": 0} for row in killed] == [{**row, "seconds": 0} for row in whole] and len(whole) == 3


def test_the_configs_agree_on_what_the_network_is_shown() -> None:
    configs = [
        ConfigParser.load_config_file(str(BUNDLE / f"{name}.json")) for name in ("train", "evaluate", "inference")
    ]
    shared = (
        "network_def",
        "edition",
        "classes",
        "class_mapping",
        "windows",
        "spacing_mm",
        "size",
        "groups",
        "network",
    )
    for key in (*shared, "width", "channels_last", "item_keys"):
        assert configs[0][key] == configs[1][key] == configs[2][key], key
    steps = configs[0]["train"]["preprocessing"] + configs[0]["train"]["windows"]
    assert steps == configs[1]["preprocessing"]["transforms"] == configs[2]["preprocessing"]["transforms"]


def test_the_shipped_weights_are_the_default_network_s() -> None:
    file = BUNDLE / "models" / "model.pt"
    record = json.loads((BUNDLE / "models" / "model.json").read_text())
    assert hashlib.sha256(file.read_bytes()).hexdigest() == record["sha256"]
    assert file.stat().st_size == record["bytes"] < 8_000_000
    config = ConfigParser.load_config_file(str(BUNDLE / "evaluate.json"))
    parser = ConfigParser(config)
    network = load_weights(parser.get_parsed_content("network_def"), file).eval()
    size = config["size"]
    output = network(torch.zeros(1, len(config["windows"]), size[0] // 2, size[1] // 2, 4))
    assert (
        output.shape == (1, sum(len(names) for names in parser.get_parsed_content("classes").values()))
        and output.isfinite().all()
    )


def test_a_missing_cohort_is_said_with_the_way_to_make_one(run_bundle: RunBundle, tmp_path: Path) -> None:
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", tmp_path / "nothing", *SMALL),
        folder=tmp_path,
        check=False,
    )
    assert result.returncode != 0
    assert "monai-staging ingest SOURCE RAW" in result.stderr
    # Before an engine could start, and yet a run that says why it failed.
    (run,) = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db").search_runs(["1"])
    assert run.info.status == "FAILED" and "DataError" in run.data.tags["failure"]


def test_predictions_table_reads_with_pandas(trained: Path) -> None:
    table = pd.read_csv(trained / "run" / "predictions.csv")
    assert table["patient"].str.startswith("case-").all()
    letters = table[[column for column in table if column in ("p_N0", "p_N1", "p_N2", "p_N3")]].sum(axis=1)
    assert letters.to_numpy() == pytest.approx(1, abs=1e-4)
