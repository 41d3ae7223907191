"""Compares networks and where they start (random weights or transfer), paired, with intervals.

Every arm sees the same patients, labels, epochs and augmentation. What is compared is written in a YAML, by default
compare.yaml of the bundle; the options below override it. The arms are runs nested under one MLflow run. Killed at
any moment, the same command goes on; what is done is not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_staging.cluster.arguments import add_ray_arguments, executor_of

if TYPE_CHECKING:
    from monai_staging.compare.experiment import Outcome
    from monai_staging.compare.plan import Comparison
    from monai_staging.compare.runner import Progress

_BUNDLES = Path("bundles")
_DEFAULT = "malignancy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "bundle", nargs="?", metavar="BUNDLE", help=f"name of a bundle, or its folder (default: {_DEFAULT})"
    )
    parser.add_argument("--config", type=Path, metavar="YAML", help="the comparison (default: BUNDLE/compare.yaml)")
    parser.add_argument("--dataset-dir", metavar="DIR", help="what is trained and tested on")
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="networks of the YAML, or backbones")
    parser.add_argument("--init", nargs="+", metavar="NAME", help="initialisations of the YAML; NAME=WHERE adds one")
    parser.add_argument("--fractions", nargs="+", type=float, metavar="F", help="of the training patients' labels")
    parser.add_argument("--seeds", type=int, metavar="N", help="repetitions, with seeds 0 to N - 1")
    parser.add_argument(
        "--folds", type=int, metavar="K", help="of the cross-validation; 0 for the data's own test part"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of the bundle, for every arm")
    parser.add_argument("--name", help="of the comparison")
    parser.add_argument("--out", type=Path, metavar="DIR", help="its folder (default: runs/NAME)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, metavar="W", help="processes (default: one a GPU, else one a core)")
    add_ray_arguments(parser, where)
    parser.add_argument("--experiment", default="comparisons", help="in MLflow (default: comparisons)")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (default: 1000)")
    parser.add_argument(
        "--permutations", type=int, default=10_000, metavar="N", help="for p-values (default: 10000; 0 for none)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the comparison; 0 when all arms are done."""
    from monai_staging.cluster.executor import LocalPool
    from monai_staging.compare.experiment import ExperimentOptions, default_workers, run_comparison
    from monai_staging.compare.statistics import Resampling
    from monai_staging.errors import UsageError

    for name, least in (("workers", 1), ("seeds", 1), ("resamples", 1), ("permutations", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} must be at least {least}, found {value}")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    comparison = _comparison(args)
    out = args.out or Path("runs") / comparison.name
    resampling = Resampling(args.resamples, args.permutations)
    with executor_of(args, LocalPool(args.workers or default_workers())) as executor:
        print(f"compare: {len(comparison.arms)} runs of {comparison.bundle} in {out}", file=sys.stderr, flush=True)
        options = ExperimentOptions(out, executor, args.experiment, resampling=resampling)
        outcome = run_comparison(comparison, options, _tell)
    if args.json:
        print(json.dumps(_document(outcome, out), indent=2, ensure_ascii=False))
        return 0
    print(outcome.report.text)
    print("\nWritten:")
    for path in (*outcome.report.files, *outcome.report.figures):
        print(f"  {path}")
    return 0


def _comparison(args: argparse.Namespace) -> Comparison:
    from monai_staging.compare.plan import comparison_of, read_comparison
    from monai_staging.errors import UsageError

    bundle = Path(args.bundle or _DEFAULT)
    folder = bundle if (bundle / "train.json").is_file() else _BUNDLES / bundle
    path = args.config or folder / "compare.yaml"
    document = read_comparison(path)
    if args.bundle is not None:
        document["bundle"] = str(folder)
    if args.dataset_dir is not None:
        document["dataset_dir"] = args.dataset_dir
    if args.networks is not None:
        known = document.get("networks", {})
        known = known if isinstance(known, dict) else {name: {"network": name} for name in known}
        document["networks"] = {name: known.get(name, {"network": name}) for name in args.networks}
    if args.init is not None:
        document["initialisations"] = dict(_init(text, document) for text in args.init)
    if args.fractions is not None:
        known = document.get("fractions", {})
        known = {float(name): value for name, value in known.items()} if isinstance(known, dict) else {}
        document["fractions"] = {fraction: known.get(fraction, {}) for fraction in args.fractions}
    if args.seeds is not None:
        document["seeds"] = args.seeds
    if args.folds is not None:
        document["folds"] = args.folds or None
    if args.name is not None:
        document["name"] = args.name
    settings = dict(document.get("settings") or {})
    for text in args.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE, found {text!r}")
        settings[key] = _value(value)
    document["settings"] = settings
    return comparison_of(document)


def _init(text: str, document: dict[str, Any]) -> tuple[str, Any]:
    from monai_staging.errors import UsageError

    known = document.get("initialisations", {"scratch": None})
    name, equals, where = text.partition("=")
    if equals:
        return name, where
    if name not in known:
        raise UsageError(
            f"--init: {name!r} is none of {', '.join(known)}; {name}=WHERE names a file, a published name or a URI"
        )
    return name, known[name]


def _value(text: str) -> Any:
    """A number, true, false or null where the text is one, as in YAML; else the text."""
    import yaml

    return yaml.safe_load(text)


def _tell(progress: Progress) -> None:
    last = progress.last
    state = f"FAILED: {last.error}" if last.error else f"{last.seconds:.0f} s"
    print(f"compare: {progress.done}/{progress.total} {last.name}: {state}", file=sys.stderr, flush=True)


def _document(outcome: Outcome, out: Path) -> dict[str, Any]:
    from monai_staging.compare.report import findings_json

    return {"out": str(out), "run_id": outcome.run_id, **findings_json(outcome.findings)}
