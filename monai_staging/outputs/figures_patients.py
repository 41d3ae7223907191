"""Patients with the nodules that their score comes from: those of highest and of lowest probability."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from monai_staging.metrics.intervals import FloatArray
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.outputs.figures import GREY, figure_file
from monai_staging.outputs.figures_plane import draw_plane, nodule_plane, window_text

_CELL_IN = 1.75
_SIDE_IN, _TOP_IN, _GAP_IN, _FOOT_IN = 2.0, 1.15, 0.1, 0.45
_LEVELS = 255


@dataclass(frozen=True, eq=False)
class PatientNodules:
    """What is shown of a patient, a nodule each.

    Attributes:
        slices: (n, rows, columns) uint8: the axial slice through the middle of each, rows from anterior to posterior,
            columns from the patient's right to the left.
        said: (n) the probability or weight of each.
        scores: (n) of the detector.
        ratings: (n) the readers' mean rating of the lesion that each lies in; NaN without one.
    """

    slices: NDArray[np.uint8]
    said: FloatArray
    scores: FloatArray
    ratings: FloatArray


def extreme_rows(predictions: NodulePredictions, each: int = 2) -> dict[int, str]:
    """Rows of patients and why each is shown: those of highest and of lowest probability, of both kinds.

    Args:
        predictions: ``binary``; where nobody has a label, the kinds are not told apart.
        each: at most so many a group.
    """
    chance, label = predictions.probabilities[:, 0], predictions.labels[:, 0]
    kinds = [(name, np.flatnonzero(label == value)) for value, name in ((1, "cancer"), (0, "no cancer"))]
    if not any(len(own) for _, own in kinds):
        kinds = [("not known", np.arange(len(chance)))]
    chosen: dict[int, str] = {}
    for name, own in kinds:
        order = own[np.argsort(-chance[own], kind="stable")].tolist()
        groups = {"highest": order[:each], "lowest": order[max(each, len(order) - each) :]}
        for place, rows in groups.items():
            chosen |= {row: f"{name}, {place}" for row in rows}
    return chosen


def patients_figure(
    path: str | os.PathLike[str],
    predictions: NodulePredictions,
    shown: Mapping[int, str],
    nodules: Sequence[PatientNodules],
    *,
    pixel_mm: float,
    window: tuple[float, float],
    says: str = "p",
    subtitle: str = "",
) -> Path:
    """A row a patient, a picture a nodule, the surest detection first, with what is said of each beneath it.

    Args:
        path: the PNG to write.
        predictions: ``binary``.
        shown: rows of the patients, and why each is shown.
        nodules: of these patients, in that order.
        pixel_mm: of the slices.
        window: centre and width in HU of what is black and white.
        says: what stands before a nodule's number.
        subtitle: what the data is.
    """
    columns = max([1, *(len(own.said) for own in nodules)])
    width = _SIDE_IN + columns * (_CELL_IN + _GAP_IN)
    height = _TOP_IN + len(shown) * (_CELL_IN + _FOOT_IN)
    with figure_file(path, width, height, constrained=False) as figure:
        head = f"axial slices through the middle of each nodule, seen from the feet; {window_text(window)}"
        figure.text(0.1 / width, 1 - 0.12 / height, "Patients and their nodules", va="top", fontsize=13, weight="bold")
        note = f"beneath: {says} of the nodule; detector's score; readers' mean rating of the lesion there, 1 to 5"
        for place, text in enumerate((subtitle, head, note)):
            figure.text(0.1 / width, 1 - (0.42 + 0.2 * place) / height, text, va="top", fontsize=9, color=GREY)
        for line, ((row, why), own) in enumerate(zip(shown.items(), nodules, strict=True)):
            top = height - _TOP_IN - line * (_CELL_IN + _FOOT_IN)
            text = f"{predictions.names[row]}\n{why}\n\nprobability {predictions.probabilities[row, 0]:.3f}"
            figure.text(0.1 / width, (top - 0.1) / height, text, va="top", fontsize=9)
            for column in range(max(1, len(own.said))):
                left = _SIDE_IN + column * (_CELL_IN + _GAP_IN)
                place_in = (left / width, (top - _CELL_IN) / height, _CELL_IN / width, _CELL_IN / height)
                axes = figure.add_axes(place_in)
                if column >= len(own.said):
                    axes.set_axis_off()
                    axes.text(0.0, 0.5, "no nodule found", fontsize=9, color=GREY, va="center")
                    continue
                _draw(axes, own, column, pixel_mm, says)
    return Path(path)


def _draw(axes: Axes, own: PatientNodules, column: int, pixel_mm: float, says: str) -> None:
    draw_plane(axes, nodule_plane(own.slices[column], pixel_mm, "axial"), 0, _LEVELS)
    text = f"{says} {own.said[column]:.2f}; score {own.scores[column]:.2f}"
    rating = own.ratings[column]
    text += "\nno rated lesion" if np.isnan(rating) else f"\nrated {rating:.1f}"
    # The one that says most stands out.
    weight = "bold" if own.said[column] == np.nanmax(own.said) else "normal"
    axes.text(0.5, -0.03, text, transform=axes.transAxes, ha="center", va="top", fontsize=8, weight=weight)
