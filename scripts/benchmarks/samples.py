"""Training samples a second from disk: random patches of volumes that were resampled once, without reading the volumes.

Beside MONAI's ``PersistentDataset``, which keeps each resampled volume as a file of its own, with a random crop, and
TorchIO's ``Queue`` over volumes that were resampled beforehand. All give patches of the same size and spacing, in the
lung window, from the page cache, in one process without workers; what each keeps on disk is made before. With nothing
kept, patches are resampled one by one out of the cohort's own volumes. Half of a training's patches lie around lesions;
here all lie anywhere, which is what the others are fastest at.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import SEED, Aim, Timed, in_turns, processor_ratio, ratio
from benchmarks.data import phantom_cohort

NAME, HELP = "samples", "training samples a second from disk"
SPACING_MM = 1.5
WINDOW_HU = (-1350.0, 150.0)
AIM, GROWTH_MIB = 10.0, 16.0
WHY_NOT = (
    "its cost goes with the volume, ours with the patch: small volumes, or many patches of one, leave less to gain"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the benchmark's arguments."""
    parser.add_argument("--cohort", type=Path, help="folder of a cohort (default: phantoms, made in --work)")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"), help="for phantoms (default %(default)s)")
    parser.add_argument("--cases", type=int, default=4, help="volumes (default %(default)s)")
    parser.add_argument("--size", type=int, default=64, help="voxels of a patch along each axis (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds, in turns (default %(default)s)")
    parser.add_argument("--long", type=int, default=40, help="rounds of ours that memory is watched over")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Times it, with one and with eight patches of a volume at a time."""
    import torch

    from monai_staging.cohort import load_cohort
    from monai_staging.cohort.volume import read_volume

    torch.set_num_threads(args.threads)
    cohort = load_cohort(args.cohort or phantom_cohort(args.work, "cancer", args.cases, "full"))
    paths = [cohort.image_path(case) for case in cohort.cases][: args.cases]
    with tempfile.TemporaryDirectory() as folder:
        counts = {count: one_count(paths, count, args, Path(folder) / str(count)) for count in (1, 8)}
        memory = watched(paths, args, Path(folder) / "1" / "kept")
    aims = [
        Aim(
            f"samples/s, {count} a volume, beside PersistentDataset", found["ratios"]["persistent"], AIM, reason=WHY_NOT
        )
        for count, found in counts.items()
    ]
    grown = Aim("growth of memory", memory["growth_mib"], GROWTH_MIB, at_least=False, unit="MiB")
    return {
        "aims": [aim.to_json() for aim in (*aims, grown)],
        "volumes": [list(read_volume(path).shape) for path in paths],
        "patch": [args.size] * 3,
        "spacing_mm": SPACING_MM,
        "per_volume": {str(count): found for count, found in counts.items()},
        "memory": memory,
    }


def one_count(paths: list[Path], count: int, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Samples a second with so many patches of a volume at a time."""
    loaders = {
        "ours": ours(paths, count, args.size, folder / "kept"),
        "nothing kept": ours(paths, count, args.size, None),
        "persistent": persistent(paths, count, args.size, folder),
    }
    if find_spec("torchio"):
        loaders["torchio"] = torchio_queue(paths, count, args.size, folder)
    samples = count * len(paths)

    def epoch(batches: Callable[[], Iterator[Any]]) -> Callable[[Timed], None]:
        def timed(times: Timed) -> None:
            times.run([("epoch", lambda _: checked(batches(), samples, args.size))])

        return timed

    times = in_turns({name: epoch(batches) for name, batches in loaders.items()}, args.repeats)
    others = [name for name in times if name != "ours"]
    return {
        "samples_per_second": {name: round(samples / median(own.total_s), 2) for name, own in times.items()},
        "seconds": {name: own.summary() for name, own in times.items()},
        "ratios": {name: ratio(times[name], times["ours"], 1) for name in others},
        "processor_ratios": {name: processor_ratio(times[name], times["ours"], 1) for name in others},
    }


def checked(batches: Iterator[Any], samples: int, size: int) -> None:
    """Goes through an epoch and sees that it is one."""
    seen = 0
    for batch in batches:
        if tuple(batch.shape[1:]) != (1, size, size, size):
            raise SystemExit(f"A batch of patches of {size} voxels is needed, found {tuple(batch.shape)}")
        seen += len(batch)
    if seen != samples:
        raise SystemExit(f"An epoch of {samples} samples is needed, found {seen}")


def ours(paths: list[Path], count: int, size: int, kept: Path | None) -> Callable[[], Iterator[Any]]:
    """This package's patches, of volumes resampled into a folder; without one, of the cohort's volumes."""
    from monai.data import DataLoader, Dataset
    from monai.transforms import Compose

    from monai_staging.transforms.kept import KeepResampledd
    from monai_staging.transforms.patches import RandPatchesd
    from monai_staging.transforms.windows import HUWindowsd

    low, high = WINDOW_HU
    transform = Compose(
        [
            *([] if kept is None else [KeepResampledd("image", kept, SPACING_MM)]),
            RandPatchesd("image", size, SPACING_MM if kept is None else None, count),
            HUWindowsd("image", [((low + high) / 2, high - low)]),
        ]
    ).set_random_state(SEED)
    loader = DataLoader(Dataset([{"image": str(path)} for path in paths], transform), batch_size=1, shuffle=True)
    return lambda: (batch["image"] for batch in loader)


def persistent(paths: list[Path], count: int, size: int, folder: Path) -> Callable[[], Iterator[Any]]:
    """MONAI's: each volume resampled once and kept as a file, read whole for its crops."""
    from monai.data import DataLoader, PersistentDataset
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        Orientationd,
        RandSpatialCropSamplesd,
        ScaleIntensityRanged,
        Spacingd,
    )

    transform = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(SPACING_MM,) * 3, mode="bilinear"),
            ScaleIntensityRanged("image", *WINDOW_HU, 0.0, 1.0, clip=True),
            RandSpatialCropSamplesd("image", (size,) * 3, count, random_size=False),
        ]
    ).set_random_state(SEED)
    data = [{"image": str(path)} for path in paths]
    loader = DataLoader(PersistentDataset(data, transform, folder / "cache"), batch_size=1, shuffle=True)
    return lambda: (batch["image"] for batch in loader)


def torchio_queue(paths: list[Path], count: int, size: int, folder: Path) -> Callable[[], Iterator[Any]]:
    """TorchIO's queue with a uniform sampler, over files of the resampled volumes."""
    import torch
    import torchio

    folder.mkdir(parents=True, exist_ok=True)
    prepare = torchio.Compose([torchio.ToCanonical(), torchio.Resample(SPACING_MM)])
    kept = []
    for place, path in enumerate(paths):
        kept.append(folder / f"{place}.nii")
        prepare(torchio.ScalarImage(path)).save(kept[-1])
    window = torchio.RescaleIntensity(out_min_max=(0, 1), in_min_max=WINDOW_HU)
    subjects = [torchio.Subject(image=torchio.ScalarImage(path)) for path in kept]
    sampler = torchio.UniformSampler(size)

    def batches() -> Iterator[Any]:
        queue = torchio.Queue(
            torchio.SubjectsDataset(subjects, transform=window),
            max_length=max(count, 8),
            samples_per_volume=count,
            sampler=sampler,
            num_workers=0,
        )
        loader = torch.utils.data.DataLoader(queue, batch_size=count, num_workers=0, collate_fn=lambda own: own)
        for patches in loader:
            yield torch.stack([patch["image"][torchio.DATA] for patch in patches])

    return batches


def watched(paths: list[Path], args: argparse.Namespace, kept: Path) -> dict[str, Any]:
    """Memory that is this process's alone while our patches are drawn, round after round."""
    import psutil

    batches, process, own = ours(paths, 8, args.size, kept), psutil.Process(), []
    for _ in range(args.long):
        checked(batches(), 8 * len(paths), args.size)
        own.append(process.memory_full_info().uss / 2**20)
    half = len(own) // 2
    return {
        "rounds": args.long,
        "samples": 8 * len(paths) * args.long,
        "growth_mib": round(max(0.0, max(own[half:]) - max(own[:half])), 2),
        "own_mib": round(own[-1], 1),
    }


def text(report: Mapping[str, Any]) -> str:
    """The report for a person."""
    patch = " x ".join(map(str, report["patch"]))
    lines = [f"Patches of {patch} voxels of {report['spacing_mm']:g} mm from {len(report['volumes'])} volumes"]
    for count, found in report["per_volume"].items():
        rates = ", ".join(f"{name} {rate:g}" for name, rate in found["samples_per_second"].items())
        ratios = ", ".join(
            f"{name} {value:g} (processor {found['processor_ratios'][name]:g})"
            for name, value in found["ratios"].items()
        )
        lines.append(f"  {count} a volume: samples/s {rates}; times as fast as {ratios}")
    memory = report["memory"]
    lines.append(f"  memory over {memory['samples']} samples: {memory['growth_mib']:g} MiB more in the second half")
    return "\n".join(lines)
