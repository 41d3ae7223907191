"""Measures the lesion that a mask marks: volume, diameters, the solid component, and T as far as size tells.

IMAGE is CT in Hounsfield units: .nii, .nii.gz, .mhd, or a folder with one DICOM series. MASK lies on the same grid:
the same kinds of file with whole numbers, 0 being background, or a DICOM SEG or RTSTRUCT. Nothing is resampled. Of
separate parts the largest is measured, and a warning says what was left out. Size gives "at least" a T: invasion,
atelectasis and further nodules are not looked at.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from monai_staging.tnm.categories import EDITIONS, check_edition
from monai_staging.tnm.descriptors import descriptor_level

if TYPE_CHECKING:
    from monai_staging.measure import Measurement
    from monai_staging.measure.masks import Marked

_THRESHOLD_HU = -300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("image", metavar="IMAGE", type=Path, help="CT in Hounsfield units")
    parser.add_argument("mask", metavar="MASK", type=Path, help="the lesion's mask, on the image's grid")
    parser.add_argument(
        "--label",
        metavar="N",
        help="value, number of the segment or name of the structure to measure, where the mask has several",
    )
    parser.add_argument(
        "--threshold-hu",
        metavar="HU",
        type=float,
        default=_THRESHOLD_HU,
        help=f"what is above it is solid (default {_THRESHOLD_HU:g})",
    )
    parser.add_argument("--edition", default="8", metavar="E", help=f"one of {', '.join(EDITIONS)} (default 8)")
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON document: volume_mm3, voxel_volume_mm3, diameter_3d_mm, axial_diameter_mm, perpendicular_mm, "
        "solid_diameter_mm (null: no solid part), t",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    edition = check_edition(args.edition)

    from monai_staging.measure import measure_lesion
    from monai_staging.measure.images import read_image
    from monai_staging.measure.masks import read_marked

    image = read_image(args.image)
    marked = read_marked(args.mask, image, args.label)
    if marked.left_out:
        counts = ", ".join(map(str, marked.left_out[:5])) + (", ..." if len(marked.left_out) > 5 else "")
        what = f"{marked.label} is in {len(marked.left_out) + 1} separate parts; the largest is measured"
        print(f"warning: {what}, of {marked.part.voxels} voxels; left out: {counts} voxels", file=sys.stderr)
    hu = image.read(marked.part.box)
    found = measure_lesion(marked.part.mask, marked.affine, hu, threshold_hu=args.threshold_hu, edition=edition)
    if args.json:
        print(json.dumps(found.to_json()))
    else:
        _tell(args, marked, found)
    return 0


def _tell(args: argparse.Namespace, marked: Marked, found: Measurement) -> None:
    """What was measured, how, and what was not looked at."""
    size = found.size_t
    number = marked.part.corner[found.axial_axis] + found.axial_slice
    if found.solid_diameter_mm is None:
        solid = f"none: no voxel above {args.threshold_hu:g} HU"
    else:
        of = f"largest part above {args.threshold_hu:g} HU, {found.solid_voxels} of {found.voxels} voxels"
        solid = f"{found.solid_diameter_mm:.1f} mm longest ({of})"
    spacing = " x ".join(f"{length:.3g}" for length in (marked.affine[:3, :3] ** 2).sum(axis=0) ** 0.5)
    raising: dict[str, list[str]] = {}
    for descriptor in size.not_assessed:
        raising.setdefault(str(descriptor_level(descriptor, size.edition)), []).append(descriptor.value)
    rows = [
        ("lesion", f"{marked.label} of {args.mask.name}, {found.voxels} voxels of {spacing} mm"),
        ("volume", f"{found.volume_mm3:.1f} mm3 within the surface; {found.voxel_volume_mm3:.1f} mm3 by voxels"),
        ("longest diameter", f"{found.diameter_3d_mm:.1f} mm in three dimensions"),
        (
            "axial diameters",
            f"{found.axial_diameter_mm:.1f} x {found.perpendicular_mm:.1f} mm "
            f"(slice {number} of axis {'ijk'[found.axial_axis]}, from 0)",
        ),
        ("solid component", solid),
        ("T", f"at least {size.at_least}: {'; '.join(size.reasons)} ({size.edition}th edition)"),
        ("possible", ", ".join(size.t)),
        *(("not assessed", f"{level}: {', '.join(names)}") for level, names in raising.items()),
    ]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:<{width}}  {text}")
