"""The slide that is timed is a pyramid that OpenSlide reads, and the script ends with a table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import openslide

ROOT = Path(__file__).parents[2]


def test_a_small_slide(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/slide_speed.py", "--side", "1024", "--tiles_side", "256", "--threads", "1"]
        + ["--network", "resnet10", "--width", "0.125", "--channels", "8", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| resnet10", "| tiles"))]
    assert len(rows) == 3
    slide = openslide.OpenSlide(tmp_path / "1024.tif")
    assert slide.level_dimensions == ((1024, 1024), (512, 512), (256, 256), (128, 128))
    assert float(slide.properties["openslide.mpp-x"]) == 0.25
    assert max(slide.read_region((300, 300), 0, (64, 64)).convert("L").getextrema()) > 0
