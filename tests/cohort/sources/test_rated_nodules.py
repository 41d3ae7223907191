"""From raw LIDC-IDRI and LUNA16 to nodules with labels: what `load_nodules` makes of the cohorts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK

from monai_staging.cli.main import main
from monai_staging.cohort.nodules import load_nodules
from monai_staging.cohort.ratings import RATINGS
from monai_staging.cohort.readers import Outline, Reading

RATED = dict(zip(RATINGS, (5, 1, 6, 3, 4, 1, 2, 5), strict=True))
SERIES = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1"


def reading(name: str, malignancy: int, x0: int, y0: int, size: int, places_mm: dict[float, str]) -> Reading:
    x1, y1 = x0 + size, y0 + size
    square = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return Reading(name, tuple(Outline(square, z, True, uid) for z, uid in places_mm.items()), malignancy, RATED)


def test_lidc_idri(
    raw: Path, patient_series: Callable[..., Any], write_lidc_xml: Callable[..., Path], tmp_path: Path
) -> None:
    series = patient_series("LIDC-IDRI-0001", "LIDC-IDRI/LIDC-IDRI-0001/x/y", 1)
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in series.files]
    places = {float(h.ImagePositionPatient[2]): str(h.SOPInstanceUID) for h in headers[1:4]}
    last = {float(headers[4].ImagePositionPatient[2]): str(headers[4].SOPInstanceUID)}
    readers = [
        [reading("a", 5, 1, 1, 6, places), reading("b", 2, 9, 6, 3, last)],
        [reading("a", 4, 1, 1, 6, places)],
    ]
    write_lidc_xml(series.folder / "069.xml", str(headers[0].SeriesInstanceUID), readers)
    assert main(["ingest", "lidc-idri", str(raw), str(tmp_path / "out"), "--workers", "1"]) == 0
    nodules = load_nodules(tmp_path / "out")
    assert [(record.label, record.ratings) for record in nodules.records] == [((1,), (5, 4)), ((0,), (2,))]
    assert nodules.records[0].spacing_mm == pytest.approx((3.0, 0.7, 0.8))
    assert nodules.records[0].attributes == {
        "subtlety": 5.0, "calcification": 6.0, "sphericity": 3.0, "margin": 4.0,
        "lobulation": 1.0, "spiculation": 2.0, "texture": 5.0,
    }  # fmt: skip
    volume = nodules.read(0)
    # The whole scan is smaller than the box; its slices, rows and columns come as they were written.
    np.testing.assert_array_equal(volume.image[0], series.hu)
    expected = np.zeros((5, 12, 14), bool)
    expected[1:4, 2:7, 2:7] = True  # an outline runs outside of the nodule
    np.testing.assert_array_equal(volume.outlines, expected[None])


def test_luna16(raw: Path, write_lidc_xml: Callable[..., Path], tmp_path: Path) -> None:
    spacing, origin = np.array([0.8, 0.7, 2.5]), np.array([-100.0, -90.0, -212.0])
    hu = np.random.default_rng(1).integers(-1000, 400, (6, 12, 14)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(hu)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    (raw / "subset0").mkdir(parents=True)
    SimpleITK.WriteImage(image, str(raw / "subset0" / f"{SERIES}.mhd"))
    x, y, z = origin + spacing * (5, 5, 2)
    (raw / "annotations.csv").write_text(f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{SERIES},{x},{y},{z},5.5\n")
    places = {float(origin[2] + spacing[2] * k): "" for k in (1, 2, 3)}
    readers = [[reading(name, rated, 2, 2, 6, places)] for name, rated in (("a", 1), ("b", 2), ("c", 1))]
    write_lidc_xml(raw / "tcia-lidc-xml" / "1.xml", SERIES, readers)
    assert main(["ingest", "luna16", str(raw), str(tmp_path / "out"), "--test", "0", "--workers", "1"]) == 0
    nodules = load_nodules(tmp_path / "out")
    (record,), volume = nodules.records, nodules.read(0)
    assert record.label == (0,) and record.part is None and record.spacing_mm == pytest.approx((2.5, 0.7, 0.8))
    np.testing.assert_array_equal(volume.image[0], hu)
    away = np.stack(np.meshgrid(*map(np.arange, hu.shape), indexing="ij"), axis=-1) - (2, 5, 5)
    ball = np.linalg.norm(away * spacing[::-1], axis=-1) <= 2.75
    np.testing.assert_array_equal(volume.outlines, ball[None])
