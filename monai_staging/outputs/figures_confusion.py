"""Confusion matrices."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from monai_staging.metrics.classification import confusion
from monai_staging.metrics.levels import LEVEL_TITLES, Level
from monai_staging.outputs.figures import GREY, figure_file, headline


def confusion_figure(path: str | os.PathLike[str], level: Level, *, subtitle: str = "") -> Path:
    """Confusion matrix of one level: counts as numbers, the share of each reference class as shade.

    Rows whose truth is unknown are left out; how many were used is written beneath the title.

    Args:
        path: the PNG to write.
        level: predictions and truth.
        subtitle: what the data is, for example "40 test phantoms".
    """
    level = level.occurring()
    known = level.known
    counts = confusion(level.truth[known], level.predicted[known], len(level.classes))[0].astype(int)
    totals = counts.sum(axis=1)
    share = np.divide(counts, totals[:, None], out=np.zeros(counts.shape), where=totals[:, None] > 0)
    classes = len(level.classes)
    cell_in = 0.75 if classes <= 6 else 0.52
    side = max(2.6, cell_in * classes)
    with figure_file(path, side + 2.4, side + 1.6) as figure:
        axes = figure.add_subplot()
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        size = 12 if classes <= 6 else 9
        for row, column in np.ndindex(classes, classes):
            count = counts[row, column]
            ink = "white" if share[row, column] > 0.55 else "#222222" if count else "#BBBBBB"
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize=size, fontweight=weight)
        axes.set_xticks(range(classes), level.classes, rotation=45 if classes > 8 else 0)
        axes.set_yticks(
            range(classes), [f"{name}  (n={total})" for name, total in zip(level.classes, totals, strict=True)]
        )
        axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="both", length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("reference")
        used = f"{int(known.sum())} with known reference"
        left_out = int((~known).sum())
        if left_out:
            used += f", {left_out} unknown left out"
        headline(axes, f"{LEVEL_TITLES[level.name]}: confusion matrix", "\n".join(filter(None, [subtitle, used])))
        bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=25, pad=0.03)
        bar.set_label("share of the reference class")
        bar.outline.set_edgecolor(GREY)
    return Path(path)
