"""Figures of a nodule classifier: ROC curves of several methods, reliability, and the nodules it is surest of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_staging.metrics.calibration import reliability_bins
from monai_staging.metrics.intervals import Estimate, IntArray
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.outputs.figures import colour, figure_file, headline, line_style
from monai_staging.outputs.figures_curves import draw_reliability, roc_points

# Nodules a row of the picture.
_SHOWN = 8


def nodule_roc_figure(
    path: str | os.PathLike[str],
    methods: Mapping[str, NodulePredictions],
    areas: Mapping[str, Estimate],
    *,
    subtitle: str = "",
) -> Path:
    """ROC curves of several methods on the same nodules, each with its area and interval.

    Args:
        path: the PNG to write.
        methods: predictions by name; ``binary``.
        areas: their areas.
        subtitle: what the data is.
    """
    with figure_file(path, 5.8, 6.1) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        for place, (name, predictions) in enumerate(methods.items()):
            known = predictions.known
            false, true = roc_points(known.labels[:, 0] == 1, known.probabilities[:, 0])
            label = f"{name}  {areas[name].text(3)}"
            axes.plot(false, true, color=colour(place), linestyle=line_style(place), label=label)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set_xlabel("1 - specificity")
        axes.set_ylabel("sensitivity")
        axes.grid(color="#E6E6E6", linewidth=0.8)
        axes.legend(loc="lower right", title="AUC [95 % interval], patients", alignment="left")
        classes = next(iter(methods.values())).classes
        headline(axes, f"{classes[1].capitalize()} against {classes[0]}", subtitle)
    return Path(path)


def calibration_figure(
    path: str | os.PathLike[str],
    predictions: NodulePredictions,
    metrics: Mapping[str, Estimate],
    *,
    subtitle: str = "",
    what: str = "nodules",
) -> Path:
    """Share of the second class against its probability, over a histogram of the probabilities of nodules or others."""
    known = predictions.known
    positive, chance = known.labels[:, 0] == 1, known.probabilities[:, 0]
    with figure_file(path, 5.2, 6.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
        upper.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=1, linestyle=(0, (2, 2)))
        draw_reliability(upper, reliability_bins(chance, positive))
        upper.set(xlim=(0, 1), ylim=(-0.02, 1.02))
        upper.set_ylabel(f"share {predictions.classes[1]}")
        upper.grid(color="#E6E6E6", linewidth=0.8)
        for index, name in enumerate(predictions.classes):
            lower.hist(
                chance[positive == bool(index)], np.linspace(0, 1, 21), color=colour(index), alpha=0.6, label=name
            )
        lower.set_xlabel(f"probability of {predictions.classes[1]}")
        lower.set_ylabel(what)
        lower.legend(loc="upper center", ncols=2)
        line = (
            f"calibration error {metrics['ece'].text()}, Brier {metrics['brier'].text()}, {metrics['ece'].n} patients"
        )
        headline(upper, "Reliability", f"{subtitle}\n{line}".strip())
    return Path(path)


def surest_rows(known: NodulePredictions) -> dict[tuple[int, int], IntArray]:
    """Rows of nodules by their class and the one they were called, the surest first.

    Args:
        known: ``binary``, all with a label.
    """
    positive, chance = known.labels[:, 0] == 1, known.probabilities[:, 0]
    rows = {}
    for truth in (1, 0):
        for called in (1, 0):
            own = np.flatnonzero((positive == bool(truth)) & ((chance >= 0.5) == bool(called)))
            rows[truth, called] = own[np.argsort(-np.abs(chance[own] - 0.5))]
    return rows


def nodules_figure(
    path: str | os.PathLike[str],
    predictions: NodulePredictions,
    pictures: Callable[[Sequence[str]], list[Any]],
    *,
    subtitle: str = "",
) -> Path:
    """The nodules the classifier is surest of and wrong, and those it is surest of and right, of each class.

    Args:
        path: the PNG to write.
        predictions: ``binary``.
        pictures: (1 or 2, H, W) uint8 of nodules by name: the picture, and what is outlined at its half level.
        subtitle: what the data is.
    """
    known = predictions.known
    chance, classes = known.probabilities[:, 0], predictions.classes
    rows = {
        f"{classes[truth]}, called {classes[called]}": order for (truth, called), order in surest_rows(known).items()
    }
    with figure_file(path, 1.25 * _SHOWN + 0.4, 6.9) as figure:
        grid = figure.subplots(len(rows), _SHOWN, squeeze=False)
        for line, (title, order) in zip(grid, rows.items(), strict=True):
            chosen = order[:_SHOWN]
            for axes in line:
                axes.set_axis_off()
            line[0].set_title(f"{title}: {len(order)}", loc="left", fontsize=10)
            names = [known.names[index] for index in chosen]
            for axes, index, picture in zip(line, chosen, pictures(names), strict=False):
                axes.imshow(picture[0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                if len(picture) > 1 and picture[1].max() > 127:
                    axes.contour(picture[1], [127.5], colors=[colour(1)], linewidths=0.8)
                axes.text(
                    0.5, -0.02, f"{chance[index]:.2f}", transform=axes.transAxes, ha="center", va="top", fontsize=9
                )
        figure.suptitle(
            f"Surest predictions, with the probability of {classes[1]}\n{subtitle}", fontsize=11, x=0.01, ha="left"
        )
    return Path(path)
