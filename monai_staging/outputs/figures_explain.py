"""What networks went by, on the pictures they saw: studies, nodules, and the gates of a segmentation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.cohort.volume import Volume
from monai_staging.errors import UsageError
from monai_staging.explain.axial import AxialImage, Points, axial_image, voxel_grid
from monai_staging.explain.contours import mask_contours
from monai_staging.outputs.figures_attention import top_slices
from monai_staging.outputs.figures_maps import Panel, maps_figure
from monai_staging.outputs.figures_plane import Plane, Window, axial_plane, nodule_plane, window_range, window_text
from monai_staging.transforms.grid import Grid
from monai_staging.transforms.nodule_views import NoduleViews

ACTIVATION = "what spoke for the class (1: the most in the {})"
GATE = "what the gate lets through (0: nothing, 1: all)"
PLANES = ("axial", "coronal", "sagittal")
LETTER_WINDOWS: Mapping[str, Window] = {"t": "lung", "n": "mediastinum", "m": "mediastinum"}


@dataclass(frozen=True, eq=False)
class LetterMap:
    """What spoke for a category.

    Attributes:
        caption: the category, its probability, the reference.
        maps: (X, Y, S) 0 to 1, of `monai_staging.explain.classifiers.study_activation`.
        weights: (S) the letter's attention over the slices.
    """

    caption: str
    maps: NDArray[Any]
    weights: NDArray[Any]


def study_maps_figure(
    path: str | os.PathLike[str],
    volume: Volume,
    grid: Grid,
    letters: Mapping[str, LetterMap],
    *,
    count: int = 2,
    windows: Mapping[str, Window] = LETTER_WINDOWS,
    case_name: str = "",
    subtitle: str = "",
) -> Path:
    """Class activation of T, N and M where it is largest and on the slices each weighs most, beside the bare slices.

    Args:
        path: the PNG to write.
        volume: the study as it was recorded.
        grid: what the network saw; its z are the slices'.
        letters: by their name.
        count: slices a letter, the one with the largest value first, then by weight, see
            `monai_staging.outputs.figures_attention.top_slices`.
        windows: by letter: name, or centre and width in HU.
        case_name: name without identity.
        subtitle: what the data is.

    Raises:
        UsageError: a map that is not on the grid, or weights that are not one a slice.
    """
    z_mm = grid.origin_mm[2] + grid.spacing_mm[2] * np.arange(grid.size[2], dtype=np.float64)
    own_grid = voxel_grid(volume.shape, volume.affine)
    lowest, step = own_grid.origin_mm[2], own_grid.spacing_mm[2]
    # Slices that only fill the network's grid up are none of the patient's.
    recorded = (z_mm >= lowest - step / 2) & (z_mm <= lowest + (own_grid.size[2] - 0.5) * step)
    rows: dict[str, list[Panel]] = {}
    for letter, own in letters.items():
        if own.maps.shape != grid.size or own.weights.shape != grid.size[2:]:
            raise UsageError(
                f"Maps of {letter}: {grid.size} cells and a weight a slice are needed, found {own.maps.shape} and "
                f"{own.weights.shape}."
            )
        window = windows[letter]
        order = np.where(recorded, own.weights.astype(np.float64), -1.0)
        order[np.where(recorded, own.maps.max(axis=(0, 1)), -1.0).argmax()] = np.inf
        panels: list[Panel] = []
        for index in top_slices(order, z_mm, count):
            z = float(z_mm[index])
            scan = axial_plane(axial_image(volume.array, volume.affine, z))
            heat = AxialImage(own.maps[:, :, index], grid.origin_mm[:2], grid.spacing_mm[:2], z, grid.spacing_mm[2])
            weighed = f"z = {z:.0f} mm, weight {own.weights[index]:.2f}"
            panels += [
                Panel(scan, weighed, grey=window_range(window)),
                Panel(scan, f"largest here {heat.values.max():.2f}", axial_plane(heat), grey=window_range(window)),
            ]
        rows[f"{letter.upper()}   {own.caption}"] = panels
    return maps_figure(
        path,
        rows,
        scale=ACTIVATION.format("study, by letter"),
        title="What the stage was read from" + (f": {case_name}" if case_name else ""),
        subtitle=f"{subtitle}\nmap's largest slice first, then by the letter's attention; slices seen from the feet\n"
        + "; ".join(f"{', '.join(own)}: {window}" for window, own in _by_window(letters, windows).items()),
    )


def _by_window(letters: Iterable[str], windows: Mapping[str, Window]) -> dict[str, list[str]]:
    """Letters by the window they are shown in, in words."""
    shown: dict[str, list[str]] = {}
    for letter in letters:
        shown.setdefault(window_text(windows[letter]), []).append(letter.upper())
    return shown


@dataclass(frozen=True, eq=False)
class NoduleMap:
    """What spoke for a nodule's class.

    Attributes:
        caption: name without identity, the class, its probability, the reference.
        views: (V, C, *spatial) 0 to 1, as the network sees them.
        maps: (V, *spatial) 0 to 1, of `monai_staging.explain.classifiers.nodule_activation`.
    """

    caption: str
    views: NDArray[Any]
    maps: NDArray[Any]


def nodule_maps_figure(
    path: str | os.PathLike[str],
    cut: NoduleViews,
    nodules: Sequence[NoduleMap],
    *,
    sided: bool = True,
    grey: str = "",
    subtitle: str = "",
) -> Path:
    """Class activation on what a classifier saw of nodules, beside the same without it.

    Args:
        path: the PNG to write.
        cut: how the views were made.
        nodules: a row each.
        sided: whether it is known how the voxels lie (slices from the feet, rows to the back, columns to the left), as
            it is of cohorts; pictures without are not marked.
        grey: what black and white are, for example a window in HU.
        subtitle: what the data is.
    """
    rows = {one.caption: _nodule_panels(cut, one, sided) for one in nodules}
    return maps_figure(
        path,
        rows,
        scale=ACTIVATION.format("nodule"),
        title=f"What the class was read from: {cut.kind} views",
        subtitle=f"{subtitle}\n{grey}",
    )


@dataclass(frozen=True, eq=False)
class GateMap:
    """What a segmentation network let through on one picture.

    Attributes:
        caption: name without identity, Dice.
        image: (H, W) 0 to 1.
        gates: (G, H, W) 0 to 1, finest level first; see `monai_staging.networks.segmenter.SegmentationOutput`.
        pixel_mm: along both axes.
        outlines: masks (H, W) of ``network`` and ``readers``.
    """

    caption: str
    image: NDArray[Any]
    gates: NDArray[Any]
    pixel_mm: float
    outlines: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def gates_figure(
    path: str | os.PathLike[str],
    pictures: Sequence[GateMap],
    *,
    sided: bool = True,
    grey: str = "",
    subtitle: str = "",
) -> Path:
    """Attention gates over the slices they belong to, a row each: the slice with outlines, then the gates.

    Args:
        path: the PNG to write.
        pictures: a row each.
        sided: as in `nodule_maps_figure`.
        grey: as there.
        subtitle: what the data is.
    """
    rows = {}
    for one in pictures:
        lines = {name: _lines(mask, one.pixel_mm) for name, mask in one.outlines.items()}
        plane = nodule_plane(one.image, one.pixel_mm, "axial" if sided else "")
        gates = [nodule_plane(gate, one.pixel_mm) for gate in one.gates]
        titles = ["gate at full size", *(f"gate at 1/{2**level} of it" for level in range(1, len(gates)))]
        # Half as bright: over white, the colours of half open gates would look like those of closed ones.
        over = [
            Panel(plane, title, gate, halved=False, grey=(0.0, 2.0)) for title, gate in zip(titles, gates, strict=True)
        ]
        rows[one.caption] = [Panel(plane, "slice", lines=lines), *over]
    return maps_figure(
        path,
        rows,
        scale=GATE,
        title="Where the attention gates open",
        subtitle=f"{subtitle}\n{grey}\nunder the gates the slice is half as bright",
    )


def _nodule_panels(cut: NoduleViews, one: NoduleMap, sided: bool) -> list[Panel]:
    """Plain pictures and pictures with maps."""
    middle = cut.slices // 2 if cut.kind == "2.5d" else 0
    outline = one.views[:, -1] if "outline" in cut.channels else None

    def panels(values: NDArray[Any], heat: NDArray[Any], plane: str, mask: NDArray[Any] | None) -> list[Panel]:
        scan = nodule_plane(values, cut.spacing_mm, plane if sided else "")
        # Coronal and sagittal planes are turned over whether or not the sides are marked.
        if not sided:
            scan = Plane(nodule_plane(values, cut.spacing_mm, plane).values, scan.extent_mm)
        lines = {} if mask is None else {"readers": _lines(mask >= 0.5, cut.spacing_mm, plane)}
        return [
            Panel(scan, plane, lines=lines),
            Panel(scan, f"{plane}, largest here {heat.max():.2f}", nodule_plane(heat, cut.spacing_mm, plane)),
        ]

    if cut.kind == "3d":
        cube, heat = one.views[0, 0], one.maps[0]
        found: list[Panel] = []
        for axis, plane in enumerate(PLANES):
            at = cube.shape[axis] // 2
            mask = None if outline is None else outline[0].take(at, axis)
            found += panels(cube.take(at, axis), heat.take(at, axis), plane, mask)
        return found
    names = PLANES if cut.kind == "planes" else PLANES[:1]
    found = []
    for place, plane in enumerate(names):
        mask = None if outline is None else outline[place]
        found += panels(one.views[place, middle], one.maps[place], plane, mask)
    if cut.kind == "2.5d":
        words = ("below", "above") if sided else ("before", "after")
        others = [
            Panel(
                nodule_plane(one.views[0, channel], cut.spacing_mm, PLANES[0] if sided else ""),
                f"{abs(channel - middle) * cut.step_mm:g} mm {words[channel > middle]}",
            )
            for channel in range(cut.slices)
            if channel != middle
        ]
        found = [*found, *others]
    return found


def _lines(mask: NDArray[Any], pixel_mm: float, plane: str = "axial") -> tuple[Points, ...]:
    """Around a mask (rows, columns), in the coordinates of `nodule_plane`."""
    seen = nodule_plane(mask, pixel_mm, plane)
    left, _, bottom, _ = seen.extent_mm
    # From the lower left pixel on, columns first.
    turned = AxialImage(
        seen.values[::-1].T, (left + pixel_mm / 2, bottom + pixel_mm / 2), (pixel_mm, pixel_mm), 0.0, pixel_mm
    )
    return mask_contours(turned)
