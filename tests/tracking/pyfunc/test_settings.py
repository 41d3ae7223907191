"""Settings of packaged nodule classifiers: a journey through JSON, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_staging.errors import DataError
from monai_staging.tracking.pyfunc.settings import SETTINGS, Member, NoduleModelSettings, read_settings
from monai_staging.transforms.nodule_features import FEATURES

Maker = Callable[..., NoduleModelSettings]


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("kind", ["central", "2.5d", "planes", "3d"])
def test_settings_come_back_from_json(make_settings: Maker, kind: str, features: bool) -> None:
    channels = 4 if kind == "2.5d" else 2
    plain = make_settings(features=features, kind=kind)
    settings = make_settings(
        kind=kind, network={**plain.network, "in_channels": channels}, members=(Member("a.pt", "0" * 64),)
    )
    again = NoduleModelSettings.of(json.loads(json.dumps(settings.to_json())))
    assert again == settings and again.digest == settings.digest
    assert again.make_network().views == again.make_views().views
    assert again.input_shape == (3 if kind == "planes" else 1, channels, *(32,) * (3 if kind == "3d" else 2))
    assert again.columns == ["p_malignant"]


def test_digest_tells_weights_and_settings_apart(make_settings: Maker) -> None:
    variants = [
        make_settings(),
        make_settings(turns=4),
        make_settings(features=True),
        make_settings(data_digest="1" * 64),
        make_settings(members=(Member("a.pt", "0" * 64),)),
        make_settings(members=(Member("a.pt", "1" * 64),)),
    ]
    assert len({settings.digest for settings in variants}) == len(variants)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": "regression"}, "task must be one of"),
        ({"turns": 3}, "turns must be 1, 2 or 4; found 3"),
        ({"classes": ("a", "b")}, "found classes 2 and 1"),
        ({"members": (Member("../evil.pt", "0" * 64),)}, "file name NAME.pt"),
        ({"members": (Member("a.pt", "abc"),)}, "SHA-256"),
        ({"network": {"network": "resnet10"}}, "network needs"),
        ({"network": []}, r"found \[\]"),
    ],
)
def test_wrong_values_are_refused(make_settings: Maker, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        make_settings(**change)


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("network", "network", "__import__('os')", "network must be one of"),
        ("network", "width", "0.25", "network.width must be float"),
        ("network", "outputs", True, "network.outputs must be int"),
        ("network", "views", 3, "found views 1 and 3"),
        ("network", "features", 7, "trained with 7 measured features"),
        ("network", "weights", "http://example.org/x.pt", "network needs"),
        ("views", "kind", "sideways", "kind must be one of"),
        ("views", "size", 0, "must be above 0"),
        ("views", "channels", ["outline"], "channels are 'image'"),
    ],
)
def test_wrong_parts_are_refused(make_settings: Maker, part: str, key: str, value: object, said: str) -> None:
    document = make_settings().to_json()
    document[part] = {**document[part], key: value}
    document["features"] = list(FEATURES[: document["network"]["features"]])
    with pytest.raises(DataError, match=said):
        NoduleModelSettings.of(document)


def test_branches_that_do_not_exist_are_refused(make_settings: Maker) -> None:
    settings = make_settings(network={**make_settings().network, "branches": "many"})
    with pytest.raises(DataError, match="branches"):
        settings.make_network()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "staging"}, "kind 'nodules'"),
        ({"format": 2}, "format 1 are needed, found 2"),
        ({"extra": 1}, "missing or unknown: extra"),
        ({"views_version": 0}, "it was registered with version 0"),
        ({"features": ["ruler"]}, "not those that this version measures"),
        ({"features": list(FEATURES)}, f"{len(FEATURES)} measured features named, the network takes 0"),
        ({"members": [{"file": "a.pt"}]}, "members or classes"),
        ({"members": 3}, "members or classes"),
        ({"network": "resnet10"}, "measured features"),
    ],
)
def test_wrong_documents_are_refused(make_settings: Maker, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        NoduleModelSettings.of({**make_settings().to_json(), **change})


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_file_that_is_none_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / SETTINGS).write_text(text)
    with pytest.raises(DataError, match="settings"):
        read_settings(tmp_path)
