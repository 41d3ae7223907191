"""Comparisons whose arms are written by hand, so that their numbers are known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from monai_staging.compare.arm import RECORD
from monai_staging.compare.plan import Arm, Comparison, comparison_of
from monai_staging.compare.results import Results

PATIENTS = 60


def truth_of(patient: int) -> int:
    """Every third patient's nodule is malignant."""
    return int(patient % 3 == 0)


def write_nodule_arm(folder: Path, arm: Arm, skill: float, curve: list[float] | None = None) -> None:
    """An arm whose scores lie ``skill`` standard deviations apart; of the same seed all arms share their noise."""
    folder.mkdir(parents=True)
    fold = 0 if arm.fold is None else arm.fold
    noise = np.random.default_rng([arm.seed, 5]).normal(size=PATIENTS)
    with open(folder / "predictions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["nodule", "patient", "label", "predicted", "p_malignant"])
        for patient in range(PATIENTS):
            if arm.fold is None or patient % 2 == fold:
                chance = 1 / (1 + np.exp(-(noise[patient] + skill * (truth_of(patient) - 0.5))))
                label = ("benign", "malignant")[truth_of(patient)]
                writer.writerow([patient, f"patient-{patient:03d}", label, label, f"{chance:.9g}"])
    if curve is not None:
        rows = [{"epoch": n, "seconds": 2.0 * n, "val_auroc": value} for n, value in enumerate(curve, start=1)]
        (folder / "history.json").write_text(json.dumps(rows))
    (folder / RECORD).write_text(json.dumps({"name": arm.name, "identity": "x", "seconds": 7.0}))


@pytest.fixture
def comparison() -> Comparison:
    """Two starts of one network, a baseline, two fractions, three seeds, two folds."""
    return comparison_of(
        {
            "name": "made",
            "bundle": "bundles/malignancy",
            "dataset_dir": "nowhere",
            "networks": {"Net": {"network": "resnet10"}},
            "initialisations": {"scratch": None, "transfer": "somewhere.pt"},
            "fractions": [0.1, 1.0],
            "seeds": 3,
            "folds": 2,
            "baselines": ["ruler"],
        }
    )


@pytest.fixture
def results(comparison: Comparison, tmp_path: Path) -> Results:
    """Transfer far ahead at 10 %, a little at 100 %."""
    skills = {("transfer", 0.1): 3.0, ("scratch", 0.1): 0.5, ("transfer", 1.0): 1.6, ("scratch", 1.0): 1.5}
    folders = {}
    for arm in comparison.arms:
        folders[arm] = tmp_path / "arms" / arm.name
        curve = {"scratch": [0.5, 0.6, 0.7], "transfer": [0.6, 0.8, 0.9]}.get(arm.init)
        write_nodule_arm(folders[arm], arm, skills.get((arm.init, arm.fraction), 0.6), curve)
    return Results(comparison, folders)
