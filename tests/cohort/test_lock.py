from __future__ import annotations

import threading
from pathlib import Path

import pytest

from monai_staging.cohort.lock import exclusive
from monai_staging.errors import DataError


def test_the_second_is_told(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    with (
        exclusive(path, busy=""),
        pytest.raises(DataError, match="somebody else"),
        exclusive(path, busy="somebody else"),
    ):
        pass
    with exclusive(path, busy="free again"):
        assert path.exists()


def test_the_second_waits_where_it_should(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waiting, order = threading.Event(), []

    def second() -> None:
        with exclusive(path, busy="", on_wait=waiting.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with exclusive(path, busy=""):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
