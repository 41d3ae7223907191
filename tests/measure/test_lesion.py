"""One lesion's measures and T: ground glass, part-solid, solid, by edition."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_staging.cli import measure as command
from monai_staging.errors import DataError, UsageError
from monai_staging.measure import SOLID_ABOVE_HU, measure_lesion
from monai_staging.tnm.size import t_from_size

GLASS, SOLID, LUNG = -600, 30, -850
MILLIMETRE = np.eye(4)


def ball(shape: tuple[int, ...], center: tuple[float, ...], radius: float) -> np.ndarray:
    offsets = np.moveaxis(np.indices(shape), 0, -1) - center
    return (offsets**2).sum(axis=-1) <= radius**2


def nodule(diameter: int, solid: int, lump: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mask and HU of a ball of an odd diameter in mm, with a solid core, and another solid lump at its rim."""
    size = diameter + 6
    middle = (size // 2,) * 3
    mask = ball((size,) * 3, middle, diameter // 2)
    hu = np.where(mask, GLASS, LUNG)
    if solid:
        hu[ball((size,) * 3, middle, solid // 2)] = SOLID
    if lump:
        hu[ball((size,) * 3, (size // 2, size // 2, size // 2 + diameter // 2), lump // 2) & mask] = SOLID
    return mask, hu


@pytest.mark.parametrize(
    ("diameter", "solid", "edition", "expected"),
    [
        (15, 15, "8", "T1b"),
        (25, 15, "8", "T1b"),
        (25, 9, "9", "T1a"),
        (25, 5, "8", "T1mi"),
        (35, 5, "8", "T1a"),
        (25, 0, "8", "Tis"),
        (35, 0, "9", "T1a"),
        (25, 9, "7", "T1b"),
        (35, 0, "6", "T2"),
    ],
)
def test_t_goes_by_the_solid_component(diameter: int, solid: int, edition: str, expected: str) -> None:
    mask, hu = nodule(diameter, solid)
    found = measure_lesion(mask, MILLIMETRE, hu, edition=edition)
    assert found.diameter_3d_mm == pytest.approx(diameter, abs=1e-3)
    assert found.solid_diameter_mm == (pytest.approx(solid, abs=1e-3) if solid else None)
    assert found.size_t.measured == found.t[0] == expected
    assert found.solid_voxels == np.count_nonzero(hu == SOLID)
    # What nobody looked at may be there.
    assert found.t[-1] == "T4"


def test_without_an_image_the_whole_counts() -> None:
    mask, _ = nodule(25, 5)
    found = measure_lesion(mask, MILLIMETRE)
    assert found.t == ("T1c", "T2a", "T3", "T4")
    assert found.solid_diameter_mm is found.solid_voxels is None


def test_of_several_solid_parts_the_largest_counts() -> None:
    mask, hu = nodule(41, 9, lump=7)
    # Specks of noise all over the ground glass, none touching another or a solid part.
    apart = (np.indices(mask.shape) % 3 == 0).all(axis=0) & ~ndimage.binary_dilation(hu == SOLID, np.ones((3, 3, 3)))
    hu[apart & (hu == GLASS)] = SOLID
    found = measure_lesion(mask, MILLIMETRE, hu)
    assert found.solid_diameter_mm == pytest.approx(9, abs=1e-3)


def test_solid_is_above_the_threshold_and_in_the_mask() -> None:
    mask, hu = nodule(15, 9)
    hu[hu == SOLID] = -300
    hu[0] = SOLID
    assert measure_lesion(mask, MILLIMETRE, hu).solid_diameter_mm is None
    lower = measure_lesion(mask, MILLIMETRE, hu, threshold_hu=-301)
    assert lower.solid_diameter_mm == pytest.approx(9, abs=1e-3)
    assert command._THRESHOLD_HU == SOLID_ABOVE_HU == -300


def test_a_solid_component_cannot_exceed_the_lesion() -> None:
    mask, hu = nodule(21, 21)
    found = measure_lesion(mask, MILLIMETRE, np.where(mask, hu, SOLID))
    assert found.solid_diameter_mm == found.diameter_3d_mm == pytest.approx(21, abs=1e-3)


@pytest.mark.parametrize(
    ("voxels", "spacing_mm", "expected"), [(20, 0.5, "T1a"), (30, 1 / 3, "T1a"), (100, 0.3, "T1c")]
)
def test_digits_of_single_precision_lift_nothing_over_a_limit(voxels: int, spacing_mm: float, expected: str) -> None:
    for nudge in (-np.inf, np.inf):
        spacing = float(np.nextafter(np.float32(spacing_mm), np.float32(nudge)))
        found = measure_lesion(np.ones((voxels, 1, 1)), np.diag([spacing, 0.1, 0.1, 1]))
        assert found.size_t.measured == expected


@given(
    st.tuples(*[st.floats(-40, 40)] * 3),
    st.tuples(*[st.floats(0.5, 3)] * 3),
    st.tuples(*[st.floats(-1000, 1000)] * 3),
    st.integers(0, 2**31),
)
def test_what_always_holds(degrees, spacing, origin, seed) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 6, 4)) < rng.uniform(0.05, 1)
    mask[2, 3, 1] = True
    hu = rng.integers(-900, 100, mask.shape)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    found = measure_lesion(mask, affine, hu)
    # The mesh cuts corners off, and fills a few in.
    assert 0 < found.volume_mm3 < 1.05 * found.voxel_volume_mm3
    assert 0 < found.perpendicular_mm <= found.axial_diameter_mm <= found.diameter_3d_mm
    assert found.solid_diameter_mm is None or 0 < found.solid_diameter_mm <= found.diameter_3d_mm
    solid_mm = found.solid_diameter_mm or 0.0
    assert found.size_t == t_from_size(found.diameter_3d_mm, "8", solid_mm=solid_mm)
    # Where the lesion lies on the grid is nothing to its size, and which slice it is follows it.
    moved = measure_lesion(np.pad(mask, 2), affine, np.pad(hu, 2))
    assert moved.to_json() == found.to_json()
    assert moved.axial_slice == found.axial_slice + 2


def test_json_has_these_keys_and_plain_numbers() -> None:
    mask, hu = nodule(15, 9)
    document = measure_lesion(mask, MILLIMETRE, hu).to_json()
    assert list(document) == [
        "volume_mm3",
        "voxel_volume_mm3",
        "diameter_3d_mm",
        "axial_diameter_mm",
        "perpendicular_mm",
        "solid_diameter_mm",
        "t",
    ]
    assert {type(value) for value in document.values()} == {float, list}


def test_what_cannot_be_measured() -> None:
    mask, hu = nodule(9, 5)
    with pytest.raises(UsageError, match="marks a voxel at least"):
        measure_lesion(np.zeros_like(mask), MILLIMETRE)
    with pytest.raises(UsageError, match="one shape; found"):
        measure_lesion(mask, MILLIMETRE, hu[1:])
    with pytest.raises(UsageError, match="gives voxels a volume"):
        measure_lesion(mask, np.diag([1.0, 1, 0, 1]))
    with pytest.raises(UsageError, match="finite number of HU; found nan"):
        measure_lesion(mask, MILLIMETRE, hu, threshold_hu=float("nan"))
    with pytest.raises(UsageError, match="edition"):
        measure_lesion(mask, MILLIMETRE, edition="5")
    holes = hu.astype(float)
    holes[0] = np.nan
    assert measure_lesion(mask, MILLIMETRE, holes).solid_diameter_mm is not None
    holes[hu == SOLID] = np.nan
    with pytest.raises(DataError, match=f"finite value; {np.count_nonzero(hu == SOLID)} of {mask.sum()} have none"):
        measure_lesion(mask, MILLIMETRE, holes)


def test_the_reference_page_tells_the_truth(repository: Path) -> None:
    page = (repository / "docs" / "reference" / "measure.md").read_text(encoding="utf-8")
    source = "\n".join(re.findall(r"```pycon\n(.*?)```", page, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(source, {}, "measure.md", None, 0)
    assert len(test.examples) > 4
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
    mask, hu = nodule(15, 9)
    keys = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert keys == list(measure_lesion(mask, MILLIMETRE, hu).to_json())
