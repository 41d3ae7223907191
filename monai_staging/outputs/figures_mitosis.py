"""Slides with what was found beside what was to be found, and precision over recall."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.lines import Line2D

from monai_staging.metrics.intervals import Estimate, FloatArray
from monai_staging.outputs.figures import GREY, colour, figure_file, headline

FOUND, MISSED, FALSE = "found", "missed", "false"
_MARKS: dict[str, dict[str, Any]] = {
    FOUND: {"marker": "o", "edgecolor": "#00C853", "linestyle": "-"},
    MISSED: {"marker": "s", "edgecolor": "#FFD600", "linestyle": "-"},
    FALSE: {"marker": "D", "edgecolor": "#00B0FF", "linestyle": "--"},
}


def slide_figure(
    path: str | os.PathLike[str],
    picture: npt.NDArray[np.uint8],
    probability: FloatArray,
    truth_map: FloatArray,
    marks: dict[str, FloatArray],
    *,
    width_um: float,
    threshold: float,
    title: str,
    subtitle: str = "",
    phantom: bool = False,
) -> Path:
    """A slide with what was found, missed and false, the map of the readers' or true points and the network's.

    Args:
        path: the PNG to write.
        picture: (H, W, 3) RGB of the whole slide or region.
        probability: (h, w) of the network, 0..1, of the same extent.
        truth_map: likewise of the points that were to be found.
        marks: ``found``, ``missed`` and ``false`` to (N, 2) places in um.
        width_um: of the picture.
        threshold: of the points' scores.
        title: over all.
        subtitle: beneath it.
        phantom: whether the slide is one, with true points rather than readers'.
    """
    height_um = width_um * picture.shape[0] / picture.shape[1]
    extent = (0.0, width_um, height_um, 0.0)
    with figure_file(path, 13.2, 1.6 + 3.9 * height_um / width_um) as figure:
        axes = figure.subplots(1, 3)
        axes[0].imshow(picture, extent=extent, interpolation="antialiased")
        for panel, values, name in (
            (axes[1], truth_map, "true points, exp(-a d)" if phantom else "readers' points, exp(-a d)"),
            (axes[2], probability, "network"),
        ):
            image = panel.imshow(values, extent=extent, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
            panel.set_title(name, fontsize=10, fontweight="normal")
        figure.colorbar(image, ax=axes[1:], shrink=0.8, aspect=30, pad=0.01).set_label("probability")
        handles = []
        for name, own in _MARKS.items():
            points = marks.get(name, np.zeros((0, 2)))
            for panel in (axes[0], axes[2]):
                if len(points):
                    panel.scatter(points[:, 0], points[:, 1], s=110, facecolor="none", linewidth=1.6, **own)
            handles.append(
                Line2D(
                    *([], []),
                    marker=own["marker"],
                    markerfacecolor="none",
                    markeredgecolor=own["edgecolor"],
                    linestyle="none",
                    markersize=9,
                    markeredgewidth=1.6,
                    label=f"{name}: {len(points)}",
                )
            )
        axes[0].set_title("slide", fontsize=10, fontweight="normal")
        bar = _round_length(width_um / 5)
        for panel in axes:
            panel.set(xlim=(0, width_um), ylim=(height_um, 0), xticks=[], yticks=[])
        y, x = height_um * 0.96, width_um * 0.04
        axes[0].plot([x, x + bar], [y, y], color="black", linewidth=3, solid_capstyle="butt")
        axes[0].annotate(f"{bar:g} um", (x, y), (0, 4), textcoords="offset points", fontsize=9)
        figure.legend(handles=handles, loc="outside lower left", ncols=3, title=f"points from {threshold:.2f} on")
        figure.suptitle(f"{title}\n{subtitle}" if subtitle else title, fontsize=11, x=0.01, ha="left")
    return Path(path)


def precision_recall_figure(
    path: str | os.PathLike[str],
    recall: FloatArray,
    precision: FloatArray,
    at: tuple[Estimate, Estimate],
    average_precision: Estimate,
    *,
    threshold: float,
    subtitle: str = "",
) -> Path:
    """Precision over recall of points, and where the threshold is.

    Args:
        path: the PNG to write.
        recall: (N) at each score, ascending.
        precision: (N) likewise.
        at: recall and precision at the threshold.
        average_precision: for the legend.
        threshold: chosen elsewhere.
        subtitle: what the data is.
    """
    with figure_file(path, 5.8, 5.2) as figure:
        axes = figure.add_subplot()
        axes.step(recall, precision, where="pre", color=colour(0), label=f"AP {average_precision.text(3)}")
        across, up = at
        errors = [[[estimate.value - estimate.low], [estimate.high - estimate.value]] for estimate in (across, up)]
        if np.isfinite(np.array(errors)).all():
            axes.errorbar(
                *(across.value, up.value),
                xerr=np.maximum(errors[0], 0),
                yerr=np.maximum(errors[1], 0),
                color=colour(1),
                marker="o",
                capsize=3,
                label=f"from {threshold:.2f} on, 95 % intervals",
            )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes.grid(color="#E6E6E6", linewidth=0.8)
        axes.legend(loc="lower left")
        for value in (0.2, 0.4, 0.6, 0.8):
            # Lines of equal F1.
            x = np.linspace(value / 2 + 1e-3, 1, 100)
            axes.plot(x, value * x / (2 * x - value), color=GREY, linewidth=0.6, linestyle=":", zorder=0)
            axes.annotate(f"F1 {value:g}", (1, value / (2 - value)), fontsize=7, color=GREY, ha="right", va="bottom")
        headline(axes, "Mitoses: precision and recall", subtitle)
    return Path(path)


def _round_length(length: float) -> float:
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length))
