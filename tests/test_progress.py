from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(st.lists(st.integers(), max_size=300), st.integers(1, 20))
def test_elsewhere_a_few_plain_lines(items: list[int], lines: int) -> None:
    stream = io.StringIO()
    assert list(progress(items, description="read", stream=stream, lines=lines)) == items
    written = stream.getvalue().splitlines()
    assert len(written) <= lines
    if items:
        assert written[-1].startswith(f"read: {len(items)}/{len(items)} cases, ")
        assert written[-1].endswith(" cases/s")
    assert "\r" not in stream.getvalue()


def test_says_how_far_before_the_next_item() -> None:
    stream = io.StringIO()
    items = progress("abcd", description="scan", unit="file", stream=stream)
    assert next(items) == "a"
    assert stream.getvalue() == ""  # not done yet
    assert next(items) == "b"
    assert stream.getvalue().startswith("scan: 1/4 files, ")


def test_unknown_total() -> None:
    stream = io.StringIO()
    assert sum(1 for _ in progress(iter(range(250)), description="scan", stream=stream)) == 250
    assert [line.split(" cases,")[0] for line in stream.getvalue().splitlines()] == ["scan: 100", "scan: 200"]


def test_bar_with_the_rate_on_a_terminal() -> None:
    stream = Terminal()
    assert list(progress([1, 2, 3], description="read", stream=stream)) == [1, 2, 3]
    assert "3/3" in stream.getvalue()
    assert "case/s" in stream.getvalue()


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    list(progress([1]))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(": 1/1 cases")
