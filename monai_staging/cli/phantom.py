"""Make a raw DICOM study tree of synthetic chest CTs with exact truth, or a table of synthetic nodules.

Each patient gets a CT series and a SEG or an RTSTRUCT of the lesions; clinical.csv and lesions.csv lie beside them.
The same seed gives the same pixels. What is there already is kept, so a run that was stopped is finished by the same
command. --disease nodules puts nodules of 4 to 30 mm into thin scans of the lungs, as in LUNA16, instead of a cancer;
--disease screening puts rated ones there, of which in every second patient one is a cancer;
--subtypes gives each cancer a histology that shows. --nodules makes patches of pulmonary nodules with readers' outlines
and ratings instead, as lidc_nodules_64.npz and nodules.csv, in a folder that holds none yet.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monai_staging.cohort.phantom import PhantomConfig, PhantomTruth


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("out", metavar="OUT", help="folder to write to")
    parser.add_argument("--cases", type=int, default=None, metavar="N", help="how many patients (default: 8)")
    parser.add_argument("--nodules", type=int, default=None, metavar="N", help="so many nodules instead of studies")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the cohort (default: 0)")
    parser.add_argument(
        "--resolution",
        choices=("default", "tiny", "full"),
        default=None,
        help="tiny: for tests; full: 512 x 512 and thin slices",
    )
    parser.add_argument(
        "--disease",
        choices=("cancer", "nodules", "screening"),
        default=None,
        help="what they have: a cancer with its T, N, M, nodules for detection, or both (default: cancer)",
    )
    parser.add_argument("--subtypes", action="store_true", default=None, help="cancers of four histological subtypes")
    parser.add_argument("--workers", type=int, default=None, metavar="W", help="processes (default: one per core)")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    """Writes the tree; returns the exit code."""
    return _studies(args) if args.nodules is None else _nodules(args)


def _studies(args: argparse.Namespace) -> int:
    from monai_staging.cohort.phantom import Disease, PhantomConfig, Resolution, write_phantom_tree
    from monai_staging.errors import UsageError

    cases = 8 if args.cases is None else args.cases
    if cases < 1 or (args.workers is not None and args.workers < 1):
        raise UsageError(f"--cases and --workers must be at least 1, found {cases} and {args.workers}.")
    config = PhantomConfig(
        resolution=Resolution(args.resolution or "default"),
        disease=Disease(args.disease or "cancer"),
        subtypes=bool(args.subtypes),
    )
    truths = write_phantom_tree(args.out, cases, args.seed, config, args.workers)
    counts = _counts(truths, config)
    if args.json:
        json.dump({"out": str(args.out), "cases": len(truths), "seed": args.seed, "counts": counts}, sys.stdout)
        print()
        return 0
    labels = " (true labels; clinical.csv leaves some letters unknown)" if "t" in counts else ""
    print(f"{len(truths)} phantoms in {args.out}{labels}")
    for name, count in counts.items():
        print(f"  {name}: " + ", ".join(f"{key} {value}" for key, value in count.items()))
    return 0


def _counts(truths: list[PhantomTruth], config: PhantomConfig) -> dict[str, dict[str, int]]:
    """How many phantoms have each label; of a nodule cohort, each number of nodules."""
    if config.disease.lungs_alone:
        found = {"nodules": [str(len(truth.lesions)) for truth in truths]}
        if config.disease.value == "screening":
            found["cancer"] = ["yes" if truth.cancer else "no" for truth in truths]
    else:
        names = ("t", "n", "m", "stage", *(["subtype"] if config.subtypes else []))
        found = {name: [getattr(truth, name) for truth in truths] for name in names}
    return {name: dict(sorted(Counter(values).items())) for name, values in found.items()}


def _nodules(args: argparse.Namespace) -> int:
    from monai_staging.cohort.nodules import load_nodules
    from monai_staging.cohort.nodules.phantom import write_phantom_nodules
    from monai_staging.errors import UsageError

    others = [
        name for name in ("cases", "resolution", "disease", "subtypes", "workers") if getattr(args, name) is not None
    ]
    if others:
        raise UsageError(f"--nodules makes no studies: --{others[0]} has no meaning with it.")
    nodules = load_nodules(write_phantom_nodules(args.out, args.nodules, args.seed))
    counts = Counter(nodules.classes[record.label[0]] for record in nodules.records if record.label)
    told = {name: counts[name] for name in nodules.classes}
    patients = len({record.patient for record in nodules.records})
    if args.json:
        document = {"out": str(args.out), "nodules": len(nodules), "patients": patients, "seed": args.seed}
        json.dump(document | {"counts": told, "digest": nodules.digest}, sys.stdout)
        print()
        return 0
    print(f"{len(nodules)} {nodules.title} of {patients} made-up patients in {args.out}")
    print("  " + ", ".join(f"{name} {count}" for name, count in told.items()))
    return 0
