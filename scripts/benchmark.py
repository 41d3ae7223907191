"""Benchmarks, each beside the field's own way in the same run.

    python scripts/benchmark.py load DICOM_FOLDER [--repeats N] [--threads N] [--out FILE] [--json]

``load``: a DICOM series to a windowed tensor of 1 mm voxels, beside MONAI's chain of ``LoadImaged``, ``Orientationd``,
``Spacingd`` and ``ScaleIntensityRanged``; and a patch of a cohort's volume, beside loading the volume.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

SPACING_MM = 1.0
WINDOW = "lung"
PATCH = (64, 64, 64)
SEED = 0

Step = tuple[str, Callable[[Any], Any]]


@dataclass
class Timed:
    """Seconds that a chain of steps took, over repeats.

    Attributes:
        total_s: of the whole chain, per repeat.
        steps_s: step to its seconds, per repeat.
    """

    total_s: list[float] = field(default_factory=list)
    steps_s: dict[str, list[float]] = field(default_factory=dict)

    def run(self, steps: list[Step], value: Any) -> Any:
        """Runs the steps one on the other's result, and notes what each took."""
        begin = time.perf_counter()
        for name, step in steps:
            start = time.perf_counter()
            value = step(value)
            self.steps_s.setdefault(name, []).append(time.perf_counter() - start)
        self.total_s.append(time.perf_counter() - begin)
        return value

    def summary(self) -> dict[str, Any]:
        """Medians and range, seconds."""
        return {
            "median_s": round(median(self.total_s), 6),
            "fastest_s": round(min(self.total_s), 6),
            "slowest_s": round(max(self.total_s), 6),
            "steps_s": {name: round(median(times), 6) for name, times in self.steps_s.items()},
        }


def stock_steps(window_hu: tuple[float, float]) -> list[Step]:
    """MONAI's chain from a DICOM folder, its reader chosen by MONAI; the last step is the window."""
    from monai.transforms import EnsureChannelFirstd, LoadImaged, Orientationd, ScaleIntensityRanged, Spacingd

    low, high = window_hu
    return [
        ("LoadImaged", LoadImaged("image")),
        ("EnsureChannelFirstd", EnsureChannelFirstd("image")),
        ("Orientationd", Orientationd("image", axcodes="RAS", labels=None)),
        ("Spacingd", Spacingd("image", pixdim=(SPACING_MM,) * 3, mode="bilinear")),
        ("ScaleIntensityRanged", ScaleIntensityRanged("image", low, high, 0.0, 1.0, clip=True)),
    ]


def our_steps(threads: int) -> list[Step]:
    """This package's chain from a DICOM folder; the last two steps are the window and the order in memory."""
    from monai_staging.cohort.dicom import load_series
    from monai_staging.transforms.spacing import ResampleSpacing
    from monai_staging.transforms.windows import HUWindows

    spacing, window = ResampleSpacing(SPACING_MM), HUWindows([WINDOW])
    return [
        ("load_series", lambda folder: load_series(folder, workers=threads)),
        ("ResampleSpacing", lambda volume: spacing(volume.array[None], volume.affine)),
        ("HUWindows", window),
        # MONAI's result lies in memory in the order of its indices; ours is put so too, at our cost.
        ("contiguous", lambda image: image.contiguous()),
    ]


def stock_reader(folder: Path) -> str:
    """The reader that MONAI's ``LoadImage`` chooses for a folder: it depends on what is installed."""
    from monai.transforms import LoadImage

    readers = reversed(LoadImage().readers)
    return next(type(reader).__name__ for reader in readers if reader.verify_suffix([str(folder)]))


def hu_difference(stock: Any, ours: Any) -> dict[str, Any]:
    """How far two volumes (1, X, Y, Z) in HU are apart, voxel by voxel; both must lie on the same grid."""
    import torch

    shift_mm = float((stock.affine - ours.affine).abs().max())
    if stock.shape != ours.shape or shift_mm > 1e-3:
        raise SystemExit(
            f"The two grids differ: {tuple(stock.shape)} and {tuple(ours.shape)}, affines up to {shift_mm:g} mm apart"
        )
    difference = (stock.as_tensor().to(torch.float64) - ours.as_tensor()).abs()
    return {
        "largest_hu": float(f"{float(difference.max()):.2g}"),
        "mean_hu": float(f"{float(difference.mean()):.2g}"),
        "voxels": difference.numel(),
        "grids_apart_mm": round(shift_mm, 6),
    }


def benchmark_series(folder: Path, repeats: int, threads: int) -> dict[str, Any]:
    """DICOM series to windowed tensor: ours and MONAI's in turns, files in the page cache for both."""
    from monai_staging.transforms.windows import WINDOWS

    level, width = WINDOWS[WINDOW]
    stock, ours = stock_steps((level - width / 2, level + width / 2)), our_steps(threads)
    # The first, untimed round warms the caches and gives the volumes in HU, before the window.
    stock_hu = Timed().run(stock[:-1], {"image": str(folder)})["image"]
    our_hu = Timed().run(ours[:-2], folder)
    difference = hu_difference(stock_hu, our_hu)
    shape = list(our_hu.shape[1:])
    del stock_hu, our_hu
    stock_times, our_times = Timed(), Timed()
    for repeat in range(repeats):
        turns = [(stock_times, stock, {"image": str(folder)}), (our_times, ours, folder)]
        for times, steps, source in turns if repeat % 2 else reversed(turns):
            times.run(steps, source)
    return {
        "files": sum(1 for path in folder.iterdir() if path.is_file()),
        "shape": shape,
        "spacing_mm": SPACING_MM,
        "window": WINDOW,
        "stock_reader": stock_reader(folder),
        "stock": stock_times.summary(),
        "ours": our_times.summary(),
        "ratio": round(median(stock_times.total_s) / median(our_times.total_s), 2),
        "difference": difference,
    }


def benchmark_patches(folder: Path, repeats: int, patches: int = 100) -> dict[str, Any]:
    """A patch of a volume file: read alone, and cut from the loaded volume (ours, and MONAI's ``LoadImage``)."""
    import numpy as np
    from monai.transforms import LoadImage

    from monai_staging.cohort.dicom import load_series
    from monai_staging.cohort.volume import read_patch, read_volume, write_volume

    volume = load_series(folder)
    random = np.random.default_rng(SEED)
    size = tuple(min(p, n) for p, n in zip(PATCH, volume.shape, strict=True))
    starts = [
        tuple(int(random.integers(0, n - p + 1)) for n, p in zip(volume.shape, size, strict=True))
        for _ in range(patches)
    ]
    load = LoadImage(image_only=True)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "volume.nii"
        write_volume(path, volume)
        patch, whole, stock = Timed(), Timed(), Timed()
        for repeat in range(repeats + 1):
            for start in starts:
                got = patch.run([("read_patch", lambda at: read_patch(path, at, size))], start)
            read = whole.run([("read_volume", lambda file: np.array(read_volume(file).array, order="K"))], path)
            cut = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
            if not np.array_equal(got, read[cut]):
                raise SystemExit(f"The patch at {start} differs from the volume's")
            stock.run([("LoadImage", load)], path)
            if repeat == 0:  # the first round warms the caches
                patch, whole, stock = Timed(), Timed(), Timed()
    return {
        "volume": list(volume.shape),
        "patch": list(size),
        "patches": patches,
        "read_patch": patch.summary(),
        "read_volume": whole.summary(),
        "stock": stock.summary(),
        "ratio": round(median(whole.total_s) / median(patch.total_s), 1),
        "ratio_stock": round(median(stock.total_s) / median(patch.total_s), 1),
    }


def machine(threads: int) -> dict[str, Any]:
    """What this ran on: processor, memory, versions and commit."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    # What the numbers come from is the package; a document in the making changes none of them.
    changed = subprocess.run([*git, "status", "--porcelain", "--", "../monai_staging"], capture_output=True).stdout
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "load_average": round(os.getloadavg()[0], 1),  # of the minute before: what else ran here
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "monai", "numpy", "pydicom", "nibabel")},
        "commit": (commit or "unknown") + (" with changes" if changed else ""),
        "seed": SEED,
    }


def steps_text(summary: Mapping[str, Any]) -> str:
    """The steps of a chain and their medians in one line."""
    return ", ".join(f"{name} {seconds:.3f}" for name, seconds in summary["steps_s"].items())


def load_table(report: Mapping[str, Any]) -> str:
    """The report of ``load`` for a person."""
    series, patches, ran_on = report["series"], report["patches"], report["machine"]
    shape = " x ".join(map(str, series["shape"]))
    difference = series["difference"]
    return "\n".join(
        [
            f"{series['files']} DICOM files to {shape} voxels of {SPACING_MM:g} mm, {series['window']} window; "
            f"{ran_on['threads']} threads, median of {report['repeats']}",
            f"  MONAI  {series['stock']['median_s']:8.3f} s   {steps_text(series['stock'])} ({series['stock_reader']})",
            f"  ours   {series['ours']['median_s']:8.3f} s   {steps_text(series['ours'])}",
            f"  ratio  {series['ratio']:8.2f}",
            f"  HU     largest difference {difference['largest_hu']:g}, mean {difference['mean_hu']:g}",
            f"A patch of {' x '.join(map(str, patches['patch']))} from a volume of "
            f"{' x '.join(map(str, patches['volume']))}",
            f"  read_patch        {1e3 * patches['read_patch']['median_s']:9.3f} ms",
            f"  read_volume       {1e3 * patches['read_volume']['median_s']:9.3f} ms   {patches['ratio']:g} times",
            f"  MONAI LoadImage   {1e3 * patches['stock']['median_s']:9.3f} ms   {patches['ratio_stock']:g} times",
            f"{ran_on['processor']}, {ran_on['cores']} cores, load average {ran_on['load_average']:g}; "
            f"commit {ran_on['commit']}",
        ]
    )


def load(args: argparse.Namespace) -> int:
    """``load``: DICOM series to tensor, and patches."""
    import torch

    torch.set_num_threads(args.threads)
    ran_on = machine(args.threads)  # before the benchmark adds to the load
    report = {
        "benchmark": "load",
        "repeats": args.repeats,
        "series": benchmark_series(args.folder, args.repeats, args.threads),
        "patches": benchmark_patches(args.folder, args.repeats),
        "machine": ran_on,
    }
    print(json.dumps(report, indent=2) if args.json else load_table(report))
    if args.out:
        from monai_staging.files import write_json_atomic

        write_json_atomic(args.out, report)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="BENCHMARK")
    command = commands.add_parser("load", help="DICOM series to windowed tensor, and patches of a volume")
    command.add_argument("folder", type=Path, help="folder with the DICOM files of one CT series, anywhere in it")
    command.add_argument("--repeats", type=int, default=7, help="timed runs of each, in turns (default %(default)s)")
    command.add_argument("--threads", type=int, default=2, help="threads for both (default %(default)s)")
    command.add_argument("--out", type=Path, help="also write the report here, as JSON")
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    command.set_defaults(run=load)
    args = parser.parse_args(argv)
    from pydicom.misc import is_dicom

    folders = sorted({path.parent for path in args.folder.rglob("*") if path.is_file() and is_dicom(path)})
    if len(folders) != 1:
        parser.error(f"{args.folder}: a folder with the DICOM files of one series is needed, found {len(folders)}")
    args.folder = folders[0]
    return int(args.run(args))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)  # readers announce which optional decoders they did not find
    sys.exit(main())
