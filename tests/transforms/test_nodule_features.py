"""Measured features against closed forms, scikit-image and SciPy, on every scanner."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import regionprops

from monai_staging.cohort.nodules.nodule import NoduleVolume
from monai_staging.transforms.nodule_features import FEATURES, NoduleFeatures, NoduleFeaturesd, ruler_area_mm2

Spacing = tuple[float, float, float]
SCANNERS: list[Spacing] = [(1.0, 0.5, 0.5), (0.7, 0.7, 0.7), (2.0, 0.8, 0.8), (3.0, 0.6, 0.6)]


def measure(volume: NoduleVolume, spacing_mm: Spacing | None) -> dict[str, float]:
    return dict(zip(FEATURES, NoduleFeatures()(volume, spacing_mm).tolist(), strict=True))


def ellipsoid(diameters_mm: Spacing, spacing_mm: Spacing, extent_mm: float = 60.0) -> NoduleVolume:
    axes = [np.arange(-int(extent_mm / 2 / mm), int(extent_mm / 2 / mm) + 1) * mm for mm in spacing_mm]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    level = np.linalg.norm(points / (np.array(diameters_mm) / 2), axis=-1)
    # A margin of a millimetre: what is measured of it must not depend on the pixel.
    fading = np.clip(0.5 + (1 - level) * np.mean(diameters_mm) / 4, 0, 1)
    return NoduleVolume((50 + 150 * fading)[None], (level <= 1)[None])


@pytest.mark.parametrize("spacing_mm", SCANNERS)
def test_a_ball_has_its_closed_forms_on_every_scanner(spacing_mm: Spacing) -> None:
    found = measure(ellipsoid((18.0, 18.0, 18.0), spacing_mm), spacing_mm)
    disc, ball = np.pi * 81, np.pi / 6 * 18**3
    for name in ("largest_area_mm2", "union_area_mm2", "reader_area_mm2"):
        assert found[name] == pytest.approx(disc, rel=0.03)
    assert found["volume_mm3"] == found["union_volume_mm3"] == pytest.approx(ball, rel=0.03)
    assert found["height_mm"] == pytest.approx(18, abs=1.01 * spacing_mm[0])
    for name in ("major_axis_mm", "minor_axis_mm"):
        assert found[name] == pytest.approx(18, rel=0.02)
    # The outermost corners of the pixels lie a little further out.
    assert found["feret_mm"] == pytest.approx(18, abs=2 * spacing_mm[1])
    assert found["eccentricity"] < 0.1 and found["solidity"] > 0.94
    assert found["extent"] == pytest.approx(np.pi / 4, abs=0.06)
    assert found["circularity"] == pytest.approx(1, abs=0.12)
    assert found["volume_share_of_feret_ball"] == pytest.approx(1, abs=0.2)
    assert found["agreement"] == 1
    assert found["contrast_share"] == pytest.approx(1, abs=0.03)
    # 1 at the middle, 0 around, over a millimetre, blurred by .8 mm.
    assert found["margin_gradient_per_mm"] == pytest.approx(0.42, abs=0.1)


def test_features_are_the_same_on_every_scanner() -> None:
    found = [measure(ellipsoid((16.0, 20.0, 14.0), spacing), spacing) for spacing in SCANNERS]
    tolerances = {"mm3": 0.05, "mm2": 0.04, "height_mm": 0.2, "mm": 0.05}
    # What tells the scanner, and what depends on its slices: they say how far to trust the others.
    own = {"pixel_mm", "slice_mm", "recorded_height_mm", "noise_share"}
    for name in (name for name in FEATURES if name not in own):
        values = np.array([one[name] for one in found])
        suffix = next((end for end in tolerances if name.endswith(end)), None)
        if suffix and not name.endswith("per_mm"):
            assert np.ptp(values) < tolerances[suffix] * values.mean() * 2, name
        elif not name.startswith("glcm"):  # pixels are texture's scale
            assert np.ptp(values) < 0.16, name


def test_an_ellipse_has_its_axes() -> None:
    found = measure(ellipsoid((10.0, 12.0, 24.0), (1.0, 0.4, 0.4)), (1.0, 0.4, 0.4))
    assert found["major_axis_mm"] == pytest.approx(24, rel=0.02)
    assert found["minor_axis_mm"] == pytest.approx(12, rel=0.02)
    assert found["eccentricity"] == pytest.approx(np.sqrt(1 - 0.25), abs=0.01)
    assert found["largest_area_mm2"] == pytest.approx(np.pi * 6 * 12, rel=0.02)
    assert found["volume_mm3"] == pytest.approx(np.pi / 6 * 10 * 12 * 24, rel=0.03)


def test_shape_and_texture_are_scikit_image_s() -> None:
    random = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(random.normal(size=(3, 48, 48)), 4)
    outline = noise > np.quantile(noise, 0.8)
    image = random.integers(0, 256, (1, 3, 48, 48)).astype(np.uint8)
    found = measure(NoduleVolume(image, outline[None]), (2.0, 0.5, 0.5))
    place = int(outline.sum(axis=(1, 2)).argmax())
    labelled, _ = ndimage.label(outline[place], structure=np.ones((3, 3)))
    part = max(regionprops(labelled), key=lambda own: own.area)
    expected = {
        "major_axis_mm": part.axis_major_length / 2,
        "minor_axis_mm": part.axis_minor_length / 2,
        "feret_mm": part.feret_diameter_max / 2,
        "eccentricity": part.eccentricity,
        "solidity": part.solidity,
        "extent": part.extent,
        "circularity": 4 * np.pi * part.area / part.perimeter**2,
        "largest_area_mm2": outline[place].sum() / 4,
        "volume_mm3": outline.sum() / 2,
        "height_mm": 2.0 * outline.any(axis=(1, 2)).sum(),
    }
    top, left, bottom, right = part.bbox
    low, high = float(image[0, place].min()), float(image[0, place].max())
    levels = np.minimum((image[0, place, top:bottom, left:right] - low) / (high - low) * 16, 15).astype(np.uint8)
    for angle in ("contrast", "homogeneity", "energy", "correlation"):
        sides = [graycomatrix(levels, [1], [turn], 16, symmetric=True, normed=True) for turn in (0, np.pi / 2)]
        expected[f"glcm_{angle}"] = float(np.mean([graycoprops(side, angle) for side in sides]))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_margin_and_surroundings_are_measured_in_millimetres() -> None:
    """A disc of 12 mm, value 200, in a ring of 4 mm of value 110, on 20."""
    mm = 0.5
    away = np.hypot(*np.meshgrid(*[(np.arange(96) - 47.5) * mm] * 2))
    image = np.select([away <= 6, away <= 10.2], [200.0, 110.0], 20.0)
    found = measure(NoduleVolume(image[None, None], (away <= 6)[None, None]), (1.0, mm, mm))
    assert found["contrast_share"] == found["peak_share"] == pytest.approx(1)
    assert found["spread_share"] == 0
    assert found["rim_share"] == pytest.approx(0.5, abs=0.01)
    assert found["rim_bright_share"] == found["surroundings_bright_share"] == 0
    gradient = ndimage.gaussian_gradient_magnitude(image, 0.8 / mm) / mm
    edge = (away <= 6) & ~ndimage.binary_erosion(away <= 6)
    assert found["margin_gradient_per_mm"] == pytest.approx(gradient[edge].mean() / 180)
    assert found["margin_gradient_spread"] == pytest.approx(gradient[edge].std() / 180)
    # A vessel 5 to 12 mm away is part of the surroundings, not of the rim.
    bright = np.where((away > 11) & (away < 14), 200.0, image)
    beside = measure(NoduleVolume(bright[None, None], (away <= 6)[None, None]), (1.0, mm, mm))
    assert beside["rim_bright_share"] == 0 and beside["surroundings_bright_share"] > 0.3


def test_grey_values_have_no_scale() -> None:
    spacing = (2.0, 0.7, 0.7)
    volume = ellipsoid((11.0, 15.0, 12.0), spacing)
    volume = NoduleVolume(volume.image + np.random.default_rng(0).normal(0, 9, volume.image.shape), volume.outlines)
    expected = measure(volume, spacing)
    for gain, offset in ((3.0, 0.0), (0.2, 500.0), (1.0, -1000.0)):
        found = measure(NoduleVolume(volume.image * gain + offset, volume.outlines), spacing)
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_colours_are_averaged() -> None:
    spacing = (2.0, 0.7, 0.7)
    volume = ellipsoid((11.0, 15.0, 12.0), spacing)
    colours = np.concatenate([volume.image * share for share in (0.5, 1.0, 1.5)])
    assert measure(NoduleVolume(colours, volume.outlines), spacing) == pytest.approx(measure(volume, spacing))


def test_the_ruler_takes_what_two_readers_outlined() -> None:
    outlines = np.zeros((3, 2, 8, 8), bool)
    outlines[0, 0, :6, :6] = outlines[1, 0, 2:, 2:] = outlines[2, 1, :3, :5] = True
    spacing = (2.0, 0.5, 0.5)
    assert ruler_area_mm2(outlines, spacing) == 16 * 0.25  # 4 x 4 that the first two share
    assert ruler_area_mm2(outlines[:1], spacing) == 36 * 0.25
    assert ruler_area_mm2(outlines[[0, 2]], spacing) == 0
    assert ruler_area_mm2(outlines[:0], spacing) == 0
    found = measure(NoduleVolume(np.arange(128.0).reshape(1, 2, 8, 8), outlines), spacing)
    assert found["largest_area_mm2"] == 4 and found["union_area_mm2"] == (36 + 36 - 16) * 0.25
    assert found["reader_area_mm2"] == pytest.approx((36 + 36 + 15) / 3 * 0.25)
    assert found["agreement"] == pytest.approx(16 / (36 + 36 - 16 + 15))


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 6), (2, 2), (5, 5)])
@pytest.mark.filterwarnings("error")
def test_a_speck_has_all_features(shape: tuple[int, int]) -> None:
    outline = np.zeros((1, 1, 64, 64), bool)
    outline[0, 0, : shape[0], : shape[1]] = True
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 64, 64)).astype(np.uint8)
    found = measure(NoduleVolume(image, outline), (1.0, 0.7, 0.7))
    assert np.isfinite(list(found.values())).all()
    assert found["largest_area_mm2"] == pytest.approx(shape[0] * shape[1] * 0.49)


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_measured_is_nan() -> None:
    volume = ellipsoid((11.0, 15.0, 12.0), (2.0, 0.7, 0.7))
    assert np.isnan(NoduleFeatures()(volume, None)).all()
    for outlines in (volume.outlines[:0], np.zeros_like(volume.outlines)):
        assert np.isnan(NoduleFeatures()(NoduleVolume(volume.image, outlines), (2.0, 0.7, 0.7))).all()
    # An outline that fills the picture has sizes, and no surroundings.
    full = measure(NoduleVolume(np.ones((1, 1, 9, 9)), np.ones((1, 1, 9, 9), bool)), (1.0, 1.0, 1.0))
    assert full["largest_area_mm2"] == 81
    assert {name for name, value in full.items() if np.isnan(value)} == {
        name for name in FEATURES if name.endswith("_share") or name.startswith("margin")
    }
    # A picture without any contrast has no bright tissue to compare with.
    flat = measure(NoduleVolume(np.ones_like(volume.image), volume.outlines), (2.0, 0.7, 0.7))
    assert np.isnan(flat["contrast_share"]) and flat["glcm_energy"] == 1


def test_the_dictionary_twin_adds_the_same() -> None:
    spacing = (2.0, 0.7, 0.7)
    volume = ellipsoid((11.0, 15.0, 12.0), spacing)
    found = NoduleFeaturesd("nodule", to_key="measured")({"nodule": volume, "spacing_mm": spacing})
    assert found["nodule"] is volume and found["measured"].dtype == torch.float32
    np.testing.assert_allclose(found["measured"].numpy(), NoduleFeatures()(volume, spacing), rtol=1e-6)
    assert "features" not in NoduleFeaturesd("other", allow_missing_keys=True)({"nodule": volume})
