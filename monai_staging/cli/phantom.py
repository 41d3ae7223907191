"""Make a raw DICOM study tree of synthetic chest CTs with exact truth.

Each patient gets a CT series and a SEG or an RTSTRUCT of the lesions; clinical.csv and lesions.csv lie beside them.
The same seed gives the same pixels. What is there already is kept, so a run that was stopped is finished by the same
command.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("out", metavar="OUT", help="folder to write to")
    parser.add_argument("--cases", type=int, default=8, metavar="N", help="how many patients (default: 8)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the cohort (default: 0)")
    parser.add_argument(
        "--resolution",
        choices=("default", "tiny", "full"),
        default="default",
        help="tiny: for tests; full: 512 x 512 and thin slices",
    )
    parser.add_argument("--workers", type=int, default=None, metavar="W", help="processes (default: one per core)")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    """Writes the tree; returns the exit code."""
    from monai_staging.cohort.phantom import PhantomConfig, write_phantom_tree
    from monai_staging.errors import UsageError

    if args.cases < 1 or (args.workers is not None and args.workers < 1):
        raise UsageError(f"--cases and --workers must be at least 1, found {args.cases} and {args.workers}.")
    truths = write_phantom_tree(
        args.out, args.cases, args.seed, PhantomConfig(resolution=args.resolution), args.workers
    )
    counts = {
        name: dict(sorted(Counter(getattr(truth, name) for truth in truths).items()))
        for name in ("t", "n", "m", "stage")
    }
    if args.json:
        json.dump({"out": str(args.out), "cases": len(truths), "seed": args.seed, "counts": counts}, sys.stdout)
        print()
        return 0
    print(f"{len(truths)} phantoms in {args.out} (true labels; clinical.csv leaves some letters unknown)")
    for name, count in counts.items():
        print(f"  {name}: " + ", ".join(f"{key} {value}" for key, value in count.items()))
    return 0
