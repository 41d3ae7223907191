"""What a network sees of a nodule: the right place, the right planes, and always the same millimetres."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monai_staging.cohort.nodules.nodule import NoduleVolume
from monai_staging.errors import UsageError
from monai_staging.transforms.nodule_views import (
    KINDS,
    NoduleViews,
    NoduleViewsd,
    consensus,
    consensus_share,
    nodule_center,
)

Spacing = tuple[float, float, float]


def points_mm(shape: tuple[int, int, int], spacing_mm: Spacing) -> np.ndarray:
    """(D, H, W, 3), 0 in the middle."""
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing_mm, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def ellipsoid(diameters_mm: tuple[float, float, float], spacing_mm: Spacing, extent_mm: float = 60.0) -> NoduleVolume:
    """An ellipsoid of 255 on 0, its edge fading over a millimetre; an odd number of voxels along each axis."""
    shape = tuple(2 * int(extent_mm / 2 / mm) + 1 for mm in spacing_mm)
    radii = np.array(diameters_mm) / 2
    points = points_mm((shape[0], shape[1], shape[2]), spacing_mm)
    level = np.linalg.norm(points / radii, axis=-1)
    image = 255 * np.clip(0.5 + (1 - level) * radii.mean(), 0, 1)
    return NoduleVolume(image[None], (level <= 1)[None])


SCANNERS: list[Spacing] = [(1.0, 0.5, 0.5), (0.7, 0.7, 0.7), (2.5, 0.8, 0.8), (3.0, 0.6, 0.6), (1.25, 0.98, 0.98)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_ball_looks_the_same_on_every_scanner(kind: str) -> None:
    make = NoduleViews(kind)
    seen = [make(ellipsoid((16.0, 16.0, 16.0), spacing), spacing).astype(float) / 255 for spacing in SCANNERS]
    for views, spacing in zip(seen, SCANNERS, strict=True):
        image, share = views[:, 0], views[:, -1]
        if kind == "2.5d":
            image = views[:, 1]
        area = np.pi * 64 if kind != "3d" else np.pi / 6 * 16**3
        for part in (image, share):
            # Slices of 3 mm make steps of the planes that cut them.
            assert part.sum() / len(part) * 0.75**make.spatial_dims == pytest.approx(area, rel=0.06), spacing
        assert np.abs(views - seen[0]).mean() < 0.02


def test_planes_are_axial_coronal_and_sagittal() -> None:
    spacing = (1.0, 0.7, 0.7)
    views = NoduleViews("planes", size=64, spacing_mm=0.75)(ellipsoid((8.0, 14.0, 24.0), spacing), spacing)
    assert views.shape == (3, 2, 64, 64) and views.dtype == np.uint8
    for outline, expected in zip(views[:, 1] > 127, ((14, 24), (8, 24), (8, 14)), strict=True):
        extents = [np.ptp(index) * 0.75 + 0.75 for index in np.nonzero(outline)]
        assert extents == pytest.approx(expected, abs=1.2)


def test_slices_lie_step_mm_apart_from_below() -> None:
    spacing = (1.25, 0.8, 0.8)
    volume = ellipsoid((20.0, 20.0, 20.0), spacing)
    height = points_mm(volume.image.shape[1:], spacing)[..., 0]  # type: ignore[arg-type]
    volume = NoduleVolume((100 + 4 * height)[None], volume.outlines)
    make = NoduleViews("2.5d", size=9, slices=5, step_mm=2.0, channels=["image"])
    views = make(volume, spacing)
    assert views.shape == (1, 5, 9, 9) and make.in_channels() == make.image_channels() == 5
    np.testing.assert_allclose(views[0, :, 4, 4], [84, 92, 100, 108, 116], atol=0.51)


def test_the_outline_is_the_share_of_the_readers() -> None:
    outlines = np.zeros((4, 3, 16, 16), bool)
    outlines[:, 1, 4:12, 4:12] = True
    outlines[2:, 1, 4:12, 8:12] = False
    volume = NoduleVolume(np.zeros((1, 3, 16, 16)), outlines)
    views = NoduleViews("central", size=8, spacing_mm=1.0)(volume, (2.0, 1.0, 1.0))
    # Half of the readers agree on all of it, so it is the centre's; columns 4 to 11 are in the view.
    assert views[0, 1, :, :4].tolist() == [[255] * 4] * 8 and set(views[0, 1, :, 4:].flat) == {128}


@pytest.mark.parametrize(("depth", "size"), [(1, 12), (12, 12)])
def test_without_millimetres_the_image_fills_the_view(depth: int, size: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, depth, size, size)).astype(np.uint8)
    volume = NoduleVolume(image, np.zeros((0, depth, size, size), bool))
    kind = "central" if depth == 1 else "3d"
    views = NoduleViews(kind, size=size, channels=["image"])(volume)
    assert NoduleViews(kind, channels=["image"]).in_channels(3) == 3
    np.testing.assert_array_equal(views[0], image[:, 0] if depth == 1 else image)
    # The scale is that of the whole: an image of twice as many pixels is averaged, not cut.
    twice = NoduleVolume(image.repeat(2, axis=2).repeat(2, axis=3), np.zeros((0, depth, 2 * size, 2 * size), bool))
    np.testing.assert_allclose(NoduleViews(kind, size=size, channels=["image"])(twice)[0], views[0], atol=0.51)


def test_a_wide_picture_is_not_stretched_and_what_is_missing_is_0() -> None:
    volume = NoduleVolume(np.full((1, 1, 10, 20), 255, np.uint8), np.zeros((0, 1, 10, 20), bool))
    view = NoduleViews("central", size=20, channels=["image"])(volume)[0, 0]
    assert (view[5:15] == 255).all() and not view[:5].any() and not view[15:].any()


def test_values_are_stretched_from_the_range() -> None:
    image = np.array([-3000.0, -1000.0, -300.0, 400.0, 3000.0]).reshape(1, 1, 1, 5).repeat(5, axis=2)
    volume = NoduleVolume(image, np.zeros((0, 1, 5, 5), bool))
    view = NoduleViews("central", size=5, channels=["image"])(volume, None, (-1000, 400))
    assert view[0, 0, 2].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [("image",), ("outline", "image")])
@pytest.mark.parametrize("colours", [1, 3])
def test_shapes_are_as_promised(kind: str, channels: tuple[str, ...], colours: int) -> None:
    make = NoduleViews(kind, size=10, slices=3, channels=channels)
    one = ellipsoid((6.0, 6.0, 6.0), (2.0, 1.0, 1.0), 30)
    views = make(NoduleVolume(one.image.repeat(colours, axis=0), one.outlines), (2.0, 1.0, 1.0))
    assert views.shape == (make.views, make.in_channels(colours), *(10,) * make.spatial_dims)
    assert make.in_channels(colours) - make.image_channels(colours) == len(channels) - 1


def test_the_dictionary_twin_gives_the_same() -> None:
    spacing = (2.0, 0.7, 0.7)
    volume = ellipsoid((9.0, 9.0, 9.0), spacing)
    make = NoduleViews("planes", size=16)
    item = {"nodule": volume, "spacing_mm": spacing, "name": "a"}
    found = NoduleViewsd("nodule", make)(item)
    assert isinstance(found["nodule"], torch.Tensor) and found["name"] == "a" and item["nodule"] is volume
    np.testing.assert_array_equal(found["nodule"].numpy(), make(volume, spacing))
    narrow = NoduleViewsd("nodule", make, value_range=(0, 510))(item)["nodule"]
    assert abs(int(narrow[0, 0].max()) - 128) <= 1
    with pytest.raises(KeyError, match="other"):
        NoduleViewsd("other", make)(item)
    assert NoduleViewsd("other", make, allow_missing_keys=True)(item).keys() == item.keys()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "axial"}, "kind must be one of central, 2.5d, planes, 3d; found 'axial'"),
        ({"size": 0}, "must be above 0; found 0"),
        ({"spacing_mm": -1.0}, "must be above 0; found 48, -1.0"),
        ({"step_mm": 0.0}, "must be above 0; found 48, 0.75, 0.0"),
        ({"slices": 2}, "slices must be an odd number; found 2"),
        ({"channels": ["outline"]}, "each once; found .'outline'."),
        ({"channels": ["image", "mask"]}, "found .'image', 'mask'."),
        ({"channels": ["image", "image"]}, "each once"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        NoduleViews(**settings)  # type: ignore[arg-type]


readers = hnp.arrays(bool, st.tuples(st.integers(0, 4), st.just(3), st.just(5), st.just(4)))


@given(readers)
def test_consensus_is_what_half_of_the_readers_say(outlines: np.ndarray) -> None:
    share, agreed = consensus_share(outlines), consensus(outlines)
    count = len(outlines)
    for voxel in np.ndindex(3, 5, 4):
        votes = int(outlines[(slice(None), *voxel)].sum())
        assert share[voxel] == pytest.approx(votes / count if count else 0)
    half = 2 * outlines.sum(axis=0) >= count if count else np.zeros((3, 5, 4), bool)
    expected = half if half.any() else outlines.any(axis=0)
    np.testing.assert_array_equal(agreed, expected)
    center = nodule_center(outlines, (3, 5, 4))
    if not agreed.any():
        assert center.tolist() == [1.0, 2.0, 1.5]
        return
    areas = agreed.sum(axis=(1, 2))
    assert areas[int(center[0])] == areas.max()
    np.testing.assert_allclose(center[1:], np.argwhere(agreed[int(center[0])]).mean(axis=0))


def test_of_equally_large_slices_the_middle_one_is_the_centre() -> None:
    outlines = np.zeros((1, 7, 4, 4), bool)
    outlines[0, 1:6, 1:3, 1:3] = True
    assert nodule_center(outlines, (7, 4, 4)).tolist() == [3.0, 1.5, 1.5]
