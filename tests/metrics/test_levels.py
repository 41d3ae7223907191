from __future__ import annotations

import pytest

from monai_staging.errors import DataError
from monai_staging.metrics.levels import label_counts, level_classes, true_classes
from monai_staging.tnm.categories import EDITIONS, categories

ALL = {letter: categories(letter, "8") for letter in "tnm"}


def truth_at(t, n, m, edition="8"):
    """The name of the true class at every level, None where it is unknown."""
    classes = level_classes(edition)
    return {
        name: classes[name][index[0]] if index[0] >= 0 else None
        for name, index in true_classes([t], [n], [m], edition).items()
    }


def test_levels_of_the_editions():
    assert set(level_classes("6")) == {"t", "n", "m", "group", "group_fine"}
    assert set(level_classes("8")) == {"t", "n", "m", "group", "t_fine", "m_fine", "group_fine"}
    assert set(level_classes("9")) == {"t", "n", "m", "group", "t_fine", "n_fine", "m_fine", "group_fine"}
    assert level_classes("8")["t"] == ("Tis", "T1", "T2", "T3", "T4")
    assert level_classes("9")["n"] == ("N0", "N1", "N2", "N3")
    for edition in EDITIONS:
        assert level_classes(edition)["group"] == ("0", "I", "II", "III", "IV")


def test_everything_known():
    assert truth_at(["T2a"], ["N0"], ["M0"]) == {
        "t": "T2",
        "n": "N0",
        "m": "M0",
        "group": "I",
        "t_fine": "T2a",
        "m_fine": "M0",
        "group_fine": "IB",
    }


def test_a_bare_2_counts_at_the_main_level_only():
    truth = truth_at(["T2a", "T2b"], ["N1"], ["M0"])
    assert (truth["t"], truth["t_fine"]) == ("T2", None)
    assert (truth["group"], truth["group_fine"]) == ("II", "IIB")
    truth = truth_at(["T2a", "T2b"], ["N0"], ["M0"])
    assert (truth["group"], truth["group_fine"]) == (None, None)  # IB or IIA


def test_a_metastasis_settles_the_group_whatever_is_unknown():
    truth = truth_at(ALL["t"], ALL["n"], ["M1a", "M1b"])
    assert (truth["t"], truth["n"], truth["m"], truth["m_fine"]) == (None, None, "M1", None)
    assert (truth["group"], truth["group_fine"]) == ("IV", "IVA")
    assert truth_at(ALL["t"], ALL["n"], ["M1a", "M1c"])["group_fine"] is None


def test_an_unknown_m_is_never_m0():
    truth = truth_at(["T1a"], ["N0"], ALL["m"])
    assert truth["m"] is truth["group"] is truth["group_fine"] is None


def test_findings_outside_the_classes_are_not_known():
    truth = truth_at(["T0"], ["N1"], ["M1c"])
    assert (truth["t"], truth["t_fine"], truth["group_fine"]) == (None, None, "IVB")
    assert truth_at(["TX"], ["N0"], ["M0"])["group"] is None
    assert truth_at(["Tis"], ["N1"], ["M0"])["group"] is None


def test_label_counts():
    counts = label_counts(
        [["T1a"], ["T1a", "T1b"], ["T3"], ALL["t"]], [["N0"]] * 4, [["M0"], ["M0"], ["M1c"], ALL["m"]], "8"
    )
    assert counts["t"] == {"Tis": 0, "T1": 2, "T2": 0, "T3": 1, "T4": 0}
    assert counts["t_fine"]["T1a"] == 1
    assert counts["n"]["N0"] == 4
    assert counts["m"] == {"M0": 2, "M1": 1}
    assert counts["group"] == {"0": 0, "I": 2, "II": 0, "III": 0, "IV": 1}


def test_refuses_sets_that_are_none():
    with pytest.raises(DataError, match="Row 1: a truth set of T .* found ()"):
        label_counts([["T1a"], []], [["N0"]] * 2, [["M0"]] * 2, "8")
    with pytest.raises(DataError, match="Row 0: M of the 8th edition .* M1c1"):
        label_counts([["T1a"]], [["N0"]], [["M1c1"]], "8")
