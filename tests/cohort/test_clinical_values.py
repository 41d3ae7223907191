from __future__ import annotations

import pytest

from monai_staging.cohort.clinical_values import parse_age_years, parse_sex, parse_smoking


@pytest.mark.parametrize(
    ("value", "years"),
    [
        ("67", 67.0),
        (67.5, 67.5),
        ("058Y", 58.0),
        ("18M", 1.5),
        ("67 years", 67.0),
        ("\uff16\uff17", 67.0),
        ("", None),
        ("nan", None),
        ("-3", None),
        ("400", None),
    ],
)
def test_age(value: object, years: float | None) -> None:
    assert parse_age_years(value) == years


@pytest.mark.parametrize(("value", "sex"), [("F", "F"), (" male ", "M"), ("FEMALE", "F"), ("1", None), ("O", None)])
def test_sex(value: str, sex: str | None) -> None:
    assert parse_sex(value) == sex


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("Nonsmoker", "never"),
        ("Former", "former"),
        ("Current smoker", "current"),
        ("yes", None),
        ("1", None),
        ("", None),
    ],
)
def test_smoking_is_not_guessed(value: str, status: str | None) -> None:
    assert parse_smoking(value) == status
