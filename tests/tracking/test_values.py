"""What is a number for MLflow."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_staging.tracking.values import number


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        (True, 1.0),
        (torch.tensor([0.5]), 0.5),
        (torch.tensor(2), 2.0),
        (torch.ones(2), None),
        ([1, 2], None),
        ("7", None),
        (None, None),
        ({}, None),
    ],
)
def test_only_single_numbers_are_taken(value: Any, expected: float | None) -> None:
    assert number(value) == expected
