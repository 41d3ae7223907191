"""Figure of lesions outlined in whole scans: the network's outline and the reference's, on an axial slice."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from monai_staging.cohort.lesions import Part
from monai_staging.errors import UsageError
from monai_staging.explain.axial import AxialImage, Points, axial_image
from monai_staging.explain.contours import mask_contours
from monai_staging.outputs.figures import colour, figure_file
from monai_staging.outputs.figures_plane import axial_plane, draw_lines, draw_plane, window_range, window_text
from monai_staging.outputs.figures_ranked import ranked_axes, ranked_rows
from monai_staging.transforms.grid import Affine

SHOWN = 4
"""Scans a row."""
FIELD_MM = 170.0
"""Width and height of a picture: a lung."""
WINDOW = "lung"
LOOKS: Mapping[str, Mapping[str, Any]] = {
    "network": {"color": colour(1), "linewidth": 1.4, "linestyle": "-"},
    "reference": {"color": colour(2), "linewidth": 1.2, "linestyle": "--"},
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A part of an axial slice.

    Attributes:
        image: HU.
        found: around the network's lesions.
        reference: around the reference's.
    """

    image: AxialImage
    found: tuple[Points, ...]
    reference: tuple[Points, ...]


def take_picture(hu: NDArray[Any], affine: Affine, found: Sequence[Part], reference: Sequence[Part]) -> Picture:
    """The slice through the middle of the reference's first lesion, else of the first one found, else of the scan.

    Args:
        hu: (I, J, K), the scan.
        affine: (4, 4), voxel index to RAS mm.
        found: the network's lesions, largest first.
        reference: the reference's, the primary tumour first.
    """
    middle = (np.asarray(hu.shape) - 1) / 2
    for part in [*reference[:1], *found[:1]][:1]:
        middle = np.argwhere(part.mask).mean(axis=0) + part.corner
    x, y, z = (float(value) for value in affine[:3, :3] @ middle + affine[:3, 3])
    half = FIELD_MM / 2
    image = axial_image(hu, affine, z).within((x - half, y - half), (x + half, y + half))
    return Picture(image, *(_lines(parts, affine, image.z_mm) for parts in (found, reference)))


def _lines(parts: Sequence[Part], affine: Affine, z_mm: float) -> tuple[Points, ...]:
    """Around the lesions that reach a height."""
    lines: list[Points] = []
    for part in parts:
        moved = affine.copy()
        moved[:3, 3] += affine[:3, :3] @ part.corner
        try:
            cut = axial_image(part.mask.view(np.uint8), moved, z_mm, mode="nearest")
        except UsageError:  # it ends above or below
            continue
        lines += mask_contours(cut)
    return tuple(lines)


def chest_figure(
    path: str | os.PathLike[str],
    scores: Sequence[float],
    pictures: Callable[[int], Picture],
    *,
    heading: str = "Lesions in whole scans",
    subtitle: str = "",
) -> Path:
    """The scans of the highest, the middle and the lowest Dice, a row each; of a few scans all in one row.

    Args:
        path: the PNG to write.
        scores: Dice of each scan.
        pictures: of the scan with this place in ``scores``.
        heading: what was looked for.
        subtitle: what the data is.
    """
    rows = ranked_rows(scores, SHOWN)
    with figure_file(path, 2.4 * SHOWN + 0.3, 2.6 * len(rows) + 1.4) as figure:
        for axes, index in ranked_axes(figure, rows, SHOWN):
            picture = pictures(index)
            draw_plane(axes, axial_plane(picture.image), *window_range(WINDOW))
            draw_lines(axes, picture.reference, **LOOKS["reference"])
            draw_lines(axes, picture.found, **LOOKS["network"])
            axes.set_title(f"Dice {scores[index]:.2f}, z = {picture.image.z_mm:.0f} mm", fontsize=8.5, pad=2)
        handles = [Line2D([], [], label=name, **look) for name, look in LOOKS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=3)
        lines = [f"{heading}, axial, seen from the feet", subtitle, window_text(WINDOW)]
        figure.suptitle("\n".join(text for text in lines if text), fontsize=10.5, x=0.01, ha="left")
    return Path(path)
