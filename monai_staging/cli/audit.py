"""Checks a cohort: the same patient, study, series or pixels on two sides of a split, labels, geometry, files.

Exit code 1 where something leaks, or a file is missing or contradicts cohort.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_staging.cohort.audit import Audit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("cohort", type=Path, metavar="COHORT", help="the cohort's folder, or its cohort.json")
    parser.add_argument(
        "--identify", action="store_true", help="name patients by their identifiers, not by a keyed hash"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Audits; 0 if the cohort is fit to train on, 1 otherwise."""
    from monai_staging.cohort.audit import audit_cohort
    from monai_staging.cohort.cohort import load_cohort

    cohort = load_cohort(args.cohort, identify=args.identify)
    audit = audit_cohort(cohort, name_of=(lambda case: case.patient) if args.identify else None)
    if args.json:
        print(json.dumps(_document(audit), indent=2, ensure_ascii=False))
    else:
        _tell(audit)
    return 0 if audit.acceptable else 1


def _document(audit: Audit) -> dict[str, Any]:
    document = asdict(audit)
    return {"acceptable": audit.acceptable, "digest": document.pop("digest")} | document


def _tell(audit: Audit) -> None:
    for part in audit.cases:
        print(f"{part}: {audit.cases[part]} cases of {audit.patients[part]} patients")
        for key, counts in audit.labels[part].items():
            if counts:
                print(
                    f"  {key.upper() if len(key) == 1 else key:<5}  " + "  ".join(f"{k} {n}" for k, n in counts.items())
                )
    if audit.geometry is not None:
        for name, unit, found in (
            ("spacing", " mm", audit.geometry.spacing_mm),
            ("shape", "", audit.geometry.shape),
        ):
            spans = (_span(low, high) for low, high in zip(found.low, found.high, strict=True))
            print(f"{name}: {' x '.join(spans)}{unit} (median {' x '.join(f'{v:g}' for v in found.median)})")
        print("orientation: " + ", ".join(f"{name} {count}" for name, count in audit.geometry.orientations.items()))
    for group in audit.duplicates:
        print(f"identical volumes in one part: {', '.join(group)}")
    for problem in audit.problems:
        print(f"{problem.rule}: {problem.case}: {problem.found}")
    for leak in audit.leaks:
        print(f"LEAK: {leak}")
    print(
        "fit to train on" if audit.acceptable else f"NOT fit: {len(audit.leaks)} leaks, {len(audit.problems)} problems"
    )


def _span(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"
