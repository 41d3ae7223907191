"""Lines around masks and along edges, against geometry that is known and other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import filters

from monai_staging.errors import UsageError
from monai_staging.explain.axial import AxialImage
from monai_staging.explain.contours import mask_contours, sobel_magnitude, tumour_edge
from monai_staging.measure.diameters import axial_diameters

LUNG, SOFT, GROUND_GLASS = -850.0, 40.0, -600.0


def scene(
    radius_mm: float = 9.0,
    center_mm: tuple[float, float] = (13.3, -7.1),
    spacing_mm: tuple[float, float] = (0.7, 0.8),
    inside: float = SOFT,
    blur: float = 0.8,
) -> AxialImage:
    """A disc in lung, blurred as a scanner does, from 8 x 8 samples a pixel."""
    image = AxialImage(np.zeros((70, 64)), (-8.0, -30.0), spacing_mm, 0.0, 1.0)
    fine = (np.arange(8) - 3.5) / 8
    x = image.origin_mm[0] + (np.arange(70)[:, None] + fine).ravel() * spacing_mm[0]
    y = image.origin_mm[1] + (np.arange(64)[:, None] + fine).ravel() * spacing_mm[1]
    disc = np.hypot(x[:, None] - center_mm[0], y[None] - center_mm[1]) <= radius_mm
    share = disc.reshape(70, 8, 64, 8).mean(axis=(1, 3))
    values = ndimage.gaussian_filter(LUNG + (inside - LUNG) * share, blur)
    return AxialImage(values, image.origin_mm, spacing_mm, 0.0, 1.0)


def around(radius_mm: float = 9.0, center_mm: tuple[float, float] = (13.3, -7.1), margin_mm: float = 2.0):
    reach = radius_mm + margin_mm
    return (center_mm[0] - reach, center_mm[1] - reach), (center_mm[0] + reach, center_mm[1] + reach)


@settings(max_examples=12)
@given(
    st.floats(4, 12),
    st.floats(11, 15),
    st.floats(-9, -4),
    st.sampled_from([SOFT, GROUND_GLASS, 300.0]),
    st.floats(2, 4),
)
def test_a_disc_s_edge_has_its_radius(radius: float, x: float, y: float, inside: float, margin: float) -> None:
    edge = tumour_edge(scene(radius, (x, y), inside=inside), *around(radius, (x, y), margin))
    assert edge is not None
    (line,) = edge.lines
    assert line[0] == pytest.approx(line[-1])
    distances = np.hypot(*(line - (x, y)).T)
    assert distances.mean() == pytest.approx(radius, abs=0.2)
    assert np.ptp(distances) < 0.6
    # Half-way between both tissues, whatever they are.
    assert edge.level_hu == pytest.approx((LUNG + inside) / 2, abs=0.15 * (inside - LUNG))


def test_a_sharper_edge_is_steeper() -> None:
    sharp, soft = (tumour_edge(scene(blur=blur), *around()) for blur in (0.6, 2.0))
    assert sharp is not None and soft is not None
    assert sharp.gradient_hu_per_mm > 1.5 * soft.gradient_hu_per_mm


def test_of_a_part_solid_nodule_it_is_the_solid_part_s() -> None:
    whole, solid = scene(12.0, inside=GROUND_GLASS), scene(6.0, inside=SOFT + LUNG - GROUND_GLASS)
    both = AxialImage(whole.values + solid.values - LUNG, whole.origin_mm, whole.spacing_mm, 0.0, 1.0)
    edge = tumour_edge(both, *around(12.0))
    assert edge is not None
    assert np.hypot(*(np.concatenate(edge.lines) - (13.3, -7.1)).T).mean() == pytest.approx(6.0, abs=0.3)


def test_where_a_tumour_lies_on_the_wall_there_is_no_line() -> None:
    image = scene()
    # All that is further than 5 mm to the right of the disc's middle is chest wall.
    wall = image.to_mm(np.stack([np.arange(70)] * 2, axis=1))[:, 0] > 13.3 + 5
    values = image.values.copy()
    values[wall] = SOFT
    edge = tumour_edge(AxialImage(values, image.origin_mm, image.spacing_mm, 0.0, 1.0), *around())
    assert edge is not None
    points = np.concatenate(edge.lines)
    assert points[:, 0].max() < 13.3 + 5 + 0.7
    free = points[points[:, 0] < 13.3 + 3]
    assert np.hypot(*(free - (13.3, -7.1)).T) == pytest.approx(9.0, abs=0.5)
    assert any(np.linalg.norm(line[0] - line[-1]) > 3 for line in edge.lines)


def test_nothing_to_see_has_no_edge() -> None:
    empty = AxialImage(np.full((30, 30), LUNG), (0.0, 0.0), (1.0, 1.0), 0.0, 1.0)
    assert tumour_edge(empty, (5.0, 5.0), (25.0, 25.0)) is None
    assert tumour_edge(scene(), (13.0, -7.0), (13.5, -6.5)) is None
    with pytest.raises(UsageError, match="rectangle"):
        tumour_edge(empty, (100.0, 0.0), (120.0, 10.0))


def test_sobel_is_scikit_image_s_per_millimetre() -> None:
    values = np.random.default_rng(0).normal(0, 100, (20, 24))
    image = AxialImage(values, (3.0, 4.0), (0.7, 0.9), 0.0, 1.0)
    # Scikit-image's kernel spans two pixels and is not halved.
    expected = np.hypot(filters.sobel(values, axis=0) / 2 / 0.7, filters.sobel(values, axis=1) / 2 / 0.9)
    np.testing.assert_allclose(sobel_magnitude(image)[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-4)
    ramp = AxialImage(np.arange(20.0)[:, None] * 3 + np.zeros(5), (0.0, 0.0), (0.5, 1.0), 0.0, 1.0)
    assert sobel_magnitude(ramp)[1:-1, 1:-1] == pytest.approx(6.0)


def test_lines_around_a_mask_lie_where_its_pixels_end() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[3:8, 2:4] = 5
    mask[10, 10] = 1
    image = AxialImage(mask, (-4.0, 10.0), (0.5, 2.0), 0.0, 1.0)
    lines = sorted(mask_contours(image), key=len)
    assert len(lines) == 2
    block = lines[1]
    assert block.min(axis=0) == pytest.approx((-4 + 2.5 * 0.5, 10 + 1.5 * 2))
    assert block.max(axis=0) == pytest.approx((-4 + 7.5 * 0.5, 10 + 3.5 * 2))
    # Up to the edge of the picture.
    edge = mask_contours(AxialImage(np.ones((3, 3), np.uint8), (0.0, 0.0), (1.0, 1.0), 0.0, 1.0))
    assert np.ptp(edge[0], axis=0) == pytest.approx((3, 3))
    assert mask_contours(AxialImage(np.zeros((3, 3), np.uint8), (0.0, 0.0), (1.0, 1.0), 0.0, 1.0)) == ()


def test_a_circle_s_mask_has_its_radius_and_the_diameter_that_measure_finds() -> None:
    x, y = np.meshgrid(np.arange(60) * 0.7, np.arange(50) * 0.8, indexing="ij")
    mask = np.hypot(x - 20, y - 19) <= 12
    (line,) = mask_contours(AxialImage(mask, (0.0, 0.0), (0.7, 0.8), 0.0, 1.0))
    assert np.hypot(*(line - (20, 19)).T) == pytest.approx(12, abs=0.6)
    apart = np.linalg.norm(line[:, None] - line[None], axis=-1).max()
    measured = axial_diameters(mask[:, :, None], np.diag([0.7, 0.8, 1.0, 1.0]))
    assert apart == pytest.approx(measured.longest_mm)
