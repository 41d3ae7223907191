"""A DICOM series to a windowed tensor of 1 mm voxels, and a patch of a volume.

Beside MONAI's chain of ``LoadImaged``, ``Orientationd``, ``Spacingd`` and ``ScaleIntensityRanged``, SimpleITK's series
reader with its resampling filter, and the bare reading of the files' bytes. A patch of a cohort's volume stands beside
loading the volume.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import SEED, Aim, Step, Timed, in_turns, processor_ratio, ratio

NAME, HELP = "load", "DICOM series to windowed tensor, and patches of a volume"
SPACING_MM = 1.0
WINDOW = "lung"
PATCH = (64, 64, 64)
MONAI_AIM, ITK_AIM = 8.0, 4.0
NO_ITK = "SimpleITK is not installed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the benchmark's arguments."""
    parser.add_argument("folder", type=Path, help="folder with the DICOM files of one CT series, anywhere in it")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each, in turns (default %(default)s)")


def series_folder(root: Path) -> Path:
    """The one folder with DICOM files under ``root``."""
    from pydicom.misc import is_dicom

    folders = sorted({path.parent for path in root.rglob("*") if path.is_file() and is_dicom(path)})
    if len(folders) != 1:
        raise SystemExit(f"{root}: a folder with the DICOM files of one series is needed, found {len(folders)}")
    return folders[0]


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


def itk_steps(window_hu: tuple[float, float], threads: int) -> list[Step]:
    """SimpleITK's: series reader, one resampling to the same RAS grid, window; a tensor (1, X, Y, Z) at the end."""
    import SimpleITK
    import torch
    from monai.data import MetaTensor

    from monai_staging.transforms.grid import plan_grid

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    low, high = window_hu
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])

    def read(folder: Path) -> Any:
        return SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))

    def resample(image: Any) -> Any:
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
        grid = plan_grid(image.GetSize(), to_ras @ affine, (SPACING_MM,) * 3)
        filter_ = SimpleITK.ResampleImageFilter()
        filter_.SetSize(grid.size)
        filter_.SetOutputSpacing(grid.spacing_mm)
        filter_.SetOutputOrigin((to_ras[:3, :3] @ grid.origin_mm).tolist())
        filter_.SetOutputDirection(to_ras[:3, :3].ravel().tolist())
        filter_.SetInterpolator(SimpleITK.sitkLinear)
        filter_.SetDefaultPixelValue(-1024)
        filter_.SetOutputPixelType(SimpleITK.sitkFloat32)
        return filter_.Execute(image)

    def tensor(image: Any) -> Any:
        affine = to_ras.copy()
        affine[:3, :3] = to_ras[:3, :3] @ (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())
        affine[:3, 3] = to_ras[:3, :3] @ image.GetOrigin()
        array = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
        return MetaTensor(torch.from_numpy(np.ascontiguousarray(array))[None], affine=torch.from_numpy(affine))

    return [
        ("ImageSeriesReader", read),
        ("ResampleImageFilter", resample),
        ("IntensityWindowing", lambda image: SimpleITK.IntensityWindowing(image, low, high, 0.0, 1.0)),
        ("tensor", tensor),
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
    """DICOM series to windowed tensor, all ways in turns, files in the page cache for each."""
    from monai_staging.transforms.windows import WINDOWS

    level, width = WINDOWS[WINDOW]
    window_hu = (level - width / 2, level + width / 2)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    chains: dict[str, tuple[list[Step], Any]] = {
        "stock": (stock_steps(window_hu), {"image": str(folder)}),
        "ours": (our_steps(threads), folder),
        "bytes": ([("read", lambda paths: [path.read_bytes() for path in paths])], files),
    }
    # The first, untimed round warms the caches and gives the volumes in HU, before the window.
    our_hu = Timed().run(chains["ours"][0][:-2], folder)
    difference = {"stock": hu_difference(Timed().run(chains["stock"][0][:-1], {"image": str(folder)})["image"], our_hu)}
    if find_spec("SimpleITK"):
        steps = itk_steps(window_hu, threads)
        chains["itk"] = (steps, folder)
        difference["itk"] = hu_difference(Timed().run([*steps[:2], steps[3]], folder), our_hu)
    shape = list(our_hu.shape[1:])
    del our_hu
    ways: dict[str, Callable[[Timed], Any]] = {
        name: lambda timed, steps=steps, source=source: timed.run(steps, source)  # type: ignore[misc]
        for name, (steps, source) in chains.items()
    }
    times = in_turns(ways, repeats, warm=False)
    others = [name for name in times if name != "ours"]
    return {
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "shape": shape,
        "spacing_mm": SPACING_MM,
        "window": WINDOW,
        "stock_reader": stock_reader(folder),
        **{name: timed.summary() for name, timed in times.items()},
        "ratios": {name: ratio(times[name], times["ours"]) for name in others},
        "processor_ratios": {name: processor_ratio(times[name], times["ours"]) for name in others},
        "difference": difference,
    }


def benchmark_patches(folder: Path, repeats: int, patches: int = 100) -> dict[str, Any]:
    """A patch of a volume file: read alone, and cut from the loaded volume (ours, and MONAI's ``LoadImage``)."""
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


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Times it."""
    import torch

    torch.set_num_threads(args.threads)
    folder = series_folder(args.folder)
    series = benchmark_series(folder, args.repeats, args.threads)
    found = series["ratios"]
    missing = "headers are checked file by file, and the result is written three times" if "itk" in found else NO_ITK
    aims = [
        Aim("series to tensor, beside MONAI's chain", found["stock"], MONAI_AIM),
        Aim("series to tensor, beside SimpleITK", found.get("itk"), ITK_AIM, reason=missing),
    ]
    return {
        "aims": [aim.to_json() for aim in aims],
        "repeats": args.repeats,
        "series": series,
        "patches": benchmark_patches(folder, args.repeats),
    }


def text(report: Mapping[str, Any]) -> str:
    """The report for a person."""
    series, patches = report["series"], report["patches"]
    names = {"stock": f"MONAI, {series['stock_reader']}", "itk": "SimpleITK", "ours": "ours", "bytes": "bytes alone"}
    lines = [
        f"{series['files']} DICOM files to {' x '.join(map(str, series['shape']))} voxels of {series['spacing_mm']:g} "
        f"mm, {series['window']} window; median of {report['repeats']}"
    ]
    for name, title in names.items():
        if name in series:
            own = series[name]
            steps = ", ".join(f"{step} {seconds:.3f}" for step, seconds in own["steps_s"].items())
            against = f"{series['ratios'][name]:.2f} times" if name in series["ratios"] else ""
            lines.append(
                f"  {title:18s} {own['median_s']:7.3f} s {own['processor_s']:7.3f} s cpu  {against:12s} {steps}"
            )
    for name, own in series["difference"].items():
        lines.append(f"  HU, {names[name]}: largest difference {own['largest_hu']:g}, mean {own['mean_hu']:g}")
    lines += [
        f"A patch of {' x '.join(map(str, patches['patch']))} from {' x '.join(map(str, patches['volume']))} voxels",
        f"  read_patch        {1e3 * patches['read_patch']['median_s']:9.3f} ms",
        f"  read_volume       {1e3 * patches['read_volume']['median_s']:9.3f} ms   {patches['ratio']:g} times",
        f"  MONAI LoadImage   {1e3 * patches['stock']['median_s']:9.3f} ms   {patches['ratio_stock']:g} times",
    ]
    return "\n".join(lines)
