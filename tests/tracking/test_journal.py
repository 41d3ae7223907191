"""The local record of a run."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from monai_staging.errors import DataError
from monai_staging.tracking.journal import Cursor, Journal, public_uri

HEADER = {"key": "k", "experiment": "e", "run_name": "r", "start_ms": 1, "tracking_uri": "http://a"}


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "j.jsonl", HEADER)
    journal.append("metrics", metrics={"loss": float("inf")}, step=1, time_ms=2)
    journal.created("http://me:secret@a", "run", "7")
    journal.delivered("http://a", 1)
    journal.append("status", status="FINISHED", time_ms=3)
    journal.close()
    again = Journal(journal.path)
    assert again.header == {"op": "run", **HEADER}
    assert again.facts == journal.facts
    assert [fact["op"] for fact in again.facts] == ["metrics", "status"]
    assert again.cursor("http://a") == Cursor("run", "7", 1)
    assert again.cursor("http://b") == Cursor()
    assert "secret" not in journal.path.read_text()


def test_files_that_a_server_could_not_store_are_counted_until_they_are_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl", HEADER)
    for name in "abc":
        journal.append("artifact", path=name, to=None)
    journal.created("u", "one", "1")
    journal.missed("u", 0, "denied")
    journal.missed("u", 0, "denied")  # said already
    journal.missed("u", 1, "gone")
    journal.delivered("u", 2)
    assert journal.lacking("u") == 3 and journal.lacking("elsewhere") == 3
    journal.stored("u", 1)
    journal.close()
    again = Journal(journal.path)
    assert again.cursor("u") == Cursor("one", "1", 2, {0: "denied"})
    assert again.lacking("u") == 2 and len(again.facts) == 3
    assert again.path.read_text().count('"denied"') == 1
    again.created("u", "two", "1")
    assert again.cursor("u").missed == {}


def test_run_made_anew_has_nothing_delivered(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl", HEADER)
    journal.created("u", "one", "1")
    journal.delivered("u", 5)
    journal.created("u", "two", "1")
    assert journal.cursor("u") == Cursor("two", "1", 0)


@pytest.mark.parametrize("cut", range(1, 20, 3))
def test_line_torn_by_a_kill_is_dropped_and_writing_goes_on(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path / "j.jsonl", HEADER)
    journal.append("tags", tags={"a": "1"})
    journal.append("tags", tags={"b": "2"})
    journal.close()
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-cut])
    again = Journal(journal.path)
    again.append("tags", tags={"c": "3"})
    again.close()
    assert [fact["tags"] for fact in Journal(journal.path).facts] == [{"a": "1"}, {"c": "3"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "begins with a record of the run"),
        ('{"op": "tags", "tags": {}}\n', "begins with a record of the run"),
        ('{"op": "run"}\nrubbish\n', "line 2 is not a tracking record"),
        ('{"op": "run"}\n[1]\n', "line 2 is not a tracking record"),
        ('{"op": "run"}\n{"tags": {}}\n', "line 2 is not a tracking record"),
    ],
)
def test_file_that_is_no_journal_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        Journal(path)


def test_new_journal_is_not_written_to_by_who_had_the_old_one_open(tmp_path: Path) -> None:
    old = Journal(tmp_path / "j.jsonl", HEADER)
    old.append("tags", tags={"a": "1"})
    new = Journal(tmp_path / "j.jsonl", {**HEADER, "key": "other"})
    old.append("status", status="FAILED", time_ms=1)
    new.append("tags", tags={"b": "2"})
    new.close()
    again = Journal(tmp_path / "j.jsonl")
    assert again.header["key"] == "other" and [fact["op"] for fact in again.facts] == ["tags"]


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl", HEADER)

    def write(name: str) -> None:
        for step in range(200):
            journal.append("metrics", metrics={name: step}, step=step, time_ms=0)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = journal.path.read_text().splitlines()
    assert len(lines) == 801
    # On disk in the order they are counted in.
    assert [json.loads(line) for line in lines[1:]] == journal.facts


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:secret@host:5000/x", "http://host:5000/x"),
        ("postgresql://me:p%40ss@db/mlflow", "postgresql://db/mlflow"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:///mlruns.db", "sqlite:///mlruns.db"),
        ("sqlite:////home/a@b/mlruns.db", "sqlite:////home/a@b/mlruns.db"),
    ],
)
def test_passwords_are_not_written_down(uri: str, shown: str) -> None:
    assert public_uri(uri) == shown
