"""ROC curves, reliability diagrams and losses."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from monai_staging.errors import UsageError
from monai_staging.metrics import calibration
from monai_staging.metrics.classification import class_auroc
from monai_staging.metrics.intervals import Estimate, FloatArray, patient_bootstrap
from monai_staging.metrics.levels import LEVEL_TITLES, Level
from monai_staging.outputs.figures import colour, figure_file, headline, line_style


def roc_points(positive: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """ROC curve of one class: a point at each distinct score.

    Args:
        positive: (rows) whether the row is of the class; both kinds occur.
        scores: (rows) the larger, the more of the class.

    Returns:
        (points) false-positive rate and (points) true-positive rate, both from 0 to 1.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.asarray(positive, dtype=bool)[order]
    last = np.append(np.diff(scores[order]) != 0, True)
    true = np.concatenate([[0], np.cumsum(hits)[last]])
    false = np.concatenate([[0], np.cumsum(~hits)[last]])
    return false / false[-1], true / true[-1]


def roc_figure(
    path: str | os.PathLike[str],
    level: Level,
    patients: Sequence[str],
    *,
    macro: Estimate | None = None,
    subtitle: str = "",
    seed: int = 0,
    n_boot: int = 1000,
) -> Path:
    """One-vs-rest ROC curves of one level, each with its area and 95 % patient-bootstrap interval.

    A class without a positive or a negative among the known rows has no curve and is named as such. With two classes
    only the second is drawn, since the first is its mirror image.

    Args:
        path: the PNG to write.
        level: predictions and truth.
        patients: (rows) whose each row is.
        macro: the macro average, for the line beneath the title.
        subtitle: what the data is.
        seed: of the resampling.
        n_boot: how many resamples.
    """
    level = level.occurring()
    known = level.known
    truth, scores = level.truth[known], level.probabilities[known]
    names = np.asarray(patients)[known]
    classes = [1] if len(level.classes) == 2 else range(len(level.classes))
    many = len(level.classes) > 6
    with figure_file(path, 5.6 + 3.0 * many, 5.9) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        without = []
        for place, index in enumerate(classes):
            positive = truth == index
            if not 0 < positive.sum() < len(truth):
                without.append(level.classes[index])
                continue
            area = patient_bootstrap(class_auroc, names, positive, scores[:, index], n=n_boot, seed=seed, weighted=True)
            axes.plot(
                *roc_points(positive, scores[:, index]),
                color=colour(place),
                linestyle=line_style(place),
                label=f"{level.classes[index]}  {area.text()}  n={int(positive.sum())}",
            )
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set_xlabel("1 - specificity")
        axes.set_ylabel("sensitivity")
        axes.grid(color="#E6E6E6", linewidth=0.8)
        if axes.get_legend_handles_labels()[0]:
            title = "AUROC [95 % interval], patients"
            if many:
                axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), title=title, alignment="left")
            else:
                axes.legend(loc="lower right", title=title, alignment="left")
        notes = [subtitle]
        if macro is not None and not math.isnan(macro.value):
            notes.append(f"macro AUROC {macro.text()}, {macro.n} patients")
        if without:
            notes.append(f"no curve (class absent or alone): {', '.join(without)}")
        rest = "one class against the rest" if len(level.classes) != 2 else " against ".join(reversed(level.classes))
        headline(axes, f"{LEVEL_TITLES[level.name]}: {rest}", "\n".join(filter(None, notes)))
    return Path(path)


def reliability_figure(
    path: str | os.PathLike[str], level: Level, *, ece: Estimate | None = None, subtitle: str = ""
) -> Path:
    """Reliability diagram of the most probable class, over a histogram of the confidences.

    Bars on the points are 95 % Wilson intervals of the share right in each bin.

    Args:
        path: the PNG to write.
        level: predictions and truth.
        ece: the expected calibration error, for the line beneath the title.
        subtitle: what the data is.
    """
    known = level.known
    with figure_file(path, 5.2, 6.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
        upper.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=1, linestyle=(0, (2, 2)))
        if known.any():
            confidence, correct = calibration.top_label(level.truth[known], level.probabilities[known])
            draw_reliability(upper, calibration.reliability_bins(confidence, correct))
            lower.hist(confidence, bins=np.linspace(0, 1, 21), color=colour(0), alpha=0.75)
        upper.set(xlim=(0, 1), ylim=(-0.02, 1.02))
        upper.set_ylabel("share right")
        upper.grid(color="#E6E6E6", linewidth=0.8)
        lower.set_xlabel("probability of the predicted class")
        lower.set_ylabel("count")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        notes = [subtitle]
        if ece is not None and not math.isnan(ece.value):
            notes.append(f"expected calibration error {ece.text()}, {ece.n} patients")
        headline(upper, f"{LEVEL_TITLES[level.name]}: reliability", "\n".join(filter(None, notes)))
    return Path(path)


def loss_figure(
    path: str | os.PathLike[str], epochs: Sequence[Mapping[str, float]], *, later: int | None = None, subtitle: str = ""
) -> Path:
    """Losses by epoch from the first one on, and again from a later one: there the first fall would hide what follows.

    Args:
        path: the PNG to write.
        epochs: one mapping an epoch: ``epoch``, and losses under names with ``loss`` in them, as
            :class:`monai_staging.workflows.history.History` keeps them (``loss``, ``val_loss``).
        later: the epoch that the second panel begins at; the middle one where it is left out.
        subtitle: what the data is.

    Raises:
        UsageError: no loss, or no epoch from the later one on.
    """
    names = list(dict.fromkeys(name for row in epochs for name in row if "loss" in name))
    numbers = [int(row["epoch"]) for row in epochs]
    begin = numbers[len(numbers) // 2] if later is None and numbers else later
    if not names or begin is None or begin > max(numbers):
        raise UsageError(f"A figure of losses needs a loss and epochs from {begin} on, got {names} of {len(epochs)}.")
    with figure_file(path, 9.6, 4.2) as figure:
        panels = figure.subplots(1, 2)
        for axes, first in zip(panels, (min(numbers), begin), strict=True):
            for place, name in enumerate(names):
                points = [(row["epoch"], row[name]) for row in epochs if name in row and row["epoch"] >= first]
                what = "validation " if name.startswith("val_") else "training "
                axes.plot(
                    *(zip(*points, strict=True) if points else ((), ())),
                    color=colour(place),
                    linestyle=line_style(place),
                    marker="o" if len(points) <= 20 else None,
                    markersize=4,
                    label=what + name.removeprefix("val_").replace("_", " "),
                )
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(color="#E6E6E6", linewidth=0.8)
        panels[0].legend(loc="upper right")
        panels[0].set_ylabel("loss")
        headline(panels[0], f"Loss from epoch {min(numbers)}", subtitle)
        headline(panels[1], f"Loss from epoch {begin}", "on a scale of its own")
    return Path(path)


def draw_reliability(axes: Axes, bins: calibration.ReliabilityBins, place: int = 0, label: str | None = None) -> None:
    """Points of the bins with Wilson intervals; ``place`` is the line's among several, and tells its colour."""
    filled = bins.counts > 0
    share, counts = bins.accuracy[filled], bins.counts[filled]
    low, high = _wilson(share, counts)
    axes.errorbar(
        bins.confidence[filled],
        share,
        yerr=[np.clip(share - low, 0, None), np.clip(high - share, 0, None)],
        color=colour(place),
        linestyle=line_style(place),
        label=label,
        marker="os^"[place % 3],
        markersize=6,
        linewidth=1.4,
        elinewidth=1,
        capsize=3,
    )


def _wilson(
    share: FloatArray, counts: FloatArray | np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[FloatArray, FloatArray]:
    z = 1.959964
    centre = (share + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2)) / (1 + z**2 / counts)
    return centre - half, centre + half
