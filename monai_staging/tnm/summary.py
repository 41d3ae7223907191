"""Counts over the staged rows of a clinical table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from monai_staging.tnm.categories import LETTERS
from monai_staging.tnm.parse import CodeStatus
from monai_staging.tnm.table import Staged, Verdict


@dataclass
class Summary:
    """Counts over the rows of a table; `add` takes one row after the other.

    Attributes:
        rows: rows seen.
        counts: how many rows each staged value stands for.
        disagreements: the rows behind `Verdict.DISAGREE`, ready for JSON: data row (from 1), line of the file, codes
            and stages. Nothing in it names a patient.
    """

    rows: int = 0
    counts: Counter[Staged] = field(default_factory=Counter)
    disagreements: list[dict[str, Any]] = field(default_factory=list)

    def add(self, line: int, staged: Staged) -> None:
        """Counts a row that stands on ``line`` of the file."""
        self.rows += 1
        self.counts[staged] += 1
        if staged.verdict is Verdict.DISAGREE and staged.recorded is not None:
            self.disagreements.append(
                {
                    "row": self.rows,
                    "line": line,
                    **dict(zip(LETTERS, staged.found, strict=True)),
                    "edition": staged.edition,
                    "prefix": staged.prefix,
                    "groups": list(staged.groups),
                    "recorded": staged.recorded.code,
                    "recorded_groups": list(staged.recorded.groups),
                }
            )

    @property
    def verdicts(self) -> Counter[Verdict]:
        """Rows by verdict."""
        return self._count(lambda staged: [staged.verdict])

    @property
    def groups(self) -> Counter[tuple[str, ...]]:
        """Rows by derived set of groups."""
        return self._count(lambda staged: [staged.groups])

    @property
    def notes(self) -> Counter[str]:
        """Rows by note."""
        return self._count(lambda staged: staged.notes)

    @property
    def unknown(self) -> Counter[str]:
        """Rows whose code is X or missing, by "t", "n", "m" and "recorded"."""
        return self._count(lambda staged: [key for key, status, _ in _codes(staged) if status is CodeStatus.UNKNOWN])

    @property
    def stray(self) -> Counter[tuple[str, str]]:
        """Rows with a stray code, by (which, code): ("m", "3")."""
        return self._count(
            lambda staged: [(key, code) for key, status, code in _codes(staged) if status is CodeStatus.STRAY]
        )

    def to_json(self) -> dict[str, Any]:
        """Rows, the counts of the three verdicts and the rows behind each disagreement."""
        verdicts = self.verdicts
        return {
            "rows": self.rows,
            "agree": verdicts[Verdict.AGREE],
            "disagree": verdicts[Verdict.DISAGREE],
            "undetermined": verdicts[Verdict.UNDETERMINED],
            "disagreements": self.disagreements,
        }

    def _count(self, keys: Any) -> Counter[Any]:
        total: Counter[Any] = Counter()
        for staged, rows in self.counts.items():
            for key in keys(staged):
                total[key] += rows
        return total


def _codes(staged: Staged) -> list[tuple[str, CodeStatus, str]]:
    codes = [(code.letter, code.status, code.code) for code in staged.codes]
    recorded = staged.recorded
    return [*codes, *([] if recorded is None else [("recorded", recorded.status, recorded.code)])]
