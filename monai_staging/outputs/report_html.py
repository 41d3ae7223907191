"""The report of a predicted study as one HTML file, which needs no network, no script and no file beside it."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import numpy as np

from monai_staging.cohort.lesions import Part
from monai_staging.files import write_text_atomic
from monai_staging.outputs.figures_plane import window_text
from monai_staging.outputs.report_attention import Span, attention_charts
from monai_staging.outputs.report_figures import View, lesion_parts, lesion_views, lesion_window
from monai_staging.outputs.report_markup import Markup, facts, listed, page, section, table, tag
from monai_staging.outputs.report_stage import probability_section, stage_section
from monai_staging.outputs.report_words import (
    NONE,
    chance,
    counted,
    length,
    millimetres,
    size_sentence,
    stage_sentence,
    t_by_size,
)
from monai_staging.outputs.reported import NOT_A_DEVICE, FloatArray, ReportedStudy
from monai_staging.version import __version__

SHOWN = 5
"""Lesions with pictures, the largest; the table has all."""


def write_report(path: str | os.PathLike[str], study: ReportedStudy) -> Path:
    """Writes the report; the same study gives the same bytes.

    Args:
        path: the file, ``.html``.
        study: what is reported.

    Raises:
        UsageError: a lesion without voxels in the mask.
    """
    parts = lesion_parts(study)
    body = [
        _headline(study),
        _lesions(study, parts),
        stage_section(study.findings.staging),
        probability_section(study),
        *_attention(study, parts),
        _provenance(study),
    ]
    write_text_atomic(path, page(f"{study.name}: chest CT, lesions and stage", *body))
    return Path(path)


def _headline(study: ReportedStudy) -> Markup:
    findings = study.findings
    parts = [
        tag("h1", f"Chest CT {study.name}"),
        tag("p", f"{size_sentence(findings)}.", class_="lead"),
        tag("p", f"{stage_sentence(findings.staging)}.", class_="stage"),
        tag("p", f"TNM, {findings.staging.tnm.edition}th edition.", class_="quiet"),
        tag("p", NOT_A_DEVICE, class_="notice", role="note"),
    ]
    if study.warnings:
        heading = tag("h2", counted(len(study.warnings), "warning").capitalize(), id="warnings-heading")
        warnings = listed(study.warnings)
        parts.append(tag("section", heading, warnings, class_="warnings", aria_labelledby="warnings-heading"))
    return tag("header", *parts, class_="intro")


def _lesions(study: ReportedStudy, parts: list[Part]) -> Markup:
    lesions = study.findings.lesions
    if not lesions:
        said = "No lesion was found. That is no proof that there is none."
        return section("Lesions", tag("p", said), name="lesions")
    largest = sorted(lesions, key=lambda lesion: -lesion.measurement.diameter_3d_mm)[:SHOWN]
    shown = sorted(lesion.label for lesion in largest)
    body: list[str] = []
    if len(shown) < len(lesions):
        which = f"Pictures of the {SHOWN} largest of {len(lesions)} lesions; the table below has all."
        body.append(tag("p", which, class_="quiet"))
    body.append(tag("p", _legend(study), class_="quiet"))
    body += [_pictures(study, label, parts) for label in shown]
    body += [tag("h3", "Sizes"), _lesion_table(study)]
    return section(counted(len(lesions), "lesion"), *body, name="lesions")


def _legend(study: ReportedStudy) -> str:
    boxes = "" if all(box is None for box in study.boxes_mm) else ", dashed the detector's box"
    others = ", dotted outlines of other lesions" if len(study.boxes_mm) > 1 else ""
    sides = "R right, L left, A anterior, P posterior, S towards the head, I towards the feet"
    return f"Solid line: the lesion's outline{boxes}{others}. {sides}. Places x, y, z are RAS mm."


def _pictures(study: ReportedStudy, label: int, parts: list[Part]) -> Markup:
    lesion = study.findings.lesions[label - 1]
    longest = millimetres(lesion.measurement.diameter_3d_mm)
    title = f"Lesion {label}: {longest}, {lesion.category.value}, {lesion.site.value}"
    figures = [_figure(view) for view in lesion_views(study, label, parts)]
    window = window_text(lesion_window(lesion))
    return tag(
        "article",
        tag("h3", title),
        tag("p", f"{window[:1].upper()}{window[1:]}.", class_="quiet"),
        tag("div", *figures, class_="views"),
        class_="lesion",
    )


def _figure(view: View) -> Markup:
    width, height = view.size_px
    data = f"data:image/png;base64,{base64.b64encode(view.png).decode()}"
    image = tag("img", src=data, alt=view.alt, width=str(width), height=str(height))
    return tag("figure", image, tag("figcaption", view.caption))


def _lesion_table(study: ReportedStudy) -> Markup:
    header = [
        "Lesion",
        "Category",
        "Site",
        "Longest, mm",
        "Axial, mm",
        "Solid part, mm",
        "Volume, mm³",
        "By voxels, mm³",
        "T by size",
        "Score",
        "Malignancy",
    ]
    rows = []
    for lesion in study.findings.lesions:
        size = lesion.measurement
        rows.append(
            [
                str(lesion.label),
                lesion.category.value,
                lesion.site.value,
                length(size.diameter_3d_mm),
                f"{length(size.axial_diameter_mm)} × {length(size.perpendicular_mm)}",
                length(size.solid_diameter_mm),
                f"{size.volume_mm3:.0f}",
                f"{size.voxel_volume_mm3:.0f}",
                tag("span", t_by_size(lesion), class_="whole"),
                NONE if lesion.score is None else f"{lesion.score:.2f}",
                chance(lesion.malignancy),
            ]
        )
    caption = (
        "Longest: in three dimensions. Axial: longest diameter on an axial slice and the longest across it. Volume: "
        "within the surface. T by size holds if the lesion is the primary tumour."
    )
    return table(caption, header, rows, numbers=frozenset({3, 4, 5, 6, 7, 9, 10}))


def _attention(study: ReportedStudy, parts: list[Part]) -> list[Markup]:
    attention = study.attention
    if attention is None or not attention.weights:
        return []
    said = "Weight of each slice for T, N and M. Dashed: what each slice would have if all counted alike."
    bands = [tag("span", class_="key", aria_hidden="true"), " Bands: where lesions are."] if parts else []
    charts = attention_charts(attention, [_span(part, study.volume.affine) for part in parts])
    intro = tag("p", said, " ", *bands, class_="quiet")
    return [section("Where the staging network looked", intro, charts, name="attention")]


def _span(part: Part, affine: FloatArray) -> Span:
    """Lowest and highest z of a lesion, RAS mm, to the edges of its voxels."""
    heights = (np.argwhere(part.mask) + part.corner) @ affine[2, :3] + affine[2, 3]
    half = float(np.abs(affine[2, :3]).sum()) / 2
    return float(heights.min()) - half, float(heights.max()) + half


def _provenance(study: ReportedStudy) -> Markup:
    algorithm, volume, scan = study.findings.algorithm, study.volume, study.scan
    across = " × ".join(map(str, volume.shape))
    spacing = " × ".join(f"{step:.3g}" for step in volume.spacing_mm)
    pairs = [
        ("Study", study.name),
        ("Scan", f"{scan.source}, {across} voxels of {spacing} mm"),
        ("Why this scan", scan.chosen),
        *scan.attributes.items(),
        ("Algorithm", f"{algorithm.name} {algorithm.version} (monai_staging {__version__})"),
        *((f"Weights: {model.name}", tag("code", model.digest)) for model in algorithm.models),
        ("Digest of the findings", tag("code", f"sha256:{study.findings.digest}")),
    ]
    if study.seconds:
        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in study.seconds.items())
        pairs.append(("Seconds a step", f"{steps}; {sum(study.seconds.values()):.1f} in all"))
    return section("Where this comes from", facts(pairs), name="provenance")
