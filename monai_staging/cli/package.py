"""Writes a bundle in the Model Zoo's layout, verified: configs, weights, TorchScript, model card, license.

BUNDLE is a name (staging, malignancy, slices, detection, segmentation, mitosis, pretrain) or a folder. OUT must not
exist yet, or be an empty folder; with a name ending in .zip a zip is written. Where a check fails nothing is written.
The package runs with `python -m monai.bundle run` in its own folder, or elsewhere with --bundle_root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_staging.packaging.layout import Package


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="name of a bundle, or its folder")
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder, or file ending in .zip")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="weights of a training of yours, for the bundle's first network or another (two_stage, patients, chest)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="keys that those weights were trained with",
    )
    parser.add_argument(
        "--over", nargs="+", default=[], metavar="CONFIG", help="configs that they were trained with, such as faithful"
    )
    parser.add_argument(
        "--dataset-dir", type=Path, metavar="DIR", help="data to check with, and to calibrate (default: small phantoms)"
    )
    parser.add_argument("--onnx", action="store_true", help="ONNX models too, with outputs as PyTorch's")
    parser.add_argument("--int8", action="store_true", help="an ONNX model with 8-bit convolutions too")
    parser.add_argument("--version", metavar="X.Y.Z", help="of the package (default: the bundle's)")
    parser.add_argument("--change", metavar="TEXT", help="what is new in it, for the changelog")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    """Packages; 0 when it is written and verified."""
    from monai_staging.errors import UsageError

    settings = {}
    for text in args.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE, found {text!r}")
        settings[key] = _value(value)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    from monai_staging.packaging.layout import PackageOptions, package_bundle

    options = PackageOptions(
        weights=tuple(args.weights),
        settings=settings,
        over=tuple(name.removesuffix(".json") for name in args.over),
        dataset_dir=args.dataset_dir,
        onnx=args.onnx,
        int8=args.int8,
        version=args.version,
        change=args.change,
    )
    # What bundles and exporters print is no result of this command.
    with contextlib.redirect_stdout(sys.stderr):
        done = package_bundle(args.bundle, args.out, options, _tell)
    if args.json:
        print(json.dumps(_document(done), indent=2, ensure_ascii=False))
    else:
        _summarise(done)
    return 0


def _value(text: str) -> Any:
    """A number, list, true, false or null where the text is one, as in YAML; else the text."""
    import yaml

    return yaml.safe_load(text)


def _tell(line: str) -> None:
    print(f"package: {line}", file=sys.stderr, flush=True)


def _summarise(done: Package) -> None:
    print(
        f"{done.out}: bundle {done.bundle}, version {done.version}, {len(done.files)} files, "
        f"{done.bytes / 1e6:.1f} MB; {len(done.checks)} checks passed"
    )
    for name, command in done.left_out.items():
        print(f"without the weights of {name}: {command}, then --weights {name}=FILE")


def _document(done: Package) -> dict[str, Any]:
    return {**asdict(done), "out": str(done.out)}
