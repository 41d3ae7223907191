"""The runs whose journals lie in one output folder: the current one, older ones, and the one a resume continues.

``tracking-spool.jsonl`` is the run that began last, be it one that was refused before it trained anything. The run that
``resume`` continues is the one whose training began last: ``tracking-run.json`` names it, and goes with its checkpoints
when they are put aside.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.tracking.journal import JOURNAL_NAME, JOURNALS, Journal, Record
from monai_staging.workflows.checkpoint import EARLIER

logger = logging.getLogger("monai_staging.tracking")

RUN_NAME = "tracking-run.json"
# Journals from before tracking-run.json have no number.
_FORMAT = 2


class RunFolder:
    """An output folder, as one kind of run (training, evaluation) sees it.

    Args:
        folder: the output folder; need not exist.
        journal_name: file name of the current journal. Only trainings, whose it is ``tracking-spool.jsonl``, have
            checkpoints to go with, hence a ``tracking-run.json``.
    """

    def __init__(self, folder: Path, journal_name: str = JOURNAL_NAME) -> None:
        self.folder = folder
        self.current = folder / journal_name
        self._trains = journal_name == JOURNAL_NAME

    def begin(self, header: Record) -> Journal:
        """A journal for a new run; that of the run before is kept under another name, as long as it is of use."""
        if self.current.exists():
            self._put_aside()
            self._prune()
        return Journal(self.current, {"format": _FORMAT, **header})

    def resume(self) -> Journal | None:
        """The journal of the run to continue, as the current one; None where there is none.

        Raises:
            DataError: if its file is not a journal.
        """
        key = _key(self.folder / RUN_NAME) if self._trains else None
        if key is None:
            return Journal(self.current) if self.current.exists() else None
        if not self.current.exists() or _header(self.current).get("key") != key:
            found = next((path for path, header in self._older() if header["key"] == key), None)
            if found is None:
                logger.warning("MLflow: the journal of the run that %s names is gone.", self.folder / RUN_NAME)
                return None
            if self.current.exists():
                self._put_aside()
            os.replace(found, self.current)
        return Journal(self.current)

    def claim(self, key: str) -> None:
        """Notes that the run ``key`` is the one to resume from now on."""
        path = self.folder / RUN_NAME
        if self._trains and _key(path) != key:
            write_json_atomic(path, {"run_key": key})

    def _put_aside(self) -> None:
        old = Journal(self.current)
        old.close()
        key = old.header["key"]
        kept = self.current.with_name(_older_name(key))
        os.replace(self.current, kept)
        missing = old.lacking(old.header["tracking_uri"])
        if missing:
            logger.warning("MLflow: %d records of the last run were never delivered; kept in %s", missing, kept)
        trained = any(fact["op"] == "metrics" and not fact.get("system") for fact in old.facts)
        if trained and "format" not in old.header and not (self.folder / RUN_NAME).exists():
            # From before there was tracking-run.json: it is the run to resume until another one trains.
            self.claim(key)

    def _prune(self) -> None:
        """Removes older runs that are wholly on their server and that no resume can ask for."""
        wanted = {_key(self.folder / RUN_NAME), _key(self.folder / EARLIER / RUN_NAME)}
        for path, header in list(self._older()):
            if header["key"] not in wanted:
                try:
                    journal = Journal(path)
                except DataError as error:  # of an older run; the new one is not to suffer for it
                    logger.warning("%s It stays as it is.", error)
                    continue
                if journal.lacking(header["tracking_uri"]):
                    journal.close()
                else:
                    journal.discard()

    def _older(self) -> Iterator[tuple[Path, Record]]:
        """Journals that were put aside; no other run's current one."""
        for path in sorted(self.folder.glob(JOURNALS)):
            header = _header(path)
            if path.name == _older_name(str(header.get("key"))):
                yield path, header


def _older_name(key: str) -> str:
    return f"tracking-spool-{key[:8]}.jsonl"


def _header(path: Path) -> dict[str, Any]:
    """First line of a journal; empty where it cannot be read."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return _object(file.readline())


def _key(path: Path) -> str | None:
    """The run that the file names; None where there is no file, or none that can be read."""
    try:
        key = _object(path.read_text(encoding="utf-8", errors="replace")).get("run_key")
    except FileNotFoundError:
        return None
    if not isinstance(key, str):
        logger.warning("%s does not name a run; it is passed over.", path)
        return None
    return key


def _object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
