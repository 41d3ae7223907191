"""Reliability before and after calibration, side by side for T, N, M and the stage group."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from monai_staging.metrics.calibration import reliability_bins, top_label
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.levels import LEVEL_TITLES
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.staging_sets import NAMES
from monai_staging.outputs.figures import colour, figure_file, headline
from monai_staging.outputs.figures_curves import draw_reliability


def calibration_figure(
    path: str | os.PathLike[str],
    before: StagingPredictions,
    after: StagingPredictions,
    metrics: Mapping[str, Estimate] | None = None,
    *,
    subtitle: str = "",
) -> Path:
    """Reliability diagrams of the most probable main category as the model says it and calibrated, over histograms.

    Bars on the points are 95 % Wilson intervals of the share right in each bin; the bins of both hold equally many
    patients each, so that their points lie at different probabilities. The title says of how many the truth is known.

    Args:
        path: the PNG to write.
        before: as the model says.
        after: the same rows, calibrated.
        metrics: of :func:`monai_staging.metrics.calibrated.scaling_metrics`, for the lines beneath the titles.
        subtitle: what the data is.
    """
    with figure_file(path, 4.0 * len(NAMES), 6.6) as figure:
        panels = figure.subplots(2, len(NAMES), sharex=True, height_ratios=[3.0, 1])
        for column, name in enumerate(NAMES):
            upper, lower = panels[0, column], panels[1, column]
            upper.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=1, linestyle=(0, (2, 2)))
            shown = []
            for place, (what, predictions) in enumerate((("as the model says", before), ("calibrated", after))):
                level = predictions.levels[name]
                if not level.known.any():
                    continue
                confidence, correct = top_label(level.truth[level.known], level.probabilities[level.known])
                draw_reliability(upper, reliability_bins(confidence, correct), place, what)
                shown.append(confidence)
            if shown:
                bins = np.linspace(0, 1, 11)
                lower.hist(shown, bins=bins, color=[colour(place) for place in range(len(shown))], alpha=0.75)
            upper.set(xlim=(0, 1), ylim=(-0.02, 1.02))
            for axes in (upper, lower):
                axes.grid(color="#E6E6E6", linewidth=0.8)
                axes.set_axisbelow(True)
            lower.set_xlabel("probability of the predicted category")
            lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
            # As many lines over each panel, so that they are of one height.
            notes = [subtitle if column == 0 else "\n" * subtitle.count("\n")] if subtitle else []
            if metrics is not None:
                scores = (("ece", "calibration error"), ("log_loss", "log loss"))
                for score, title in scores:
                    pair = metrics[f"{name}_{score}"], metrics[f"{name}_calibrated_{score}"]
                    notes += [f"{title} {pair[0].text()},", f"calibrated {pair[1].text()}"]
            known = before.levels[name].known
            count = len(set(np.asarray(before.patients)[known].tolist()))
            headline(upper, f"{LEVEL_TITLES[name]}, {count} patients", "\n".join(notes))
        panels[0, 0].set_ylabel("share right")
        panels[1, 0].set_ylabel("count")
        if panels[0, 0].get_legend_handles_labels()[0]:
            panels[0, 0].legend(loc="lower right")
    return Path(path)
