"""The metrics as a table for people and as ``metrics.json`` for programs."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.levels import LEVEL_TITLES, LEVELS

# Two tables, so that each stays within about 100 columns.
_TABLES = (
    {
        "accuracy": "accuracy",
        "majority_accuracy": "majority class",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro-F1",
    },
    {"quadratic_kappa": "quadratic kappa", "auroc": "AUROC", "ece": "calibration error"},
)


def metrics_table(metrics: Mapping[str, Estimate]) -> str:
    """The staging report as Markdown that reads well as plain text: a row a letter or group, value [95 % interval].

    Two tables, one beneath the other. ``-`` stands for what is undefined or was not computed. Where an interval has no
    width, a note says what that means.

    Args:
        metrics: from :func:`monai_staging.metrics.staging_metrics`.
    """
    parts = [_table(metrics, columns) for columns in _TABLES]
    collapsed = {
        level: estimate.n
        for level in LEVELS
        if (estimate := metrics.get(f"{level}_accuracy")) is not None and estimate.low == estimate.high
    }
    if collapsed:
        fewest = min(collapsed.values())
        parts.append(
            f"{', '.join(LEVEL_TITLES[level] for level in collapsed)}: the interval of the accuracy has no width, "
            "because all patients are alike and resampling cannot vary them. The true rate may still be about 3/n "
            f"away: {min(1.0, 3 / fewest):.2f} for n = {fewest}."
        )
    return "\n\n".join(parts)


def write_metrics(path: str | os.PathLike[str], metrics: Mapping[str, Estimate]) -> Path:
    """Writes ``metrics.json``: ``{"<metric>": {"value", "low", "high", "n"}, ...}``; undefined numbers are null."""
    write_json_atomic(path, {name: estimate.to_json() for name, estimate in metrics.items()})
    return Path(path)


def _table(metrics: Mapping[str, Estimate], columns: Mapping[str, str]) -> str:
    header = ["", "n", *columns.values()]
    rows = []
    for level in LEVELS:
        first = metrics.get(f"{level}_accuracy")
        if first is not None:
            cells = [_cell(metrics.get(f"{level}_{score}")) for score in columns]
            rows.append([LEVEL_TITLES[level], str(first.n), *cells])
    return text_table(header, rows)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are padded, so that it reads well as plain text."""
    widths = [max(len(row[index]) for row in [header, *rows]) for index in range(len(header))]
    lines = [_line(header, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    return "\n".join(lines + [_line(row, widths) for row in rows])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _cell(estimate: Estimate | None) -> str:
    return "-" if estimate is None else estimate.text()


def read_rows(path: str | os.PathLike[str], columns: Iterable[str], what: str) -> list[dict[str, str]]:
    """The rows of a CSV that an evaluation wrote.

    Args:
        path: the file.
        columns: that it must have.
        what: it is of, for the message.

    Raises:
        DataError: the file is missing or of another kind.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if missing := set(columns) - set(rows[0] if rows else ()):
        raise DataError(f"{path}: not of {what}; lacks {', '.join(sorted(missing))}")
    return rows
