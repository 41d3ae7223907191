"""Settings of every bundle are looked at before a run begins, and what is wrong is said in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from monai_staging.errors import UsageError
from monai_staging.workflows.settings import KINDS, known_settings

BUNDLES = Path(__file__).parents[2] / "bundles"
CONFIGS = sorted(path for path in BUNDLES.glob("*/*.json") if path.name != "metadata.json")
BEGINNINGS = [path for path in CONFIGS if "initialize" in json.loads(path.read_text())]
CHECK = "$check_settings()"
IMPORT = "$from monai_staging.workflows.settings import check_settings"
# Parts of a config that are no settings.
PARTS = {"imports", "initialize", "run", "finalize", "handlers"}


def check(config: dict[str, Any]) -> None:
    parser = ConfigParser({"imports": [IMPORT], "check": CHECK, **config})
    try:
        parser.get_parsed_content("check")
    except RuntimeError as error:  # MONAI's, around what an expression raises
        raise error.__cause__ from None


def is_setting(value: Any) -> bool:
    """A value as it is, neither made by MONAI nor made of values that are."""
    if isinstance(value, list):
        return all(map(is_setting, value))
    return not isinstance(value, dict) and not (isinstance(value, str) and value[:1] in "$@%")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_settings_of_every_config_are_known_and_right(path: Path) -> None:
    config = json.loads(path.read_text())
    check({name: value for name, value in config.items() if name not in PARTS})
    own = {name for name, value in config.items() if is_setting(value) and "#" not in name and name[0] != "+"}
    assert own - PARTS <= known_settings()


@pytest.mark.parametrize("path", BEGINNINGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_run_begins_by_looking_at_them(path: Path) -> None:
    config = json.loads(path.read_text())
    assert config["initialize"][0] == CHECK and IMPORT in config["imports"]


NAMES = [(name, kind.words) for kind in KINDS for name in kind.names.split()]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20).filter(lambda text: text[:1] not in ("$", "@", "%")),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3), st.floats()), max_size=4),
)


@given(st.sampled_from(NAMES), VALUES)
def test_any_value_is_taken_or_refused_in_words(named: tuple[str, str], value: Any) -> None:
    name, words = named[0].rstrip("?"), named[1]
    try:
        check({name: value})
    except UsageError as error:
        assert f"--{name} must be {words}" in str(error) and "; found " in str(error)
    else:
        assert value is not None or named[0].endswith("?")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("epochs", "abc", "a whole number of 1 or more; found 'abc'"),
        ("epochs", 0, "a whole number of 1 or more; found 0"),
        ("epochs", True, "a whole number of 1 or more; found True"),
        ("epochs", [6], r"a whole number of 1 or more; found \[6\]"),
        ("limit", -1, "a whole number of 1 or more or null; found -1"),
        ("learning_rate", float("nan"), "a number of 0 or more; found nan"),
        ("label_fraction", 1.5, "a number from 0 to 1; found 1.5"),
        ("amp", "maybe", "auto, true or false; found 'maybe'"),
        ("resume", None, "true or false; found None"),
        ("network", ["resnet10", "alexnet"], r"a text; found \['resnet10', 'alexnet'\]"),
        ("spacing_mm", [2.5, 2.5, 0], r"a number of millimetres above 0, or one for each axis"),
        ("size", [128, 128, 64, 1], r"a whole number of 1 or more, or one for each axis"),
        ("windows", "lung", "a list of window names"),
        ("tags", "name", "a table of names; found 'name'"),
    ],
)
def test_what_is_wrong_is_said(name: str, value: Any, rule: str) -> None:
    with pytest.raises(UsageError, match=f"--{name} must be {rule}"):
        check({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("edition", 7), ("edition", "7"), ("amp", "auto"), ("amp", "false"), ("amp", True), ("size", 64)],
        *[("size", [48, 48, 24]), ("epochs", "$3 + 3"), ("epochs", "@other"), ("limit", None), ("cubes", [])],
        *[("part", ["test"]), ("weights", ["a.pt", "b.pt"]), ("windows", [[-600, 1500], "bone"]), ("mine", object)],
    ],
)
def test_what_is_right_is_taken(name: str, value: Any) -> None:
    check({name: value})


def test_several_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        check({"epochs": "six", "batch_size": 0, "seed": 1})
    assert len(str(caught.value).splitlines()) == 3
