"""Where slices lie: the grid of an oblique series, and every rule that refuses one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from monai_staging.cohort.dicom.geometry import lay_out
from monai_staging.cohort.dicom.header import Header, Plane
from monai_staging.cohort.dicom.rules import BrokenRule, Rule

LPS = np.diag([-1.0, -1.0, 1.0])
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def header(k: int, plane: Plane, *, rows: int = 4, tilt: float = 0.0, frame_of_reference: str = "1.2") -> Header:
    return Header(
        path=Path(f"slice{k}"),
        patient="P",
        study="1",
        series="1.1",
        sop_uid=f"1.1.{k}",
        sop_class="",
        modality="CT",
        frame_of_reference=frame_of_reference,
        syntax="",
        rows=rows,
        columns=4,
        frames=1,
        samples=1,
        photometric="MONOCHROME2",
        bits_allocated=16,
        bits_stored=12,
        high_bit=11,
        signed=False,
        lossy=False,
        tilt_degrees=tilt,
        pixel_offset=None,
        pixel_bytes=None,
        file_bytes=0,
        planes=(plane,),
        references=(),
        attributes={},
    )


def plane(position, orientation=AXIAL, spacing=(0.7, 0.8)) -> Plane:
    return Plane(0, position, orientation, spacing, 1.0, 0.0, "HU", ("ORIGINAL",))


def stack(heights, **edits) -> tuple[list[Header], list[tuple[int, Plane]]]:
    planes = [plane((-10.0, -20.0, float(z))) for z in heights]
    return [header(k, own, **edits) for k, own in enumerate(planes)], list(enumerate(planes))


def refused(headers, planes) -> BrokenRule:
    with pytest.raises(BrokenRule) as caught:
        lay_out(headers, planes)
    return caught.value


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 12),
    st.floats(0.3, 8.0),
    st.tuples(st.floats(0.3, 1.2), st.floats(0.3, 1.2)),
)
def test_an_oblique_series_in_any_order_gives_its_affine(seed, count, step, spacing):
    rng = np.random.default_rng(seed)
    axes = Rotation.random(rng=rng).as_matrix()
    origin = rng.uniform(-500, 500, 3)
    orientation = tuple(np.concatenate([axes[:, 0], axes[:, 1]]))
    # The third axis is the normal: a rotation matrix is right-handed.
    planes = [plane(tuple(origin + k * step * axes[:, 2]), orientation, spacing) for k in range(count)]
    shuffled = rng.permutation(count)
    own = [(index, planes[k]) for index, k in enumerate(shuffled)]
    grid = lay_out([header(index, p) for index, p in own], own)
    assert [shuffled[index] for index in grid.order] == list(range(count))
    index = rng.uniform(0, 20, 3)
    world = origin + axes @ (index * (spacing[1], spacing[0], step))
    np.testing.assert_allclose(grid.affine[:3, :3] @ index + grid.affine[:3, 3], LPS @ world, atol=1e-6)


def test_missing_slices_are_counted_between_their_neighbours():
    broken = refused(*stack([-218, -215, -212, -200, -197]))
    assert broken.rule is Rule.MISSING_SLICES
    assert broken.found == "3 slices missing between z=-212.0 and z=-200.0 mm (spacing 3); refuse to interpolate."


def test_several_holes_are_said():
    broken = refused(*stack([0, 1, 3, 4, 5, 8, 9, 10]))
    assert "1 slice missing between z=1.0 and z=3.0 mm (spacing 1), 3 in 2 places" in broken.found


@settings(max_examples=40)
@given(st.integers(4, 40), st.data(), st.sampled_from([0.625, 1.0, 1.25, 2.5, 5.0]))
def test_any_inner_slice_taken_out_is_missed(count, data, step):
    gone = data.draw(st.integers(1, count - 2))
    heights = np.delete(-300 + step * np.arange(count), gone)
    assert refused(*stack(heights)).rule is Rule.MISSING_SLICES


@settings(max_examples=40)
@given(st.integers(5, 40), st.data(), st.sampled_from([0.625, 1.0, 2.5, 5.0]), st.floats(0.03, 0.4))
def test_any_inner_slice_out_of_step_is_refused(count, data, step, part):
    heights = -300 + step * np.arange(count)
    heights[data.draw(st.integers(1, count - 2))] += part * step
    assert refused(*stack(heights)).rule is Rule.UNEVEN_GAPS


@pytest.mark.parametrize("step", [0.625, 0.7, 1.25, 3.0])
def test_single_precision_and_two_decimals_are_even(step):
    heights = -486.8 + step * np.arange(300)
    for written in (heights.astype(np.float32), np.round(heights, 2)):
        grid = lay_out(*stack(written))
        assert grid.affine[2, 2] == pytest.approx(step, abs=1e-4)


def test_gaps_that_each_pass_and_add_up_are_refused():
    heights = np.concatenate([np.arange(60) * 1.0, 59 + np.arange(1, 60) * 1.0095])
    broken = refused(*stack(heights))
    assert broken.rule is Rule.UNEVEN_GAPS
    assert "from an even grid" in broken.found


def test_a_change_of_spacing_is_uneven():
    assert refused(*stack([0, 3, 6, 9, 10.5, 12])).rule is Rule.UNEVEN_GAPS


def test_two_slices_at_one_place():
    broken = refused(*stack([0, 1, 2, 2.005, 3]))
    assert broken.rule is Rule.DUPLICATE_POSITIONS
    assert "z=2.0 mm (slice2 and slice3)" in broken.found


def test_one_slice_has_no_spacing():
    assert refused(*stack([0])).rule is Rule.TOO_FEW_SLICES


def test_the_tag_of_a_tilt_is_believed():
    broken = refused(*stack([0, 1, 2], tilt=-12.5))
    assert broken.rule is Rule.GANTRY_TILT
    assert "-12.5 degrees" in broken.found


@pytest.mark.parametrize("degrees", [0.5, 5.0, -20.0])
def test_a_tilt_without_the_tag_shows_in_the_positions(degrees):
    shear = np.tan(np.radians(degrees))
    planes = [plane((-10.0, -20.0 + 2.0 * k * shear, 2.0 * k)) for k in range(40)]
    broken = refused([header(k, own) for k, own in enumerate(planes)], list(enumerate(planes)))
    assert broken.rule is Rule.GANTRY_TILT
    assert f"{abs(degrees):.2f} degrees" in broken.found


def test_one_slice_shifted_sideways_is_no_tilt():
    planes = [plane((-10.0 + 1.5 * (k == 3), -20.0, float(k))) for k in range(9)]
    broken = refused([header(k, own) for k, own in enumerate(planes)], list(enumerate(planes)))
    assert broken.rule is Rule.MISALIGNED_SLICES
    assert "1.50 mm" in broken.found


def test_the_position_of_a_coronal_gap_is_not_called_z():
    planes = [plane((0.0, float(y), 0.0), (1, 0, 0, 0, 0, -1)) for y in (0, 1, 3, 4, 5)]
    broken = refused([header(k, own) for k, own in enumerate(planes)], list(enumerate(planes)))
    assert "between s=1.0 and s=3.0 mm" in broken.found


@pytest.mark.parametrize(
    ("bad", "rule", "words"),
    [
        ({"position": None}, Rule.MISSING_GEOMETRY, "ImagePositionPatient in slice2"),
        ({"orientation": None}, Rule.MISSING_GEOMETRY, "ImageOrientationPatient in slice2"),
        ({"spacing": None}, Rule.MISSING_GEOMETRY, "PixelSpacing in slice2"),
        ({"spacing": (0.0, 0.8)}, Rule.MISSING_GEOMETRY, "not positive"),
        ({"spacing": (0.7, 0.81)}, Rule.MIXED_SPACINGS, "(0.7, 0.8) and (0.7, 0.81) mm"),
        ({"orientation": (1, 0, 0, 0, 0.9998, 0.02)}, Rule.MIXED_ORIENTATIONS, "0.02"),
    ],
)
def test_a_slice_unlike_the_others(bad, rule, words):
    planes = [plane((0.0, 0.0, float(k))) for k in range(4)]
    planes[2] = plane(**{"position": (0.0, 0.0, 2.0), **bad})
    broken = refused([header(k, own) for k, own in enumerate(planes)], list(enumerate(planes)))
    assert broken.rule is rule
    assert words in broken.found


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0.1, 0.995, 0), (1.1, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 0)])
def test_axes_that_are_not_perpendicular_unit_vectors(orientation):
    planes = [plane((0.0, 0.0, float(k)), orientation) for k in range(3)]
    assert refused([header(k, own) for k, own in enumerate(planes)], list(enumerate(planes))).rule is (
        Rule.NOT_ORTHOGONAL
    )


def test_sizes_and_frames_of_reference_must_agree():
    planes = [plane((0.0, 0.0, float(k))) for k in range(3)]
    sizes = [header(k, own, rows=4 + (k == 1)) for k, own in enumerate(planes)]
    broken = refused(sizes, list(enumerate(planes)))
    assert (broken.rule, broken.found) == (Rule.MIXED_SIZES, "slices of 4x4 and 4x5 pixels.")
    frames = [header(k, own, frame_of_reference=f"1.{k}") for k, own in enumerate(planes)]
    assert refused(frames, list(enumerate(planes))).rule is Rule.MIXED_FRAMES_OF_REFERENCE
