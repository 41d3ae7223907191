"""Benchmarks, each beside the field's own way in the same run, and one table of what is claimed.

    python scripts/benchmark.py CLAIM ... [--threads N] [--out FILE] [--json]
    python scripts/benchmark.py all --series DICOM_FOLDER [--work FOLDER] [--out docs/benchmarks]
    python scripts/benchmark.py table [--out docs/benchmarks]

Each claim is a module of ``scripts/benchmarks``. ``all`` runs each in a process of its own, keeps what it found in
``OUT/<claim>.json``, and writes ``OUT/table.md``; ``table`` makes that table of what is kept. Peers come with
``pip install -e .[bench]`` and ``pip install --no-deps -r requirements-bench.txt``; a table says which is missing.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The benchmarks lie beside this file, and the package above it, installed or not.
sys.path[:0] = [own for own in (str(ROOT / "scripts"), str(ROOT)) if own not in sys.path]

from benchmarks.common import AIMS_HEADER, aims_rows, machine, machine_text  # noqa: E402

CLAIMS = ("load", "samples", "epoch", "segment", "froc", "startup", "predict")
KEPT = ROOT / "docs" / "benchmarks"


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark asked for; 0 whether or not a claim is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="CLAIM")
    for claim in CLAIMS:
        module = import_module(f"benchmarks.{claim}")
        command = commands.add_parser(claim, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.add_argument("--threads", type=int, default=2, help="threads for all (default %(default)s)")
        command.add_argument("--out", type=Path, help="also write the report here, as JSON")
        command.add_argument("--json", action="store_true", help="print the report as JSON")
        command.set_defaults(module=module)
    for name in ("all", "table"):
        every = import_module("benchmarks.every")
        command = commands.add_parser(name, help=getattr(every, f"{name.upper()}_HELP"), description=every.__doc__)
        command.add_argument("--out", type=Path, default=KEPT, help="folder of the reports (default docs/benchmarks)")
        if name == "all":
            every.add_arguments(command)
        command.set_defaults(module=None, run=getattr(every, f"run_{name}"))
    args = parser.parse_args(argv)
    if args.module is None:
        return int(args.run(args))
    return one(args)


def one(args: argparse.Namespace) -> int:
    """One claim."""
    from monai_staging.files import write_json_atomic
    from monai_staging.outputs.table import text_table

    ran_on = machine(args.threads)  # before the benchmark adds to the load
    report = {"benchmark": args.module.NAME, **args.module.run(args), "machine": ran_on}
    if args.out:
        write_json_atomic(args.out, report)
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    print(args.module.text(report))
    if report["aims"]:
        print("\n" + text_table(AIMS_HEADER, aims_rows(report["benchmark"], report["aims"])))
    print("\n" + machine_text(ran_on))
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)  # readers announce which optional decoders they did not find
    sys.exit(main())
