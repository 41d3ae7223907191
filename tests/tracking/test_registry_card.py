"""Tags and description of a version, and when one may not take another's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monai_staging.tracking.pyfunc.package import with_members
from monai_staging.tracking.registry_card import description, version_tags, worse
from monai_staging.tracking.registry_source import read_candidate

Maker = Callable[..., Path]


def test_tags_tell_origin_metrics_and_data(make_comparison: Maker, tmp_path: Path) -> None:
    candidate = read_candidate(make_comparison(tmp_path / "c", auroc=0.8))
    settings = with_members(candidate.weights, candidate.settings)
    tags = version_tags(candidate, settings)
    assert tags["monai_staging.digest"] == settings.digest and tags["data.digest"] == "d" * 64
    assert (tags["comparison"], tags["network"], tags["start"], tags["networks"]) == (
        "tried",
        "ResNet-10",
        "transfer",
        "4",
    )
    assert tags["metric"] == "auroc" and tags["git.commit"] == "c0ffee"
    assert [tags[f"metric.auroc{end}"] for end in ("", "_low", "_high", "_n")] == ["0.8", "0.7", "0.9", "23"]
    assert not [value for value in tags.values() if str(tmp_path) in value]


def test_description_says_of_whom_the_metrics_are(make_comparison: Maker, make_training: Maker, tmp_path: Path) -> None:
    several = read_candidate(make_comparison(tmp_path / "c", auroc=0.8))
    text = description(several, with_members(several.weights, several.settings))
    assert "| auroc | 0.800 [0.700, 0.900], 23 |" in text and "the mean of 4 networks" in text
    assert "was not tested itself" in text and "Not a medical device" in text
    one = read_candidate(make_training(tmp_path / "run", auroc=None))
    text = description(one, with_members(one.weights, one.settings))
    assert "It was not tested." in text and "by one network" in text
    make_training(tmp_path / "bare")
    (tmp_path / "bare" / "metrics.json").write_text('{"auroc": {"value": 0.5}}')
    bare = read_candidate(tmp_path / "bare")
    assert "| auroc | 0.500 |" in description(bare, with_members(bare.weights, bare.settings))


def tagged(value: str | None = "0.8", data: str = "a", metric: str | None = "auroc") -> dict[str, str]:
    tags = {"data.digest": data, "metric": metric, f"metric.{metric}": value}
    return {name: text for name, text in tags.items() if text is not None}


@pytest.mark.parametrize(
    ("candidate", "holder", "refused"),
    [
        (tagged("0.7"), tagged("0.8"), True),
        (tagged("0.8"), tagged("0.8"), False),
        (tagged("0.9"), tagged("0.8"), False),
        (tagged("0.7", data="b"), tagged("0.8"), False),
        (tagged("0.7", metric="brier"), tagged("0.8"), False),
        (tagged("0.7", metric=None), tagged("0.8"), False),
        (tagged("0.7"), {}, False),
        (tagged("0.7"), tagged(None), False),
        (tagged("0.7"), tagged("high"), False),
        (tagged("nan"), tagged("0.8"), True),
        (tagged("0.1", metric="brier"), tagged("0.2", metric="brier"), False),
        (tagged("0.2", metric="brier"), tagged("0.1", metric="brier"), True),
    ],
)
def test_only_a_worse_metric_on_the_same_data_is_refused(
    candidate: dict[str, str], holder: dict[str, str], refused: bool
) -> None:
    assert (worse(candidate, holder) is not None) == refused
