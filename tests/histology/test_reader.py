"""Regions of slides, against the pixels they were written from and against the real slide read as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from monai_staging.errors import DataError, UsageError
from monai_staging.histology import reader
from monai_staging.histology.reader import SlideReader

QUARTER = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}
PIXELS = np.random.default_rng(0).integers(0, 255, (300, 420, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same picture in every kind of file."""
    folder = tmp_path_factory.mktemp("slides")
    paths = {name: folder / f"{name}.tif" for name in ("mapped", "packed", "tiled")} | {"png": folder / "picture.png"}
    tifffile.imwrite(paths["mapped"], PIXELS, photometric="rgb", **QUARTER)
    tifffile.imwrite(paths["packed"], PIXELS, photometric="rgb", compression="zlib", rowsperstrip=16, **QUARTER)
    tifffile.imwrite(paths["tiled"], PIXELS, photometric="rgb", compression="zlib", tile=(64, 64), **QUARTER)
    Image.fromarray(PIXELS).save(paths["png"])
    return paths


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-50, 460), st.integers(-50, 340), st.integers(1, 90), st.integers(1, 90))
def test_a_region_is_those_pixels_and_white_beyond(
    slides: dict[str, Path], x: int, y: int, width: int, height: int
) -> None:
    padded = np.full((600, 700, 3), 255, np.uint8)
    padded[100:400, 100:520] = PIXELS
    expected = padded[y + 100 : y + 100 + height, x + 100 : x + 100 + width].transpose(2, 0, 1)
    for name, path in slides.items():
        with SlideReader(path) as slide:
            assert (slide.width, slide.height) == (420, 300)
            assert slide.microns_per_pixel == (None if name == "png" else pytest.approx(0.25))
            region = slide.read(x, y, width, height)
            assert region.dtype == np.uint8 and region.flags.c_contiguous
            np.testing.assert_array_equal(region, expected, err_msg=name)


def test_a_real_slide_is_read_in_tiles(shared_data: Path) -> None:
    path = shared_data / "stain_reference" / "cmu-1-small-region.svs"
    if not path.exists():
        pytest.skip(f"real data missing: {path}")
    whole = np.asarray(Image.open(path))
    with SlideReader(path) as slide:
        assert (slide.height, slide.width) == whole.shape[:2] and slide.microns_per_pixel == 0.499
        region = slide.read(1000, 700, 333, 222)
    # Two decoders of JPEG round differently.
    assert np.abs(region.astype(int) - whole[700:922, 1000:1333].transpose(2, 0, 1)).max() <= 3


def test_the_pixel_size_can_be_stated(slides: dict[str, Path]) -> None:
    assert SlideReader(slides["png"], 0.5).microns_per_pixel == 0.5
    with pytest.raises(UsageError, match="larger than 0 um, found 0"):
        SlideReader(slides["png"], 0.0)
    with pytest.raises(UsageError, match="at least one pixel, found 0 x 4"):
        SlideReader(slides["png"]).read(0, 0, 0, 4)


def test_what_cannot_be_read_is_refused(
    slides: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"Slide none\.tif: the file .* is not there"):
        SlideReader(tmp_path / "none.tif")
    for name in ("text.tif", "text.png"):
        (tmp_path / name).write_text("no picture")
        with pytest.raises(DataError, match=f"Slide {name}: cannot be read"):
            SlideReader(tmp_path / name)
    (tmp_path / "half.tif").write_bytes(slides["packed"].read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"Slide half\.tif: cannot be read"):
        SlideReader(tmp_path / "half.tif")
    tifffile.imwrite(tmp_path / "grey.tif", PIXELS[..., 0])
    with pytest.raises(DataError, match=r"RGB with 8 bits a colour, found shape \(300, 420\) of uint8"):
        SlideReader(tmp_path / "grey.tif")
    across = {"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "oblong.tif", PIXELS, photometric="rgb", tile=(64, 64), **across)
    with pytest.raises(DataError, match=r"pixels are square, found 0\.25 x 0\.5 um"):
        SlideReader(tmp_path / "oblong.tif")
    monkeypatch.setattr(reader, "LARGEST_WHOLE", 100_000)
    for name in ("packed", "png"):
        with pytest.raises(DataError, match="has at most 0 MB, found 300 x 420 x 3, 0 MB; convert it to a tiled"):
            SlideReader(slides[name])
