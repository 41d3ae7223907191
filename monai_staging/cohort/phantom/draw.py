"""Draws everything into the canvas: slices, thin things, lesions and their label map."""

from __future__ import annotations

import numpy as np
import torch

from monai_staging.cohort.phantom.anatomy import Anatomy
from monai_staging.cohort.phantom.canvas import Canvas
from monai_staging.cohort.phantom.config import PhantomConfig, Resolution
from monai_staging.cohort.phantom.distractors import DistractorPlan, bands, crossings, fissures, scars, thickenings
from monai_staging.cohort.phantom.grid import Array, smooth_noise
from monai_staging.cohort.phantom.metastases import Fluid
from monai_staging.cohort.phantom.place import Placed, Placer
from monai_staging.cohort.phantom.render import Base, drop_thin
from monai_staging.cohort.phantom.shapes import spicules
from monai_staging.cohort.phantom.splat import Cloud, SliceDropper, tubes
from monai_staging.cohort.phantom.trees import Segments, lung_trees, overlapping

VESSEL_PITCH_MM = {Resolution.TINY: 22.0, Resolution.DEFAULT: 9.0, Resolution.FULL: 8.0}
# Thin slices show the grain, and the gaps, of what passes in thick ones.
FISSURE_STEP_MM = {False: 0.85, True: 0.55}


def grow_trees(rng: np.random.Generator, anatomy: Anatomy, config: PhantomConfig) -> tuple[Segments, Segments]:
    """Vessels and airways, as fine as the resolution shows them."""
    vessels, airways = lung_trees(rng, anatomy.grid, anatomy.lung, VESSEL_PITCH_MM[config.resolution])
    if config.disease.lungs_alone:
        return overlapping(vessels), overlapping(airways)
    return vessels, airways


def thin_things(
    canvas: Canvas, placer: Placer, trees: tuple[Segments, Segments], plan: DistractorPlan, lesions: list[Placed],
    hu: dict[str, float], config: PhantomConfig,
) -> list[tuple[SliceDropper, float]]:  # fmt: skip
    """Everything thin in drawing order: fissures and bands, vessels and strands, airway walls, airway lumen."""
    anatomy, rng = placer.anatomy, placer.rng
    vessels, airways = trees
    step = max(0.5, 0.75 * canvas.scanner.spacing_mm)
    scale = np.float32(canvas.scale)

    def here(segments: Segments) -> Segments:
        return Segments(
            canvas.to_scanner(segments.start).astype(np.float32), canvas.to_scanner(segments.end).astype(np.float32),
            segments.radius * scale,
        )  # fmt: skip

    plain = fissures(rng, anatomy, FISSURE_STEP_MM[config.disease.lungs_alone])
    plates = bands(rng, anatomy, plan.bands)
    sheets = Cloud.join([plain, plates, thickenings(placer, plain, plan.thickenings), scars(placer, plan.scars)])
    sheets = Cloud(canvas.to_scanner(sheets.points).astype(np.float32), sheets.volume * scale**3)
    strands = [s for placed in lesions for s in _strands(placed, rng, canvas.scale)]
    tree = here(Segments.join([vessels, crossings(placer, vessels, plan.crossings), *strands]))
    tubes_of = here(airways)
    walls = Segments(tubes_of.start, tubes_of.end, tubes_of.radius + np.clip(0.16 * tubes_of.radius, 0.5, 1.3))
    layers = [
        (sheets, -60.0), (tubes(tree, step), hu["pulmonary"]), (tubes(walls, step), 5.0), (tubes(tubes_of, step),
        -990.0),
    ]  # fmt: skip
    scanner = canvas.scanner
    spacing = (scanner.spacing_mm, scanner.slice_spacing_mm)
    return [
        (SliceDropper(cloud, canvas.origin, spacing, scanner.slice_thickness_mm, canvas.shape), value)
        for cloud, value in layers
    ]


def _strands(placed: Placed, rng: np.random.Generator, scale: float) -> list[Segments]:
    """Spicules and pleural tags of a lesion as tubes in the anatomical frame."""
    found = []
    if placed.spiculated:
        start, end = spicules(rng, placed.shape, 46)
        centre = placed.centre.astype(np.float32)
        radius = rng.uniform(0.3, 0.7, len(start)).astype(np.float32)
        found.append(Segments((start + centre) / scale, (end + centre) / scale, radius / scale))
    if placed.tag is not None:
        directions = placed.tag + rng.normal(0.0, 0.25, (4, 3))
        reach = placed.diameter_mm / 2 + 12.0
        start = np.repeat(placed.centre[None], 4, axis=0)
        end = start + directions * reach
        found.append(
            Segments((start / scale).astype(np.float32), (end / scale).astype(np.float32), np.full(4, 0.9, np.float32))
        )
    return found


def draw_slices(canvas: Canvas, anatomy: Anatomy, droppers: list[tuple[SliceDropper, float]]) -> None:
    """Draws the anatomy and the thin things of every slice."""
    base = Base(anatomy, canvas)
    for k in range(canvas.shape[0]):
        hu = base.slice(k)
        drop_thin(hu, droppers, k)
        canvas.hu[k] = hu


def _at(canvas: Canvas, placed: Placed) -> np.ndarray:
    return canvas.to_scanner((placed.centre / canvas.scale)[None])[0]


def paint(canvas: Canvas, placed: Placed, rng: np.random.Generator) -> None:
    """Paints one lesion or distractor; ``rng`` makes its inside uneven."""
    found = canvas.occupancy(placed.shape, _at(canvas, placed))
    if found is None:
        return
    part, box = found
    # Ground glass adds to what it covers: vessels stay visible in it.
    value: float | Array = placed.hu
    if placed.diameter_mm > 9 and min(part.shape) > 1:
        value = placed.hu + (7.0 if placed.hu > -200 else 45.0) * smooth_noise(rng, part.shape, 6)
    if placed.hu < -200:
        value = np.maximum(canvas.hu[box], value)
    canvas.paint(part, box, value)
    if placed.core is not None:
        shape, offset, hu = placed.core
        inner = canvas.occupancy(shape, canvas.to_scanner(((placed.centre + offset) / canvas.scale)[None])[0])
        if inner is not None:
            canvas.paint(inner[0], inner[1], hu)


def mark(canvas: Canvas, placed: Placed) -> None:
    """Writes a lesion into the label map."""
    found = canvas.occupancy(placed.shape, _at(canvas, placed))
    if found is not None:
        canvas.mark(found[0], found[1], placed.label)


def mark_fluid(canvas: Canvas, anatomy: Anatomy, fluid: Fluid) -> None:
    """Writes a fluid's label where its field is inside, slice by slice."""
    base = Base(anatomy, canvas)
    used = []
    for k in range(canvas.shape[0]):
        position = np.clip(
            (canvas.z_mm(k) / canvas.scale - anatomy.grid.low[2]) / anatomy.grid.step_mm,
            0,
            anatomy.grid.shape[0] - 1.001,
        )
        low = int(position)
        plane = fluid.field[low] + np.float32(position - low) * (fluid.field[low + 1] - fluid.field[low])
        if plane.min() >= 0:
            continue
        fine = torch.nn.functional.grid_sample(
            torch.from_numpy(plane)[None, None], base.where, mode="bilinear", padding_mode="border", align_corners=True
        )[0, 0].numpy()
        view = canvas.labels[k]
        mine = (fine < 0) & (view == 0)
        if mine.any():
            view[mine] = fluid.label
            used.append(k)
    if used:
        whole = slice(0, canvas.scanner.matrix)
        canvas.extents[fluid.label] = (slice(used[0], used[-1] + 1), whole, whole)


def box(canvas: Canvas, label: int) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Centre (RAS mm) and extents (mm) of a label's voxels, edges included."""
    k, j, i = canvas.where(label)
    scanner = canvas.scanner
    steps = (scanner.spacing_mm, scanner.spacing_mm, scanner.slice_spacing_mm)
    x, y, z = (
        round(float(o + (v.start + v.stop - 1) / 2 * s), 3)
        for o, v, s in zip(canvas.origin, (i, j, k), steps, strict=True)
    )
    dx, dy, dz = (round(float((v.stop - v.start) * s), 3) for v, s in zip((i, j, k), steps, strict=True))
    return (-x, -y, z), (dx, dy, dz)
