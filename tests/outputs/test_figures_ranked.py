"""Which cases are pictures of: by score, and by how sure a classifier was."""

from __future__ import annotations

import numpy as np
import pytest

from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.outputs.figures_nodules import surest_rows
from monai_staging.outputs.figures_ranked import ranked_examples


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.2, 0.9, 0.5, 0.7, 0.1], {"best": 1, "median": 2, "worst": 4}),
        ([0.2, float("nan"), 0.5], {"best": 2, "median": 0, "worst": 1}),
        ([0.2, 0.9], {"best": 1, "median": 0}),
        ([0.2], {"best": 0}),
        ([0.5, 0.5, 0.5], {"best": 0, "median": 1, "worst": 2}),
        ([], {}),
    ],
)
def test_best_median_and_worst_are_each_shown_once(scores: list[float], expected: dict[str, int]) -> None:
    assert ranked_examples(scores) == expected


def test_nodules_are_ordered_by_class_and_call_the_surest_first() -> None:
    labels = np.array([[1], [1], [1], [0], [0], [0]], dtype=np.float64)
    chance = np.array([[0.6], [0.9], [0.2], [0.5], [0.1], [0.3]])
    names = tuple("abcdef")
    rows = surest_rows(NodulePredictions(names, names, "binary", ("benign", "malignant"), labels, chance))
    found = {key: [names[row] for row in order] for key, order in rows.items()}
    assert found == {(1, 1): ["b", "a"], (1, 0): ["c"], (0, 1): ["d"], (0, 0): ["e", "f"]}
    assert list(found) == [(1, 1), (1, 0), (0, 1), (0, 0)]
