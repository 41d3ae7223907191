"""Takes out of a text what must not leave the machine: the user's home folder and patients' identities."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from monai_staging.errors import DataError

_LONG = 6  # characters; a shorter identifier may be any number of a config
_FIELDS = ("patient", "study", "series")
_UNNAMED = "case-unnamed"


class Scrubber:
    """Replaces the home folder by ``~`` and each identifier of a cohort by its case name.

    Args:
        cohort: the cohort's folder or its ``cohort.json``; None if there is none.
        extra: one more replacement, applied last.
    """

    def __init__(self, cohort: Path | None = None, extra: Callable[[str], str] | None = None) -> None:
        self._cohort = cohort
        self._extra = extra
        home = str(Path.home())
        self._home = home if len(home) > 1 else None

    @cached_property
    def _names(self) -> dict[str, str]:
        """identifier (patient, study, series) -> case name."""
        if self._cohort is None:
            return {}
        file = self._cohort if self._cohort.suffix == ".json" else self._cohort / "cohort.json"
        if not file.is_file():
            return {}
        from monai_staging.cohort.privacy import case_name, load_key

        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return {}
        key: bytes | None = None
        # A cohort on a read-only disk may have no key: its cases are then left without a name, not with their identity.
        with contextlib.suppress(DataError, OSError):
            key = load_key(file.parent)
        names: dict[str, str] = {}
        for case in _cases(text):
            name = _UNNAMED
            with contextlib.suppress(ValueError):
                if key and case.get("patient"):
                    name = case_name(str(case["patient"]), key)
            names |= {str(case[field]): name for field in _FIELDS if case.get(field)}
        return names

    def _pattern(self, shortest: int) -> re.Pattern[str] | None:
        # Longest first: an identifier may be the beginning of another.
        words = sorted((w for w in self._names if len(w) >= shortest), key=len, reverse=True)
        if not words:
            return None
        return re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, words)) + r")(?![\w])")

    @cached_property
    def _all(self) -> re.Pattern[str] | None:
        return self._pattern(1)

    @cached_property
    def _long(self) -> re.Pattern[str] | None:
        return self._pattern(_LONG)

    def setting(self, text: str) -> str:
        """Scrubs a setting: identifiers of under six characters stay, since every number would match one."""
        return self._apply(text, self._long)

    def message(self, text: str) -> str:
        """Scrubs an error message or traceback of every identifier."""
        return self._apply(text, self._all)

    def _apply(self, text: str, pattern: re.Pattern[str] | None) -> str:
        if self._home:
            text = text.replace(self._home, "~")
        if pattern is not None:
            text = pattern.sub(lambda match: self._names[match.group()], text)
        return self._extra(text) if self._extra else text


def _cases(text: str) -> Iterator[dict[str, Any]]:
    """The cases of a ``cohort.json``. It may be the very file a run fails of: what cannot be read is passed over."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        # Cut off or otherwise damaged: the identifiers that stand in it are hidden all the same.
        for field, value in re.findall(rf'"({"|".join(_FIELDS)})"\s*:\s*"([^"]*)"', text):
            yield {field: value}
        return
    for part in ("training", "validation", "test"):
        cases = content.get(part) if isinstance(content, dict) else None
        yield from (case for case in cases if isinstance(case, dict)) if isinstance(cases, list) else ()
