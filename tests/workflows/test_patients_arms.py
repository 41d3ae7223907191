"""Pools side by side: which trainings there are, and what their predictions come to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_staging.errors import UsageError
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.metrics.patients import Decision
from monai_staging.networks.nodule_bag import POOLS
from monai_staging.outputs.patients import read_patient_predictions, write_patient_predictions
from monai_staging.workflows.patients_arms import BUNDLE, CONFIG, PatientResult, joined, pool_arms, pool_tables


def result(noise: float, seed: int, rows: int = 40, threshold: float = 0.5) -> PatientResult:
    labels = (np.arange(rows) % 2).astype(float)
    odds = 2 * labels - 1 + np.random.default_rng(seed).normal(0, noise, rows)
    labels[-1] = np.nan
    names = tuple(f"case-{row}" for row in range(rows))
    chances = 1 / (1 + np.exp(-odds))
    found = NodulePredictions(names, names, "binary", ("no cancer", "cancer"), labels[:, None], chances[:, None])
    return PatientResult(found, (chances >= threshold).astype(float))


def test_every_pool_is_trained_once_a_seed_with_keys_of_the_bundle(repository: Path) -> None:
    arms = pool_arms(POOLS, [0, 1])
    assert [arm.name for arm in arms[:3]] == [f"{pool} seed 0" for pool in POOLS] and len(arms) == 6
    known = json.loads((repository / BUNDLE / CONFIG).read_text())
    assert all(set(arm.keys) <= set(known) for arm in arms)


def test_predictions_are_read_back_as_they_were(tmp_path: Path) -> None:
    one = result(1.0, 0, threshold=0.3)
    path = write_patient_predictions(tmp_path / "predictions.csv", one.predictions, Decision(0.3, 2.0))
    found, called = read_patient_predictions(path)
    np.testing.assert_array_equal(found.probabilities, one.predictions.probabilities)
    np.testing.assert_array_equal(found.labels, one.predictions.labels)
    assert called == one.called.tolist() and found.names == one.predictions.names


def test_the_table_has_a_row_a_pool_and_each_ones_difference_to_the_first() -> None:
    seeds = range(2)
    pools = {
        "noisy_or": joined([result(0.7, seed, threshold=0.4) for seed in seeds]),
        "max": joined([result(3.0, seed) for seed in seeds]),
    }
    assert pools["max"].probabilities.shape == (2, 39) and not np.isnan(pools["max"].truth).any()
    text, document = pool_tables(pools, n_boot=100)
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    assert [row[1].strip() for row in rows] == ["", "noisy_or", "max", "paired difference", "max - noisy_or"]
    assert rows[1][2].strip() == "39" and ", p 0.0" in rows[-1][2] and "p" not in rows[-1][5]
    difference = document["max - noisy_or"]["auroc"]
    assert difference["value"] == pytest.approx(
        document["max"]["auroc"]["value"] - document["noisy_or"]["auroc"]["value"]
    )
    assert difference["high"] < 0
    alone, _ = pool_tables({"max": pools["max"]}, n_boot=20)
    assert "paired" not in alone
    with pytest.raises(UsageError, match="same patients in the same order"):
        joined([result(1.0, 0), result(1.0, 0, rows=20)])
