"""What four readers and their agreement make of one nodule's size, with and without the readers' outlines.

    python scripts/lidc_sizes.py DICOM_FOLDER nodule.json [--edition 8]

LIDC's readers drew along the first pixels outside the nodule (McNitt-Gray et al., Acad. Radiol. 14(12), 2007), so the
outline itself is no part of it. The table shows what counting it in does to every measure, beside LUNA16's diameter
(a mean over the readers). ``nodule.json``: ``{"luna16": {"diameter_mm"}, "readers": [{"annotation_id", "malignancy",
"contours": [{"inclusion", "z_mm", "xy_px"}]}]}``. Nothing is random.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage.draw import line

from monai_staging.cohort.dicom import load_series
from monai_staging.cohort.lesions import Part, part_of_mask
from monai_staging.cohort.masks_rtstruct import fill
from monai_staging.cohort.readers import AGREEMENT, Grid, Outline, Reading, consensus, region
from monai_staging.cohort.volume import Volume
from monai_staging.measure import SOLID_ABOVE_HU, Measurement, measure_lesion
from monai_staging.tnm.categories import EDITIONS


@dataclass(frozen=True)
class Sizes:
    """One region measured by its mask alone, and with the image."""

    whole: Measurement
    with_image: Measurement

    @classmethod
    def of(cls, part: Part, volume: Volume, edition: str) -> Sizes:
        """Measures a region of a volume."""
        hu = volume.array[part.box]
        return cls(
            measure_lesion(part.mask, volume.affine, edition=edition),
            measure_lesion(part.mask, volume.affine, hu, edition=edition),
        )

    @property
    def sphere_mm(self) -> float:
        """The diameter of a sphere of as much volume as the voxels."""
        return float(np.cbrt(6 * self.whole.voxel_volume_mm3 / np.pi))


def readings_of(nodule: Mapping[str, Any]) -> list[Reading]:
    """The readers' outlines and ratings in ``nodule.json``."""
    return [
        Reading(
            str(reader["annotation_id"]),
            tuple(
                Outline(tuple(map(tuple, own["xy_px"])), own["z_mm"], own["inclusion"]) for own in reader["contours"]
            ),
            reader["malignancy"],
        )
        for reader in nodule["readers"]
    ]


def with_outline(reading: Reading, grid: Grid) -> Part:
    """A reader's region with every pixel that an outline runs through, around a region as around a hole in it."""
    mask = np.zeros(grid.shape, np.bool_)
    for outline in sorted(reading.outlines, key=lambda own: not own.included):
        points = np.array(outline.points)
        k = round((outline.z_mm - grid.affine[2, 3]) / grid.affine[2, 2])
        enclosed, on = (
            fill([points.astype(np.float64)], grid.shape[:2]).astype(np.bool_),
            np.zeros(grid.shape[:2], np.bool_),
        )
        for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
            on[line(*start, *end)] = True
        mask[:, :, k] = mask[:, :, k] | enclosed | on if outline.included else mask[:, :, k] & ~(enclosed & ~on)
    part = part_of_mask(mask)
    assert part is not None
    return part


def sizes(volume: Volume, nodule: Mapping[str, Any], edition: str = "8") -> dict[str, dict[str, Sizes]]:
    """``without`` and ``with`` the outline: each reader's region and the consensus (half of the readers), measured."""
    grid = Grid(volume.shape, volume.affine)
    readings = readings_of(nodule)
    found = {}
    for name, make in (("without", region), ("with", with_outline)):
        parts = {f"reader {reading.name}": make(reading, grid) for reading in readings}
        agreed = consensus(list(parts.values()))
        assert agreed is not None
        found[name] = {
            who: Sizes.of(part, volume, edition)
            for who, part in [*parts.items(), (f"{AGREEMENT:.0%} consensus", agreed)]
        }
    return found


def table(found: Mapping[str, Mapping[str, Sizes]], luna16_mm: float, edition: str) -> str:
    """The sizes for a person, in Markdown."""
    lines = [
        "| outline | region | voxels | mm3 | sphere | axial | across | 3-D | T | solid | T of solid |",
        "| --- " * 11 + "|",
    ]
    for outline, regions in found.items():
        for who, own in regions.items():
            whole, solid = own.whole, own.with_image
            cells = [outline, who, str(whole.voxels), f"{whole.volume_mm3:.0f}", f"{own.sphere_mm:.1f}"]
            cells += [f"{length:.1f}" for length in (whole.axial_diameter_mm, whole.perpendicular_mm)]
            cells += [f"{whole.diameter_3d_mm:.1f}", whole.size_t.measured]
            cells += [
                "-" if solid.solid_diameter_mm is None else f"{solid.solid_diameter_mm:.1f}",
                solid.size_t.measured,
            ]
            lines.append("| " + " | ".join(cells) + " |")
    lines.append(
        f"\nLUNA16: {luna16_mm:.3f} mm. Diameters in mm; sphere: of the volume by voxels; T: {edition}th edition."
    )
    lines.append(f"solid: the largest part above {SOLID_ABOVE_HU:g} HU.")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the nodule's DICOM series")
    parser.add_argument("nodule", type=Path, help="the readers' outlines")
    parser.add_argument("--edition", default="8", choices=EDITIONS)
    arguments = parser.parse_args()
    nodule = json.loads(arguments.nodule.read_text())
    found = sizes(load_series(arguments.folder), nodule, arguments.edition)
    print(table(found, nodule["luna16"]["diameter_mm"], arguments.edition))


if __name__ == "__main__":
    main()
