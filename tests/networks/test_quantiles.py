"""Features by their place among the training values, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import QuantileTransformer

from monai_staging.errors import UsageError
from monai_staging.networks.quantiles import KNOTS, QuantileScale

values = st.lists(st.integers(-40, 40), min_size=KNOTS, max_size=80)


def fitted(training: np.ndarray) -> QuantileScale:
    scale = QuantileScale(training.shape[1])
    scale.fit(torch.from_numpy(training))
    return scale


@given(values, st.lists(st.integers(-90, 90), min_size=1, max_size=30))
def test_places_are_scikit_learn_s(training: list[int], asked: list[int]) -> None:
    known = np.array(training, dtype=np.float64)[:, None]
    places = np.array(asked, dtype=np.float64)[:, None] / 2
    expected = QuantileTransformer(n_quantiles=KNOTS, subsample=None).fit(known).transform(places)[:, 0] * 2 - 1
    found = fitted(known)(torch.from_numpy(places).float())[:, 0].numpy()
    # At the ends scikit-learn takes the end, even for a value that many share.
    inside = (places[:, 0] > known.min()) & (places[:, 0] < known.max())
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)
    beyond = (places[:, 0] < known.min()) | (places[:, 0] > known.max())
    np.testing.assert_allclose(found[beyond], np.where(places[beyond, 0] < known.min(), -1, 1), atol=1e-6)


@given(values)
def test_order_is_kept_and_the_middle_is_the_median(training: list[int]) -> None:
    scale = fitted(np.array(training, dtype=np.float64)[:, None])
    found = scale(torch.linspace(-45, 45, 181)[:, None])[:, 0]
    assert found.min() >= -1 and found.max() <= 1
    assert (found.diff() >= -1e-6).all()


def test_skewed_features_are_spread_evenly_each_on_its_own() -> None:
    random = np.random.default_rng(0)
    training = np.stack([random.lognormal(3, 1.5, 4000), random.normal(0, 1e-3, 4000), np.full(4000, 7.0)], axis=1)
    found = fitted(training)(torch.from_numpy(training).float()).numpy()
    for column in found[:, :2].T:
        np.testing.assert_allclose(np.quantile(column, [0, 0.25, 0.5, 0.75, 1]), [-1, -0.5, 0, 0.5, 1], atol=0.02)
    # A feature with one value says nothing.
    assert (found[:, 2] == 0).all()


def test_a_missing_value_lies_in_the_middle() -> None:
    training = np.arange(60.0).reshape(30, 2)
    training[5:9, 0] = np.nan
    scale = fitted(training)
    found = scale(torch.tensor([[np.nan, 0.0], [1e9, np.nan]]))
    assert found.tolist() == [[0.0, -1.0], [1.0, 0.0]]
    assert torch.isfinite(scale(torch.from_numpy(training).float())).all()


def test_before_fitting_a_feature_is_passed_on() -> None:
    asked = torch.tensor([[3.0, -20.0], [np.nan, 0.5]])
    assert QuantileScale(2)(asked).tolist() == [[3.0, -20.0], [0.0, 0.5]]


def test_the_scale_travels_with_the_weights() -> None:
    scale = fitted(np.random.default_rng(0).lognormal(size=(50, 3)))
    other = QuantileScale(3)
    other.load_state_dict(scale.state_dict())
    asked = torch.rand(9, 3) * 4
    assert torch.equal(other(asked), scale(asked))
    assert not list(scale.parameters())


def test_values_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(UsageError, match=r"values \(N, 2\) are needed, found \(4, 3\)"):
        QuantileScale(2).fit(torch.zeros(4, 3))
    with pytest.raises(UsageError, match="feature 1 has no value in the training part"):
        QuantileScale(2).fit(torch.tensor([[1.0, np.nan], [2.0, np.nan]]))
