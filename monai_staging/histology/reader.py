"""Regions of histology slides, whatever file they are in, without reading the slide."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from monai_staging.errors import DataError, UsageError

Pixels = npt.NDArray[np.uint8]

WHITE = 255
"""What lies beyond a slide's edge."""
LARGEST_WHOLE = 400_000_000
"""Bytes of a picture that is not tiled and may be read as a whole: 11,000 x 12,000 pixels."""


class SlideReader:
    """A slide that regions are read from.

    Tiled and pyramidal files go through OpenSlide (Aperio, Hamamatsu, MIRAX, Philips, generic tiled TIFF and others):
    a region costs its tiles. Pictures that are not tiled, such as the TIFF files of TUPAC16 and MIDOG, are decoded
    once, or mapped where they are not compressed.

    Args:
        path: the file.
        microns_per_pixel: where the file does not say, or says wrongly.

    Attributes:
        width: pixels.
        height: pixels.
        microns_per_pixel: of the finest level; ``None`` where nobody says.

    Raises:
        DataError: the file is not there, cannot be read, is no RGB picture, or is too large to be read as a whole.
        UsageError: a pixel size that is not above 0.

    Example:
        ``with SlideReader("slide.svs") as slide: tile = slide.read(1024, 2048, 256, 256)``
    """

    def __init__(self, path: str | os.PathLike[str], microns_per_pixel: float | None = None) -> None:
        if microns_per_pixel is not None and not microns_per_pixel > 0:
            raise UsageError(f"A pixel is larger than 0 um, found {microns_per_pixel}")
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"Slide {self.path.name}: the file {self.path} is not there.")
        self._source = _open(self.path)
        self.width, self.height = self._source.size
        self.microns_per_pixel = microns_per_pixel or self._source.microns_per_pixel

    def read(self, x: int, y: int, width: int, height: int) -> Pixels:
        """A region.

        Args:
            x: of its left edge, pixels of the finest level; may be negative.
            y: of its upper edge.
            width: pixels.
            height: pixels.

        Returns:
            (3, height, width) RGB; white beyond the slide's edge.

        Raises:
            DataError: the file is damaged there.
            UsageError: a region without a pixel.
        """
        if width < 1 or height < 1:
            raise UsageError(f"A region has at least one pixel, found {width} x {height}")
        left, upper = max(x, 0), max(y, 0)
        right, lower = min(x + width, self.width), min(y + height, self.height)
        if right <= left or lower <= upper:
            return np.full((3, height, width), WHITE, np.uint8)
        part = self._source.read(left, upper, right - left, lower - upper)
        if part.shape == (3, height, width):
            return part
        region = np.full((3, height, width), WHITE, np.uint8)
        region[:, upper - y : lower - y, left - x : right - x] = part
        return region

    def close(self) -> None:
        """Closes the file."""
        self._source.close()

    def __enter__(self) -> SlideReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Source(Protocol):
    size: tuple[int, int]
    microns_per_pixel: float | None

    def read(self, x: int, y: int, width: int, height: int) -> Pixels: ...

    def close(self) -> None: ...


class _Tiled:
    """What OpenSlide reads, through MONAI's reader."""

    def __init__(self, path: Path) -> None:
        import openslide
        from monai.data import WSIReader

        self.name = path.name
        self.reader = WSIReader("openslide")
        try:
            self.slide = self.reader.read(str(path))
        except openslide.OpenSlideError as error:
            raise DataError(f"Slide {path.name}: cannot be read ({error}).") from None
        height, width = self.reader.get_size(self.slide, 0)
        self.size = (width, height)
        try:
            down, across = self.reader.get_mpp(self.slide, 0)
        except ValueError:
            self.microns_per_pixel = None
        else:
            if abs(across - down) > 0.01 * across:
                raise DataError(f"Slide {path.name}: pixels are square, found {across:g} x {down:g} um.")
            self.microns_per_pixel = float(across)

    def read(self, x: int, y: int, width: int, height: int) -> Pixels:
        import openslide

        try:
            region, _ = self.reader.get_data(self.slide, location=(y, x), size=(height, width), level=0)
        except openslide.OpenSlideError as error:
            raise DataError(f"Slide {self.name}: cannot be read at ({x}, {y}) ({error}).") from None
        return np.ascontiguousarray(region, dtype=np.uint8)

    def close(self) -> None:
        self.slide.close()


class _Picture:
    """A picture without tiles, mapped or decoded as a whole."""

    def __init__(self, path: Path, pixels: npt.NDArray[Any], microns_per_pixel: float | None = None) -> None:
        if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype != np.uint8:
            raise DataError(
                f"Slide {path.name}: a slide is RGB with 8 bits a colour, found shape {pixels.shape} of {pixels.dtype}."
            )
        self.pixels = pixels
        self.size = (pixels.shape[1], pixels.shape[0])
        self.microns_per_pixel = microns_per_pixel

    def read(self, x: int, y: int, width: int, height: int) -> Pixels:
        part = self.pixels[y : y + height, x : x + width, :3]
        return np.ascontiguousarray(part.transpose(2, 0, 1))

    def close(self) -> None:
        self.pixels = np.empty((0, 0, 3), np.uint8)


def _open(path: Path) -> _Source:
    import openslide

    if openslide.OpenSlide.detect_format(str(path)) is not None:
        return _Tiled(path)
    if path.suffix.lower() in {".tif", ".tiff"}:
        return _tiff(path)
    return _Picture(path, _decoded(path))


def _tiff(path: Path) -> _Picture:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            microns = _microns(page)
            if page.is_memmappable:
                return _Picture(path, tifffile.memmap(path, mode="r", page=0), microns)
    except (tifffile.TiffFileError, ValueError, OSError) as error:
        raise DataError(f"Slide {path.name}: cannot be read ({error}).") from None
    # Pillow decodes what tifffile needs another package for.
    return _Picture(path, _decoded(path), microns)


def _decoded(path: Path) -> npt.NDArray[Any]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            _check_size(path, (picture.height, picture.width, len(picture.getbands())))
            return np.asarray(picture)
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(f"Slide {path.name}: cannot be read ({error}).") from None


def _check_size(path: Path, shape: Sequence[int]) -> None:
    if (size := int(np.prod(shape, dtype=np.int64))) > LARGEST_WHOLE:
        raise DataError(
            f"Slide {path.name}: a picture without tiles has at most {LARGEST_WHOLE / 1e6:.0f} MB, found "
            f"{' x '.join(map(str, shape))}, {size / 1e6:.0f} MB; convert it to a tiled pyramid."
        )


def _microns(page: Any) -> float | None:
    """Of a pixel, where a TIFF file says so in centimetres; its inches are mostly a screen's."""
    tags = page.tags
    if "XResolution" not in tags or "ResolutionUnit" not in tags or int(tags["ResolutionUnit"].value) != 3:
        return None
    over, under = tags["XResolution"].value
    return 1e4 * under / over if over and under else None
