"""Which negatives are kept, and which are drawn."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine, Events

from monai_staging.errors import UsageError
from monai_staging.workflows.hard_negatives import OTHERS, HardNegatives, StageMetrics


def sampler(scores: list[float], positives: int = 3, **settings) -> HardNegatives:
    """Positives first, then negatives of these scores."""
    labels = torch.cat([torch.ones(positives), torch.zeros(len(scores))])[:, None]
    of_place = np.concatenate([np.full(positives, np.nan), scores])
    return HardNegatives(labels, lambda places: of_place[places.numpy()], **{"epochs": 6, **settings})


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.floats(0.01, 1),
    st.integers(1, 30),
    st.integers(0, 100),
)
def test_the_hardest_are_kept_and_drawn(scores, keep, positives, seed) -> None:
    drawn = sampler(scores, positives, keep=keep, rounds=2)
    torch.manual_seed(seed)
    first = Counter(drawn)
    assert sum(first.values()) == len(drawn) == 2 * positives
    assert all(first[place] == 1 for place in range(positives))
    # All negatives alike: none twice more often than another.
    counts = [first[place] for place in range(positives, positives + len(scores))]
    assert max(counts) - min(counts) <= 1
    drawn.mine(4)
    count = max(1, round(keep * len(scores)))
    kept = {int(place) - positives for place in drawn.kept}
    assert len(kept) == count
    rest = [score for place, score in enumerate(scores) if place not in kept]
    assert min(scores[place] for place in kept) >= max(rest, default=0.0)
    second = Counter(drawn)
    assert sum(second.values()) == 2 * positives and all(second[place] == 1 for place in range(positives))
    hard = sum(number for place, number in second.items() if place - positives in kept)
    assert hard >= positives - round(OTHERS * positives)


def test_rounds_begin_where_they_should_and_are_mined_anew() -> None:
    scores = np.array([0.1, 0.2, 0.9, 0.8])
    asked = []

    def score(places: torch.Tensor) -> np.ndarray:
        asked.append(places.tolist())
        return scores

    drawn = HardNegatives(torch.tensor([0, 0, 1, 0, 0]), score, epochs=7, rounds=3, keep=0.5)
    engine = Engine(lambda engine, batch: None)
    drawn.attach(engine)
    kept = []
    engine.add_event_handler(
        Events.EPOCH_STARTED, lambda _: kept.append(None if drawn.kept is None else drawn.kept.tolist())
    )
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda one: one.state.epoch == 4 and scores.__setitem__(0, 1.0))
    engine.run([0], max_epochs=7)
    assert asked == [[0, 1, 3, 4]] * 2
    assert kept == [None, None, [3, 4], [3, 4], [0, 3], [0, 3], [0, 3]]
    other = HardNegatives(torch.tensor([0, 0, 1, 0, 0]), score, epochs=7, rounds=3, keep=0.5)
    other.load_state_dict(drawn.state_dict())
    for one in (drawn, other):
        torch.manual_seed(3)
        one.order = list(one)
    assert other.order == drawn.order


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"rounds": 7}, "1 to 6 rounds and a share above 0 to 1 are needed, found 7"),
        ({"keep": 0.0}, "found 3 and 0.0"),
        ({"positives": 0}, "positives and negatives are needed"),
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sampler([0.5, 0.2], **settings_)


def test_a_stage_is_tracked_under_its_own_name() -> None:
    logged: list[tuple] = []
    tracker = SimpleNamespace(log_metrics=lambda metrics, step, prefix: logged.append((metrics, step, prefix)))
    evaluator = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(Events.EPOCH_COMPLETED, lambda one: one.state.metrics.update(cpm=0.5))
    engine = Engine(lambda engine, batch: {"loss": torch.tensor(float(batch))})

    def validate(one: Engine) -> None:
        if one.state.epoch == 2:
            evaluator.state.epoch = 1
            evaluator.run([0], max_epochs=2)

    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    StageMetrics(tracker, "classifier", evaluator).attach(engine)
    engine.run([1, 3], max_epochs=2)
    assert logged == [({"loss": 2.0}, 1, "classifier"), ({"loss": 2.0, "val_cpm": 0.5}, 2, "classifier")]
