"""Figures of a pretraining: what was restored, who was taken for whom, and how it went."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from monai_staging.outputs.figures import GREY, colour, figure_file, headline


def patches_figure(
    path: str | os.PathLike[str],
    rows: Mapping[str, NDArray[np.float32]],
    *,
    title: str = "Restoration of damaged images",
    ras: bool = False,
    subtitle: str = "",
) -> Path:
    """The same images in several states, a row each: original, corrupted, restored.

    Args:
        path: the PNG to write.
        rows: name to images ``(N, C, *spatial)`` in [0, 1]; the first channel is drawn, of volumes the middle slice.
        title: over all.
        ras: the axes are the patient's x and y; else rows and columns.
        subtitle: what the data is.
    """
    columns = len(next(iter(rows.values())))
    with figure_file(path, 0.6 + 1.25 * columns, 0.75 + 1.25 * len(rows)) as figure:
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for line, (name, images) in zip(grid, rows.items(), strict=True):
            for axes, image in zip(line, images, strict=True):
                shown = image[0] if image.ndim == 3 else image[0, :, :, image.shape[-1] // 2]
                # As radiologists look at it: the patient's right on the left, the front at the top.
                axes.imshow(shown[::-1, ::-1].T if ras else shown, cmap="gray", vmin=0, vmax=1)
                axes.set_xticks([])
                axes.set_yticks([])
                for spine in axes.spines.values():
                    spine.set_visible(False)
            line[0].set_ylabel(name)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.supxlabel(subtitle, x=0.01, ha="left", fontsize=9, color=GREY)
    return Path(path)


def curves_figure(
    path: str | os.PathLike[str], epochs: Sequence[Mapping[str, float]], *, metric: str, subtitle: str = ""
) -> Path:
    """Training loss and validation metric by epoch, one beneath the other.

    Args:
        path: the PNG to write.
        epochs: one mapping an epoch: ``epoch``, ``loss``, and ``val_<metric>`` where it was validated.
        metric: what the best epoch is chosen by.
        subtitle: what the data is.
    """
    with figure_file(path, 5.6, 4.8) as figure:
        panels = figure.subplots(2, 1, sharex=True)
        names = (("loss", "training loss"), (f"val_{metric}", f"validation {metric.replace('_', ' ')}"))
        for number, (axes, (key, label)) in enumerate(zip(panels, names, strict=True)):
            points = [(row["epoch"], row[key]) for row in epochs if key in row]
            axes.plot(*zip(*points, strict=True), color=colour(number), marker="o", markersize=4)
            axes.set_ylabel(label)
            axes.grid(color="#E6E6E6", linewidth=0.8)
        panels[1].set_xlabel("epoch")
        panels[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        headline(panels[0], "Training", subtitle)
    return Path(path)
