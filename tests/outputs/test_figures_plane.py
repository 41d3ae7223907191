"""Planes of a scan: sides, scale, boxes and maps are where they are said to be, by the pixels of the PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from monai_staging.errors import UsageError
from monai_staging.explain.axial import AxialImage
from monai_staging.outputs.figures import DPI, figure_file
from monai_staging.outputs.figures_plane import (
    Plane,
    axial_plane,
    draw_box,
    draw_heat,
    draw_lines,
    draw_plane,
    nodule_plane,
    window_range,
    window_text,
)

INCHES = 4.0
PIXELS = int(INCHES * DPI)


class Drawn:
    """One plane that fills a square picture of ``PIXELS``, and the colour at a place of it."""

    def __init__(self, path: Path, plane: Plane, *draw: Any) -> None:
        with figure_file(path, INCHES, INCHES, constrained=False) as figure:
            axes = figure.add_axes((0, 0, 1, 1))
            draw_plane(axes, plane, 0.0, 1.0)
            for one in draw:
                one(axes)
        self.colours = np.asarray(Image.open(path).convert("RGB")) / 255
        self.extent = plane.extent_mm

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        """Row and column, from the edges' coordinates alone."""
        left, right, bottom, top = self.extent
        return int((y - top) / (bottom - top) * PIXELS), int((x - left) / (right - left) * PIXELS)

    def at(self, x: float, y: float) -> np.ndarray[Any, Any]:
        row, column = self.pixel(x, y)
        return self.colours[row, column]

    def near(self, x: float, y: float, colour: str) -> bool:
        """Whether the colour is found within a millimetre."""
        row, column = self.pixel(x, y)
        reach = max(3, PIXELS // 100)
        patch = self.colours[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        return bool((np.abs(patch - to_rgb(colour)).max(axis=-1) < 0.08).any())


def scan(fill: float = 0.4) -> AxialImage:
    """100 x 100 mm around (10, -20), grey."""
    return AxialImage(np.full((100, 100), fill), (-39.5, -69.5), (1.0, 1.0), 0.0, 1.0)


def test_right_is_on_the_left_and_anterior_at_the_top(tmp_path: Path) -> None:
    image = scan(0.0)
    image.values[90:, 85:] = 1.0  # far right, far anterior
    drawn = Drawn(tmp_path / "a.png", axial_plane(image))
    rows, columns = np.nonzero(drawn.colours[:, :, 0] > 0.99)
    corner = drawn.colours[20 : PIXELS // 8, 10 : PIXELS // 12]
    assert corner.min() > 0.99
    assert drawn.at(55, 25)[0] > 0.99  # where it is in the patient
    assert drawn.at(-30, -60)[0] < 0.01 and drawn.at(-30, 25)[0] < 0.01
    assert len(rows) and len(columns)


def test_sides_are_marked_at_their_places(tmp_path: Path) -> None:
    found: dict[str, tuple[float, float]] = {}

    def keep(axes: Any) -> None:
        found.update({text.get_text(): text.get_position() for text in axes.texts})

    Drawn(tmp_path / "a.png", axial_plane(scan()), keep)
    assert (found["R"][0] < 0.1 < 0.9 < found["L"][0]) and (found["P"][1] < 0.1 < 0.9 < found["A"][1])
    found.clear()
    Drawn(tmp_path / "b.png", nodule_plane(np.zeros((9, 9)), 1.0), keep)
    assert not {"R", "L", "A", "P"} & set(found)


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_a_nodule_s_slices_from_the_feet_are_seen_head_up(plane: str) -> None:
    voxels = np.zeros((4, 6))
    voxels[3, 0] = 1  # highest slice; patient's right, or front
    seen = nodule_plane(voxels, 0.5, plane)
    assert seen.values[0, 0] == 1
    assert seen.extent_mm == (-1.5, 1.5, -1, 1)
    assert seen.sides == {"coronal": "RLSI", "sagittal": "APSI"}[plane]
    np.testing.assert_array_equal(nodule_plane(voxels, 0.5, "axial").values, voxels)


def test_the_scale_bar_is_as_long_as_it_says(tmp_path: Path) -> None:
    texts: list[str] = []
    plane = axial_plane(scan())
    drawn = Drawn(tmp_path / "a.png", plane, lambda axes: texts.extend(text.get_text() for text in axes.texts))
    assert "20 mm" in texts
    row, _ = drawn.pixel(0, plane.extent_mm[2] + 4)
    # Further to the left stands the P.
    white = np.flatnonzero((drawn.colours[row, PIXELS * 6 // 10 :] > 0.95).all(axis=1))
    assert len(white) / PIXELS * 100 == pytest.approx(20, abs=0.7)
    assert white.max() - white.min() + 1 == len(white)


def test_a_box_is_drawn_where_it_is(tmp_path: Path) -> None:
    low, high = np.array([20.0, -50.0]), np.array([44.0, -10.0])

    def draw(axes: Any) -> None:
        draw_box(axes, low, high, color="#D55E00", linewidth=2.0, linestyle="-")

    drawn = Drawn(tmp_path / "a.png", axial_plane(scan()), draw)
    middle = (low + high) / 2
    for x, y in ((low[0], middle[1]), (high[0], middle[1]), (middle[0], low[1]), (middle[0], high[1])):
        assert drawn.near(x, y, "#D55E00")
    for x, y in ((low[0] - 4, middle[1]), (low[0] + 4, middle[1]), (middle[0], high[1] + 4), tuple(middle)):
        assert not drawn.near(x, y, "#D55E00")


def test_a_line_is_drawn_where_it_is(tmp_path: Path) -> None:
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([30 + 12 * np.cos(angle), -30 + 12 * np.sin(angle)], axis=1)

    def draw(axes: Any) -> None:
        draw_lines(axes, (circle,), color="#56B4E9", linewidth=1.5)

    drawn = Drawn(tmp_path / "a.png", axial_plane(scan()), draw)
    assert all(drawn.near(x, y, "#56B4E9") for x, y in circle[::7])
    assert not drawn.near(30, -30, "#56B4E9")


def test_a_map_colours_its_place_and_leaves_the_rest(tmp_path: Path) -> None:
    # Coarser than the slice, and only a part of it.
    heat = AxialImage(np.zeros((5, 4)), (5.0, -60.0), (8.0, 10.0), 0.0, 1.0)
    heat.values[4, 3] = 1.0  # x 33 to 41, y -35 to -25
    bare = Drawn(tmp_path / "a.png", axial_plane(scan()))
    drawn = Drawn(tmp_path / "b.png", axial_plane(scan()), lambda axes: draw_heat(axes, axial_plane(heat)))
    assert np.ptp(drawn.at(38, -29)) > 0.2
    changed = np.abs(drawn.colours - bare.colours).max(axis=-1) > 0.02
    rows, columns = np.nonzero(changed)
    top, left = drawn.pixel(41, -25)
    bottom, right = drawn.pixel(33, -35)
    # The half line runs between the centres of cells.
    assert rows.min() >= top - 3 and columns.min() >= left - 3
    assert rows.max() <= bottom + 40 and columns.max() <= right + 30
    line = np.flatnonzero((drawn.colours[drawn.pixel(0, -38)[0]] > 0.9).all(axis=1))
    assert len(line) == 0 or (line >= left).all()


def test_windows_are_stated_as_they_are_drawn() -> None:
    assert window_range("lung") == (-1350, 150)
    assert window_text("lung") == "lung window, centre -600 HU, width 1500 HU"
    assert window_range((50, 350)) == (-125, 225)
    assert window_text((50, 350)) == "window centre 50 HU, width 350 HU"
    with pytest.raises(UsageError, match="found 'liver'"):
        window_range("liver")
    with pytest.raises(UsageError, match="width above 0"):
        window_text((50, 0))
