"""Confusion matrices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monai_staging.metrics.classification import confusion
from monai_staging.metrics.intervals import IntArray
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
    used = f"{int(known.sum())} with known reference"
    left_out = int((~known).sum())
    if left_out:
        used += f", {left_out} unknown left out"
    return matrix_figure(
        path,
        level.truth[known],
        level.predicted[known],
        level.classes,
        title=f"{LEVEL_TITLES[level.name]}: confusion matrix",
        subtitle="\n".join(filter(None, [subtitle, used])),
    )


def matrix_figure(
    path: str | os.PathLike[str],
    truth: IntArray,
    predicted: IntArray,
    classes: Sequence[str],
    *,
    title: str,
    subtitle: str = "",
) -> Path:
    """Confusion matrix of any classes: counts as numbers, the share of each reference class as shade.

    Args:
        path: the PNG to write.
        truth: (rows) class indices.
        predicted: (rows) class indices.
        classes: their names.
        title: over the matrix.
        subtitle: beneath it.
    """
    counts = confusion(truth, predicted, len(classes))[0].astype(int)
    totals = counts.sum(axis=1)
    share = np.divide(counts, totals[:, None], out=np.zeros(counts.shape), where=totals[:, None] > 0)
    few = len(classes) <= 6
    side = max(2.6, (0.75 if few else 0.52) * len(classes))
    with figure_file(path, side + 2.4, side + 1.6) as figure:
        axes = figure.add_subplot()
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*counts.shape):
            count = counts[row, column]
            ink = "white" if share[row, column] > 0.55 else "#222222" if count else "#BBBBBB"
            weight = "bold" if row == column else "normal"
            axes.text(
                *(column, row, str(count)),
                ha="center",
                va="center",
                color=ink,
                fontsize=12 if few else 9,
                fontweight=weight,
            )
        long = len(classes) > 8 and max(map(len, classes)) > 1
        axes.set_xticks(range(len(classes)), classes, rotation=45 if long else 0)
        axes.set_yticks(
            range(len(classes)), [f"{name}  (n={total})" for name, total in zip(classes, totals, strict=True)]
        )
        axes.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="both", length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("reference")
        headline(axes, title, subtitle)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=25, pad=0.03)
        bar.set_label("share of the reference class")
        bar.outline.set_edgecolor(GREY)
    return Path(path)
