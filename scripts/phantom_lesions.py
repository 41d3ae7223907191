"""Montage of the lesions of phantoms: nodules for detection, or the primaries of each histological subtype.

    python scripts/phantom_lesions.py nodules.png [--seed 6] [--first 0] [--resolution default]
    python scripts/phantom_lesions.py subtypes.png --subtypes

A tile is the lesion's middle slice in the lung window (-600/1500) with its box, and beside it the lesion enlarged, lung
window above and mediastinal window (40/400) below, with a bar of 10 mm. Look at it: what would a reader take it for?
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from monai_staging.cohort.phantom import LesionTruth, Phantom, PhantomConfig, plan_disease, render_phantom

WINDOWS = ((-600.0, 1500.0), (40.0, 400.0))
SLICE, ZOOM, TITLE = 240, 120, 16
COLUMNS, ROWS = 4, 4
BOX = (255, 215, 0)


def few_colours(picture: Image.Image) -> Image.Image:
    """Half the file, and no difference to be seen: 48 greys and the colour of the boxes."""
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for grey in range(48) for value in [grey * 255 // 47] * 3] + list(BOX))
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def grey(hu: np.ndarray, window: tuple[float, float], size: int) -> Image.Image:
    """HU as a square picture of ``size`` pixels."""
    centre, width = window
    values = (np.clip((hu - centre + width / 2) / width, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC).convert("RGB")


def tile(phantom: Phantom, volume: np.ndarray, lesion: LesionTruth, title: str) -> Image.Image:
    """One lesion; ``volume`` is (slices, rows, columns)."""
    spacing = phantom.canvas.scanner.spacing_mm
    k, j, i = np.nonzero(phantom.canvas.labels == lesion.label)
    level = int(np.bincount(k).argmax())
    picture = Image.new("RGB", (SLICE + ZOOM, SLICE + TITLE))
    draw = ImageDraw.Draw(picture)
    draw.text((3, 2), title, fill="white")
    whole = grey(volume[level], WINDOWS[0], SLICE)
    scale = SLICE / volume.shape[1]
    corners = (i.min() - 4, j.min() - 4, i.max() + 5, j.max() + 5)
    ImageDraw.Draw(whole).rectangle([int(edge * scale) for edge in corners], outline=BOX)
    picture.paste(whole, (0, TITLE))
    half = int(max(40.0, 1.6 * max(lesion.size_mm[:2])) / spacing / 2)
    row, column = round((j.min() + j.max()) / 2), round((i.min() + i.max()) / 2)
    near = np.pad(volume[level], half, constant_values=-1000)[row : row + 2 * half, column : column + 2 * half]
    for number, window in enumerate(WINDOWS):
        picture.paste(grey(near, window, ZOOM), (SLICE, TITLE + number * ZOOM))
    bar = round(10.0 / spacing / (2 * half) * ZOOM)
    draw.line([(SLICE + 5, TITLE + 2 * ZOOM - 6), (SLICE + 5 + bar, TITLE + 2 * ZOOM - 6)], fill="white", width=2)
    return picture


def nodules(seed: int, first: int, resolution: str) -> Iterator[Image.Image]:
    """The nodules of one phantom after another."""
    for index in count(first):
        phantom = render_phantom(index, seed, PhantomConfig(resolution=resolution, disease="nodules"))
        volume = np.stack(list(phantom.slices())).astype(np.float32)
        for lesion in phantom.truth.lesions:
            texture = "solid" if lesion.solid_diameter_mm == lesion.diameter_mm else "part-solid"
            texture = texture if lesion.solid_diameter_mm else "ground glass"
            title = f"{index}, {phantom.canvas.scanner.slice_spacing_mm} mm: {texture} {lesion.diameter_mm:.1f} mm"
            yield tile(phantom, volume, lesion, title)


def primaries(seed: int, first: int, resolution: str) -> Iterator[Image.Image]:
    """A row of primaries for each subtype."""
    config = PhantomConfig(resolution=resolution, subtypes=True)
    for subtype in "ABEG":
        chosen = (index for index in count(first) if plan_disease(seed, index, config).subtype == subtype)
        for _, index in zip(range(COLUMNS), chosen, strict=False):
            phantom = render_phantom(index, seed, config)
            volume = np.stack(list(phantom.slices())).astype(np.float32)
            title = f"{index}: {phantom.truth.subtype}, {phantom.truth.t}"
            yield tile(phantom, volume, phantom.truth.lesions[0], title)


def main() -> None:
    """Writes the montage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--subtypes", action="store_true")
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--resolution", default="default", choices=("tiny", "default", "full"))
    args = parser.parse_args()
    tiles = (primaries if args.subtypes else nodules)(args.seed, args.first, args.resolution)
    montage = Image.new("RGB", (COLUMNS * (SLICE + ZOOM + 4), ROWS * (SLICE + TITLE + 4)))
    for number, picture in zip(range(COLUMNS * ROWS), tiles, strict=False):
        place = (number % COLUMNS * (SLICE + ZOOM + 4), number // COLUMNS * (SLICE + TITLE + 4))
        montage.paste(picture, place)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    few_colours(montage).save(args.out, optimize=True)
    print(args.out, montage.size)


if __name__ == "__main__":
    main()
