"""The local record of a run: every tracked fact, one JSON line each, written before it is delivered anywhere.

The first line says which run it is. Facts follow (parameters, tags, metrics, artifacts, models, status). Other lines
keep the books: ``run_id`` says what a server calls the run, ``delivered`` how many facts were brought to it, ``missed``
which of them, a file, it could not store, ``stored`` that it could in the end, ``model_id`` what it calls a model. A
server that is down, slow or replaced therefore costs nothing but time: what it lacks is on disk.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from monai_staging.errors import DataError
from monai_staging.files import write_text_atomic

JOURNAL_NAME = "tracking-spool.jsonl"
JOURNALS = "tracking-spool*.jsonl"
_BOOKS = ("run", "run_id", "delivered", "missed", "stored", "model_id")
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
    found = sorted(path.glob(JOURNALS)) if path.is_dir() else [path] if path.is_file() else []
    if not found:
        raise DataError(f"{path}: no tracking journal ({JOURNALS}) is there.")
    return found


@dataclass(frozen=True)
class Cursor:
    """What one server has of a run.

    Attributes:
        run_id: what it calls the run.
        experiment_id: what it calls the experiment.
        delivered: how many facts of the journal were brought to it, the first ones.
        missed: those of them that it does not have all the same: number of the fact -> why it could not be stored.
        models: number of a model's fact -> what it calls the model.
    """

    run_id: str | None = None
    experiment_id: str | None = None
    delivered: int = 0
    missed: Mapping[int, str] = field(default_factory=dict)
    models: Mapping[int, str] = field(default_factory=dict)


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
            # A file of its own: who still writes to one that was there before must not write to this one.
            write_text_atomic(self.path, json.dumps(self.header) + "\n")
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
            cursor = Cursor(record["run_id"], record["experiment_id"])
        elif operation == "delivered":
            cursor = replace(cursor, delivered=int(record["count"]))
        elif operation == "missed":
            cursor = replace(cursor, missed={**cursor.missed, record["fact"]: record["reason"]})
        elif operation == "model_id":
            cursor = replace(cursor, models={**cursor.models, record["fact"]: record["model_id"]})
        else:
            cursor = replace(cursor, missed={k: v for k, v in cursor.missed.items() if k != record["fact"]})
        self._cursors[record["uri"]] = cursor

    def lacking(self, uri: str) -> int:
        """Number of facts that the server at ``uri`` does not have."""
        cursor = self.cursor(uri)
        return len(self.facts) - cursor.delivered + len(cursor.missed)

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
        """Notes that the first ``count`` facts were brought to the server at ``uri``."""
        self.append("delivered", uri=public_uri(uri), count=count)

    def missed(self, uri: str, fact: int, reason: str) -> None:
        """Notes that fact number ``fact``, a file, could not be stored by the server at ``uri``, and why."""
        if self.cursor(uri).missed.get(fact) != reason:
            self.append("missed", uri=public_uri(uri), fact=fact, reason=reason)

    def stored(self, uri: str, fact: int) -> None:
        """Notes that a file that had been missed is there now."""
        self.append("stored", uri=public_uri(uri), fact=fact)

    def model_created(self, uri: str, fact: int, model_id: str) -> None:
        """Notes what the server at ``uri`` calls the model of fact number ``fact``."""
        self.append("model_id", uri=public_uri(uri), fact=fact, model_id=model_id)

    def discard(self) -> None:
        """Removes the file, and the models that only its facts lead to."""
        self.close()
        self.path.unlink(missing_ok=True)
        for fact in self.facts:
            if fact["op"] == "model" and fact["temporary"]:
                shutil.rmtree(self.path.parent / fact["path"], ignore_errors=True)

    def close(self) -> None:
        """Closes the file; nothing can be appended after."""
        with self._lock:
            self._file.close()
