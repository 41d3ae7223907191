"""Several trainings of the box regressor as one experiment, see :mod:`monai_staging.workflows.arms`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_staging.metrics.intervals import Estimate
from monai_staging.outputs.boxes import SliceScore, box_metrics, read_slices
from monai_staging.workflows.arms import Arm, ArmExperiment, config_keys
from monai_staging.workflows.boxes import epochs_to_reach
from monai_staging.workflows.nodule_result import HISTORY, WEIGHTS

BUNDLE = Path("bundles/detection")
CONFIGS: Mapping[str, tuple[str, ...]] = {
    "better": ("boxes.json",),
    "faithful": ("boxes.json", "boxes_faithful.json"),
}
"""The networks by name, and the configs of each."""


class BoxArm(Arm):
    """One training; its network is one of :data:`CONFIGS`."""


@dataclass(frozen=True)
class ArmResult:
    """What came of a training.

    Attributes:
        slices: scores of the test part.
        untouched: of the same before it was trained here; empty where it began from random weights.
        epochs: its history.
        weights: its network's.
    """

    slices: Sequence[SliceScore]
    untouched: Sequence[SliceScore]
    epochs: list[dict[str, float]]
    weights: Path

    def metrics(self, seed: int, resamples: int) -> dict[str, Estimate]:
        """Of the test part, see :func:`monai_staging.outputs.boxes.box_metrics`."""
        return box_metrics(self.slices, epochs_to_70=epochs_to_reach(self.epochs), seed=seed, n_boot=resamples)


class BoxExperiment(ArmExperiment[ArmResult]):
    """Trainings of the box regressor on the same cohort."""

    bundle = BUNDLE
    configs = CONFIGS
    experiment = "boxes"

    def result(self, folder: Path) -> ArmResult:
        """Scores, history and weights."""
        untouched = folder / "untouched" / "predictions.csv"
        return ArmResult(
            read_slices(folder / "predictions.csv"),
            read_slices(untouched) if untouched.is_file() else (),
            json.loads((folder / HISTORY).read_text(encoding="utf-8")),
            folder / WEIGHTS,
        )


def bundle_keys(words: Sequence[str]) -> dict[str, Any]:
    """Keys of the bundle's command, see :func:`monai_staging.workflows.arms.config_keys`."""
    return config_keys(words, BUNDLE / CONFIGS["better"][0])
