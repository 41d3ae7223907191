"""Trains the published network for mitosis tiles in every way of its table, each remedy against saturation, and ours.

    python scripts/mitosis_table.py [--dataset_dir DIR] [--output_dir OUT] [--epochs 5] [--key value ...]

All other keys are the bundle's, for every training. Trainings that are done are not done again. Writes OUT/arms/ as the
bundle does, OUT/table.md and OUT/table.json. Tiles count as the publication counts them, points within 7.5 um.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import yaml

from monai_staging.compare.arm import Task, finished, run_task
from monai_staging.compare.plan import digest, slug
from monai_staging.files import write_json_atomic, write_text_atomic
from monai_staging.metrics.intervals import Estimate
from monai_staging.outputs.table import text_table
from monai_staging.progress import progress
from monai_staging.tracking.environment import git_state
from monai_staging.workflows.mitosis_data import MitosisData

BUNDLE = Path("bundles/mitosis")
FAITHFUL, OURS = ("train.json", "faithful.json"), ("train.json",)
BALANCED = {"positive_fraction": 1 / 3}
Arm = tuple[tuple[str, ...], dict[str, Any]]


def main() -> None:
    """Trains what is not done, and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", default="data/phantom-mitosis", help="slides")
    parser.add_argument("--output_dir", default="runs/mitosis-table", type=Path)
    parser.add_argument("--epochs", default=5, type=int, help="of each training but ours")
    parser.add_argument(
        "--draws", type=int, help="tiles of 64 pixels an epoch of the published network, or as many pixels"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rows, by name")
    parser.add_argument("--threads", default=os.cpu_count(), type=int)
    known, rest = parser.parse_known_args()
    keys = {name.removeprefix("--"): yaml.safe_load(value) for name, value in zip(rest[::2], rest[1::2], strict=True)}
    data = MitosisData(known.dataset_dir)
    arms = {name: arm for name, arm in every_arm().items() if known.only is None or name in known.only}
    rows = []
    for name, (files, own) in progress(arms.items(), total=len(arms), description="mitosis table", unit="training"):
        length = {"epochs": known.epochs} if files == FAITHFUL else {}
        if files == FAITHFUL and known.draws:
            length["draws"] = max(1, known.draws * 64**2 // own.get("tile", 64) ** 2)
        settings = {"dataset_dir": known.dataset_dir, **length, **keys, **own}
        git = git_state()
        task = Task(
            name,
            known.output_dir / "arms" / slug(name),
            tuple(str(BUNDLE / file) for file in files),
            "run",
            {"system_metrics": False, "run_name": name, "experiment": "mitosis", **settings},
            digest([data.digest, settings, files]),
            known.threads,
            "" if git is None else git.commit[:12],
        )
        done = finished(task.folder, task.identity) or run_task(task)
        if done.error:
            raise SystemExit(f"{name}: {done.error}")
        rows.append(row_of(name, task.folder, done.seconds))
        text = table(rows)
        write_text_atomic(known.output_dir / "table.md", text + "\n")
        write_json_atomic(known.output_dir / "table.json", rows)
    print(f"\n{data.title('test')}\n\n{text}\n\n95 % intervals by resampling patients.")


def every_arm() -> dict[str, Arm]:
    """Config files and keys of each row by its name."""
    arms: dict[str, Arm] = {"ours": (OURS, {})}
    remedies: dict[str, dict[str, Any]] = {
        "all tiles as they come, cross entropy": {},
        "all tiles, hinge": {"loss_name": "hinge"},
        "all tiles, rare hinge, a = 2": {"loss_name": "rare_hinge", "rare_weight": 2.0},
        "all tiles, rare hinge, a = 4": {"loss_name": "rare_hinge", "rare_weight": 4.0},
        "all tiles, focal": {"loss_name": "focal"},
        "a third positive": dict(BALANCED),
        "a third positive, negative feed": {**BALANCED, "feed": True},
    }
    # One setting for all: small tiles, of which one in twenty is positive.
    arms |= {name: (FAITHFUL, {"label_threshold": 0.35, **own}) for name, own in remedies.items()}
    for tile in (64, 256):
        for kernel, affine, filters in (
            (3, 512, [128, 64]),
            (3, 128, [128, 64]),
            (3, 512, [64, 32]),
            (5, 512, [128, 64]),
        ):
            # As many pixels a batch.
            small = {"batch_size": 64} if tile == 64 else {"batch_size": 4}
            own = {"tile": tile, "kernel": kernel, "affine": affine, "filters": filters, **small, **BALANCED}
            first, second = filters
            arms[f"tile {tile}, {kernel} x {kernel}, {affine}, ({first}, {second})"] = (FAITHFUL, own)
    return arms


def row_of(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """What came of a training."""
    files = {"tiles": folder / "tiles.json", "points": folder / "metrics.json"}
    found = {kind: json.loads(path.read_text(encoding="utf-8")) for kind, path in files.items() if path.is_file()}
    return {"name": name, "seconds": seconds, **found}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    columns = ("accuracy", "balanced_accuracy", "f1", "recall")
    lines = []
    for row in rows:
        tiles = [_text(row.get("tiles", {}).get(column)) for column in columns]
        lines.append([row["name"], *tiles, _text(row["points"]["f1"]), f"{row['seconds']:.0f}"])
    header = ["", "tiles: accuracy", "balanced", "F1", "recall", "points: F1", "s"]
    return text_table(header, lines)


def _text(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return ""
    none = float("nan")
    return Estimate(*(none if entry[key] is None else entry[key] for key in ("value", "low", "high")), entry["n"]).text(
        3
    )


if __name__ == "__main__":
    main()
