"""The slide that is timed is a pyramid that OpenSlide reads, and every way goes over it."""

from __future__ import annotations

import importlib.util
from argparse import Namespace
from pathlib import Path

import openslide
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "slide_speed.py"


def test_a_small_slide(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("slide_speed", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for side in (512, 128):
        script.make_slide(tmp_path / f"{side}.tif", side)
    slide = openslide.OpenSlide(tmp_path / "512.tif")
    assert slide.level_dimensions == ((512, 512), (256, 256), (128, 128), (64, 64))
    assert float(slide.properties["openslide.mpp-x"]) == 0.25
    chosen = Namespace(
        **{"side": 512, "tiles_side": 128, "network": "resnet10", "width": 0.125, "channels": 8},
        **{"weights": None, "folder": tmp_path, "threads": 1},
    )
    for name, way, side, cell in (
        ("resnet10", "windows", 512, 4),
        ("tiles", "windows", 128, 4),
        ("tiles", "tiles", 128, 32),
    ):
        found = script.run(chosen, name, way)
        assert found["megapixels"] == pytest.approx(side**2 / 1e6) and found["pixels a cell"] == cell
        assert 0.1 < found["memory, GiB"] < 4 and found["seconds"] > 0
