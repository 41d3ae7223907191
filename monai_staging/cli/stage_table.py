"""Stage groups for every row of a clinical table (csv, tsv or xlsx), held against a recorded stage where one is named.

A recorded stage agrees where it equals the derived set of groups or contains it (III for IIIA); it disagrees where it
has no derived group in it; everything between, and every row with an unknown recorded stage or edition, is
undetermined. Without --recorded, a row is undetermined unless exactly one group is derived.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from monai_staging.errors import UsageError
from monai_staging.files import atomic_path
from monai_staging.progress import progress
from monai_staging.tnm.categories import EDITIONS, LETTERS, PREFIXES, check_edition, check_prefix
from monai_staging.tnm.columns import Columns, find_columns, recorded_candidates
from monai_staging.tnm.reading import Row, Table, open_table
from monai_staging.tnm.summary import Summary
from monai_staging.tnm.table import Rules, Staged, Verdict, skip_extra_headers, stage_rows
from monai_staging.tnm.tables import OCCULT, main_group, main_groups

_DERIVED = (*LETTERS, "edition", "prefix", "groups", "verdict", "notes")
_PROGRESS_FROM_ROWS = 100_000  # below this a table takes less than a second
_SHOWN = 20  # disagreements printed; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("table", metavar="TABLE", type=Path, help="csv, tsv, semicolon separated text, or xlsx")
    for letter in LETTERS:
        parser.add_argument(
            f"--{letter}", metavar="COL", help=f"column of {letter.upper()} (recognised where not named)"
        )
    edition = parser.add_mutually_exclusive_group()
    edition.add_argument("--edition", metavar="E", help=f"edition of every row, one of {', '.join(EDITIONS)}")
    edition.add_argument("--edition-column", metavar="COL", help="column of each row's edition (7th, AJCC 7, 7.0)")
    parser.add_argument("--prefix", metavar="P", help=f"prefix of every row, one of {', '.join(PREFIXES)}")
    parser.add_argument("--recorded", metavar="COL", help="column of the recorded stage group, to compare with")
    parser.add_argument("--tx-means", choices=("unknown", "occult"), default="unknown", help="what a written TX means")
    parser.add_argument("--sheet", metavar="NAME", help="sheet of a workbook (default: the first)")
    parser.add_argument("--out", metavar="CSV", type=Path, help="write the table there, with the derived columns added")
    parser.add_argument("--json", action="store_true", help="one JSON document; what was assumed goes to stderr")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if args.out is not None and args.out.resolve() == args.table.resolve():
        raise UsageError(f"--out must not be the table itself: {args.out}.")
    prefix = None if args.prefix is None else check_prefix(args.prefix)
    table = open_table(args.table, sheet=args.sheet)
    named = {letter: getattr(args, letter) for letter in LETTERS}
    named |= {"edition": args.edition_column, "recorded": args.recorded}
    columns = find_columns(table.header, named, prefix=prefix, with_edition=args.edition is None)
    edition = check_edition(args.edition) if args.edition is not None else None if columns.edition is not None else "8"
    rules = Rules(columns, edition, prefix, args.tx_means, len(table.header))
    rows, skipped = skip_extra_headers(table.rows, table.header, columns)
    out = sys.stderr if args.json else sys.stdout
    _say_how(args, table, rules, skipped, out)
    if table.about >= _PROGRESS_FROM_ROWS:
        rows = progress(rows, total=table.about - len(skipped), description="stage-table", unit="row")
    summary = Summary()
    with _writer(args.out, table.header) as write:
        for row, staged in stage_rows(rows, rules):
            summary.add(row.line, staged)
            write(row, staged)
    _say_counts(args, summary, out)
    if args.json:
        print(json.dumps(summary.to_json(), ensure_ascii=False))
    return 0


@contextlib.contextmanager
def _writer(path: Path | None, header: list[str]) -> Iterator[Any]:
    """Gives a function that writes a row with its derived cells; one that does nothing without a path."""
    if path is None:
        yield lambda row, staged: None
        return
    names = [f"derived_{name}" for name in _DERIVED]
    there = [name for name in names if name in header]
    if there:
        raise UsageError(f"The table already has the column {there[0]!r}; --out would have it twice.")
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=os.linesep)
        writer.writerow([*header, *names])
        width = len(header)
        derived: dict[Staged, list[str]] = {}

        def write(row: Row, staged: Staged) -> None:
            added = derived.get(staged)
            if added is None:
                added = derived[staged] = _cells(staged)
            cells = row.cells if len(row.cells) == width else [*row.cells, *[""] * width][:width]
            writer.writerow(cells + added)

        yield write


def _cells(staged: Staged) -> list[str]:
    """The derived cells of a row, sets joined by "|"."""
    letters = ["|".join(code.categories) for code in staged.codes] or [""] * 3
    verdict = staged.verdict.value
    return [
        *letters,
        staged.edition or "",
        staged.prefix or "",
        "|".join(staged.groups),
        verdict,
        "; ".join(staged.notes),
    ]


def _say_how(args: argparse.Namespace, table: Table, rules: Rules, skipped: list[Row], out: TextIO) -> None:
    """What was read and how, so that nothing is assumed in silence."""
    columns: Columns = rules.columns
    name = table.header.__getitem__
    print(f"Table {args.table.name}: {'; '.join(table.notes)}", file=out)
    for row in skipped:
        print(f"  skipped line {row.line}: it repeats the header", file=out)
    for letter in LETTERS:
        index = getattr(columns, letter)
        where = f"column {name(index)!r}" if index is not None else "no column found: unknown in every row"
        print(f"  {letter.upper()}  {where}", file=out)
    if columns.edition is not None:
        how = "" if args.edition_column else " (recognised; --edition sets one for all)"
        print(f"  edition  column {name(columns.edition)!r}{how}", file=out)
    else:
        how = "" if args.edition else " (assumed: neither --edition nor --edition-column was given)"
        print(f"  edition  {rules.edition}{how}", file=out)
    if rules.prefix is None:
        column = f"column {name(columns.prefix)!r}, then " if columns.prefix is not None else ""
        rest = f"{columns.kind} by the columns' names" if columns.kind else "the codes', else c"
        print(f"  prefix  {column}{rest}", file=out)
    else:
        print(f"  prefix  {rules.prefix}", file=out)
    if columns.recorded is None:
        for candidate in recorded_candidates(table.header):
            print(f"  {candidate!r} looks like a recorded stage: --recorded {candidate!r} compares with it", file=out)


def _say_counts(args: argparse.Namespace, summary: Summary, out: TextIO) -> None:
    """The counts, and on paper the disagreements too."""
    by_size = {"one": 0, "several": 0, "none": 0}
    for groups, count in summary.groups.items():
        by_size["one" if len(groups) == 1 else "several" if groups else "none"] += count
    print(
        f"{summary.rows} rows: one stage group in {by_size['one']}, several possible in {by_size['several']}, "
        f"none in {by_size['none']}",
        file=out,
    )
    order = (OCCULT, *main_groups("9"))
    singles = {groups[0]: count for groups, count in summary.groups.items() if len(groups) == 1}
    if singles:
        names = sorted(singles, key=lambda group: (order.index(main_group(group)), group))
        print("  " + ", ".join(f"{group} {singles[group]}" for group in names), file=out)
    unknown, stray = summary.unknown, summary.stray
    for key in (*LETTERS, "recorded"):
        codes = [(code, count) for (which, code), count in stray.most_common() if which == key]
        if not unknown[key] and not codes:
            continue
        label = key.upper() if key in LETTERS else key
        listed = ", ".join(f"{code!r} {count}x" for code, count in codes[:8]) + (", ..." if len(codes) > 8 else "")
        total = sum(count for _, count in codes)
        print(
            f"  {label}: unknown in {unknown[key]} rows, stray in {total}" + (f" ({listed})" if listed else ""),
            file=out,
        )
    for note, count in summary.notes.most_common():
        if note.startswith(("edition", "prefix", "no group", "more cells")):
            print(f"  {note}: {count} rows", file=out)
    if args.recorded is not None:
        verdicts = summary.verdicts
        print("recorded stage: " + ", ".join(f"{verdicts[v]} {v.value}" for v in list(Verdict)[:3]), file=out)
        for row in [] if args.json else summary.disagreements[:_SHOWN]:
            print(
                f"  row {row['row']} (line {row['line']}): T {row['t']} N {row['n']} M {row['m']} is "
                f"{' or '.join(row['groups'])} in the {row['edition']}th edition, recorded {row['recorded']!r}",
                file=out,
            )
        if not args.json and len(summary.disagreements) > _SHOWN:
            print(f"  and {len(summary.disagreements) - _SHOWN} more: --json or --out has them all", file=out)
    if args.out is not None:
        print(f"written: {args.out}", file=out)
