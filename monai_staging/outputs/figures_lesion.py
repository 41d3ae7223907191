"""The five-panel picture: scan, reader's or true box, predicted box, zoom, the tumour's edge by the Sobel filter."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from monai_staging.errors import UsageError
from monai_staging.explain.axial import AxialImage, axial_image
from monai_staging.explain.contours import Edge, tumour_edge
from monai_staging.metrics.boxes import box_pair_iou, check_boxes
from monai_staging.outputs.figures import GREY, colour, figure_file
from monai_staging.outputs.figures_plane import (
    Window,
    axial_plane,
    draw_box,
    draw_lines,
    draw_plane,
    window_range,
    window_text,
    write_on,
)
from monai_staging.transforms.grid import Affine

LEAST_FIELD_MM = 40.0
"""Width of the zoom, at least."""
FIELD = 1.6
"""Width of the zoom, in widths of what both boxes take."""
EDGE_MARGIN_MM = 2.0
"""Around the box in which the edge is looked for."""
PANEL_IN = 3.1

READER, TRUE, PREDICTED, EDGE = "reader's box", "true box", "predicted box", "sharpest edge in the box (Sobel)"
LOOKS: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys((READER, TRUE), {"color": colour(2), "linewidth": 1.8, "linestyle": "-"}),
    PREDICTED: {"color": colour(1), "linewidth": 1.8, "linestyle": "--"},
    EDGE: {"color": colour(5), "linewidth": 1.4, "linestyle": "-"},
}
"""Readers and network have the colours they have in other figures; the edge alone is not rectangular."""


def lesion_figure(
    path: str | os.PathLike[str],
    array: NDArray[Any],
    affine: Affine,
    reader_mm: Sequence[float] | None,
    predicted_mm: Sequence[float] | None,
    *,
    z_mm: float | None = None,
    window: Window = "lung",
    case_name: str = "",
    subtitle: str = "",
    phantom: bool = False,
) -> Path:
    """The five panels of one lesion, on one axial slice.

    The edge is looked for inside the reader's box, or inside the predicted one where no reader's box is on the slice;
    see `monai_staging.explain.contours.tumour_edge`.

    Args:
        path: the PNG to write.
        array: HU, (I, J, K), or (I, J) for a slice alone. Of a memory-mapped volume only the slice is read.
        affine: (4, 4), index to RAS mm, of any orientation.
        reader_mm: (xmin, ymin, zmin, xmax, ymax, zmax) in RAS mm; None where no reader drew one.
        predicted_mm: likewise; None where nothing was found.
        z_mm: RAS height of the slice; the middle of the reader's box, or of the predicted one, where it is left out.
        window: name, or centre and width in HU.
        case_name: name without identity.
        subtitle: what the data is; phantoms are called that.
        phantom: whether what is called the reader's box here is a phantom's own, and shown as the true one.

    Raises:
        UsageError: there is no box, a box has not six corners, array and affine are none, or the slice is outside.
        DataError: a box ends before it begins.
    """
    given = TRUE if phantom else READER
    boxes = {
        name: check_boxes([list(box)])[0]
        for name, box in ((given, reader_mm), (PREDICTED, predicted_mm))
        if box is not None
    }
    if not boxes or any(len(box) != 6 for box in boxes.values()):
        raise UsageError(
            f"A lesion figure needs a box (xmin, ymin, zmin, xmax, ymax, zmax), got {list(boxes.values())}."
        )
    if z_mm is None:
        first = next(iter(boxes.values()))
        z_mm = float(first[2] + first[5]) / 2
    image = axial_image(array, affine, z_mm)
    reach = image.step_mm / 2
    cuts = {name: box for name, box in boxes.items() if box[2] - reach <= image.z_mm <= box[5] + reach}
    shown = cuts or boxes
    zoom = _zoom(image, list(shown.values()))
    inside = next(iter(cuts), None)
    edge = None
    if inside is not None:
        low, high = cuts[inside][:2] - EDGE_MARGIN_MM, cuts[inside][3:5] + EDGE_MARGIN_MM
        edge = tumour_edge(image, (float(low[0]), float(low[1])), (float(high[0]), float(high[1])))
    where = f"axial slice at z = {image.z_mm:.1f} mm, seen from the feet; {window_text(window)}"
    lines = [text for text in (subtitle, where, "; ".join(_facts(boxes, cuts, inside, edge))) if text]
    left, right, bottom, top = image.extent_mm
    panel_height_in = PANEL_IN * (top - bottom) / (right - left)
    head_in, foot_in, gap_in = 0.85 + 0.2 * len(lines), 0.45, 0.1
    width_in, height_in = 5 * PANEL_IN + 6 * gap_in, head_in + panel_height_in + foot_in
    with figure_file(path, width_in, height_in, constrained=False) as figure:
        heading = "Lesion" + (f": {case_name}" if case_name else "")
        figure.text(gap_in / width_in, 1 - 0.12 / height_in, heading, va="top", fontsize=13, fontweight="bold")
        for place, text in enumerate(lines):
            y = 1 - (0.42 + 0.2 * place) / height_in
            figure.text(gap_in / width_in, y, text, va="top", fontsize=9.5, color=GREY)
        panels = [
            figure.add_axes(
                (
                    (gap_in + place * (PANEL_IN + gap_in)) / width_in,
                    foot_in / height_in,
                    PANEL_IN / width_in,
                    panel_height_in / height_in,
                )
            )
            for place in range(5)
        ]
        titles = ("1  scan", f"2  {given}", f"3  {PREDICTED}", "4  zoom", "5  edge")
        for axes, title, picture in zip(panels, titles, (image, image, image, zoom, zoom), strict=True):
            draw_plane(axes, axial_plane(picture), *window_range(window))
            axes.set_title(title, loc="left", fontsize=11)
        for axes, names in ((panels[1], (given,)), (panels[2], (PREDICTED,)), (panels[3], (given, PREDICTED))):
            _draw_boxes(axes, names, boxes, cuts)
        if edge is not None:
            draw_lines(panels[4], edge.lines, **LOOKS[EDGE])
        else:
            write_on(panels[4], "no edge found" if inside else "no box on this slice")
        handles = [Line2D([], [], label=name, **LOOKS[name]) for name in (given, PREDICTED, EDGE)]
        figure.legend(handles=handles, loc="lower left", ncols=3, handlelength=3, borderaxespad=0.3)
    return Path(path)


def _draw_boxes(
    axes: Axes,
    names: Sequence[str],
    boxes: Mapping[str, NDArray[np.float64]],
    cuts: Mapping[str, NDArray[np.float64]],
) -> None:
    """Boxes that the slice cuts; in words why one is not there."""
    for name in names:
        if name in cuts:
            draw_box(axes, cuts[name][:2], cuts[name][3:5], **LOOKS[name])
        elif len(names) == 1:
            box = boxes.get(name)
            missing = "not found" if name == PREDICTED else f"no {name}"
            write_on(axes, missing if box is None else f"{name} is at z = {box[2]:.1f} to {box[5]:.1f} mm")


def _zoom(image: AxialImage, boxes: Sequence[NDArray[np.float64]]) -> AxialImage:
    """A square around the boxes, as far as the slice goes."""
    low, high = np.min([box[:2] for box in boxes], axis=0), np.max([box[3:5] for box in boxes], axis=0)
    half = max(LEAST_FIELD_MM, FIELD * float((high - low).max())) / 2
    x, y = ((low + high) / 2).tolist()
    return image.within((x - half, y - half), (x + half, y + half))


def _facts(
    boxes: Mapping[str, NDArray[np.float64]],
    cuts: Mapping[str, NDArray[np.float64]],
    inside: str | None,
    edge: Edge | None,
) -> list[str]:
    """Sizes, overlap, and where the edge runs."""
    facts = [f"{name} {' x '.join(f'{size:.0f}' for size in box[3:] - box[:3])} mm" for name, box in boxes.items()]
    if len(boxes) == 2:
        one, other = boxes.values()
        facts.append(f"IoU of both {box_pair_iou([one], [other])[0]:.2f}")
    if inside is not None and edge is not None:
        facts.append(f"edge along {edge.level_hu:.0f} HU inside the {inside}, {edge.gradient_hu_per_mm:.0f} HU/mm")
    return facts
