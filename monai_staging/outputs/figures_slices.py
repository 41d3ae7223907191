"""The slices of a study to look at, as a radiologist would: the most suspicious first, apart from each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.errors import UsageError
from monai_staging.explain.axial import Points, axial_image
from monai_staging.metrics.slices import StudyScores
from monai_staging.outputs.figures import figure_file
from monai_staging.outputs.figures_attention import top_slices
from monai_staging.outputs.figures_plane import (
    Window,
    axial_plane,
    draw_box,
    draw_lines,
    draw_plane,
    window_range,
    window_text,
)
from monai_staging.transforms.grid import Affine

APART_MM = 15.0
"""Between the slices of a montage: one nodule would fill it otherwise."""
POINTED = "#E69F00"
TRUE = "#56B4E9"
SUSPECTED = 0.5
"""Probability of a nodule from which its place is drawn."""
_RADIUS_MM = 15.0


@dataclass(frozen=True)
class KnownNodule:
    """What is known of a nodule.

    Attributes:
        low_mm: lowest corner of its box, RAS.
        high_mm: highest.
        malignant: whether it is, or is suspected to be.
    """

    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]
    malignant: bool


def montage_figure(
    path: str | os.PathLike[str],
    array: NDArray[Any],
    affine: Affine,
    study: StudyScores,
    *,
    nodules: Sequence[KnownNodule] | None = None,
    phantom: bool = False,
    shown: int = 8,
    window: Window = "lung",
    subtitle: str = "",
) -> Path:
    """The highest ranked slices at least 15 mm apart, each with its rank, its place and what was said of it.

    A dashed circle is around what looks most like a nodule on a slice that shows one more likely than not, where the
    network says so; a box is around each known nodule that the slice shows, drawn thicker around malignant ones.

    Args:
        path: the PNG to write.
        array: (I, J, K), HU.
        affine: (4, 4), index to RAS mm.
        study: scores.
        nodules: what is known; ``None`` where nothing is.
        phantom: whether it is one, with true nodules rather than readers'.
        shown: how many slices, at most.
        window: name, or centre and width in HU.
        subtitle: what the data is.

    Raises:
        UsageError: fewer than one slice.
    """
    if shown < 1:
        raise UsageError(f"A montage shows at least 1 slice, found {shown}")
    rows = top_slices(study.suspicion, study.z_mm, shown, APART_MM)
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    black, white = window_range(window)
    ranks = study.ranks
    with figure_file(path, 3.1 * columns, 3.45 * lines + 0.95) as figure:
        panels = figure.subplots(lines, columns, squeeze=False).flat
        for axes in panels:
            axes.set_axis_off()
        for axes, row in zip(figure.axes, rows, strict=False):
            z_mm = float(study.z_mm[row])
            image = axial_image(array, affine, z_mm)
            draw_plane(axes, axial_plane(image), black, white)
            for nodule in nodules or ():
                if nodule.low_mm[2] - image.step_mm / 2 <= z_mm <= nodule.high_mm[2] + image.step_mm / 2:
                    corners = (np.array(nodule.low_mm[:2]), np.array(nodule.high_mm[:2]))
                    draw_box(axes, *corners, color=TRUE, linewidth=2.4 if nodule.malignant else 1.1)
            if study.suspicion[row] >= SUSPECTED and np.isfinite(study.peaks_mm[row]).all():
                draw_lines(axes, [_circle(study.peaks_mm[row])], color=POINTED, linewidth=1.3, linestyle="--")
            nodule_chance, malignant = study.suspicion[row], study.probabilities[row, 2]
            axes.set_title(
                f"{ranks[row]}. slice {study.places[row]}, z {z_mm:.0f} mm\n"
                f"nodule {nodule_chance:.2f}, malignant {malignant:.2f}",
                fontsize=9,
                fontweight="normal",
            )
        lines_told = [f"{study.case}: slices to look at first, {APART_MM:g} mm apart or more"]
        lines_told += list(filter(None, [subtitle]))
        told = f"{window_text(window)}; seen from the feet"
        if np.isfinite(study.peaks_mm).all():
            told += f"; dashed circle: a nodule is suspected here ({SUSPECTED:g} or more)"
        whose = "true" if phantom else "readers'"
        if nodules is not None:
            told += f"; box: {whose} nodule (thick: malignant)" if nodules else f"; {whose} nodules: none"
        figure.suptitle("\n".join([*lines_told, told]), fontsize=9.5, x=0.01, ha="left")
    return Path(path)


def _circle(centre_mm: NDArray[Any]) -> Points:
    angle = np.linspace(0, 2 * np.pi, 73)
    return centre_mm + _RADIUS_MM * np.column_stack([np.cos(angle), np.sin(angle)])
