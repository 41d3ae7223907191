"""Maps over the planes they belong to: class activation of studies and nodules, attention gates."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from monai_staging.errors import UsageError
from monai_staging.explain.axial import Points
from monai_staging.outputs.figures import GREY, colour, figure_file
from monai_staging.outputs.figures_plane import (
    HALF,
    HEAT_ALPHA,
    HEAT_COLOURS,
    Plane,
    draw_heat,
    draw_lines,
    draw_plane,
)

PANEL_IN = 2.1
OUTLINES: Mapping[str, Mapping[str, Any]] = {
    "network": {"color": colour(1), "linewidth": 1.2, "linestyle": "--"},
    "readers": {"color": colour(2), "linewidth": 1.2, "linestyle": "-"},
}
"""Looks of outlines, as in other figures; another name has the next free one."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of the figure.

    Attributes:
        plane: grey values.
        title: over it.
        heat: 0 to 1, in the plane's coordinates, of whatever pixels.
        lines: by whose they are, one of `OUTLINES`.
        halved: whether a line runs around what is above half in the map.
        grey: values that are black and white; see `monai_staging.outputs.figures_plane.window_range`.
    """

    plane: Plane
    title: str = ""
    heat: Plane | None = None
    lines: Mapping[str, Sequence[Points]] = field(default_factory=dict)
    halved: bool = True
    grey: tuple[float, float] = (0.0, 1.0)


def maps_figure(
    path: str | os.PathLike[str],
    rows: Mapping[str, Sequence[Panel]],
    *,
    scale: str = "",
    title: str = "",
    subtitle: str = "",
) -> Path:
    """Rows of pictures, some with maps over them, and the scale of the maps.

    Args:
        path: the PNG to write.
        rows: what each row shows, to its pictures.
        scale: what 1 on the maps is.
        title: over everything.
        subtitle: what the data is, and further lines.

    Raises:
        UsageError: there is no picture.
    """
    if not any(rows.values()):
        raise UsageError(f"A figure of maps needs a picture, got {len(rows)} rows without one.")
    columns = max(len(panels) for panels in rows.values())
    # One height for all, that of the tallest picture.
    tall = max(one.plane.size_mm[1] / one.plane.size_mm[0] for panels in rows.values() for one in panels)
    lines = [text for text in subtitle.splitlines() if text]
    head_in, row_in, foot_in, gap_in = 0.5 + 0.2 * len(lines), PANEL_IN * tall + 0.5, 0.55, 0.08
    width_in = max(columns * (PANEL_IN + gap_in) + gap_in, 5.2)
    height_in = head_in + row_in * len(rows) + foot_in
    with figure_file(path, width_in, height_in, constrained=False) as figure:
        figure.text(gap_in / width_in, 1 - 0.1 / height_in, title, va="top", fontsize=13, fontweight="bold")
        for place, text in enumerate(lines):
            y = 1 - (0.4 + 0.2 * place) / height_in
            figure.text(gap_in / width_in, y, text, va="top", fontsize=9.5, color=GREY)
        for row, (name, panels) in enumerate(rows.items()):
            top = height_in - head_in - row * row_in
            figure.text(gap_in / width_in, (top - 0.02) / height_in, name, va="top", fontsize=10.5, fontweight="bold")
            for column, panel in enumerate(panels):
                left = gap_in + column * (PANEL_IN + gap_in)
                size = (PANEL_IN / width_in, PANEL_IN * tall / height_in)
                axes = figure.add_axes((left / width_in, (top - row_in + 0.06) / height_in, *size))
                _draw(axes, panel)
        shown = [one for panels in rows.values() for one in panels]
        names = list(dict.fromkeys(name for one in shown for name in one.lines))
        heats = [one for one in shown if one.heat is not None]
        if heats:
            bar = figure.add_axes((0.16 / width_in, 0.34 / height_in, 1.6 / width_in, 0.13 / height_in))
            _draw_scale(bar, scale, any(one.halved for one in heats))
        if names:
            handles = [Line2D([], [], label=name, **OUTLINES[name]) for name in names]
            figure.legend(handles=handles, loc="lower right", ncols=len(names), handlelength=3)
    return Path(path)


def _draw(axes: Axes, panel: Panel) -> None:
    draw_plane(axes, panel.plane, *panel.grey)
    if panel.heat is not None:
        draw_heat(axes, panel.heat, panel.halved)
    for name, lines in panel.lines.items():
        draw_lines(axes, lines, **OUTLINES[name])
    axes.set_title(panel.title, loc="left", fontsize=8.5, fontweight="normal", pad=2)


def _draw_scale(axes: Axes, text: str, halved: bool) -> None:
    """The colours over grey, as they are over a picture, and the line at half if there is one."""
    share: NDArray[Any] = np.linspace(0, 1, 256)[None]
    extent = (0.0, 1.0, 0.0, 1.0)
    axes.imshow(np.full_like(share, 0.5), cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto")
    axes.imshow(share, cmap=HEAT_COLOURS, vmin=0, vmax=1, alpha=HEAT_ALPHA * share, extent=extent, aspect="auto")
    if halved:
        axes.axvline(HALF, color="white", linestyle="--", linewidth=1.0)
    axes.set_yticks([])
    axes.set_xticks([0, HALF, 1])
    axes.tick_params(labelsize=8, length=2, pad=1)
    axes.text(1.06, 0.5, text, transform=axes.transAxes, va="center", fontsize=8.5, color=GREY)
