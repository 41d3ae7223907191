"""A package of the staging bundle is whole, says what it is, and works on its own."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from monai_staging.networks.pretrained import read_state_dict
from monai_staging.networks.pretrained.source import file_sha256

from .conftest import SETTINGS, Made


def test_layout_is_the_model_zoos(made: Made) -> None:
    files = set(made.package.files)
    assert {"LICENSE", "docs/README.md", "models/model.pt", "models/model.ts", "models/model.json"} <= files
    assert {f"configs/{name}" for name in ("metadata.json", "logging.conf", "train.json", "inference.json")} <= files
    assert {path.name for path in made.package.out.iterdir()} == {"LICENSE", "configs", "docs", "models"}
    for name, digest in made.package.files.items():
        assert file_sha256(made.package.out / name) == digest
    # Nothing is left beside it.
    assert list(made.package.out.parent.iterdir()) == [made.package.out]


def test_what_was_checked_is_told(made: Made) -> None:
    assert made.said[-len(made.package.checks) :] == made.package.checks
    assert made.package.checks == (
        "configs/metadata.json: of the schema",
        "network model: takes and gives what the metadata say",
        "configs/inference.json: all properties of a bundle, run with the weights",
        "configs/evaluate.json: all properties of a bundle, made with the weights",
    )


def test_metadata_say_version_settings_and_what_is_installed(made: Made) -> None:
    document = json.loads((made.package.out / "configs" / "metadata.json").read_text())
    assert document["monai_version"] == metadata.version("monai")
    assert document["pytorch_version"] == metadata.version("torch").partition("+")[0]
    assert document["numpy_version"] == metadata.version("numpy")
    assert document["changelog"][document["version"]] == "weights of a training of one's own: model"
    assert document["network_data_format"]["inputs"]["image"]["spatial_shape"] == SETTINGS["size"]


def test_card_has_metrics_limits_and_the_packages_own_commands(made: Made) -> None:
    card = (made.package.out / "docs" / "README.md").read_text()
    assert "| t_accuracy | 0.500 [0.250, 0.750] | 4 |" in card
    assert "Not a medical device" in card and "## Limits" in card
    assert "bundles/staging" not in card and "configs/train.json" in card
    assert "Weights of a training of one's own: model." in card


def test_configs_have_the_settings_and_overlays_keep_theirs(made: Made) -> None:
    configs = made.package.out / "configs"
    for name in ("inference", "evaluate", "train"):
        document = json.loads((configs / f"{name}.json").read_text())
        assert {key: document[key] for key in SETTINGS} == SETTINGS
        assert document["bundle_root"] == "."
    assert json.loads((configs / "faithful.json").read_text())["network"] == "alexnet"


def test_weights_and_torchscript_are_the_trainings(made: Made) -> None:
    assert file_sha256(made.package.out / "models" / "model.pt") == file_sha256(made.weights)
    record = json.loads((made.package.out / "models" / "model.json").read_text())
    assert record["trained_here"]["sha256"] == file_sha256(made.weights)
    files = {"config.json": "", "inference.json": "", "metadata.json": ""}
    script = torch.jit.load(made.package.out / "models" / "model.ts", _extra_files=files)
    assert json.loads(files["inference.json"])["width"] == SETTINGS["width"]
    assert json.loads(files["metadata.json"])["version"] == made.package.version
    parser = ConfigParser(ConfigParser.load_config_files([str(made.package.out / "configs" / "inference.json")]))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(read_state_dict(made.weights))
    image = torch.rand(2, 3, *SETTINGS["size"])
    with torch.no_grad():
        torch.testing.assert_close(script(image), network(image), atol=1e-4, rtol=1e-4)


def test_a_fresh_process_elsewhere_predicts_what_the_repositorys_bundle_does(
    made: Made, repository: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(made.package.out, moved)
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    environment |= {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--dataset_dir", str(made.cohort), "--limit", "2", "--attention_cases", "0"]
    done = subprocess.run(command, cwd=moved, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]

    workflow = ConfigWorkflow(
        str(repository / "bundles" / "staging" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        **{"dataset_dir": str(made.cohort), "output_dir": str(tmp_path / "here"), "weights": str(made.weights)},
        **{"limit": 2, "attention_cases": 0, "device": "cpu", "calibration": "none", **SETTINGS},
    )
    workflow.initialize()
    workflow.run()
    tables = []
    for folder in (moved / "runs" / "staging-inference", tmp_path / "here"):
        with open(folder / "predictions.csv", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    assert len(tables[0]) == 2
    for one, other in zip(*tables, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if name.startswith("p_"):
                np.testing.assert_allclose(float(value), float(other[name]), atol=1e-4)
            else:
                assert value == other[name]
