"""Whole-CT segmentation: a scan's voxels to lesions on them, beside MONAI's sliding windows and nnU-Net's predictor.

Unless ``--weights`` names others, the network is the one that the segmentation bundle ships, which is told where to
look: here at the middle of every lesion. What is in no lung is left out of the others' results before they are
compared, untimed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.common import Aim
from benchmarks.data import phantom_cohort

NAME, HELP = "segment", "whole-CT segmentation"
BUNDLE = Path(__file__).parents[2] / "bundles" / "segmentation"
MONAI_AIM, NNUNET_AIM, DICE_AIM = 3.0, 4.0, 0.002


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the benchmark's arguments."""
    parser.add_argument("--cohort", type=Path, help="folder of a cohort (default: phantoms, made in --work)")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"), help="for phantoms (default %(default)s)")
    parser.add_argument("--part", default="training", help="of the cohort (default %(default)s)")
    parser.add_argument("--limit", default=3, type=int, help="scans (default %(default)s)")
    parser.add_argument("--weights", type=Path, help="of a network that is told nothing, as chest.json trains")
    parser.add_argument("--network", help="of those weights")
    parser.add_argument("--width", type=float)
    parser.add_argument("--spacing_mm", type=json.loads, help="of the training, as [1.5,1.5,2.5]")
    parser.add_argument("--place", type=json.loads, metavar="true|false", help="as in the training")
    parser.add_argument("--window", type=json.loads, help="voxels, as [128,128,96]")
    parser.add_argument("--overlap", type=float)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Times every scan in every way."""
    import torch
    from monai.bundle import ConfigParser

    from benchmarks.segment_ways import build_ways
    from monai_staging.cohort.volume import Volume, read_volume
    from monai_staging.transforms.lung_mask import lung_bound
    from monai_staging.workflows.chest_data import chest_cases

    torch.set_num_threads(args.threads)
    settings = ConfigParser.load_config_file(str(BUNDLE / "chest_evaluate.json"))
    settings |= {name: value for name, value in vars(args).items() if name in settings and value is not None}
    settings["weights"] = str(args.weights or BUNDLE / "models" / "outline" / "model.pt")
    ways = build_ways(settings, told=args.weights is None)
    rows = []
    for number, case in enumerate(
        chest_cases(args.cohort or phantom_cohort(args.work, "cancer", 6), args.part, limit=args.limit)
    ):
        volume = read_volume(case.image)
        volume = Volume(np.array(volume.array), volume.affine)  # what is timed does not wait for the disk
        lungs = lung_bound(volume.array, volume.affine)
        names = list(ways) if number % 2 else list(ways)[::-1]
        found = {name: timed(ways[name], volume, lungs, case.centers_mm) for name in names}
        rows += [row_of(case.name, name, found, volume, case.reference()) for name in ways]
    return {
        "aims": [aim.to_json() for aim in aims(rows)],
        "window": settings["window"],
        "overlap": settings["overlap"],
        "spacing_mm": settings["spacing_mm"],
        "weights": "shipped, told where lesions are" if args.weights is None else args.weights.name,
        "scans": rows,
    }


def aims(rows: Sequence[Mapping[str, Any]]) -> list[Aim]:
    """What is claimed of the default, and of windows that are fitted to the scan."""
    from benchmarks.segment_ways import FITTED, MONAI, NNUNET, OURS

    found, measured = [], {row["way"] for row in rows}
    for own in (OURS, FITTED):
        for other, limit in ((MONAI, MONAI_AIM), (NNUNET, NNUNET_AIM)):
            there = other in measured
            value = round(times_as_long(rows, other, own, "seconds"), 2) if there else None
            found.append(Aim(f"{own}, beside {other}", value, limit, reason="" if there else "it is not installed"))
        apart = abs(mean_of(rows, own, "dice_reference") - mean_of(rows, MONAI, "dice_reference"))
        known = not isnan(apart)
        reason = "" if known else "no scan has a reference"
        found.append(
            Aim(f"{own}: Dice off MONAI's", round(apart, 5) if known else None, DICE_AIM, False, "Dice", reason)
        )
    return found


def of_way(rows: Sequence[Mapping[str, Any]], way: str) -> list[Mapping[str, Any]]:
    """The rows of a way."""
    return [row for row in rows if row["way"] == way]


def times_as_long(rows: Sequence[Mapping[str, Any]], other: str, own: str, key: str) -> float:
    """The median over scans."""
    return median(a[key] / b[key] for a, b in zip(of_way(rows, other), of_way(rows, own), strict=True))


def mean_of(rows: Sequence[Mapping[str, Any]], way: str, key: str) -> float:
    """The mean over scans; NaN where there is none."""
    values = [row[key] for row in of_way(rows, way) if row[key] is not None]
    return mean(values) if values else float("nan")


def timed(way: Any, volume: Any, lungs: Any, centers_mm: Any) -> tuple[list[Any], float, float]:
    """Lesions in the lungs, seconds on the clock and seconds of the processor."""
    import torch

    with torch.inference_mode():
        begin, own = time.perf_counter(), time.process_time()
        found = way(volume, lungs, centers_mm)
        seconds, processor_s = time.perf_counter() - begin, time.process_time() - own
    return [part for part in found if within(part, volume, lungs)], seconds, processor_s


def within(part: Any, volume: Any, lungs: Any) -> bool:
    """Whether a lesion reaches into the bound of the lungs."""
    points = (np.argwhere(part.mask) + part.corner) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    index = np.rint((points - lungs.grid.origin_mm) / lungs.grid.spacing_mm).astype(int)
    return bool(lungs.bound[tuple(np.clip(index, 0, np.array(lungs.bound.shape) - 1).T)].any())


def row_of(case: str, name: str, found: Mapping[str, Any], volume: Any, reference: list[Any]) -> dict[str, Any]:
    """One scan in one way: seconds, and Dice with MONAI's result and the reference."""
    from benchmarks.segment_ways import MONAI
    from monai_staging.metrics.chest import scan_scores

    parts, seconds, processor_s = found[name]
    dice = [
        scan_scores(parts, other, volume.array, volume.affine)["dice"] if other else None
        for other in (found[MONAI][0], reference)
    ]
    return {
        **{"scan": case, "way": name, "shape": list(volume.shape), "lesions": len(parts)},
        **{"seconds": seconds, "processor_s": processor_s, "dice_monai": dice[0], "dice_reference": dice[1]},
    }


def text(report: Mapping[str, Any]) -> str:
    """The report for a person: means over scans, and how much longer than ours each takes."""
    from benchmarks.segment_ways import OURS
    from monai_staging.outputs.table import text_table

    rows, lines = report["scans"], []
    for name in dict.fromkeys(row["way"] for row in rows):
        ratios = [times_as_long(rows, name, OURS, key) for key in ("seconds", "processor_s")]
        cells = [f"{mean_of(rows, name, key):.1f}" for key in ("seconds", "processor_s")]
        dice = [f"{mean_of(rows, name, key):.4f}" for key in ("dice_monai", "dice_reference")]
        lines.append([name, *cells, *(f"{ratio:.2f}" for ratio in ratios), *dice])
    shapes = ", ".join(dict.fromkeys(" x ".join(map(str, row["shape"])) for row in rows))
    header = ["", "s a scan", "processor s", "x ours", "x ours, processor", "Dice with MONAI's", "with the reference"]
    return (
        f"Scans of {shapes}; windows {report['window']}, overlap {report['overlap']}, weights: {report['weights']}\n\n"
        + text_table(header, lines)
    )
