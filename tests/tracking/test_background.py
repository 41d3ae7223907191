"""Delivery beside the training."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from monai_staging.tracking.background import BackgroundDelivery
from monai_staging.tracking.delivery import Delivery
from monai_staging.tracking.journal import Journal

Wait = Callable[[Callable[[], bool]], None]


class Recorder(Delivery):
    """A delivery to a list, which can be made to fail or to hang."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal, "http://user:secret@server", client=object())
        self.arrived: list[int] = []
        self.error: Exception | None = None
        self.open = threading.Event()
        self.open.set()
        self.tries = 0

    def deliver(self) -> int:
        self.tries += 1
        self.open.wait()
        if self.error is not None:
            raise self.error
        new = [fact["n"] for fact in self.journal.facts[len(self.arrived) :]]
        self.arrived += new
        self.journal.delivered(self.tracking_uri, len(self.arrived))
        return len(new)


@pytest.fixture
def delivery(tmp_path: Path) -> Recorder:
    return Recorder(Journal(tmp_path / "j.jsonl", {"key": "k"}))


def test_facts_arrive_in_order(delivery: Recorder, wait_until: Wait) -> None:
    background = BackgroundDelivery(delivery)
    for n in range(50):
        delivery.journal.append("fact", n=n)
        background.wake()
    wait_until(lambda: len(delivery.arrived) == 50)
    assert delivery.arrived == list(range(50))
    assert background.stop(5)


def test_slow_server_does_not_hold_the_training_up(delivery: Recorder) -> None:
    delivery.open.clear()
    background = BackgroundDelivery(delivery)
    start = time.monotonic()
    for n in range(100):
        delivery.journal.append("fact", n=n)
        background.wake()
    assert time.monotonic() - start < 1
    assert not background.stop(0.2)  # nor does the end of the run wait longer than it may
    assert time.monotonic() - start < 2
    delivery.open.set()


def test_dead_server_is_told_once_with_the_command_and_without_the_password(
    delivery: Recorder, wait_until: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    delivery.error = ConnectionError("refused")
    background = BackgroundDelivery(delivery, retry_s=0.01)
    delivery.journal.append("fact", n=0)
    background.wake()
    wait_until(lambda: delivery.tries > 5)
    assert caplog.text.count("NOT REACHABLE") == 1
    assert f"python -m monai_staging.tracking.sync {delivery.journal.path}" in caplog.text
    assert "http://server" in caplog.text and "secret" not in caplog.text
    # It comes back: everything arrives, and that is told too.
    delivery.error = None
    wait_until(lambda: delivery.arrived == [0])
    wait_until(lambda: "reachable again: 1 records" in caplog.text)
    assert background.stop(5)


def test_end_of_the_run_is_one_more_try(delivery: Recorder, wait_until: Wait) -> None:
    delivery.error = ConnectionError()
    background = BackgroundDelivery(delivery, retry_s=1000)
    delivery.journal.append("fact", n=0)
    background.wake()
    wait_until(lambda: background.down)
    delivery.error = None
    assert background.stop(5)
    assert delivery.arrived == [0]
