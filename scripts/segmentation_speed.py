"""Whole-CT segmentation: this project's inference beside MONAI's plain sliding windows, and nnU-Net's predictor.

    python scripts/segmentation_speed.py COHORT --weights model.pt [--part test] [--limit 3] [--threads 2] [--out FILE]

Everything has the same network, weights, grid, window size, overlap and Gaussian weights, and goes from the scan's
voxels to lesions on the scan's voxels; the settings are those of `bundles/segmentation/chest_evaluate.json`. The others
take windows over the whole scan, in float32, as they do when nobody tells them otherwise; resampling and what comes
after the network are this project's for all. What is in no lung is left out of the others' results before they are
compared, untimed.

nnU-Net is measured where `nnunetv2` can be imported. It is no part of the project's environment; in another one:

    python -m venv OTHER
    echo "$PWD/.venv/lib/python3.11/site-packages" > OTHER/lib/python3.11/site-packages/project.pth
    OTHER/bin/pip install --no-deps nnunetv2 acvl-utils dynamic-network-architectures batchgenerators \\
        batchgeneratorsv2 blosc2 numexpr msgpack ndindex httpx
    PYTHONPATH=. OTHER/bin/python scripts/segmentation_speed.py ...
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.volume import Volume, read_volume
from monai_staging.files import write_json_atomic
from monai_staging.metrics.chest import scan_scores
from monai_staging.networks.folding import fold_norms
from monai_staging.networks.segmentation import build_segmenter
from monai_staging.networks.weights import load_weights
from monai_staging.outputs.table import text_table
from monai_staging.transforms.chest_view import ChestViews
from monai_staging.transforms.grid import plan_grid
from monai_staging.transforms.lesion_parts import LesionParts
from monai_staging.transforms.lung_mask import LungBound, lung_bound
from monai_staging.workflows.chest_data import chest_cases
from monai_staging.workflows.window_inferer import BoundedWindowInferer

CONFIG = Path(__file__).parents[1] / "bundles" / "segmentation" / "chest_evaluate.json"
OURS, SAME_WINDOWS, SAME_PRECISION = "ours", "ours, MONAI's windows", "ours, MONAI's windows, float32"
MONAI, NNUNET = "MONAI, whole scan", "nnU-Net, whole scan"

Way = Callable[[Volume, LungBound], list[Part]]


def main() -> None:
    """Measures every scan in every way and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", help="folder of a cohort")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--part", default="test")
    parser.add_argument("--limit", default=3, type=int)
    parser.add_argument("--outlined", action="store_true", help="scans with a reference only, and Dice with it")
    parser.add_argument("--network", default="attention_unet")
    parser.add_argument("--width", default=1.0, type=float)
    parser.add_argument("--pyramid", action="store_true")
    parser.add_argument("--spacing_mm", type=json.loads, help="of the training, as [1.5,1.5,2.5]")
    parser.add_argument("--place", type=json.loads, metavar="true|false", help="as in the training")
    parser.add_argument("--window", type=json.loads, help="voxels, as [128,128,96]")
    parser.add_argument("--overlap", type=float)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--out", type=Path, help="JSON file")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    settings = ConfigParser.load_config_file(str(CONFIG))
    settings |= {name: value for name, value in vars(chosen).items() if name in settings and value is not None}
    ways = build_ways(settings)
    cases = chest_cases(chosen.cohort, chosen.part, limit=chosen.limit, outlined=chosen.outlined)
    rows = []
    for case in cases:
        volume = read_volume(case.image)
        volume = Volume(np.array(volume.array), volume.affine)  # what is timed does not wait for the disk
        lungs = lung_bound(volume.array, volume.affine)
        found = {name: timed(way, volume, lungs) for name, way in ways.items()}
        rows += [row_of(case.name, name, found, volume, case.reference()) for name in ways]
        print(f"{case.name}: {' x '.join(map(str, volume.shape))} voxels of {np.round(volume.spacing_mm, 2)} mm")
    report = summary(rows, chosen.outlined)
    machine = f"{platform.processor() or platform.machine()}, {chosen.threads} threads of {os.cpu_count()} cores"
    versions = {name: version(name) for name in ("monai", "torch", "numpy", *(["nnunetv2"] if NNUNET in ways else []))}
    print(f"\n{report}\n\n{machine}; {', '.join(f'{name} {own}' for name, own in versions.items())}")
    print(f"windows {settings['window']}, overlap {settings['overlap']}, spacing {settings['spacing_mm']} mm")
    if NNUNET not in ways:
        print("nnU-Net: not measured, nnunetv2 cannot be imported here (see --help)")
    if chosen.out:
        write_json_atomic(chosen.out, {"machine": machine, "versions": versions, "scans": rows})


def build_ways(settings: dict[str, Any]) -> dict[str, Way]:
    """Each way by name, from a scan to its lesions."""
    names = {"name": settings["network"], "width": settings["width"], "pyramid": settings["pyramid"]}
    views, uncropped = (
        ChestViews(settings["spacing_mm"], settings["windows"], place=settings["place"], crop=crop)
        for crop in (True, False)
    )
    network, fast = (
        load_weights(build_segmenter(**names, spatial_dims=3, in_channels=views.channels), settings["weights"]).eval()
        for _ in range(2)
    )
    fast = fold_norms(fast).to(memory_format=torch.channels_last_3d)
    parts = LesionParts(settings["threshold"], settings["smallest_mm3"])
    size, overlap = settings["window"], settings["overlap"]
    # What everybody does with a network unless told otherwise.
    monai = SlidingWindowInferer(size, sw_batch_size=settings["window_batch"], overlap=overlap, mode="gaussian")

    def bounded(own: nn.Module, amp: str, fitted: bool) -> Way:
        inferer = BoundedWindowInferer("cpu", size, overlap, settings["window_batch"], amp=amp, fitted=fitted)

        def way(volume: Volume, lungs: LungBound) -> list[Part]:
            view = (views if fitted else uncropped)(volume.array, volume.affine)
            chance = inferer(view.image[None], own, bound=view.bound)
            return parts(chance[0, 0], view.grid, volume.shape, volume.affine, view.bound)

        return way

    def whole(predict: Callable[[Tensor], Tensor]) -> Way:
        def way(volume: Volume, lungs: LungBound) -> list[Part]:
            grid = plan_grid(volume.shape, volume.affine, views.spacing_mm)
            logits = predict(views.look(volume.array, volume.affine, grid, lungs.box_mm))
            return parts(logits.float().sigmoid(), grid, volume.shape, volume.affine)

        return way

    ways = {
        OURS: bounded(fast, "auto", True),
        SAME_WINDOWS: bounded(fast, "auto", False),
        SAME_PRECISION: bounded(network, "false", False),
    }
    ways[MONAI] = whole(lambda image: monai(image[None], network)[0, 0])
    if find_spec("nnunetv2") is not None:
        ways[NNUNET] = whole(nnunet_predictor(network, size, overlap))
    return ways


def nnunet_predictor(network: nn.Module, size: list[int], overlap: float) -> Callable[[Tensor], Tensor]:
    """nnU-Net's sliding windows with another network: (C, X, Y, Z) to log-odds (X, Y, Z)."""
    with redirect_stdout(None):  # it says what it does on CPUs
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(
            tile_step_size=1 - overlap, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
        )
    predictor.network = network
    predictor.configuration_manager = SimpleNamespace(patch_size=list(size))
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=1)
    return lambda image: predictor.predict_sliding_window_return_logits(image.contiguous())[0]


def timed(way: Way, volume: Volume, lungs: LungBound) -> tuple[list[Part], float, float]:
    """Lesions, seconds on the clock and seconds of the processor."""
    with torch.inference_mode():
        begin, own = time.perf_counter(), time.process_time()
        found = way(volume, lungs)
        seconds, processor_s = time.perf_counter() - begin, time.process_time() - own
    return [part for part in found if within(part, volume, lungs)], seconds, processor_s


def within(part: Part, volume: Volume, lungs: LungBound) -> bool:
    """Whether a lesion reaches into the bound of the lungs."""
    points = (np.argwhere(part.mask) + part.corner) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    index = np.rint((points - lungs.grid.origin_mm) / lungs.grid.spacing_mm).astype(int)
    return bool(lungs.bound[tuple(np.clip(index, 0, np.array(lungs.bound.shape) - 1).T)].any())


def row_of(
    case: str, name: str, found: dict[str, tuple[list[Part], float, float]], volume: Volume, reference: list[Part]
) -> dict[str, Any]:
    """One scan in one way: seconds, and Dice with MONAI's result and the reference."""
    parts, seconds, processor_s = found[name]
    dice = [
        scan_scores(parts, other, volume.array, volume.affine)["dice"] if other else None
        for other in (found[MONAI][0], reference)
    ]
    return {
        **{"scan": case, "way": name, "seconds": seconds, "processor_s": processor_s, "lesions": len(parts)},
        **{"dice_monai": dice[0], "dice_reference": dice[1]},
    }


def summary(rows: list[dict[str, Any]], outlined: bool) -> str:
    """Means over scans, and how much faster than each other way ours is."""
    lines = []
    ours = [row for row in rows if row["way"] == OURS]
    for name in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == name]
        ratios = [
            mean(row[key] / base[key] for row, base in zip(own, ours, strict=True))
            for key in ("seconds", "processor_s")
        ]
        cells = [f"{mean(row[key] for row in own):.1f}" for key in ("seconds", "processor_s")]
        dice = [
            [row[key] for row in own if row[key] is not None]
            for key in ("dice_monai", *(("dice_reference",) if outlined else ()))
        ]
        lines.append(
            [name, *cells, *(f"{ratio:.2f}" for ratio in ratios), *(f"{mean(d):.4f}" if d else "-" for d in dice)]
        )
    header = ["", "s a scan", "processor s", "x ours, clock", "x ours, processor", "Dice with MONAI's"]
    return text_table([*header, *(["Dice with the reference"] if outlined else [])], lines)


if __name__ == "__main__":
    main()
