from __future__ import annotations

import numpy as np
import pytest

from monai_staging.errors import UsageError
from monai_staging.metrics import calibration


def test_known_bins():
    # Two bins of ten: all sure of 0.6 with 8 right, all sure of 0.9 with 6 right.
    confidence = np.repeat([0.6, 0.9], 10)
    correct = np.concatenate([np.arange(10) < 8, np.arange(10) < 6])
    assert calibration.calibration_error(confidence, correct) == pytest.approx([0.5 * 0.2 + 0.5 * 0.3])
    bins = calibration.reliability_bins(confidence, correct)
    filled = bins.counts > 0
    assert bins.counts[filled].tolist() == [10, 10]
    assert bins.confidence[filled] == pytest.approx([0.6, 0.9])
    assert bins.accuracy[filled] == pytest.approx([0.8, 0.6])


def test_agrees_with_the_definition_and_with_the_drawn_bins():
    rng = np.random.default_rng(0)
    confidence, correct = rng.uniform(0.25, 1, 237), rng.random(237) < 0.6
    edges = np.quantile(confidence, np.linspace(0, 1, 11))
    expected = 0.0
    for index, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        inside = (confidence >= low) & ((confidence < high) | (index == 9))
        expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration.calibration_error(confidence, correct) == pytest.approx([expected])
    bins = calibration.reliability_bins(confidence, correct)
    assert len(bins.counts) == 10
    assert bins.counts.min() >= 23
    assert (bins.counts / 237 * np.abs(bins.accuracy - bins.confidence)).sum() == pytest.approx(expected)


def test_weights_are_repetitions_in_the_same_bins():
    rng = np.random.default_rng(1)
    confidence, correct = rng.uniform(0.3, 1, 40), rng.random(40) < 0.7
    counts = rng.multinomial(40, np.full(40, 1 / 40))
    edges = calibration.bin_edges(confidence)
    bins = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, len(edges) - 2)
    rows = np.repeat(np.arange(40), counts)
    gaps = [(correct[rows] - confidence[rows])[bins[rows] == index].sum() for index in range(len(edges) - 1)]
    weighted = calibration.calibration_error(confidence, correct, np.stack([np.ones(40), counts]))
    assert weighted[1] == pytest.approx(np.abs(gaps).sum() / 40)
    assert weighted[0] == calibration.calibration_error(confidence, correct)[0]


def test_calibrated_probabilities_have_a_small_error():
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.2, 1, 20000)
    assert calibration.calibration_error(confidence, rng.random(20000) < confidence)[0] < 0.02
    assert calibration.calibration_error(confidence, rng.random(20000) < confidence**3)[0] > 0.15


@pytest.mark.parametrize(("rows", "bins"), [(1, 1), (9, 1), (25, 2), (48, 4), (100, 10), (1000, 10)])
def test_bins_grow_with_the_patients(rows, bins):
    assert len(calibration.bin_edges(np.linspace(0.2, 1, rows))) == bins + 1


def test_equal_confidences_share_a_bin():
    correct = np.arange(30) < 15
    assert calibration.calibration_error(np.full(30, 0.7), correct) == pytest.approx([0.2])
    assert calibration.reliability_bins(np.full(30, 0.7), correct).counts.tolist() == [30]


def test_top_label():
    confidence, correct = calibration.top_label([1, 0], [[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    assert confidence.tolist() == [0.5, 0.8]
    assert correct.tolist() == [1, 0]


def test_no_weight_is_undefined_and_no_row_refused():
    assert np.isnan(calibration.calibration_error([0.5], [1], np.zeros((1, 1)))).all()
    with pytest.raises(UsageError, match="at least 1 row and 1 bin, got 0 and 10"):
        calibration.calibration_error([], [])
