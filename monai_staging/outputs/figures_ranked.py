"""Rows of pictures by score: the best, the middle and the worst."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def ranked_rows(scores: Sequence[float], shown: int) -> dict[str, list[int]]:
    """So many a row, by its title, as places in ``scores``; NaN is below all, and few are all in one row."""
    order = np.argsort(-np.nan_to_num(np.asarray(scores), nan=-np.inf), kind="stable").tolist()
    if len(order) <= shown:
        return {"best first": order}
    middle = (len(order) - shown) // 2
    return {"best": order[:shown], "median": order[middle : middle + shown], "worst": order[-shown:]}


def ranked_examples(scores: Sequence[float]) -> dict[str, int]:
    """Places of the ``best``, the ``median`` and the ``worst`` score; of few, the first of these, none twice."""
    order = np.argsort(-np.nan_to_num(np.asarray(scores), nan=-np.inf), kind="stable").tolist()
    chosen: dict[str, int] = {}
    for name, rank in (("best", 0), ("median", len(order) // 2), ("worst", len(order) - 1)):
        if order and order[rank] not in chosen.values():
            chosen[name] = order[rank]
    return chosen


def ranked_axes(figure: Figure, rows: Mapping[str, Sequence[int]], shown: int) -> Iterator[tuple[Axes, int]]:
    """Axes for every picture with its place in the scores; titles of the rows are drawn, lines around axes are not."""
    grid = figure.subplots(len(rows), shown, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (title, places) in zip(grid, rows.items(), strict=True):
        line[0].annotate(title, (0, 1), (0, 16), xycoords="axes fraction", textcoords="offset points", fontsize=10)
        yield from zip(line, places, strict=False)
