"""One phantom, from its plan to its files."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from monai_staging.cohort.phantom.anatomy import GRID_STEP_MM, Anatomy, build_anatomy
from monai_staging.cohort.phantom.cancer import place_cancer
from monai_staging.cohort.phantom.canvas import Canvas, make_canvas
from monai_staging.cohort.phantom.config import Disease, PhantomConfig, Stream, random_stream
from monai_staging.cohort.phantom.dicom_ct import CTWriter, Identity
from monai_staging.cohort.phantom.dicom_masks import write_rtstruct, write_seg
from monai_staging.cohort.phantom.distractors import place_small, plan_distractors
from monai_staging.cohort.phantom.draw import draw_slices, grow_trees, mark, mark_fluid, paint, thin_things
from monai_staging.cohort.phantom.labels import cancer_truth, nodules_truth
from monai_staging.cohort.phantom.metastases import Fluid
from monai_staging.cohort.phantom.nodes import place_large_nodes, place_normal_nodes
from monai_staging.cohort.phantom.nodules import place_nodules, plan_nodules
from monai_staging.cohort.phantom.place import Placed, Placer
from monai_staging.cohort.phantom.plan import plan_clinical, plan_disease
from monai_staging.cohort.phantom.render import Finish
from monai_staging.cohort.phantom.scanner import aim_at_lungs, draw_scanner
from monai_staging.cohort.phantom.screening import plan_screening
from monai_staging.cohort.phantom.trees import Segments
from monai_staging.cohort.phantom.truth import PhantomTruth
from monai_staging.files import remove_abandoned, temporary_path

AROUND_LUNGS_MM = 10.0  # what a scan of the lungs alone shows above and below them, in a body of normal size
# A patient's folder, its truth or a table of the tree.
_WRITTEN = r"PH-\d+-\d+(\.json)?|clinical\.csv|lesions\.csv"


@dataclass
class Phantom:
    """A rendered phantom: the CT in HU before noise, its label map (slices, rows, columns), and its truth."""

    identity: Identity
    anatomy: Anatomy
    canvas: Canvas
    truth: PhantomTruth
    finish: Finish

    def slices(self) -> Iterator[np.ndarray]:
        """The final slices (rows, columns) as int16 HU, from foot to head; to be gone through once."""
        return (self.finish.slice(k) for k in range(self.canvas.shape[0]))


def configuration_digest(config: PhantomConfig) -> str:
    """Short digest of a configuration: phantoms of different configurations get different UIDs."""
    values = asdict(config)
    values["resolution"] = config.resolution.value
    values["disease"] = config.disease.value
    # Settings that came later: where they are as before, so are the UIDs.
    for name, before in (("disease", Disease.CANCER.value), ("subtypes", False)):
        if values[name] == before:
            del values[name]
    return hashlib.sha256(repr(sorted((k, str(v)) for k, v in values.items())).encode()).hexdigest()[:12]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: phantoms are made in parallel processes, and the result must not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def render_phantom(index: int, seed: int, config: PhantomConfig) -> Phantom:
    """Renders phantom ``index`` of cohort ``seed``; depends on nothing else."""
    with _one_thread():
        return _render(index, seed, config)


def _render(index: int, seed: int, config: PhantomConfig) -> Phantom:
    clinical = plan_clinical(seed, index, config)
    identity = Identity(seed, index, configuration_digest(config), clinical.age, clinical.sex)
    scanner = draw_scanner(seed, index, config)
    hu = scanner.attenuation
    anatomy = build_anatomy(seed, index, clinical.sex, hu, GRID_STEP_MM[config.resolution])
    placer = Placer(anatomy, random_stream(seed, index, Stream.PLACEMENT))
    if config.disease.lungs_alone:
        screening = plan_screening(seed, index) if config.disease is Disease.SCREENING else None
        plans = plan_nodules(seed, index) if screening is None else screening.nodules
        trees = grow_trees(random_stream(seed, index, Stream.VESSELS), anatomy, config)
        nodules = place_nodules(placer, plans, trees, hu["lesion"])
        lungs = placer.lung_points
        scanner = aim_at_lungs(scanner, lungs * np.float32(anatomy.build.scale))
        reach = (float(lungs[:, 2].min()) - AROUND_LUNGS_MM, float(lungs[:, 2].max()) + AROUND_LUNGS_MM)
        canvas = make_canvas(scanner, anatomy.build.scale, reach)
        _draw(canvas, placer, nodules, [], trees, hu, seed, index, config)
        truth = nodules_truth(identity, canvas, nodules, clinical, screening)
    else:
        plan = plan_disease(seed, index, config)
        cancer = place_cancer(placer, plan, hu)
        canvas = make_canvas(scanner, anatomy.build.scale)
        _draw(canvas, placer, cancer.lesions, cancer.fluids, None, hu, seed, index, config)
        truth = cancer_truth(identity, canvas, plan, cancer, clinical)
    return Phantom(identity, anatomy, canvas, truth, Finish(random_stream(seed, index, Stream.NOISE), anatomy, canvas))


def _draw(
    canvas: Canvas, placer: Placer, lesions: list[Placed], fluids: list[Fluid],
    trees: tuple[Segments, Segments] | None, hu: dict[str, float], seed: int, index: int, config: PhantomConfig,
) -> None:  # fmt: skip
    """Draws the anatomy, its distractors and the lesions, and writes the lesions into the label map.

    Vessels and airways are those of ``trees``, or grow here, from the distractors' stream.
    """
    anatomy = placer.anatomy
    harmless = plan_distractors(seed, index, config.disease)
    others = Placer(anatomy, random_stream(seed, index, Stream.DISTRACTORS_PLACEMENT), list(placer.taken))
    small = place_small(others, harmless) + place_normal_nodes(others, harmless.nodes, hu["lesion"])
    small += place_large_nodes(others, harmless.large_nodes, hu["lesion"])
    if trees is None:
        trees = grow_trees(others.rng, anatomy, config)
    draw_slices(canvas, anatomy, thin_things(canvas, others, trees, harmless, lesions, hu, config))
    texture = random_stream(seed, index, Stream.TEXTURE)
    for placed in [*small, *reversed(lesions)]:
        paint(canvas, placed, texture)
    for placed in lesions:
        mark(canvas, placed)
    for fluid in fluids:
        mark_fluid(canvas, anatomy, fluid)


def remove_leftovers(out: str | Path) -> None:
    """Removes from the tree ``out`` what killed processes left half written: it would be read as a second copy."""
    for folder in (Path(out), Path(out) / "truth"):
        remove_abandoned(folder, _WRITTEN, own=True)


def write_phantom_study(
    out: str | Path, index: int, seed: int = 0, config: PhantomConfig | None = None
) -> PhantomTruth:
    """Writes phantom ``index``: ``<out>/<patient>/CT/*.dcm`` and its lesions, SEG for even and RTSTRUCT for odd
    indexes; neither for a scan without a lesion.

    The patient's folder appears whole or not at all; one that is there already is replaced.

    Args:
        out: the tree's folder.
        index: number of the phantom.
        seed: seed of the cohort.
        config: settings; the default ones if None.

    Returns:
        The truth, labels and lesions.
    """
    phantom = render_phantom(index, seed, config or PhantomConfig())
    folder = Path(out) / phantom.truth.patient
    temporary = temporary_path(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        writer = CTWriter(temporary / "CT", phantom.identity, phantom.canvas)
        with _one_thread():
            for k, hu in enumerate(phantom.slices()):
                writer.write(k, hu)
        names = [(lesion.label, f"{lesion.label} {lesion.kind} {lesion.site}") for lesion in phantom.truth.lesions]
        if index % 2 and names:
            write_rtstruct(temporary / "RTSTRUCT" / "lesions.dcm", names, writer)
        elif names:
            write_seg(temporary / "SEG" / "lesions.dcm", names, writer)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return phantom.truth
