"""Kernel logistic regression as tensors against scikit-learn's own pipeline."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from monai_staging.errors import UsageError
from monai_staging.networks.kernel_logistic import GAMMA, STRENGTH, KernelLogistic


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    values = random.uniform(-1, 1, size=(200, 5))
    truth = (values[:, 0] * values[:, 1] + 0.3 * random.normal(size=200) > 0).astype(int)
    return values, truth


@pytest.mark.parametrize("landmarks", [40, 500])
def test_log_odds_are_scikit_learns(data: tuple[np.ndarray, np.ndarray], landmarks: int) -> None:
    values, truth = data
    model = KernelLogistic(5, landmarks)
    model.fit(values, truth, seed=3)
    pipeline = make_pipeline(
        Nystroem(gamma=GAMMA, n_components=min(landmarks, 200), random_state=3),
        LogisticRegression(C=STRENGTH, max_iter=5000),
    ).fit(values, truth)
    others = np.random.default_rng(1).uniform(-1, 1, size=(50, 5))
    np.testing.assert_allclose(model(torch.from_numpy(others))[:, 0], pipeline.decision_function(others), atol=1e-6)


def test_a_landmark_is_a_gaussian(data: tuple[np.ndarray, np.ndarray]) -> None:
    model = KernelLogistic(5, 2)
    model.landmarks.copy_(torch.from_numpy(data[0][:2]))
    model.weights.copy_(torch.tensor([2.0, -1.0]))
    model.offset.fill_(0.5)
    kernel = RBF(length_scale=(1 / (2 * GAMMA)) ** 0.5)(data[0], data[0][:2])
    expected = 2 * kernel[:, 0] - kernel[:, 1] + 0.5
    np.testing.assert_allclose(model(torch.from_numpy(data[0]))[:, 0], expected, atol=1e-12)


def test_it_travels_in_a_state_dict_and_is_exported(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, truth = data
    inputs = torch.from_numpy(values).float()
    model = KernelLogistic(5, 30)
    assert model(inputs).abs().max() == 0
    model.fit(values, truth)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = KernelLogistic(5, 30)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(model(inputs), other(inputs))
    exported = torch.export.export(other.eval(), (inputs[:4],), dynamic_shapes={"values": {0: torch.export.Dim("b")}})
    torch.testing.assert_close(exported.module()(inputs[:9]), model(inputs[:9]))


def test_fitted_again_to_fewer_values_nothing_of_the_first_fit_is_left(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, truth = data
    again, fresh = KernelLogistic(5, 100), KernelLogistic(5, 100)
    again.fit(values, truth)
    for model in (again, fresh):
        model.fit(values[:50], truth[:50])
    assert torch.equal(again(torch.from_numpy(values)), fresh(torch.from_numpy(values)))


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
        KernelLogistic(5, 2).fit(values, truth)
    with pytest.raises(UsageError, match="at least 1"):
        KernelLogistic(5, 0)
