"""System metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from monai_staging.tracking.system import SystemSampler

Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def sampling() -> Callable[[], bool]:
    """Whether a thread of this test takes samples: one of a run that another test left open is not ours."""
    before = set(threading.enumerate())
    return lambda: any(thread.name == "system-metrics" for thread in set(threading.enumerate()) - before)


def test_samples_from_start_to_stop_under_mlflows_names(sampling: Callable[[], bool], wait_until: Wait) -> None:
    samples: list[tuple[int, dict[str, float]]] = []
    sampler = SystemSampler(lambda metrics, step: samples.append((step, metrics)), interval_s=0.05, first_step=7)
    wait_until(lambda: len(samples) >= 2)
    assert sampling()
    sampler.stop()
    count = len(samples)
    assert [step for step, _ in samples] == list(range(7, 7 + count))
    for _, metrics in samples:
        assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
        assert metrics["system/system_memory_usage_megabytes"] > 10
    assert not sampling()


def test_stop_before_the_first_sample_takes_one() -> None:
    steps: list[int] = []
    SystemSampler(lambda metrics, step: steps.append(step), interval_s=60).stop()
    assert steps == [0]


def test_failure_ends_the_samples_and_nothing_else(
    sampling: Callable[[], bool], wait_until: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[int] = []

    def log(metrics: dict[str, float], step: int) -> None:
        steps.append(step)
        raise OSError("disk full")

    sampler = SystemSampler(log, interval_s=0.01)
    wait_until(lambda: not sampling())  # by itself: nobody has stopped it
    assert steps == [0]
    sampler.stop()
    assert steps == [0]
    assert caplog.text.count("System metrics stop: disk full") == 1
