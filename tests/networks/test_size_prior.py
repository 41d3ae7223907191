"""What size says of T, against a numerical integral of the edition's rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from monai_staging.networks.size_prior import SizePrior
from monai_staging.tnm import category_of_size

CLASSES = ("T1mi", "T1a", "T1b", "T1c", "T2a", "T2b", "T3", "T4")


def test_a_sure_measurement_gives_the_rule_s_category() -> None:
    prior = SizePrior(CLASSES)
    with torch.no_grad():
        prior.log_width.fill_(-5)
    for size_mm in (5.0, 9.0, 11.0, 19.0, 22.0, 28.0, 32.0, 38.0, 42.0, 48.0, 55.0, 66.0, 75.0, 120.0):
        best = CLASSES[int(prior(torch.tensor([size_mm])).argmax())]
        assert best == category_of_size(size_mm, "8"), size_mm


@pytest.mark.parametrize("size_mm", [8.0, 21.0, 30.0, 49.0, 71.0])
def test_probabilities_are_the_log_normal_s_mass(size_mm: float) -> None:
    prior = SizePrior(CLASSES)
    width, share = float(prior.log_width.exp()), float(torch.sigmoid(prior.unknown))
    error = stats.norm(np.log(size_mm), width)
    limits = [0, 10, 20, 30, 40, 50, 70, np.inf]
    result = prior(torch.tensor([size_mm])).exp()[0].detach().numpy()
    for name, low, high in zip(CLASSES[1:], limits[:-1], limits[1:], strict=True):
        lower, upper = np.log(max(low, 1e-6)), np.log(min(high, 1e6))
        mass, _ = integrate.quad(error.pdf, lower, upper, points=[np.log(size_mm)], limit=200)
        expected = (1 - share) * mass + share / len(CLASSES)
        assert result[CLASSES.index(name)] == pytest.approx(expected, abs=0.02)
    assert result.sum() == pytest.approx(1, abs=1e-5)


def test_main_categories_work_too_and_gradients_flow() -> None:
    prior = SizePrior(("T1", "T2", "T3", "T4"))
    size = torch.tensor([24.0], requires_grad=True)
    (-prior(size)[0, 1]).backward()
    assert size.grad is not None and float(size.grad) < 0  # a larger tumour would be likelier T2
    assert int(prior(torch.tensor([24.0])).argmax()) == 0
