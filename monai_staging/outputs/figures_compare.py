"""Figures of a comparison: merit by label fraction, paired differences, and the course of the trainings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from monai_staging.compare.findings import Findings
from monai_staging.compare.outcomes import Measure
from monai_staging.compare.plan import BASELINE
from monai_staging.compare.results import Results
from monai_staging.metrics.intervals import Estimate
from monai_staging.outputs.figures import GREY, colour, figure_file, headline, line_style

# Room between the points of different arms at one fraction, as a factor on a logarithmic axis.
_APART = 1.035


def fractions_figure(path: str | os.PathLike[str], findings: Findings, *, subtitle: str = "") -> Path:
    """The headline figure of merit against the fraction of labels: a panel a network, a line an initialisation.

    Args:
        path: the PNG to write.
        findings: the comparison's numbers.
        subtitle: what the data is.
    """
    head = findings.headline
    networks = list(dict.fromkeys(network for network, init, _ in findings.estimates if init != BASELINE))
    inits = list(dict.fromkeys(init for _, init, _ in findings.estimates if init != BASELINE))
    baselines = list(dict.fromkeys(network for network, init, _ in findings.estimates if init == BASELINE))
    fractions = sorted({fraction for _, _, fraction in findings.estimates})
    with figure_file(path, 3.6 * len(networks) + 1.2, 4.9) as figure:
        panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
        for panel, network in zip(panels, networks, strict=True):
            lines = [(init, (network, init), line_style(0), colour(place)) for place, init in enumerate(inits)]
            lines += [
                (name, (name, BASELINE), line_style(2 + place), colour(len(inits) + place))
                for place, name in enumerate(baselines)
            ]
            for place, (label, key, style, shade) in enumerate(lines):
                points = [findings.estimates[(*key, fraction)][head.name] for fraction in fractions]
                at = np.array(fractions) * _APART ** (place - (len(lines) - 1) / 2)
                panel.errorbar(
                    at,
                    [one.value for one in points],
                    yerr=_bars(points),
                    color=shade,
                    linestyle=style,
                    marker="o" if key[1] != BASELINE else "s",
                    markersize=5,
                    capsize=3,
                    elinewidth=1,
                    label=label,
                )
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(FixedLocator(fractions))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
            panel.set_title(network, loc="left", fontsize=11)
            panel.set_xlabel("training patients' labels")
            if len(fractions) == 1:
                panel.set_xlim(fractions[0] / 2, fractions[0] * 2)
            panel.grid(color="#E6E6E6", linewidth=0.8)
        panels[0].set_ylabel(f"{head.title}\n95 % interval over patients")
        panels[-1].legend(loc="lower right" if head.higher_is_better else "upper right")
        figure.suptitle(f"{head.title} by fraction of labels\n{subtitle}", x=0.01, ha="left", fontsize=11)
    return Path(path)


def differences_figure(path: str | os.PathLike[str], findings: Findings, *, subtitle: str = "") -> Path:
    """Paired differences of the headline figure of merit with their intervals, a row each; 0 is no difference."""
    head = findings.headline
    family = [*findings.contrasts[head.name], *findings.rivals]
    labels = [
        f"{one.network}: {one.init} - "
        f"{one.other_init if one.other_network == one.network else one.other_network}, {100 * one.fraction:g} %"
        for one in family
    ]
    with figure_file(path, 7.6, 1.5 + 0.34 * len(family)) as figure:
        axes = figure.add_subplot()
        places = np.arange(len(family))[::-1]
        axes.axvline(0, color=GREY, linewidth=1)
        for place, one in zip(places, family, strict=True):
            difference = one.difference
            clear = difference.low > 0 or difference.high < 0
            axes.errorbar(
                [difference.value],
                [place],
                xerr=_bars([difference]),
                color=colour(0) if clear else GREY,
                marker="o",
                markerfacecolor=colour(0) if clear else "white",
                capsize=3,
            )
        axes.set_yticks(places, labels)
        axes.set_ylim(-0.5, len(family) - 0.5)
        axes.set_xlabel(f"difference of {head.title}\n95 % interval (filled: excludes 0)")
        axes.grid(axis="x", color="#E6E6E6", linewidth=0.8)
        headline(axes, "Paired differences", subtitle)
    return Path(path)


def curves_figure(
    path: str | os.PathLike[str], results: Results, measure: Measure, *, subtitle: str = ""
) -> Path | None:
    """Validation metric by epoch, mean over runs with their range: networks across, fractions down.

    Args:
        path: the PNG to write.
        results: of the arms.
        measure: whose validation metric is drawn.
        subtitle: what the data is.

    Returns:
        The path, or ``None`` where no arm has a history.
    """
    comparison = results.comparison
    curves: dict[tuple[str, str, float], list[list[float]]] = {}
    for arm in comparison.arms:
        if arm.init != BASELINE:
            values, _ = results.curve(arm, measure)
            if values:
                curves.setdefault((arm.network, arm.init, arm.fraction), []).append(values)
    if not curves:
        return None
    networks, fractions = list(comparison.networks), sorted(comparison.fractions)
    with figure_file(path, 3.6 * len(networks) + 0.8, 2.5 * len(fractions) + 1.0) as figure:
        grid = figure.subplots(len(fractions), len(networks), sharey=True, squeeze=False)
        for row, fraction in zip(grid, fractions, strict=True):
            for panel, network in zip(row, networks, strict=True):
                for place, init in enumerate(comparison.initialisations):
                    runs = curves.get((network, init.name, fraction), [])
                    if runs:
                        _draw_runs(panel, runs, init.name, place)
                panel.set_title(f"{network}, {100 * fraction:g} % of labels", loc="left", fontsize=10)
                panel.grid(color="#E6E6E6", linewidth=0.8)
        for panel in grid[-1]:
            panel.set_xlabel("epoch")
        for row in grid:
            row[0].set_ylabel(measure.title)
        grid[0][-1].legend(loc="lower right")
        lines = [f"{measure.title} while training", "held-out patients, mean and range of runs", subtitle]
        figure.suptitle("\n".join(filter(None, lines)), x=0.01, ha="left", fontsize=11)
    return Path(path)


def _draw_runs(panel: object, runs: list[list[float]], label: str, place: int) -> None:
    length = min(map(len, runs))
    values = np.array([run[:length] for run in runs])
    epochs = np.arange(1, length + 1)
    shade: Mapping[str, object] = {"color": colour(place)}
    panel.plot(epochs, values.mean(axis=0), linestyle=line_style(place), label=label, **shade)  # type: ignore[attr-defined]
    panel.fill_between(epochs, values.min(axis=0), values.max(axis=0), alpha=0.15, linewidth=0, **shade)  # type: ignore[attr-defined]


def _bars(points: list[Estimate]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(2, points) lengths below and above; 0 where there is no interval."""
    lengths = [[one.value - one.low, one.high - one.value] for one in points]
    return np.nan_to_num(np.clip(np.array(lengths, dtype=np.float64).T, 0, None))
