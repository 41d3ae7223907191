"""A comparison's settings: what a YAML may say, and the arms it comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monai_staging.compare.plan import BASELINE, Arm, Comparison, comparison_of, read_comparison
from monai_staging.errors import UsageError

BASE: dict[str, Any] = {"name": "n", "bundle": "b", "dataset_dir": "d", "networks": ["resnet18", "alexnet"]}


def test_arms_are_all_combinations_once(comparison: Comparison) -> None:
    arms = comparison.arms
    assert len(arms) == len(set(arms)) == (1 + 2) * 2 * 3 * 2
    assert len({arm.name for arm in arms}) == len(arms)
    assert {arm.init for arm in arms} == {BASELINE, "scratch", "transfer"}


def test_a_network_is_its_backbones_name_unless_it_says_more() -> None:
    made = comparison_of(BASE)
    assert made.networks == {"resnet18": {"network": "resnet18"}, "alexnet": {"network": "alexnet"}}
    assert [one.name for one in made.initialisations] == ["scratch"]
    assert len(made.arms) == 2 and made.arms[0].fold is None


def test_the_fractions_settings_win_over_the_networks_and_those_over_all() -> None:
    made = comparison_of(
        {
            **BASE,
            "networks": {"A": {"network": "alexnet", "epochs": 5, "size": 64}},
            "settings": {"epochs": 3, "size": 48, "width": 0.5},
            "fractions": {0.1: {"epochs": 9}, 1: None},
            "folds": 4,
        }
    )
    small, whole = (made.overrides(Arm("A", "scratch", fraction, 2, 3)) for fraction in (0.1, 1.0))
    assert (small["epochs"], whole["epochs"]) == (9, 5)
    assert small["size"] == 64 and small["width"] == 0.5
    told = {key: small[key] for key in ("seed", "fold", "folds", "label_fraction", "dataset_dir")}
    assert told == {"seed": 2, "fold": 3, "folds": 4, "label_fraction": 0.1, "dataset_dir": "d"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fractions": [0, 1]}, "above 0 and up to 1"),
        ({"fractions": ["some"]}, "a label fraction is a number"),
        ({"folds": 1}, "at least 2 folds"),
        ({"seeds": 0}, "at least one seed"),
        ({"networks": {"A b": {}, "a-B": {}}}, "must differ in letters and digits"),
        ({"initialisations": {"a": None, "b": None}}, "the reference must be an initialisation"),
        (
            {"initialisations": {"scratch": None, "b": {"weights": "x", "pretrain": {}}}},
            "either 'weights' or 'pretrain'",
        ),
        ({"initialisations": ["scratch"]}, "map a name to where"),
        ({"network": "x"}, "unknown: network"),
    ],
)
def test_what_makes_no_comparison_is_refused_with_the_rule(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        comparison_of({**BASE, **change})


def test_a_missing_key_and_a_file_that_is_no_yaml_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing: dataset_dir"):
        comparison_of({key: value for key, value in BASE.items() if key != "dataset_dir"})
    with pytest.raises(UsageError, match="no-such"):
        read_comparison(tmp_path / "no-such.yaml")
    path = tmp_path / "list.yaml"
    path.write_text("- a\n")
    with pytest.raises(UsageError, match="is a YAML mapping; found list"):
        read_comparison(path)
    path.write_text("a: [")
    with pytest.raises(UsageError, match="a comparison's YAML is needed"):
        read_comparison(path)
