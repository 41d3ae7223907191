"""The three pools of the patient score, trained alike and compared: see :mod:`monai_staging.workflows.arms`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.metrics.paired import PairedDifference
from monai_staging.metrics.patients import PatientArm, arm_differences, arm_metrics
from monai_staging.networks.nodule_bag import POOLS
from monai_staging.outputs.patients import COLUMNS, patient_table, read_patient_predictions
from monai_staging.outputs.table import text_table
from monai_staging.workflows.arms import Arm, ArmExperiment

BUNDLE = Path("bundles/malignancy")
CONFIG = "patients.json"
CACHE = "nodules"
"""Folder of the nodules, which all arms share, in the experiment's."""
SHOWN = ("auroc", "log_loss", "accuracy", "ece")


@dataclass(frozen=True, eq=False)
class PatientResult:
    """What a training says of the test part.

    Attributes:
        predictions: of each patient.
        called: (rows) 0 or 1, at the training's own threshold.
    """

    predictions: NodulePredictions
    called: FloatArray


class PoolExperiment(ArmExperiment[PatientResult]):
    """Trainings of the patient score on the same cohort and the same nodules."""

    bundle = BUNDLE
    configs: ClassVar[Mapping[str, tuple[str, ...]]] = {pool: (CONFIG,) for pool in POOLS}
    experiment = "patients"

    def result(self, folder: Path) -> PatientResult:
        """The predictions of the test part."""
        predictions, called = read_patient_predictions(folder / "predictions.csv")
        return PatientResult(predictions, np.array(called, dtype=np.float64))


def pool_arms(pools: Sequence[str], seeds: Sequence[int]) -> list[Arm]:
    """One training a pool and seed, seed by seed, so that a part of them is already a comparison."""
    return [Arm(f"{pool} seed {seed}", pool, {"pool": pool, "seed": seed}) for seed in seeds for pool in pools]


def joined(results: Sequence[PatientResult]) -> PatientArm:
    """The trainings of one pool, seed by seed, on the patients with a label.

    Raises:
        UsageError: they are not of the same patients.
    """
    known = [one.predictions.known for one in results]
    first = known[0]
    if any(one.names != first.names for one in known):
        raise UsageError("Seeds of a pool are of the same patients in the same order; these are not.")
    called = [one.called[~np.isnan(one.predictions.labels[:, 0])] for one in results]
    return PatientArm(
        first.patients,
        first.labels[:, 0],
        np.stack([one.probabilities[:, 0] for one in known]),
        np.stack(called),
    )


def pool_tables(
    pools: Mapping[str, PatientArm], *, seed: int = 0, n_boot: int = 1000
) -> tuple[str, dict[str, dict[str, dict[str, float | int | None]]]]:
    """A row a pool, then each pool less the first, as text and as JSON.

    Args:
        pools: arms by name; the first is what the others are compared with.
        seed: of the resampling and of the permutations.
        n_boot: how many of both.
    """
    columns = {name: COLUMNS[name] for name in SHOWN}
    scores = {name: arm_metrics(arm, seed=seed, n_boot=n_boot) for name, arm in pools.items()}
    first, *others = pools
    differences = {name: arm_differences(pools[name], pools[first], seed=seed, n_boot=n_boot) for name in others}
    cells = [[f"{name} - {first}", *(_cell(own[metric]) for metric in columns)] for name, own in differences.items()]
    text = patient_table(scores, columns)
    if cells:
        text += f"\n\n{text_table(['paired difference', *columns.values()], cells)}"
    document = {name: {metric: one.to_json() for metric, one in own.items()} for name, own in scores.items()}
    document |= {
        f"{name} - {first}": {metric: one.to_json() for metric, one in own.items()} for name, own in differences.items()
    }
    return text, document


def _cell(difference: PairedDifference) -> str:
    return difference.text(3) + ("" if np.isnan(difference.p) else f", p {difference.p:.3f}")
