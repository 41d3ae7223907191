"""The local record of a run: every tracked fact, one JSON line each, written before it is delivered anywhere.

The first line says which run it is. Facts follow (parameters, tags, metrics, artifacts, models, status). Two kinds of
line keep the books: ``run_id`` says what a server calls the run, ``delivered`` how many facts that server has. A server
that is down, slow or replaced therefore costs nothing but time: what it lacks is on disk.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from monai_staging.errors import DataError

JOURNAL_NAME = "tracking-spool.jsonl"
_JOURNALS = "tracking-spool*.jsonl"
_BOOKS = ("run", "run_id", "delivered")
Record = dict[str, Any]


def public_uri(uri: str) -> str:
    """``uri`` without user name and password, fit to be written down."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def journals(place: str | os.PathLike[str]) -> list[Path]:
    """The journal files at ``place``: itself, or all that lie in it if it is a folder.

    Raises:
        DataError: if there is none.
    """
    path = Path(place)
    found = sorted(path.glob(_JOURNALS)) if path.is_dir() else [path] if path.is_file() else []
    if not found:
        raise DataError(f"{path}: no tracking journal ({_JOURNALS}) is there.")
    return found


@dataclass(frozen=True)
class Cursor:
    """What one server has of a run: its ids there, and how many facts of the journal arrived."""

    run_id: str | None = None
    experiment_id: str | None = None
    delivered: int = 0


class Journal:
    """An append-only file of one run's facts; safe to use from several threads of one process.

    Args:
        path: the file. It must exist unless ``header`` is given.
        header: who the run is (``key``, ``experiment``, ``run_name``, ``start_ms``, ``tracking_uri``); starts a new
            file.

    Raises:
        DataError: if the file is not a journal. A line torn by a kill at the very end is dropped: it was never whole.
    """

    def __init__(self, path: str | os.PathLike[str], header: Record | None = None) -> None:
        self.path = Path(path)
        self.facts: list[Record] = []
        self._cursors: dict[str, Cursor] = {}
        self._lock = threading.Lock()
        if header is None:
            self.header = self._read()
        else:
            self.header = {"op": "run", **header}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.header) + "\n", encoding="utf-8")
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (lives as long as the run)

    def _read(self) -> Record:
        content = self.path.read_bytes()
        whole, _, torn = content.rpartition(b"\n")
        if torn:
            os.truncate(self.path, len(content) - len(torn))
        header: Record | None = None
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                operation = record["op"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self.path}: line {number} is not a tracking record ({error}).") from error
            if header is None:
                header = record
            else:
                self._account(operation, record)
        if header is None or header["op"] != "run":
            raise DataError(f"{self.path}: a tracking journal begins with a record of the run; found {header}.")
        return header

    def _account(self, operation: str, record: Record) -> None:
        if operation not in _BOOKS:
            self.facts.append(record)
            return
        cursor = self._cursors.get(record["uri"], Cursor())
        if operation == "run_id":
            # A run made anew on a server starts from nothing there.
            cursor = Cursor(record["run_id"], record["experiment_id"], 0)
        else:
            cursor = Cursor(cursor.run_id, cursor.experiment_id, int(record["count"]))
        self._cursors[record["uri"]] = cursor

    def append(self, operation: str, **content: Any) -> None:
        """Writes one record; on return the operating system has it, so that killing this process does not lose it."""
        record = {"op": operation, **content}
        line = json.dumps(record, default=str) + "\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            self._account(operation, record)

    def cursor(self, uri: str) -> Cursor:
        """What the server at ``uri`` has."""
        return self._cursors.get(public_uri(uri), Cursor())

    def created(self, uri: str, run_id: str, experiment_id: str) -> None:
        """Notes the run's ids on the server at ``uri``."""
        self.append("run_id", uri=public_uri(uri), run_id=run_id, experiment_id=experiment_id)

    def delivered(self, uri: str, count: int) -> None:
        """Notes that the first ``count`` facts are on the server at ``uri``."""
        self.append("delivered", uri=public_uri(uri), count=count)

    def close(self) -> None:
        """Closes the file; nothing can be appended after."""
        with self._lock:
            self._file.close()
