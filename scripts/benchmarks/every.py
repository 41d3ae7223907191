"""All claims, each in a process of its own, and one table of them."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import AIMS_HEADER, aims_rows, machine_text

ALL_HELP, TABLE_HELP = "every claim, and the table", "the table of what is kept"
CLAIMS = ("startup", "load", "samples", "epoch", "segment", "froc", "predict")
SCRIPT = Path(__file__).parents[1] / "benchmark.py"
ROOT = SCRIPT.parents[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--series", type=Path, help="DICOM files of one CT series (default: a phantom's)")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"), help="for phantoms (default %(default)s)")
    parser.add_argument("--claims", nargs="+", choices=CLAIMS, default=CLAIMS)
    parser.add_argument("--threads", type=int, default=2, help="threads for all (default %(default)s)")


def run_all(args: argparse.Namespace) -> int:
    """Runs every claim; 1 if one of them did not run to its end."""
    args.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for claim in args.claims:
        print(f"\n{claim}", flush=True)
        words = [sys.executable, str(SCRIPT), claim, *given(claim, args)]
        words += ["--threads", str(args.threads), "--out", str(args.out / f"{claim}.json")]
        if subprocess.run(words, check=False).returncode:
            failed.append(claim)
    run_table(args)
    for claim in failed:
        print(f"{claim}: did not run to its end; what is kept of it is older", file=sys.stderr)
    return int(bool(failed))


def given(claim: str, args: argparse.Namespace) -> list[str]:
    """The arguments of a claim."""
    if claim == "load":
        from benchmarks.data import dicom_study

        # A phantom's study has its SEG beside the series.
        return [str(args.series) if args.series else str(dicom_study(args.work) / "CT")]
    return ["--work", str(args.work)] if claim not in {"startup", "froc"} else []


def run_table(args: argparse.Namespace) -> int:
    """Prints the table of what is kept, and writes ``table.md``."""
    from monai_staging.files import write_text_atomic
    from monai_staging.outputs.table import text_table

    reports: list[dict[str, Any]] = []
    for claim in CLAIMS:
        path = args.out / f"{claim}.json"
        if path.exists():
            reports.append(json.loads(path.read_text()))
    rows = [row for report in reports for row in aims_rows(report["benchmark"], report["aims"])]
    table = text_table(AIMS_HEADER, rows)
    machines = dict.fromkeys(machine_text(report["machine"]).replace("\n", "; ") for report in reports)
    by_machine = {
        own: [report["benchmark"] for report in reports if machine_text(report["machine"]).replace("\n", "; ") == own]
        for own in machines
    }
    notes = "\n".join(f"- {', '.join(claims)}: {own}" for own, claims in by_machine.items())
    kept = {report["benchmark"] for report in reports}
    if missing := [claim for claim in CLAIMS if claim not in kept]:
        notes += f"\n- not measured yet: {', '.join(missing)}"
    print("\n" + table)
    write_text_atomic(args.out / "table.md", f"{table}\n\n{notes}\n")
    return 0
