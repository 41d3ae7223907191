"""A plane of a scan as radiologists read it: sides marked, window stated, a scale in mm, lines and maps over it.

Coordinates are millimetres: of an axial slice the patient's (RAS, so that x runs from right to left), of a nodule's
view those from its middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from monai_staging.errors import UsageError
from monai_staging.explain.axial import AxialImage, Points
from monai_staging.outputs.figures_attention import radiological
from monai_staging.transforms.windows import WINDOWS

SCALES_MM = (1, 2, 5, 10, 20, 50, 100)
"""Lengths of a scale bar."""
SIDES = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
"""What is on the left, on the right, at the top and at the bottom."""
HEAT_COLOURS = "inferno"
HEAT_ALPHA = 0.7
"""Of the largest value; smaller ones are as much clearer."""
HALF = 0.5
"""Where the line around a map runs, so that colour is not all there is."""

Window = str | tuple[float, float]
"""A name of `monai_staging.transforms.windows.WINDOWS`, or centre and width in HU."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A picture that knows where it is.

    Attributes:
        values: (rows, columns) as they are seen.
        extent_mm: coordinates of its left, right, lower and upper edge.
        sides: of `SIDES`; empty where nobody knows.
    """

    values: NDArray[Any]
    extent_mm: tuple[float, float, float, float]
    sides: str = ""

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height."""
        left, right, bottom, top = self.extent_mm
        return abs(right - left), abs(top - bottom)


def axial_plane(image: AxialImage) -> Plane:
    """An axial slice: the patient's right on the left, anterior at the top, seen from the feet."""
    least_x, largest_x, least_y, largest_y = image.extent_mm
    return Plane(radiological(image.values), (largest_x, least_x, least_y, largest_y), SIDES["axial"])


def nodule_plane(values: NDArray[Any], pixel_mm: float, plane: str = "") -> Plane:
    """A plane out of a nodule's voxels (slices from the feet, rows to the back, columns to the left).

    Args:
        values: (rows, columns), of a coronal or sagittal plane the slices as rows.
        pixel_mm: along both.
        plane: of `SIDES`; empty where the source does not say how its voxels lie.
    """
    height, width = (length * pixel_mm for length in values.shape)
    seen = values[::-1] if plane in ("coronal", "sagittal") else values
    return Plane(seen, (-width / 2, width / 2, -height / 2, height / 2), SIDES.get(plane, ""))


def window_range(window: Window) -> tuple[float, float]:
    """What is black and what is white, in HU; raises `UsageError` for a window that is not known."""
    centre, width = _centre_width(window)
    return centre - width / 2, centre + width / 2


def window_text(window: Window) -> str:
    """The window in words: ``lung window, centre -600 HU, width 1500 HU``."""
    name = f"{window} window, " if isinstance(window, str) else "window "
    return f"{name}centre {_centre_width(window)[0]:g} HU, width {_centre_width(window)[1]:g} HU"


def draw_plane(axes: Axes, plane: Plane, black: float, white: float) -> None:
    """Draws a plane with its sides and a scale bar; the axes get its coordinates."""
    axes.imshow(
        plane.values, cmap="gray", vmin=black, vmax=white, extent=plane.extent_mm, interpolation="nearest", zorder=0
    )
    axes.set(xlim=plane.extent_mm[:2], ylim=plane.extent_mm[2:], aspect="equal")
    axes.set_axis_off()
    places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"), (0.5, 0.98, "center", "top"))
    for mark, (x, y, ha, va) in zip(plane.sides, (*places, (0.5, 0.02, "center", "bottom")), strict=False):
        _text(axes, mark, (x, y), ha=ha, va=va, fontweight="bold")
    _draw_scale(axes, plane)


def draw_heat(axes: Axes, heat: Plane, halved: bool = True) -> None:
    """Draws a map of 0 to 1 over what is there, with a line around what is above half; 0 leaves what is below it."""
    share = np.clip(heat.values.astype(np.float64), 0, 1)
    axes.imshow(
        share,
        cmap=HEAT_COLOURS,
        vmin=0,
        vmax=1,
        alpha=HEAT_ALPHA * share,
        extent=heat.extent_mm,
        interpolation="nearest",
        zorder=1,
    )
    if halved and share.min() < HALF < share.max():
        left, right, bottom, top = heat.extent_mm
        rows, columns = share.shape
        x = left + (np.arange(columns) + 0.5) * (right - left) / columns
        y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
        axes.contour(x, y, share, [HALF], colors=["white"], linewidths=1.0, linestyles="--", zorder=2)


def draw_box(axes: Axes, low_mm: Points, high_mm: Points, **look: Any) -> None:
    """Draws a box's cut, by its least and largest x and y, with a dark rim that stays visible on bone."""
    width, height = (high_mm - low_mm).tolist()
    axes.add_patch(Rectangle((float(low_mm[0]), float(low_mm[1])), width, height, fill=False, **_rimmed(look)))


def draw_lines(axes: Axes, lines: Sequence[Points], **look: Any) -> None:
    """Draws lines, with the same rim."""
    for line in lines:
        axes.plot(line[:, 0], line[:, 1], **_rimmed(look))


def write_on(axes: Axes, text: str) -> None:
    """Writes a remark over a picture."""
    _text(axes, text, (0.5, 0.75), ha="center", va="center", fontsize=9)


def _draw_scale(axes: Axes, plane: Plane) -> None:
    length = max((scale for scale in SCALES_MM if scale <= plane.size_mm[0] / 3), default=SCALES_MM[0])
    left, right, bottom, top = plane.extent_mm
    start, y = right + 0.04 * (left - right), bottom + 0.04 * (top - bottom)
    end = start + np.sign(left - right) * length
    axes.plot([start, end], [y, y], color="white", solid_capstyle="butt", **_rimmed({"linewidth": 2.5}))
    middle = ((start + end) / 2 - left) / (right - left)
    _text(axes, f"{length} mm", (middle, 0.055), ha="center", va="bottom")


def _text(axes: Axes, text: str, place: tuple[float, float], **look: Any) -> None:
    rim = [withStroke(linewidth=2, foreground="black")]
    look = {"fontsize": 8.5, "zorder": 4, **look}
    axes.text(*place, text, transform=axes.transAxes, color="white", path_effects=rim, **look)


def _rimmed(look: dict[str, Any]) -> dict[str, Any]:
    return {"zorder": 3, **look, "path_effects": [withStroke(linewidth=look["linewidth"] + 1.6, foreground="black")]}


def _centre_width(window: Window) -> tuple[float, float]:
    if isinstance(window, str):
        if window not in WINDOWS:
            raise UsageError(f"Window: one of {', '.join(WINDOWS)} or (centre, width) is needed, found {window!r}")
        return WINDOWS[window]
    centre, width = window
    if not width > 0:
        raise UsageError(f"Window: (centre, width) in HU with a width above 0 is needed, found {window!r}")
    return float(centre), float(width)
