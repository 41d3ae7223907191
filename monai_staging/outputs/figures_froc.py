"""FROC curves: sensitivity against false positives per scan, on a logarithmic axis."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from monai_staging.metrics.froc.result import POINTS, FrocResult
from monai_staging.outputs.figures import colour, figure_file, headline, line_style


def froc_figure(path: str | os.PathLike[str], results: Mapping[str, FrocResult], *, subtitle: str = "") -> Path:
    """FROC curves of detectors on the same scans, or of strata, each with its CPM and 95 % band.

    The marks are the seven points that the CPM is the mean of. The band is pointwise.

    Args:
        path: the PNG to write.
        results: by name.
        subtitle: what the data is.
    """
    with figure_file(path, 6.6, 5.4) as figure:
        axes = figure.add_subplot()
        for place, (name, result) in enumerate(results.items()):
            band = result.band
            x = band.false_positives_per_scan
            if not np.isnan(band.low).any():
                axes.fill_between(x, band.low, band.high, color=colour(place), alpha=0.15, linewidth=0)
            label = f"{name}  CPM {result.cpm.text(3)}  n={result.lesions}"
            axes.plot(x, band.sensitivity, color=colour(place), linestyle=line_style(place), label=label)
            values = [estimate.value for estimate in result.sensitivity]
            axes.plot(POINTS, values, color=colour(place), linestyle="none", marker="o", markersize=5)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(list(POINTS)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _rate(value)))
        axes.set(xlim=(POINTS[0] / 1.1, POINTS[-1] * 1.1), ylim=(-0.01, 1.01))
        axes.set_xlabel("false positives per scan")
        axes.set_ylabel("sensitivity")
        axes.grid(color="#E6E6E6", linewidth=0.8)
        first = next(iter(results.values()))
        interval = f"CPM [95 % interval], {first.unit}s" if not np.isnan(first.cpm.low) else "CPM"
        axes.legend(loc="lower right", title=f"{interval}; n lesions", alignment="left")
        headline(axes, "FROC", "\n".join(filter(None, [subtitle, f"{first.scans} scans"])))
    return Path(path)


def _rate(value: float) -> str:
    return f"1/{round(1 / value)}" if value < 1 else f"{value:g}"
