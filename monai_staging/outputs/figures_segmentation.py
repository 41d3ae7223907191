"""Figure of segmentations: the worst, the middle and the best nodules with the network's and the readers' outline."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from monai_staging.outputs.figures import colour, figure_file
from monai_staging.outputs.figures_ranked import ranked_axes, ranked_rows

Picture = tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], float]
"""Image (H, W), the network's mask and the reference (H, W), and the size of a pixel in mm."""

SHOWN = 6
"""Nodules a row."""
SCALE_MM = 10.0


def segmentation_figure(
    path: str | os.PathLike[str],
    scores: Sequence[float],
    pictures: Callable[[int], Picture],
    *,
    subtitle: str = "",
) -> Path:
    """The nodules of the highest, the middle and the lowest Dice, a row each, at one scale in millimetres.

    Args:
        path: the PNG to write.
        scores: Dice of each nodule.
        pictures: of the nodule with this place in ``scores``.
        subtitle: what the data is.
    """
    rows = ranked_rows(scores, SHOWN)
    shown = {index: pictures(index) for places in rows.values() for index in places}
    # One scale: as many millimetres as the largest picture has.
    field_mm = max(max(one[0].shape) * one[3] for one in shown.values())
    with figure_file(path, 1.6 * SHOWN + 0.4, 1.8 * len(rows) + 1.2) as figure:
        for axes, index in ranked_axes(figure, rows, SHOWN):
            _draw(axes, shown[index], field_mm)
            axes.set_title(f"{scores[index]:.2f}", fontsize=9, pad=2)
        handles = [
            figure.axes[0].plot([], [], color=colour(place), label=name)[0]
            for place, name in ((1, "network"), (2, "half of the readers or more"), (4, f"{SCALE_MM:g} mm"))
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        figure.suptitle(f"Dice in three dimensions\n{subtitle}", fontsize=11, x=0.01, ha="left")
    return Path(path)


def _draw(axes: Axes, picture: Picture, field_mm: float) -> None:
    image, mask, reference, pixel_mm = picture
    height, width = (length * pixel_mm for length in image.shape)
    # In millimetres from the middle, rows downwards.
    extent = (-width / 2, width / 2, height / 2, -height / 2)
    axes.imshow(image, cmap="gray", extent=extent, interpolation="nearest")
    rows, columns = ((np.arange(length) - (length - 1) / 2) * pixel_mm for length in image.shape)
    for place, (region, width_pt) in enumerate(((mask, 1.6), (reference, 1.1)), start=1):
        if region.any() and not region.all():
            axes.contour(columns, rows, region, [0.5], colors=[colour(place)], linewidths=width_pt)
    half = field_mm / 2
    axes.plot([0.92 * half - SCALE_MM, 0.92 * half], [0.9 * half] * 2, color=colour(4), linewidth=2.5)
    axes.set(xlim=(-half, half), ylim=(half, -half))
