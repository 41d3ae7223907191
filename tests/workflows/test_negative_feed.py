"""Negative feed: what is drawn, what is fed back, and that a killed training is fed the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader, Dataset

from monai_staging.errors import UsageError
from monai_staging.workflows.negative_feed import FedTwice, NegativeFeed, RatioSampler

LABELS = torch.tensor([1.0] * 6 + [0.0] * 30)


class Numbers(Dataset):
    """Item i is i."""

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> dict:
        return {"item": index}


def wrong_about(*items: int):
    """Scores that are right but for some items."""

    def score(places: torch.Tensor) -> np.ndarray:
        right = LABELS[places].numpy().copy()
        right[list(items)] = 1 - right[list(items)]
        return right

    return score


def test_an_epoch_has_its_share_of_positives() -> None:
    torch.manual_seed(0)
    sampler = RatioSampler(LABELS, 1 / 3)
    draws = list(sampler)
    assert len(draws) == len(sampler) == 18
    assert sorted(draw for draw in draws if draw < 6) == list(range(6))  # each once
    assert len({draw for draw in draws if draw >= 6}) == 12  # no negative twice
    more = list(RatioSampler(LABELS, 0.5, draws=40))
    assert sum(draw < 6 for draw in more) == 20 and len(more) == 40
    assert sorted(RatioSampler(LABELS, None)) == list(range(36))
    assert len(list(RatioSampler(LABELS, None, draws=10))) == 10


def test_what_was_misclassified_is_fed_back_with_some_that_was_not() -> None:
    feed = NegativeFeed(RatioSampler(LABELS, 1 / 3), LABELS, wrong_about(0, 7, 8), draws=8)
    assert len(feed) == len(list(feed)) == 26
    assert max(feed) < 36  # nothing is fed yet, and the epoch is as long
    feed.look(1)
    assert not len(feed.fed)
    feed.look(2)
    assert {0, 7, 8} <= set(feed.fed.tolist()) and len(feed.fed) == 8 and len(feed) == len(list(feed)) == 26
    fed = [draw - 36 for draw in feed if draw >= 36]
    assert sorted(fed) == sorted(feed.fed.tolist())
    # More that is wrong than there is room: half of it at most.
    many = NegativeFeed(RatioSampler(LABELS, 1 / 3), LABELS, wrong_about(*range(20)), draws=8)
    many.look(2)
    assert sum(item < 20 for item in many.fed.tolist()) == 4
    # Nothing right: all of it is wrong.
    none = NegativeFeed(RatioSampler(LABELS, 1 / 3), LABELS, wrong_about(*range(36)), draws=8)
    none.look(2)
    assert len(none.fed) == 8


def test_a_training_that_goes_on_is_fed_the_same() -> None:
    feed = NegativeFeed(RatioSampler(LABELS), LABELS, wrong_about(3), draws=6)
    feed.look(2)
    other = NegativeFeed(RatioSampler(LABELS), LABELS, wrong_about(9), draws=6)
    other.load_state_dict(feed.state_dict())
    torch.manual_seed(5)
    expected = list(feed)
    torch.manual_seed(5)
    assert list(other) == expected


def test_as_a_handler_it_looks_before_every_epoch_but_the_first() -> None:
    feed = NegativeFeed(RatioSampler(LABELS), LABELS, wrong_about(2, 11), draws=4)
    loader = DataLoader(FedTwice(Numbers()), batch_size=11, sampler=feed)
    seen: list[list[tuple[int, bool]]] = []

    def step(engine: Engine, batch: dict) -> None:
        seen[-1] += list(zip(batch["item"].tolist(), batch["fed"].tolist(), strict=True))

    engine = Engine(step)
    feed.attach(engine)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda _: seen.append([]))
    engine.run(loader, max_epochs=3)
    assert [len(epoch) for epoch in seen] == [22, 22, 22]
    assert not any(fed for _, fed in seen[0])
    for epoch in seen[1:]:
        assert {2, 11} <= {item for item, fed in epoch if fed} and sum(fed for _, fed in epoch) == 4


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"positive_fraction": 0}, {"positive_fraction": 1.0}, {"draws": 0}):
        with pytest.raises(UsageError, match="RatioSampler"):
            RatioSampler(LABELS, **wrong)
    with pytest.raises(UsageError, match="RatioSampler"):
        RatioSampler(torch.zeros(4))
    sampler = RatioSampler(LABELS)
    for wrong in ({"draws": 0}, {"threshold": 1.0}, {"wrong": 0.0}, {"first": 0}):
        with pytest.raises(UsageError, match="NegativeFeed"):
            NegativeFeed(sampler, LABELS, wrong_about(), **wrong)
