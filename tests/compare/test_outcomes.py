"""Predictions of both kinds of bundle, as comparisons read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_staging.compare.outcomes import MEASURES, read_curve, read_outcomes
from monai_staging.errors import DataError

TRUTH = "patient,study,edition,prefix,truth_t,truth_n,truth_m,truth_group"
STAGING = f"""{TRUTH},predicted_t,predicted_n,predicted_m,predicted_group
a,a,8,c,T1a,N0,M0,IA1,T1,N1,M0,II
a,a-2,8,c,T2a|T2b,X,M0,IB|IIA|IIB|IIIA|IIIB|IIIC,T2,N0,M0,I
b,b,8,c,T2|T3,N2,M1a,IVA,T3,N2,M1,IV
"""


def write(folder: Path, text: str) -> Path:
    (folder / "predictions.csv").write_text(text.replace("T2|T3", "T2a|T2b|T3"))
    return folder


def test_staging_counts_a_letter_where_its_main_category_is_known(tmp_path: Path) -> None:
    kind, outcomes = read_outcomes(write(tmp_path, STAGING))
    assert kind == "staging"
    right = {name: (one.scores == one.truth).tolist() for name, one in outcomes.items()}
    assert right["t"] == [True, True]  # T2 or T3 is no main category
    assert outcomes["t"].names == ("a", "a-2")
    assert right["n"] == [False, True] and outcomes["n"].names == ("a", "b")
    assert right["m"] == [True, True, True]
    assert right["group"] == [False, True]  # of a-2 anything from I to III is possible
    weights = np.array([[1.0, 1.0], [3.0, 1.0]])
    measure = next(one for one in MEASURES["staging"] if one.outcome == "n")
    values = measure.statistic(outcomes["n"].truth, outcomes["n"].scores, weights)
    assert values.tolist() == [0.5, 0.25]


def test_nodules_without_a_label_do_not_count(tmp_path: Path) -> None:
    header = "nodule,patient,label,predicted,p_malignant\n"
    text = f"{header}1,p,malignant,benign,0.25\n2,p,,benign,0.1\n3,q,benign,benign,0.5\n"
    kind, outcomes = read_outcomes(write(tmp_path, text))
    assert kind == "nodules" and outcomes["label"].names == ("1", "3")
    accuracy = next(one for one in MEASURES["nodules"] if one.name == "accuracy")
    # A probability of exactly one half is called malignant.
    assert accuracy.statistic(outcomes["label"].truth, outcomes["label"].scores, np.ones((1, 2))).tolist() == [0.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodule,patient,label,predicted,p_0,p_1\n1,p,0,0,0.5,0.5\n", "comparisons need two classes"),
        ("case,p\n1,2\n", "a bundle that comparisons do not know"),
        ("nodule,patient\n", "holds no case"),
        (STAGING.replace("b,b,8", "b,b,7"), "one TNM edition"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_outcomes(write(tmp_path, text))


def test_a_missing_file_is_named_and_a_missing_history_is_no_curve(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"predictions.csv: cannot be read"):
        read_outcomes(tmp_path)
    assert read_curve(tmp_path, "auroc") == ([], [])
    (tmp_path / "history.json").write_text('[{"epoch": 1, "seconds": 2.5, "val_auroc": 0.5}, {"epoch": 2}]')
    assert read_curve(tmp_path, "auroc") == ([0.5], [2.5])
