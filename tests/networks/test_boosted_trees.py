"""Boosted trees as tensors against scikit-learn's own."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier

from monai_staging.errors import UsageError
from monai_staging.networks.boosted_trees import SETTINGS, BoostedTrees


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    values = random.normal(size=(200, 5)).astype(np.float32)
    values[:, 2] = random.integers(0, 3, size=200)  # values that lie on thresholds
    truth = (values[:, 0] + values[:, 2] + random.normal(size=200) > 1).astype(int)
    return values, truth


def seeds(seed: int, members: int) -> list[int]:
    return [int(np.random.SeedSequence([seed, one]).generate_state(1)[0] >> 1) for one in range(members)]


def test_log_odds_are_scikit_learns_averaged_over_members(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, truth = data
    trees = BoostedTrees(5, trees=30, members=2)
    trees.fit(values, truth, seed=7)
    models = [
        GradientBoostingClassifier(n_estimators=30, random_state=state, **SETTINGS).fit(values, truth)
        for state in seeds(7, 2)
    ]
    expected = np.mean([model.decision_function(values) for model in models], axis=0)
    np.testing.assert_allclose(trees(torch.from_numpy(values))[:, 0].numpy(), expected, atol=1e-5)


def test_a_missing_value_counts_as_the_typical_one(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, truth = data
    holes = values.copy()
    holes[::7, 1] = np.nan
    trees = BoostedTrees(5, trees=10, members=1)
    trees.fit(holes, truth)
    filled = np.where(np.isnan(holes), np.nanmedian(holes, axis=0), holes).astype(np.float32)
    torch.testing.assert_close(trees(torch.from_numpy(holes)), trees(torch.from_numpy(filled)))


def test_they_travel_in_a_state_dict_and_are_exported(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, truth = data
    trees = BoostedTrees(5, trees=10, members=2)
    assert trees(torch.from_numpy(values)).abs().max() == 0
    trees.fit(values, truth)
    file = io.BytesIO()
    torch.save(trees.state_dict(), file)
    file.seek(0)
    other = BoostedTrees(5, trees=10, members=2)
    other.load_state_dict(torch.load(file, weights_only=True))
    inputs = torch.from_numpy(values)
    assert torch.equal(trees(inputs), other(inputs))
    exported = torch.export.export(other.eval(), (inputs[:4],), dynamic_shapes={"values": {0: torch.export.Dim("b")}})
    torch.testing.assert_close(exported.module()(inputs[:9]), trees(inputs[:9]))


@pytest.mark.parametrize(
    ("values", "truth", "message"),
    [
        (np.zeros((4, 3)), np.array([0, 1, 0, 1]), r"values \(N, 5\)"),
        (np.zeros((4, 5)), np.array([0, 1, 0]), "N classes"),
        (np.zeros((4, 5)), np.zeros(4), "both classes must occur"),
    ],
)
def test_what_cannot_be_fitted_is_refused(values: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BoostedTrees(5, trees=2, members=1).fit(values, truth)
    with pytest.raises(UsageError, match="at least 1"):
        BoostedTrees(5, trees=0)
