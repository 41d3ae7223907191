from __future__ import annotations

import math

import pytest

from monai_staging.errors import UsageError
from monai_staging.metrics import PairedDifference, conclusion

GAIN = PairedDifference(0.031, 0.012, 0.052, 120, p=0.002)
NONE = PairedDifference(0.002, -0.008, 0.012, 120, p=0.7)
LOSS = PairedDifference(-0.031, -0.052, -0.012, 120, p=0.002)


def test_a_gain_with_few_labels_and_none_with_all():
    assert conclusion("ResNet-18", "AUC", {1.0: NONE, 0.1: GAIN}) == (
        "ResNet-18: transfer adds 0.031 AUC [0.012, 0.052] at 10 % of labels; "
        "no difference seen at 100 % (0.002 [-0.008, 0.012])."
    )


def test_a_loss_is_a_cost_with_its_interval_turned_round():
    assert conclusion("VGG", "AUC", {0.005: LOSS}, initialisation="LIDC pre-training") == (
        "VGG: LIDC pre-training costs 0.031 AUC [0.012, 0.052] at 0.5 % of labels."
    )


def test_a_loss_function_is_lowered_or_raised():
    sentence = conclusion("VGG", "Brier score", {0.1: LOSS, 0.5: GAIN}, higher_is_better=False, digits=2)
    assert sentence == (
        "VGG: transfer lowers Brier score by 0.03 [0.01, 0.05] at 10 % of labels; "
        "transfer raises Brier score by 0.03 [0.01, 0.05] at 50 %."
    )


def test_a_test_that_disagrees_with_the_interval_is_named():
    weak = PairedDifference(0.031, 0.001, 0.052, 120, p=0.04)
    # Holm doubles the smaller of two.
    assert conclusion("VGG", "AUC", {0.1: weak, 1.0: NONE}) == (
        "VGG: transfer adds 0.031 AUC [0.001, 0.052] at 10 % of labels, although the test does not confirm it "
        "(adjusted p = 0.080); no difference seen at 100 % (0.002 [-0.008, 0.012])."
    )
    assert conclusion("VGG", "AUC", {0.1: weak}) == "VGG: transfer adds 0.031 AUC [0.001, 0.052] at 10 % of labels."
    wide = PairedDifference(0.031, -0.001, 0.062, 120, p=0.0001)
    assert conclusion("VGG", "AUC", {0.1: wide}) == (
        "VGG: no difference seen at 10 % of labels (0.031 [-0.001, 0.062]), although the test finds one "
        "(adjusted p < 0.001)."
    )


def test_p_values_may_be_adjusted_over_a_larger_family():
    assert "does not confirm it (adjusted p = 0.060)" in conclusion("VGG", "AUC", {0.1: GAIN}, adjusted={0.1: 0.06})
    assert conclusion("VGG", "AUC", {0.1: GAIN}, adjusted={0.1: math.nan}).endswith("at 10 % of labels.")
    with pytest.raises(UsageError, match=r"none given for \[0\.1\]"):
        conclusion("VGG", "AUC", {0.1: GAIN}, adjusted={})


def test_nothing_is_concluded_from_what_is_undefined():
    undefined = PairedDifference(math.nan, math.nan, math.nan, 3)
    bare = PairedDifference(0.2, math.nan, math.nan, 3, p=0.01)
    assert conclusion("VGG", "AUC", {0.1: undefined, 0.5: bare}) == (
        "VGG: AUC undefined at 10 % of labels; no interval, so no conclusion, at 50 % (+0.200)."
    )


def test_refuses_what_are_no_fractions():
    for differences in ({}, {10: GAIN}, {0.0: GAIN}):
        with pytest.raises(UsageError, match=r"fractions of labels in \(0, 1\]"):
            conclusion("VGG", "AUC", differences)
