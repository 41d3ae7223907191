"""How long a whole slide takes, and how much memory: one pass through windows, and tile by tile.

    python scripts/slide_speed.py [--side 20000] [--network resnet18 ...] [--weights FILE] [--folder DIR] [--threads 2]

Draws a phantom slide, repeats it with its mirror images to a pyramidal TIFF of that many pixels a side (tiles of 256
pixels, deflate, four levels), and looks for mitoses on it. The published network goes over a part of it (--tiles_side)
both ways; tile by tile every half tile, in windows every four pixels. Each way runs in a process of its own, whose
largest resident memory is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from monai_staging.files import atomic_path
from monai_staging.histology.phantom import HistologyConfig, draw_slide
from monai_staging.histology.reader import SlideReader
from monai_staging.histology.regions import SlideRegions
from monai_staging.histology.slide_pass import SlidePass, find_peaks
from monai_staging.histology.slides import Slide
from monai_staging.networks.mitosis import build_mitosis_network
from monai_staging.networks.weights import load_weights
from monai_staging.outputs.table import text_table
from monai_staging.progress import progress
from monai_staging.transforms.stain import StainChannels

TILE = 256
Pixels = npt.NDArray[np.uint8]


def main() -> None:
    """Makes the slide, runs every way and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", default=20_000, type=int)
    parser.add_argument("--tiles_side", default=2_048, type=int, help="of the part for the published network")
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--width", default=0.5, type=float)
    parser.add_argument("--channels", default=64, type=int)
    parser.add_argument("--weights", help="of that network; random ones take as long")
    parser.add_argument("--folder", default=Path("runs/slide-speed"), type=Path)
    parser.add_argument("--threads", default=os.cpu_count(), type=int)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        name, way = chosen.one.split(":")
        print(json.dumps(run(chosen, name, way)))
        return
    for side in (chosen.side, chosen.tiles_side):
        make_slide(chosen.folder / f"{side}.tif", side)
    ways = ((chosen.network, "windows"), ("tiles", "windows"), ("tiles", "tiles"))
    rows = []
    for name, way in ways:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", f"{name}:{way}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append([f"{name}, {way}", *(f"{found[key]:.{digits}f}" for key, digits in COLUMNS.items())])
    print(f"\n{text_table(['', *COLUMNS], rows)}\n\n{chosen.threads} threads of {os.cpu_count()} cores")


COLUMNS = {"megapixels": 0, "pixels a cell": 0, "seconds": 1, "s/megapixel": 3, "points": 0, "memory, GiB": 2}


def run(chosen: argparse.Namespace, name: str, way: str) -> dict[str, float]:
    """One way over the slide."""
    torch.set_num_threads(chosen.threads)
    path = chosen.folder / f"{chosen.side if name == chosen.network else chosen.tiles_side}.tif"
    network = build_mitosis_network(name, width=chosen.width, channels=chosen.channels)
    if name == chosen.network and chosen.weights:
        network = load_weights(network, chosen.weights)
    network = network.eval().to(memory_format=torch.channels_last)
    slide_pass = SlidePass(network, SlideRegions(0.25), StainChannels("rgb"), way=way)
    with SlideReader(path) as reader:
        megapixels = reader.width * reader.height / 1e6
    begin = time.perf_counter()
    found = slide_pass(Slide("phantom", "phantom", path, 0.25))
    points, _ = find_peaks(found, floor=0.3)
    seconds = time.perf_counter() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    values = (megapixels, found.cell_um / 0.25, seconds, seconds / megapixels, float(len(points)), memory)
    return dict(zip(COLUMNS, values, strict=True))


def make_slide(path: Path, side: int) -> None:
    """A pyramidal TIFF of phantom tissue, unless it is there."""
    import tifffile

    if path.is_file():
        return
    drawn = draw_slide(HistologyConfig(size=min(2048, side), seed=1), 0).pixels
    # Mirrored, so that neighbours join.
    pattern = np.concatenate([drawn, drawn[::-1]])
    pattern = np.concatenate([pattern, pattern[:, ::-1]], axis=1)
    settings = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "zlib", "dtype": np.uint8}
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=True) as writer:
        for level in progress(range(4), description=f"writing {path.name}", unit="level"):
            own = pattern[:: 2**level, :: 2**level]
            length = side // 2**level
            cm = 1e4 / (0.25 * 2**level)
            writer.write(
                encoded(own, length),
                shape=(length, length, 3),
                resolution=(cm, cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(level > 0),
                **settings,
            )


def encoded(pattern: Pixels, length: int) -> Iterator[bytes]:
    """Compressed tiles of a picture that repeats, row by row; each that comes again is compressed once."""
    period = len(pattern)
    known: dict[tuple[int, int], bytes] = {}
    index = np.arange(TILE)
    for y in range(0, length, TILE):
        for x in range(0, length, TILE):
            place = (y % period, x % period)
            if place not in known:
                rows, columns = (place[0] + index) % period, (place[1] + index) % period
                known[place] = zlib.compress(np.ascontiguousarray(pattern[np.ix_(rows, columns)]).tobytes())
            yield known[place]


if __name__ == "__main__":
    main()
