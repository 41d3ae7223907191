"""A bundle's config as parameters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from monai_staging.tracking.config import calling_parser, document, parameters, shorten


class Probe:
    """A component that looks for the config it comes from."""

    def __init__(self, depth: int = 0) -> None:
        self.parser = calling_parser()


def test_component_finds_the_parser_that_makes_it() -> None:
    parser = ConfigParser({"value": 1, "probe": {"_target_": f"{__name__}.Probe"}})
    parser["probe"]["_target_"] = Probe
    parser["value"] = 2  # an override from the command line
    probe = parser.get_parsed_content("probe")
    assert probe.parser is parser
    assert probe.parser["value"] == 2


def test_no_parser_outside_a_config() -> None:
    assert Probe().parser is None


def test_settings_are_flattened_and_references_resolved() -> None:
    config = {
        "_meta_": {"version": "1"},
        "imports": ["$import torch"],
        "run": ["$@trainer.run()"],
        "lr": 0.1,
        "warm": "$@lr / 10",
        "device": "$torch.device('cpu')",
        "name": None,
        "on": True,
        "spacing": [1.0, 1.0, 2.5],
        "net": {"_target_": "torch.nn.Linear", "in_features": "@features", "out_features": 2},
        "features": "$1 + 2",
        "network": "$@net",
        "same": "@net",
        "chain": [{"_target_": "A", "prob": 0.5}, {"_target_": "B", "keys": ["image", "mask"]}],
        "bad key#1": "x",
    }
    parser = ConfigParser(config, globals={"torch": "torch"})
    for key in ("warm", "device", "network"):
        parser.get_parsed_content(key)
    assert parameters(parser.get(), parser.ref_resolver.resolved_content) == {
        "lr": "0.1",
        "warm": "0.01",
        "device": "cpu",
        "name": "None",
        "on": "True",
        "spacing": "[1.0, 1.0, 2.5]",
        "net._target_": "torch.nn.Linear",
        "net.in_features": "3",
        "net.out_features": "2",
        "features": "3",
        "network": "$@net",
        "chain.0._target_": "A",
        "chain.0.prob": "0.5",
        "chain.1._target_": "B",
        "chain.1.keys": '["image", "mask"]',
        "bad key_1": "x",
    }


def test_objects_are_not_settings() -> None:
    assert parameters({"a": torch.ones(2), "b": {"c": object()}, "d": Path("x"), "e": torch.float32}) == {
        "d": "x",
        "e": "torch.float32",
    }


def test_long_values_are_cut_visibly() -> None:
    found = parameters({"text": "x" * 1000})["text"]
    assert len(found) == 500
    assert found.endswith("…")
    assert shorten("short") == "short"


_configs = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=12) | st.just("@a#b") | st.just("$1 +"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=300), inner, max_size=4),
    max_leaves=12,
)


@given(_configs)
def test_mlflow_accepts_every_name_and_value(config: Any) -> None:
    for key, value in parameters({"root": config}).items():
        assert re.fullmatch(r"[\w\-. :/]{1,250}", key)
        assert isinstance(value, str) and len(value) <= 500


def test_document_writes_what_json_cannot() -> None:
    assert '"a": "x"' in document({"a": Path("x")})
