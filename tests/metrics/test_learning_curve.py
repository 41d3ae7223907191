from __future__ import annotations

import math

import pytest

from monai_staging.errors import UsageError
from monai_staging.metrics import epochs_to_reach, seconds_to_reach

SCRATCH = [0.55, math.nan, 0.70, 0.68, 0.74]
TRANSFER = [0.70, 0.74, 0.80, 0.79, 0.81]


def test_transfer_reaches_the_best_of_scratch_in_its_second_epoch():
    target = max(value for value in SCRATCH if not math.isnan(value))
    assert epochs_to_reach(TRANSFER, target) == 2
    assert epochs_to_reach(SCRATCH, target) == 5
    assert seconds_to_reach(TRANSFER, [10, 21, 30, 40, 50], target) == 21


def test_a_target_that_is_never_reached():
    assert epochs_to_reach(SCRATCH, 0.9) is None
    assert seconds_to_reach(SCRATCH, [1, 2, 3, 4, 5], 0.9) is None
    assert epochs_to_reach([], 0.5) is None
    assert epochs_to_reach([math.nan], 0.0) is None


def test_a_loss_is_reached_from_above():
    assert epochs_to_reach([0.9, 0.6, 0.5], 0.6, higher_is_better=False) == 2
    assert seconds_to_reach([0.9, 0.6, 0.5], [3, 6, 9], 0.55, higher_is_better=False) == 9


def test_refuses_times_that_are_not_since_the_beginning():
    with pytest.raises(UsageError, match="2 times for 3 epochs"):
        seconds_to_reach([0.1, 0.2, 0.3], [1, 2], 0.2)
    with pytest.raises(UsageError, match="got 9 in epoch 3 after 10"):
        seconds_to_reach([0.1, 0.2, 0.3], [8, 10, 9], 0.2)
