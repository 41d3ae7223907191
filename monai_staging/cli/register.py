"""Registers a nodule classifier in MLflow's model registry: the best arm of a comparison, or one training.

All runs of the best arm become one model whose probabilities are averaged, with signature, metrics, the data's digest
and the commit. It is loaded by models:/NAME@ALIAS. The alias does not move to a model that is worse on the same data:
exit code 1 then, unless --force is given. Broken off, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monai_staging.tracking.registry import Registration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a comparison, or of a malignancy training")
    parser.add_argument("--name", required=True, help="of the registered model")
    parser.add_argument("--alias", default="champion", help="that the version is given (default: champion)")
    parser.add_argument("--force", action="store_true", help="move the alias to a worse model too")
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="server or database (default: MLFLOW_TRACKING_URI, else mlruns.db here)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    """Registers; 0 where the alias is the version's, 1 where it stays with a better one."""
    # MLflow draws a bar for every file it copies.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    from monai_staging.tracking.registry import register

    print(f"register: {args.folder}", file=sys.stderr, flush=True)
    done = register(args.folder, args.name, args.alias, force=args.force, tracking_uri=args.tracking_uri)
    if args.json:
        print(json.dumps(_document(done), indent=2, ensure_ascii=False))
    else:
        state = "registered" if done.created else "was registered already"
        networks = f"{done.networks} networks" if done.networks > 1 else "1 network"
        print(f"{done.name}, version {done.version} ({networks}), {state}: {done.uri}")
    if done.kept:
        print(f"monai-staging register: {done.kept}; --force moves it", file=sys.stderr)
        return 1
    return 0


def _document(done: Registration) -> dict[str, object]:
    return {
        "name": done.name,
        "version": done.version,
        "created": done.created,
        "alias": None if done.kept else done.alias,
        "kept": done.kept,
        "uri": done.uri,
        "digest": done.digest,
        "networks": done.networks,
        "tags": done.tags,
    }
