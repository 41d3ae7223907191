"""Which study comes next, of studies whose looks are made up."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from monai_staging.errors import DataError

LOOKS = {"a": ([0.0, 0.0], 0.1), "b": ([1.0, 0.0], 0.3), "c": ([9.0, 0.0], 0.2), "d": ([2.0, 0.0], 0.0)}


class Store:
    """Studies a to d, of which some have a label, and some were handed out at a time."""

    def __init__(self, labelled: str = "", handed_out: dict[str, float] | None = None) -> None:
        self.labelled = labelled
        self.handed_out = handed_out or {}

    def get_labeled_images(self) -> list[str]:
        return list(self.labelled)

    def get_unlabeled_images(self) -> list[str]:
        return [name for name in LOOKS if name not in self.labelled]

    def get_image_info(self, name: str) -> dict[str, Any]:
        return {"strategy": {"random": {"ts": self.handed_out[name]}}} if name in self.handed_out else {}

    def source(self, name: str) -> Path:
        return Path(name)

    at_hand = source


class Looker:
    """Knows some studies; others take a second each, and of those of ``broken`` nothing is seen."""

    def __init__(self, known: str, broken: str = "") -> None:
        self.seen, self.broken = set(known), broken

    def known(self, name: str, path: Path) -> Any:
        from monai_staging.label.looks import Look

        features, score = LOOKS[name]
        return Look(np.array(features), {"t": score, "n": 0.0, "m": 0.0}) if name in self.seen else None

    def look(self, name: str, path: Path, study: object) -> Any:
        if name in self.broken:
            raise DataError("no lungs in it")
        self.seen.add(name)
        return self.known(name, path)


def ask(strategy: str, store: Store, known: str = "abcd", broken: str = "") -> dict[str, Any] | None:
    from monai_staging.label.strategies import STRATEGIES

    pieces = SimpleNamespace(
        looker=Looker(known, broken), lock=threading.RLock(), open=lambda path: SimpleNamespace(study=path)
    )
    return STRATEGIES[strategy](pieces)({"strategy": strategy}, store)


pytestmark = pytest.mark.usefixtures("monailabel")


def test_the_most_disagreement_comes_first() -> None:
    found = ask("epistemic", Store())
    assert (found["id"], found["mutual_information"]) == ("b", 0.3)
    assert found["reason"] == (
        "the highest mutual information of T, N and M with the network's weights, 0.300 nats "
        "(T 0.300, N 0.000, M 0.000), of 4 studies that wait for a label"
    )


def test_the_least_like_the_labelled_comes_first() -> None:
    assert ask("diversity", Store())["id"] == "d"
    assert ask("diversity", Store("ac"))["id"] == "d"
    found = ask("diversity", Store("a"))
    assert (found["id"], found["distance"]) == ("c", 9.0)
    assert found["reason"] == (
        "9.00 from the most similar of 1 study with a final label, the farthest of 3 studies that wait for a label"
    )


@pytest.mark.parametrize("strategy", ["random", "epistemic", "diversity"])
def test_what_was_handed_out_comes_last(strategy: str) -> None:
    now = time.time()
    assert ask(strategy, Store("", {"a": now, "b": now, "c": now}))["id"] == "d"
    assert ask(strategy, Store("", dict.fromkeys("abcd", now))) is not None
    assert ask(strategy, Store("bcd", {"a": now - 7200}))["id"] == "a"
    assert ask(strategy, Store("abcd")) is None


def test_each_waiting_study_is_as_likely_at_random() -> None:
    found = ask("random", Store("a"))
    assert found["id"] in "bcd" and found["reason"] == "drawn at random from 3 studies that wait for a label"


def test_new_studies_are_looked_at_within_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai_staging.label import strategies

    assert ask("epistemic", Store(), known="")["id"] == "b"
    monkeypatch.setattr(strategies, "BUDGET_S", -1.0)
    found = ask("epistemic", Store(), known="")
    assert found["id"] == "a" and found["reason"].endswith("of 1 looked at so far of 4 studies that wait for a label")


def test_a_study_that_cannot_be_looked_at_is_left_out() -> None:
    assert ask("epistemic", Store(), known="", broken="b")["id"] == "c"
    with pytest.raises(DataError, match="None of 4 studies can be looked at; the last: d: no lungs in it"):
        ask("epistemic", Store(), known="", broken="abcd")
