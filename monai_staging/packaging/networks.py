"""The networks that each bundle can have weights of: what defines, trains, feeds and follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FORMAT = "network_data_format"
MODEL = "model.pt"


@dataclass(frozen=True)
class Input:
    """What a network takes beside the image.

    Attributes:
        name: of the argument of ``forward``.
        shape: without the batch.
        dtype: ``float32`` or ``bool``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Part:
    """A network that is exported: a whole file of weights, or a network within one.

    Attributes:
        name: of the exported files, without their ending.
        format: of the metadata's ``*_data_format``, the one that is its.
        net: what the configs call it, an id or an expression.
        keys: with which it has tensors for inputs and one for output.
        needed: inputs beside the image.
        optional: inputs that may be left out; the ONNX model has them, TorchScript takes the image alone.
        sides: expression of the configs that gives the image's sides, where settings change them.
    """

    name: str = "model"
    format: str = FORMAT
    net: str = "@network_def"
    keys: Mapping[str, Any] = field(default_factory=dict)
    needed: tuple[Input, ...] = ()
    optional: tuple[Input, ...] = ()
    sides: str | None = None


@dataclass(frozen=True)
class Packaged:
    """Weights that a bundle may have, and what belongs to them.

    Attributes:
        name: how ``--weights NAME=FILE`` calls them.
        folder: of the weights, under ``models``; empty for ``models`` itself.
        configs: laid over each other, they define the network.
        runs: configs that use the weights, each laid over each other as a run does it.
        training: configs of the command that trains such weights.
        parts: what is exported.
        beside: files that belong to the weights and lie in their folder.
        sample: the kind of data that the configs read, see `monai_staging.packaging.sample`.
        calibration: keys with which the first of `runs` reads images to learn the ranges of 8-bit values from: of the
            training part where the data have parts; `None` where its batches are not what the network sees.
    """

    name: str
    configs: tuple[str, ...]
    runs: tuple[tuple[str, ...], ...]
    training: tuple[str, ...]
    parts: tuple[Part, ...] = (Part(),)
    folder: str = ""
    beside: tuple[str, ...] = ()
    sample: str = "cohort"
    calibration: Mapping[str, Any] | None = None

    @property
    def weights(self) -> str:
        """Where the weights lie in the bundle."""
        return "/".join(("models", self.folder, MODEL) if self.folder else ("models", MODEL))

    def command(self, bundle: str) -> str:
        """That trains such weights; ``bundle`` is the folder with the configs."""
        files = [f"{bundle}/{name}.json" for name in self.training]
        listed = files[0] if len(files) == 1 else '"[' + ",".join(f"'{file}'" for file in files) + ']"'
        return f"python -m monai.bundle run --config_file {listed}"


_POINTS = ("operating_points.json",)
_THRESHOLD = ("threshold.json",)
_INFERENCE, _EVALUATE = ("inference",), ("evaluate",)

NETWORKS: dict[str, tuple[Packaged, ...]] = {
    "staging": (
        Packaged(
            "model",
            _INFERENCE,
            (_INFERENCE, _EVALUATE),
            ("train",),
            (Part(optional=(Input("clinical", (7,)),), sides="@size"),),
            beside=("calibration.json",),
            calibration={"part": "training"},
        ),
    ),
    "malignancy": (
        Packaged(
            "model",
            _EVALUATE,
            (_EVALUATE,),
            ("train", "final"),
            (Part(needed=(Input("features", (38,)),), sides="$[@size, @size]"),),
            sample="nodules",
            calibration={},
        ),
        Packaged(
            "patients",
            ("patients_evaluate",),
            (("patients_evaluate",),),
            ("patients",),
            (
                Part(
                    format="patients_data_format",
                    needed=(Input("mask", (5,), "bool"), Input("measured", (5, 2))),
                ),
            ),
            "patients",
            ("decision.json",),
            "screening",
        ),
    ),
    "slices": (
        Packaged(
            "model",
            _INFERENCE,
            (_INFERENCE, _EVALUATE),
            ("train",),
            sample="screening",
            calibration={"part": "training"},
        ),
    ),
    "detection": (
        Packaged(
            "model",
            _INFERENCE,
            (_INFERENCE, _EVALUATE),
            ("train",),
            (Part(keys={"network_def#flat": True}),),
            beside=_POINTS,
        ),
        Packaged(
            "two_stage",
            ("inference", "two_stage"),
            (("inference", "two_stage"), ("evaluate", "two_stage")),
            ("train", "two_stage", "two_stage_train"),
            (
                Part(format="slices_data_format"),
                Part("classifier", "cubes_data_format", "$@network_def.classifier"),
            ),
            "two_stage",
            _POINTS,
        ),
    ),
    "segmentation": (
        Packaged("model", _EVALUATE, (_EVALUATE,), ("train",), sample="nodules"),
        Packaged(
            "chest",
            ("chest_inference",),
            (("chest_inference",), ("chest_evaluate",)),
            ("chest",),
            (Part(format="chest_data_format"),),
            "chest",
        ),
        Packaged(
            "outline",
            ("chest_inference", "outline_inference"),
            (("chest_inference", "outline_inference"), ("chest_evaluate", "outline_evaluate")),
            ("chest", "outline"),
            (Part(format="outline_data_format"),),
            "outline",
        ),
    ),
    "mitosis": (
        Packaged("model", _INFERENCE, (_INFERENCE, _EVALUATE), ("train",), beside=_THRESHOLD, sample="slides"),
    ),
    "pretrain": (Packaged("model", _EVALUATE, (_EVALUATE,), ("train",), sample="none"),),
}
"""Of each bundle, the network that it is about first."""


def networks_of(bundle: str) -> tuple[Packaged, ...]:
    """What is known of a bundle by its name; another's network is taken to be like the staging bundle's, plain."""
    plain = Packaged("model", _INFERENCE, (_INFERENCE,), ("train",))
    return NETWORKS.get(bundle, (plain,))
