"""MONAI's own checks, of every config and every network that the bundles describe.

A new config is a line of `RUNS`, a new network a line of `NETWORKS`; what is forgotten is named.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out

from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.histology.phantom import HistologyConfig, default_slides
from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.transforms.nodule_features import FEATURES
from monai_staging.workflows.patients_data import MEASURED
from monai_staging.workflows.stopping import FiniteLoss

BUNDLES = Path(__file__).parents[2] / "bundles"
Check = Callable[..., ConfigWorkflow]
FORMAT = "network_data_format"
POINTS = BUNDLES / "detection" / "models" / "two_stage" / "operating_points.json"

RETINANET = {"width": 0.125, "channels": 8}
TWO_STAGE = {"width": 0.125, "classifier_width": 0.0625}
BOXES = {"width": 0.125, "features": 16, "size": 64}
BACKBONE = {"network": "resnet10", "width": 0.125}
MAP = {**BACKBONE, "channels": 16}
TILES = {"filters": [8, 8], "affine": 16}
SLICES = {"width": 0.125, "features": 16, "size": 64}


@dataclass(frozen=True)
class Run:
    """Configs laid over each other, as one command runs them.

    Attributes:
        bundle: its folder.
        configs: files in it, without their ending; the first says whether it trains.
        data: fixture that makes its data.
        keys: that make it small.
    """

    bundle: str
    configs: tuple[str, ...]
    data: str = "tiny_cohort"
    keys: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        return [BUNDLES / self.bundle / f"{name}.json" for name in self.configs]

    @property
    def trains(self) -> bool:
        return not self.configs[0].endswith(("evaluate", "inference"))

    def __str__(self) -> str:
        return "-".join([self.bundle, *self.configs])


SECTORS = {**BACKBONE, "size": 64, "frozen": False}
PATIENTS = {
    **{"width": 0.125, "size": 16, "spacing_mm": 3.0, "most": 3, "limit": 4},
    "detector_keys": {"spacing_mm": [3.0, 3.0, 4.0], "most": 20},
}
OUTLINE = Run("segmentation", ("chest_inference", "outline_inference"), keys={"width": 0.5})
MANY = "multi_gpu_train"
JUDGED = {**MAP, "judge_width": 0.25}
TASKS = ("digits", "restoration", "autoencoder", "contrastive")
RUNS = [
    *(Run("staging", (name,), keys=BACKBONE) for name in ("train", "evaluate", "inference")),
    *(Run("staging", (name, "faithful"), keys={"width": 0.125}) for name in ("train", "evaluate", "inference")),
    *(Run("staging", (name, "long"), keys=BACKBONE) for name in ("train", "evaluate")),
    Run("staging", ("evaluate", "calibrate"), keys=BACKBONE),
    *(Run("detection", (name,), keys=RETINANET) for name in ("train", "evaluate", "inference")),
    Run("detection", ("train", "two_stage", "two_stage_train"), keys=TWO_STAGE),
    Run("detection", ("train", "two_stage", "two_stage_train", "second_stage_train")),
    *(Run("detection", (name, "two_stage"), keys=TWO_STAGE) for name in ("evaluate", "inference")),
    Run("detection", ("boxes",), keys=BOXES),
    Run("detection", ("boxes", "boxes_faithful"), keys={"size": 64}),
    *(Run("segmentation", (name,), "nodules", {"width": 0.5}) for name in ("train", "evaluate")),
    *(Run("segmentation", (name,), keys={"width": 0.5}) for name in ("chest", "chest_evaluate", "chest_inference")),
    Run("segmentation", ("chest", "outline"), keys={"width": 0.5}),
    Run("segmentation", ("chest", "outline", "outline_labels"), keys={"width": 0.5, "start_weights": None}),
    Run("segmentation", ("chest_evaluate", "outline_evaluate"), keys={"width": 0.5}),
    OUTLINE,
    *(Run("malignancy", (name,), "nodules", BACKBONE) for name in ("train", "evaluate")),
    *(Run("malignancy", ("train", name), "nodules", BACKBONE) for name in ("final", "phantom")),
    *(Run("malignancy", (name,), "screening_cohort", PATIENTS) for name in ("patients", "patients_evaluate")),
    *(Run("mitosis", (name,), "slides", MAP) for name in ("train", "evaluate")),
    Run("mitosis", ("inference",), "slide_files", {**MAP, "slide_microns_per_pixel": 0.25}),
    Run("mitosis", ("train", "faithful"), "slides", TILES),
    Run("mitosis", ("train", "pix2pix"), "slides", MAP),
    Run("mitosis", ("train", "two_stage", "two_stage_train"), "slides", JUDGED),
    Run("mitosis", ("evaluate", "two_stage"), "slides", JUDGED),
    *(Run("slices", (name,), "screening_cohort", SLICES) for name in ("train", "evaluate", "inference")),
    Run("slices", ("train", "faithful"), "screening_cohort", SECTORS),
    *(Run("pretrain", (name,), keys={**BACKBONE, "task": task}) for name in ("train", "evaluate") for task in TASKS),
    *(
        Run(bundle, ("train", MANY), data, keys)
        for bundle, data, keys in (
            ("staging", "tiny_cohort", BACKBONE),
            ("detection", "tiny_cohort", RETINANET),
            ("segmentation", "nodules", {"width": 0.5}),
            ("malignancy", "nodules", BACKBONE),
            ("mitosis", "slides", MAP),
            ("slices", "screening_cohort", SLICES),
            ("pretrain", "tiny_cohort", {**BACKBONE, "task": "digits"}),
        )
    ),
    Run("detection", ("train", "two_stage", "two_stage_train", MANY, f"two_stage_{MANY}"), keys=TWO_STAGE),
    Run("mitosis", ("train", "two_stage", "two_stage_train", MANY, f"two_stage_{MANY}"), "slides", JUDGED),
]


@dataclass(frozen=True)
class Network:
    """A network that a bundle's metadata describe.

    Attributes:
        run: whose configs define it, with keys that make it small.
        format: of the metadata's ``*_data_format``, the one that is its.
        keys: with which MONAI sees it as one of a single input and output, in its own size.
        sides: of the small network's input.
        more: arguments of the network's beside the image.
        net: of the config.
    """

    run: Run
    format: str
    sides: tuple[int, ...]
    keys: dict[str, Any] = field(default_factory=dict)
    more: dict[str, torch.Tensor] = field(default_factory=dict)
    net: str = "network_def"

    @property
    def exported(self) -> bool:
        """MONAI exports what a file of weights is of, and traces one input."""
        return self.net == "network_def" and not self.more

    def __str__(self) -> str:
        return f"{self.run.bundle}-{self.format}-{self.run.configs[-1]}"


TWO_STAGES = Run("detection", ("inference", "two_stage"), keys=TWO_STAGE)
NETWORKS = [
    Network(Run("staging", ("inference",), keys=BACKBONE), FORMAT, (48, 48, 24)),
    Network(Run("staging", ("inference", "faithful"), keys={"width": 0.125}), FORMAT, (64, 64, 8)),
    Network(Run("detection", ("inference",), keys=RETINANET), FORMAT, (32, 32, 32), {"network_def#flat": True}),
    Network(TWO_STAGES, "slices_data_format", (32, 32)),
    Network(TWO_STAGES, "cubes_data_format", (16, 16, 16), {"judge_def": "$@network_def.classifier"}, net="judge_def"),
    Network(Run("detection", ("boxes",), keys=BOXES), "boxes_data_format", (64, 64)),
    Network(Run("detection", ("boxes", "boxes_faithful"), keys={"size": 64}), "boxes_faithful_data_format", (64, 64)),
    Network(Run("segmentation", ("evaluate",), "nodules", {"width": 0.5}), FORMAT, (32, 32)),
    Network(Run("segmentation", ("chest_inference",), keys={"width": 0.5}), "chest_data_format", (32, 32, 16)),
    Network(OUTLINE, "outline_data_format", (32, 32, 16)),
    Network(Run("malignancy", ("evaluate",), "nodules", BACKBONE), FORMAT, (32, 32), {"measured": False}),
    Network(
        Run("malignancy", ("evaluate",), "nodules", BACKBONE),
        FORMAT,
        (32, 32),
        more={"features": torch.full((1, len(FEATURES)), torch.nan)},
    ),
    Network(
        Run("malignancy", ("patients_evaluate",), "screening_cohort", PATIENTS),
        "patients_data_format",
        (2, 16, 16, 16),
        more={"mask": torch.ones(1, 5, dtype=torch.bool), "measured": torch.zeros(1, 5, len(MEASURED))},
    ),
    Network(Run("mitosis", ("inference",), "slide_files", MAP), FORMAT, (96, 96)),
    Network(Run("mitosis", ("inference", "two_stage"), "slide_files", {**MAP, "judge_width": 0.25}), FORMAT, (96, 96)),
    Network(Run("mitosis", ("train", "faithful"), "slides", TILES), "tiles_data_format", (64, 64)),
    Network(Run("slices", ("inference",), "screening_cohort", SLICES), FORMAT, (2, 64, 64)),
    Network(
        Run("slices", ("train", "faithful"), "screening_cohort", SECTORS),
        "sectors_data_format",
        (1, 64, 64),
        {"frozen": False},
    ),
    *(
        Network(
            Run("pretrain", ("evaluate",), keys=BACKBONE),
            FORMAT if task == "digits" else f"{task}_data_format",
            (32, 32),
            {"task": task},
        )
        for task in TASKS
    ),
]


@pytest.fixture(scope="module")
def nodules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_nodules(tmp_path_factory.mktemp("nodules"), 12, seed=3)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = HistologyConfig(patients=8, size=256, mitoses=16)
    return default_slides(tmp_path_factory.mktemp("slides") / "phantom-mitosis", config)


@pytest.fixture
def slide_files(slides: Path) -> Path:
    return slides / "images"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONAI_STAGING_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def network_of(run: Run, net: str = "network_def", **keys: Any) -> torch.nn.Module:
    parser = ConfigParser(ConfigParser.load_config_files(list(map(str, run.files))))
    parser.update(keys)
    network: torch.nn.Module = parser.get_parsed_content(net)
    return network.eval()


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_every_config_has_the_properties_of_a_bundle(
    run: Run, check_properties: Check, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    keys = {**run.keys, "dataset_dir": str(request.getfixturevalue(run.data))}
    if not run.trains:
        # As if a training had left them.
        keys["weights"] = str(tmp_path / "model.pt")
        write_checkpoint(keys["weights"], network_of(run, **keys), {})
        shutil.copy(POINTS, tmp_path)
        (tmp_path / "threshold.json").write_text(json.dumps({"threshold": 0.5}))
    workflow = check_properties("train" if run.trains else "infer", *run.files, **keys)
    if not run.trains:
        return
    # A loss that is no number is told of with the cases it is of, and none of their patients, and the state is kept.
    (guard,) = [one for one in workflow.parser.get_parsed_content("train#handlers") if isinstance(one, FiniteLoss)]
    named = guard.cases(next(iter(workflow.parser.get_parsed_content("train#dataloader"))))
    assert named and not [name for name in named if "PH-" in name]
    assert guard.checkpoint is workflow.parser.get_parsed_content("checkpoint")


def test_no_config_and_no_network_is_forgotten() -> None:
    metadata = list(BUNDLES.glob("*/metadata.json"))
    files = {path for described in metadata for path in described.parent.glob("*.json")}
    assert files - set(metadata) == {path for run in RUNS for path in run.files}
    formats = {
        (path.parent.name, key)
        for path in metadata
        for key in json.loads(path.read_text())
        if key.endswith("_data_format")
    }
    assert formats == {(network.run.bundle, network.format) for network in NETWORKS}


@pytest.mark.parametrize("metadata", sorted(BUNDLES.glob("*/metadata.json")), ids=lambda path: path.parent.name)
def test_metadata_is_of_the_schema(metadata: Path) -> None:
    verify_metadata(meta_file=str(metadata), filepath=str(BUNDLES / "metadata.schema.json"))


def checked(network: Network, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What MONAI's two checks of a network are given alike."""
    metadata = BUNDLES / network.run.bundle / "metadata.json"
    return {
        "net_id": network.net,
        "meta_file": str(metadata),
        "config_file": list(map(str, network.run.files)),
        "dataset_dir": str(request.getfixturevalue(network.run.data)),
        "device": "cpu",
        f"_meta_#{FORMAT}": json.loads(metadata.read_text())[network.format],
        **network.keys,
    }


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_network_takes_and_gives_what_the_metadata_say(network: Network, request: pytest.FixtureRequest) -> None:
    given = checked(network, request)
    verify_net_in_out(**given, extra_forward_args=network.more)
    # MONAI does not look at the sides of what comes out.
    described = given[f"_meta_#{FORMAT}"]
    image, pred = described["inputs"]["image"], described["outputs"]["pred"]
    same = network_of(network.run, network.net, dataset_dir=given["dataset_dir"], **network.keys)
    with torch.no_grad():
        output = same(torch.rand(1, image["num_channels"], *image["spatial_shape"]), **network.more)
    assert output.shape == (1, pred["num_channels"], *pred["spatial_shape"])


@pytest.mark.parametrize("network", [one for one in NETWORKS if one.exported], ids=str)
def test_weights_are_exported_as_torchscript(network: Network, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    given = {**network.run.keys, **checked(network, request)}
    small = {"dataset_dir": given["dataset_dir"], **network.run.keys, **network.keys}
    same = network_of(network.run, **small)
    write_checkpoint(tmp_path / "model.pt", same, {})
    channels = given[f"_meta_#{FORMAT}"]["inputs"]["image"]["num_channels"]
    ckpt_export(
        **given,
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        key_in_ckpt="state_dict",
        use_trace=True,
        input_shape=(1, channels, *network.sides),
    )
    image = torch.rand(2, channels, *network.sides)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(image), same(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/train.json")))
def test_a_wrong_setting_ends_the_command_with_its_rule(
    bundle: str, run_bundle: Callable[..., Any], tmp_path: Path
) -> None:
    wrong = ["--epochs", "abc", "--batch_size", "-3", "--seed", "[1,2]"]
    config = BUNDLES / bundle / "train.json"
    result = run_bundle("run", "--config_file", config, *wrong, "--dataset_dir", tmp_path, folder=tmp_path, check=False)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert {
        "--epochs must be a whole number of 1 or more; found 'abc'",
        "--batch_size must be a whole number of 1 or more; found -3",
        "--seed must be a whole number of 0 or more; found [1, 2]",
    } == {line for line in result.stderr.splitlines() if line.startswith("--")}
