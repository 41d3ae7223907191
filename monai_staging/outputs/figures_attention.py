"""Where the network looked: attention over slices, with the slices it looked at most."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.outputs.figures import GREY, colour, figure_file, line_style

WINDOWS_HU = {"lung": (-600.0, 1500.0), "mediastinum": (40.0, 400.0)}
"""Window to (centre, width) in HU."""
LEGEND_IN = 0.22
"""Height of a line of the legend, in inches."""
MARK_WIDTH = 0.06
"""Of a column of marks, as a share of the curves' axes."""


def window_views(volume_hu: NDArray[Any]) -> dict[str, FloatArray]:
    """A volume in lung and mediastinum windows.

    Args:
        volume_hu: (X, Y, Z) Hounsfield units.

    Returns:
        window to (X, Y, Z) grey values in 0..1.
    """
    values = np.asarray(volume_hu, dtype=np.float64)
    return {
        name: np.clip((values - (centre - width / 2)) / width, 0, 1) for name, (centre, width) in WINDOWS_HU.items()
    }


def radiological(axial: NDArray[Any]) -> NDArray[Any]:
    """An axial slice as radiologists see it: the patient's right on the image's left, anterior on top.

    Args:
        axial: (X, Y) on an RAS grid: X grows towards the patient's right, Y towards anterior.

    Returns:
        (Y, X) image, row 0 most anterior, column 0 most to the patient's right.
    """
    return axial.T[::-1, ::-1]


def top_slices(weights: FloatArray, z_mm: FloatArray, count: int, separation_mm: float = 15.0) -> list[int]:
    """The most attended slices, apart from each other, so that a broad peak is shown once.

    Takes the largest weight, then the largest at least ``separation_mm`` from all taken; when none is left that far
    away, the distance no longer counts.

    Args:
        weights: (slices).
        z_mm: (slices) positions.
        count: how many, at most.
        separation_mm: between the slices taken.

    Returns:
        indices, the most attended first.
    """
    order = [int(index) for index in np.argsort(-weights, kind="stable")]
    taken: list[int] = []
    for index in order:
        if len(taken) < count and all(abs(z_mm[index] - z_mm[other]) >= separation_mm for other in taken):
            taken.append(index)
    rest = [index for index in order if index not in taken]
    return taken + rest[: max(0, count - len(taken))]


def attention_figure(
    path: str | os.PathLike[str],
    views: Mapping[str, NDArray[Any]],
    weights: Mapping[str, NDArray[Any]],
    z_mm: Sequence[float] | NDArray[Any],
    *,
    spacing_mm: tuple[float, float] = (1.0, 1.0),
    case_name: str = "",
    captions: Mapping[str, str] | None = None,
    marks: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    count: int = 3,
    separation_mm: float = 15.0,
    subtitle: str = "",
) -> Path:
    """Attention over the slices of one study, beside the slices each letter looked at most.

    Slices are shown in radiological convention (patient's right on the image's left, anterior on top; marked R and L).

    Args:
        path: the PNG to write.
        views: window to (X, Y, Z) grey values in 0..1 on an RAS grid (X grows to the patient's right, Y to anterior, Z
            to superior); see :func:`window_views`.
        weights: letter to (Z) attention weights.
        z_mm: (Z) slice positions in mm, the patient's: what a viewer calls slice location.
        spacing_mm: in-plane, along X and Y.
        case_name: name without identity.
        captions: letter to a line about it (probabilities, reference); ``group`` for the line beneath the title.
        marks: lesion kind to ranges of z in mm, drawn beside the curves, each kind in a column of its own.
        count: slices shown a letter, at most.
        separation_mm: see :func:`top_slices`.
        subtitle: what the data is.

    Raises:
        UsageError: shapes do not agree, or there is no view or no letter.
    """
    arrays = {name: np.asarray(view, dtype=np.float64) for name, view in views.items()}
    heights = np.asarray(z_mm, dtype=np.float64)
    curves = {letter: np.asarray(values, dtype=np.float64) for letter, values in weights.items()}
    _check(arrays, curves, heights)
    captions = captions or {}
    size_x, size_y, slices = next(iter(arrays.values())).shape
    count = min(count, slices)
    image_in = 1.75
    image_height_in = image_in * (size_y * spacing_mm[1]) / (size_x * spacing_mm[0])
    row_in = image_height_in + 0.62
    curve_in = 2.9
    lines = [text for text in (captions.get("group", ""), subtitle) if text]
    top_in = 0.55 + 0.22 * len(lines)
    gap_in = 0.14
    legend_in = LEGEND_IN * (1 + math.ceil(len(marks or {}) / 2)) + 0.06
    columns = count * len(arrays)
    width_in = curve_in + columns * image_in + (count - 1) * gap_in + 0.25
    height_in = top_in + row_in * len(curves) + 0.25
    with figure_file(path, width_in, height_in, constrained=False) as figure:
        title = "Attention over slices" + (f": {case_name}" if case_name else "")
        figure.text(0.15 / width_in, 1 - 0.14 / height_in, title, va="top", fontsize=13, fontweight="bold")
        for position, text in enumerate(lines):
            y = 1 - (0.44 + 0.22 * position) / height_in
            figure.text(0.15 / width_in, y, text, va="top", fontsize=10, color=GREY)
        chosen = {letter: top_slices(values, heights, count, separation_mm) for letter, values in curves.items()}
        curve_height_in = height_in - top_in - legend_in - 0.55
        curve_axes = figure.add_axes(
            (0.75 / width_in, 0.55 / height_in, (curve_in - 1.1) / width_in, curve_height_in / height_in)
        )
        _draw_curves(curve_axes, curves, chosen, heights, marks or {}, LEGEND_IN / curve_height_in)
        for row, (letter, picks) in enumerate(chosen.items()):
            top = height_in - top_in - row * row_in
            figure.text(
                curve_in / width_in,
                (top - 0.05) / height_in,
                f"{letter.upper()}   {captions.get(letter, '')}".rstrip(),
                va="top",
                fontsize=10.5,
                fontweight="bold",
                color=colour(list(curves).index(letter)),
            )
            for place, index in enumerate(picks):
                left = curve_in + place * (len(arrays) * image_in + gap_in)
                for column, (window, view) in enumerate(arrays.items()):
                    axes = figure.add_axes(
                        (
                            (left + column * image_in) / width_in,
                            (top - 0.52 - image_height_in) / height_in,
                            (image_in - 0.03) / width_in,
                            image_height_in / height_in,
                        )
                    )
                    _draw_slice(axes, view[:, :, index], spacing_mm, window if row == 0 and place == 0 else "")
                figure.text(
                    left / width_in,
                    (top - 0.48) / height_in,
                    f"z = {heights[index]:.0f} mm, weight {curves[letter][index]:.2f}",
                    va="bottom",
                    fontsize=9,
                    color="#222222",
                )
    return Path(path)


def _draw_curves(
    axes: Axes,
    curves: Mapping[str, FloatArray],
    chosen: Mapping[str, Sequence[int]],
    z_mm: FloatArray,
    marks: Mapping[str, Sequence[tuple[float, float]]],
    legend_line: float,
) -> None:
    """Weight over z, the head on top, a dot at each slice that is shown; a legend line is a share of the height."""
    order = np.argsort(z_mm)
    for index, (letter, values) in enumerate(curves.items()):
        axes.plot(
            values[order],
            z_mm[order],
            color=colour(index),
            linestyle=line_style(index),
            label=letter.upper(),
            linewidth=1.5,
        )
        picks = list(chosen[letter])
        axes.plot(values[picks], z_mm[picks], "o", color=colour(index), markersize=4.5, zorder=3, clip_on=False)
    for index, (kind, ranges) in enumerate(marks.items()):
        for position, (low, high) in enumerate(ranges):
            axes.axhspan(
                min(low, high),
                max(low, high),
                xmin=1 - MARK_WIDTH * (len(marks) - index),
                xmax=1 - MARK_WIDTH * (len(marks) - index - 0.8),
                color=colour(len(curves) + index),
                linewidth=0.5,
                label=kind if position == 0 else None,
            )
    # Room on the right for the marks, a column for each kind.
    room = 1.04 / (1 - MARK_WIDTH * len(marks))
    axes.set_xlim(0, room * max(float(values.max()) for values in curves.values()))
    axes.set_ylim(float(z_mm.min()), float(z_mm.max()))
    axes.set_xlabel("attention weight")
    axes.set_ylabel("patient z, mm (head on top)")
    axes.locator_params(axis="x", nbins=4)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    look: dict[str, Any] = {
        "borderaxespad": 0,
        "borderpad": 0.2,
        "columnspacing": 0.9,
        "handlelength": 1.8,
        "loc": "lower left",
    }
    letters = [letter.upper() for letter in curves]
    kinds = list(marks)
    # Two kinds a line, as more would run into the slices.
    for line, names in enumerate([letters, *(kinds[start : start + 2] for start in range(0, len(kinds), 2))]):
        place = (0, 1.0 + line * legend_line)
        axes.add_artist(axes.legend([handles[name] for name in names], names, ncols=3, bbox_to_anchor=place, **look))


def _draw_slice(axes: Axes, axial: FloatArray, spacing_mm: tuple[float, float], window: str) -> None:
    axes.imshow(
        radiological(axial), cmap="gray", vmin=0, vmax=1, aspect=spacing_mm[1] / spacing_mm[0], interpolation="nearest"
    )
    axes.set_axis_off()
    # Black around white stays readable on lung, bone and air alike.
    outline: dict[str, Any] = {
        "color": "white",
        "fontsize": 8.5,
        "transform": axes.transAxes,
        "path_effects": [withStroke(linewidth=2, foreground="black")],
    }
    axes.text(0.03, 0.5, "R", ha="left", va="center", fontweight="bold", **outline)
    axes.text(0.97, 0.5, "L", ha="right", va="center", fontweight="bold", **outline)
    if window:
        axes.text(0.5, 0.02, window, ha="center", va="bottom", **outline)


def _check(views: Mapping[str, FloatArray], curves: Mapping[str, FloatArray], z_mm: FloatArray) -> None:
    if not views or not curves:
        raise UsageError(f"An attention figure needs views and weights, got {len(views)} and {len(curves)}.")
    shapes = {view.shape for view in views.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise UsageError(f"Views are (X, Y, Z) arrays of one shape, got {sorted(map(str, shapes))}.")
    slices = next(iter(shapes))[2]
    for name, values in {**curves, "z_mm": z_mm}.items():
        if values.shape != (slices,):
            raise UsageError(f"{name} is one value a slice, ({slices},), got shape {values.shape}.")
