"""Pictures of a lesion for a report: its axial slice, the same near by, and two planes across it.

A coronal or sagittal plane is an axial slice of the scan with its world axes in another order, so that all parts that
read, outline and mark axial slices serve for every plane.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from monai_staging.cohort.lesions import Part
from monai_staging.errors import UsageError
from monai_staging.explain.axial import AxialImage, Points, axial_image
from monai_staging.explain.contours import mask_contours
from monai_staging.outputs.figures import DPI, STYLE
from monai_staging.outputs.figures_chest import LOOKS as OUTLINES
from monai_staging.outputs.figures_lesion import FIELD, LEAST_FIELD_MM, LOOKS, PREDICTED
from monai_staging.outputs.figures_plane import SIDES, axial_plane, draw_box, draw_lines, draw_plane, window_range
from monai_staging.outputs.findings import Category, LesionFinding, Site
from monai_staging.outputs.report_words import millimetres
from monai_staging.outputs.reported import FloatArray, ReportedStudy
from monai_staging.transforms.grid import Affine
from monai_staging.transforms.triplanar import PLANES

ACROSS_FIELD_MM = 120.0
"""Width and height of the coronal and the sagittal picture, at least: a lesion with the lung around it."""
WIDTH_PX = {"whole": 640, "zoom": 320, "across": 320}
"""About as wide pictures are: a voxel becomes a whole number of pixels."""
THIN = 0.6
"""Lines but in the zoom, in widths of those in it: elsewhere a lesion is small."""
OUTLINE = OUTLINES["network"]
OTHER = {**OUTLINE, "linewidth": 1.0, "linestyle": ":"}
"""Outlines of further lesions."""
_IN_LUNG = frozenset(site for site in Site if "lung" in site.value or "lobe" in site.value) - {Site.HILUM}
_WINDOWS = {**dict.fromkeys(_IN_LUNG | {Site.THORAX}, "lung"), Site.BONE: "bone"}
_AXES = {"axial": "z", "coronal": "y", "sagittal": "x"}
_SEEN = {
    "axial": "patient's right on the left of the picture, anterior at the top",
    "coronal": "patient's right on the left of the picture, head at the top",
    "sagittal": "anterior on the left of the picture, head at the top",
}


@dataclass(frozen=True)
class View:
    """One picture.

    Attributes:
        png: the file, of pixels alone.
        size_px: width and height.
        alt: what is to be seen, for those who cannot see it.
        caption: what stands beneath it.
    """

    png: bytes
    size_px: tuple[int, int]
    alt: str
    caption: str


@dataclass(frozen=True, eq=False)
class _Cut:
    """A plane of a study with the lines on it, in its own millimetres: of an axial one x and y."""

    name: str
    image: AxialImage
    own: tuple[Points, ...]
    others: tuple[Points, ...]
    box: tuple[Points, Points] | None


def lesion_window(lesion: LesionFinding) -> str:
    """The window a lesion is looked at in: of a node and of what is outside the lungs the soft tissue's."""
    return "mediastinum" if lesion.category is Category.NODE else _WINDOWS.get(lesion.site, "mediastinum")


def lesion_parts(study: ReportedStudy) -> list[Part]:
    """The voxels of each lesion, in the order of the findings; raises `UsageError` for one without any."""
    from scipy import ndimage

    count = len(study.findings.lesions)
    # Masks run along the first axis: transposed they are gone through in memory's order.
    boxes = ndimage.find_objects(study.mask.T, max_label=count) if count else []
    parts = []
    for label, spans in enumerate(boxes, start=1):
        if spans is None:
            raise UsageError(f"{study.name}: each lesion has voxels in the mask; lesion {label} has none.")
        box = tuple(reversed(spans))
        i, j, k = (int(span.start) for span in box)
        parts.append(Part((i, j, k), study.mask[box] == label))
    return parts


def lesion_views(study: ReportedStudy, label: int, parts: Sequence[Part]) -> tuple[View, ...]:
    """The axial slice of the longest axial diameter, a zoom of it with and without lines, coronal and sagittal.

    Args:
        study: whose lesion it is.
        label: of the lesion.
        parts: of `lesion_parts`.

    Raises:
        UsageError: the slice of its axial diameter is none of the lesion's.
    """
    lesion = study.findings.lesions[label - 1]
    size = lesion.measurement
    middle_mm, slice_mm = _middle(parts[label - 1], study.volume.affine, size.axial_axis, size.axial_slice)
    whole = _cut(study, "axial", slice_mm, label, parts)
    low, high = _reach(parts[label - 1], study.volume.affine, "axial", whole.box)
    near = _around(whole, low, high, max(LEAST_FIELD_MM, FIELD * float((high - low).max())))
    height = _place("z", whole.image.z_mm)
    count, number = study.volume.shape[size.axial_axis], size.axial_slice + 1
    from_feet = study.volume.affine[2, size.axial_axis] > 0
    place = f"slice {number} of {count} from the {'feet' if from_feet else 'head'}"
    views = [
        _view(whole, lesion, "whole", f"CT {place},", f"Axial, {place}, {height}"),
        _view(near, lesion, "zoom", f"CT {place}, zoomed in,", "Zoom"),
        _view(near, lesion, "zoom", f"CT {place}, zoomed in,", "Zoom without lines", lines=False),
    ]
    for name in ("coronal", "sagittal"):
        cut = _cut(study, name, middle_mm, label, parts)
        low, high = _reach(parts[label - 1], study.volume.affine, name, cut.box)
        cut = _around(cut, low, high, max(ACROSS_FIELD_MM, FIELD * float((high - low).max())))
        where = _place(_AXES[name], cut.image.z_mm)
        views.append(_view(cut, lesion, "across", f"CT plane at {where}", f"{name.capitalize()}, {where}"))
    return tuple(views)


def _place(axis: str, place_mm: float) -> str:
    return f"{axis}\u00a0=\u00a0{millimetres(place_mm)}"


def _turned(affine: Affine, name: str) -> Affine:
    """The affine with the world's axes in the order of a plane: along it, up it, through it."""
    return np.asarray(affine, dtype=np.float64)[[*PLANES[name], 3]]


def _middle(part: Part, affine: Affine, axis: int, index: int) -> tuple[FloatArray, FloatArray]:
    """RAS mm of the lesion's voxel nearest to its middle, and of that on the slice with an index along an axis."""
    voxels = np.argwhere(part.mask) + part.corner
    on_slice = voxels[voxels[:, axis] == index]
    if not len(on_slice):
        first, last = voxels[:, axis].min(), voxels[:, axis].max()
        raise UsageError(f"A lesion's axial slice is one of its own, {first} to {last}; found {index}.")
    found = []
    for own in (voxels, on_slice):
        nearest = own[np.argmin(((own - own.mean(axis=0)) ** 2).sum(axis=1))]
        found.append(np.asarray(affine[:3, :3] @ nearest + affine[:3, 3], dtype=np.float64))
    return found[0], found[1]


def _cut(study: ReportedStudy, name: str, point_mm: FloatArray, label: int, parts: Sequence[Part]) -> _Cut:
    """The plane through a point, with the outlines of what it cuts."""
    affine = _turned(study.volume.affine, name)
    image = axial_image(study.volume.array, affine, float(point_mm[PLANES[name][2]]))
    lines = [_outline(part, affine, image.z_mm) for part in parts]
    others = tuple(line for number, own in enumerate(lines, start=1) if number != label for line in own)
    box = study.boxes_mm[label - 1]
    cut = None
    if box is not None:
        low, high = (
            np.asarray(box, dtype=np.float64)[[*(3 * half + axis for axis in PLANES[name])]] for half in (0, 1)
        )
        if low[2] - image.step_mm / 2 <= image.z_mm <= high[2] + image.step_mm / 2:
            cut = low[:2], high[:2]
    return _Cut(name, image, lines[label - 1], others, cut)


def _outline(part: Part, affine: Affine, height_mm: float) -> tuple[Points, ...]:
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ part.corner
    try:
        return mask_contours(axial_image(part.mask.view(np.uint8), moved, height_mm, mode="nearest"))
    except UsageError:  # the lesion ends before the plane
        return ()


def _reach(part: Part, affine: Affine, name: str, box: tuple[Points, Points] | None) -> tuple[Points, Points]:
    """Least and largest coordinates, on a plane, of a lesion and of its box where the plane cuts it."""
    turned = _turned(affine, name)
    centers = (np.argwhere(part.mask) + part.corner) @ turned[:2, :3].T + turned[:2, 3]
    ends = [centers.min(axis=0), centers.max(axis=0), *(box or ())]
    return np.min(ends, axis=0), np.max(ends, axis=0)


def _around(cut: _Cut, low: Points, high: Points, field_mm: float) -> _Cut:
    """A square of a plane, as far as the scan goes."""
    x, y = ((low + high) / 2).tolist()
    half = field_mm / 2
    image = cut.image.within((x - half, y - half), (x + half, y + half))
    left, right, bottom, top = image.extent_mm
    seen = tuple(line for line in cut.others if ((line >= (left, bottom)) & (line <= (right, top))).all(axis=1).any())
    return replace(cut, image=image, others=seen)


def _view(cut: _Cut, lesion: LesionFinding, kind: str, what: str, caption: str, lines: bool = True) -> View:
    window = lesion_window(lesion)
    size = millimetres(lesion.measurement.diameter_3d_mm)
    shown = [f"lesion {lesion.label}, {size}, without lines"]
    if lines:
        shown = [f"the outline of lesion {lesion.label}, {size}"]
        shown += ["the detector's box"] * (cut.box is not None)
        shown += ["outlines of other lesions"] * bool(cut.others)
    alt = f"{cut.name.capitalize()} {what} in the {window} window with {' and '.join(shown)}; {_SEEN[cut.name]}"
    png, size_px = _png(cut, window, WIDTH_PX[kind], 1.0 if kind == "zoom" else THIN, lines)
    return View(png, size_px, alt, caption)


def _png(cut: _Cut, window: str, about_px: int, thin: float, lines: bool) -> tuple[bytes, tuple[int, int]]:
    """A picture with nothing around it, and its width and height."""
    plane = replace(axial_plane(cut.image), sides=SIDES[cut.name])
    columns = plane.values.shape[1]
    width = columns * max(1, round(about_px / columns))
    height = max(1, round(width * plane.size_mm[1] / plane.size_mm[0]))
    with matplotlib.rc_context(STYLE):
        # A hundredth of a pixel more, since Matplotlib cuts fractions off.
        figure = Figure(figsize=((width + 0.01) / DPI, (height + 0.01) / DPI), dpi=DPI)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        draw_plane(axes, plane, *window_range(window))
        if lines:
            _draw(axes, cut, thin)
        raw = io.BytesIO()
        figure.savefig(raw, dpi=DPI, format="rgba")
    pixels = np.frombuffer(raw.getvalue(), np.uint8).reshape(height, width, 4)[..., :3]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return file.getvalue(), (width, height)


def _draw(axes: Axes, cut: _Cut, thin: float) -> None:
    looks = [{**look, "linewidth": thin * look["linewidth"]} for look in (OTHER, LOOKS[PREDICTED], OUTLINE)]
    draw_lines(axes, cut.others, **looks[0])
    if cut.box is not None:
        draw_box(axes, *cut.box, **looks[1])
    draw_lines(axes, cut.own, **looks[2])
