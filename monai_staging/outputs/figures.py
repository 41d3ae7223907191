"""One look for every figure: size, fonts, colours, and how a file is written.

Figures are made through Matplotlib's objects and its Agg canvas, never through pyplot: no window, no global state, safe
in a worker thread. A figure never carries a patient's identity, only what its caller names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monai_staging.files import atomic_path

DPI = 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255", "#999933")
"""Okabe and Ito's palette for colour-blind readers (its yellow left out: too faint on white), and two of Tol's."""
LINES = ("-", "--", "-.", ":")
"""Line styles, so that colour is never the only difference."""
GREY = "#666666"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 12.0,
    "axes.titleweight": "bold",
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.0,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.facecolor": "white",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "lines.linewidth": 1.8,
}


@contextmanager
def figure_file(
    path: str | os.PathLike[str], width_in: float, height_in: float, *, constrained: bool = True
) -> Iterator[Figure]:
    """Gives an empty figure in the house style; writes it to ``path`` as PNG, atomically, when the block ends well.

    Args:
        path: the file, ``.png``.
        width_in: width in inches, at ``DPI`` pixels an inch.
        height_in: height in inches.
        constrained: whether Matplotlib arranges the axes so that nothing overlaps.
    """
    path = Path(path)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in))
        if constrained:
            figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
        FigureCanvasAgg(figure)
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=DPI, format="png")


def headline(axes: Axes, title: str, subtitle: str) -> None:
    """Title over an axes with a smaller, grey line beneath it; nothing where the subtitle is empty."""
    lines = len(subtitle.splitlines())
    axes.set_title(title, loc="left", pad=8 + 13 * lines)
    if subtitle:
        axes.annotate(
            subtitle,
            xy=(0, 1),
            xytext=(0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=9,
            color=GREY,
            annotation_clip=False,
        )


def colour(index: int) -> str:
    """The colour of the series with this number."""
    return COLOURS[index % len(COLOURS)]


def line_style(index: int) -> str:
    """The line style of the series with this number; with :func:`colour` no two of the first 36 series look alike."""
    return LINES[index % len(LINES)]
