"""Montage of six phantoms in lung and mediastinal windows, beside slices of a real CT where a DICOM folder is given.

    python scripts/phantom_montage.py montage.png [--real DICOM_FOLDER] [--seed 0] [--first 0] [--resolution default]

Every column is one scan, cut at the same three parts of its lungs' height; upper half lung window (-600/1500), lower
half mediastinal window (40/400). Look at it: what gives the phantoms away?
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from monai_staging.cohort.dicom import read_series, scan
from monai_staging.cohort.phantom import PhantomConfig, render_phantom
from monai_staging.errors import DataError

WINDOWS = ((-600.0, 1500.0), (40.0, 400.0))
PARTS = (0.80, 0.55, 0.30)  # of the lungs' height, from the bases
TILE = 220


def window(hu: np.ndarray, centre: float, width: float) -> np.ndarray:
    """HU to 8-bit grey."""
    return (np.clip((hu - centre + width / 2) / width, 0, 1) * 255).astype(np.uint8)


def lung_levels(volume: np.ndarray) -> list[int]:
    """Slices at `PARTS` of the height over which the middle of the image holds lung; volume is (slices, rows,
    columns).
    """
    n = volume.shape[1]
    middle = volume[:, n // 4 : 3 * n // 4 : 4, n // 8 : 7 * n // 8 : 4]
    area = ((middle > -950) & (middle < -650)).sum(axis=(1, 2))
    inside = np.flatnonzero(area > 0.25 * area.max())
    return [int(inside[0] + part * (inside[-1] - inside[0])) for part in PARTS]


def column(volume: np.ndarray, spacing_mm: float, title: str) -> Image.Image:
    """One scan as a column of tiles, all cut to 340 mm of width."""
    half = int(min(volume.shape[2] * spacing_mm, 370.0) / spacing_mm / 2)
    centre = volume.shape[2] // 2
    part = slice(max(0, centre - half), centre + half)
    picture = Image.new("L", (TILE, 18 + 6 * int(TILE * 0.78)), 0)
    ImageDraw.Draw(picture).text((4, 3), title, fill=255)
    y = 18
    for centre_hu, width_hu in WINDOWS:
        for level in lung_levels(volume):
            tile = Image.fromarray(window(volume[level, part, part].astype(np.float32), centre_hu, width_hu))
            tile = tile.resize((TILE, TILE), Image.Resampling.BILINEAR)
            picture.paste(tile.crop((0, int(TILE * 0.11), TILE, int(TILE * 0.89))), (0, y))
            y += int(TILE * 0.78)
    return picture


def real_scan(folder: Path) -> tuple[np.ndarray, float]:
    """The first CT series of a folder as (slices, rows, columns) and its pixel size."""
    for series in scan(folder):
        if series.modality == "CT":
            volume = read_series(series)
            return np.asarray(volume.array).transpose(2, 1, 0), volume.spacing_mm[0]
    raise DataError(f"{folder}: no CT series found.")


def main() -> None:
    """Writes the montage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--real", type=Path, help="folder with a real CT series")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--resolution", default="default", choices=("tiny", "default", "full"))
    args = parser.parse_args()
    columns = []
    for index in range(args.first, args.first + 6):
        phantom = render_phantom(index, args.seed, PhantomConfig(resolution=args.resolution))
        truth = phantom.truth
        title = f"phantom {index}: {truth.t} {truth.n} {truth.m}"
        columns.append(column(np.stack(list(phantom.slices())), phantom.canvas.scanner.spacing_mm, title))
        print(title, truth.nuisances["slice_spacing_mm"], "mm,", truth.nuisances["kernel"], truth.nuisances["phase"])
    if args.real:
        columns.append(column(*real_scan(args.real), "real CT"))
    montage = Image.new("L", (len(columns) * (TILE + 2), columns[0].height), 0)
    for k, picture in enumerate(columns):
        montage.paste(picture, (k * (TILE + 2), 0))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    montage.save(args.out, optimize=True)
    print(args.out, montage.size)


if __name__ == "__main__":
    main()
