"""Mirrored studies."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
import torch
from monai.data import MetaTensor

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.mirror import RandMirror, RandMirrord

GROUPS = ("primary", "hilar node L", "hilar node R")
# Oblique, with three spacings: nothing cancels out.
AFFINE = np.eye(4)
AFFINE[:3, :3] = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]) * (0.7, 0.8, 2.5)
AFFINE[:3, 3] = 12.5, -40.0, 7.0


def itk_image(image: MetaTensor) -> SimpleITK.Image:
    """The first channel in ITK, whose world is ours here."""
    affine = image.affine.numpy()
    result = SimpleITK.GetImageFromArray(image[0].numpy().transpose(2, 1, 0))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    result.SetSpacing(spacing.tolist())
    result.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    result.SetOrigin(affine[:3, 3].tolist())
    return result


def test_left_and_right_change_places_in_image_and_map() -> None:
    image, lesions = torch.rand(1, 6, 5, 4), torch.rand(3, 3, 2, 4)
    result = RandMirrord(("image", "lesion_mm"), GROUPS, prob=1)({"image": image, "lesion_mm": lesions, "n": 1})
    assert torch.equal(result["image"], image.flip(1)) and result["n"] == 1
    assert torch.equal(result["lesion_mm"], lesions.flip(1)[[0, 2, 1]])
    untouched = RandMirrord(("image", "lesion_mm"), GROUPS, prob=0)({"image": image, "lesion_mm": lesions})
    assert torch.equal(untouched["image"], image) and torch.equal(untouched["lesion_mm"], lesions)


def test_half_of_the_studies_are_mirrored() -> None:
    transform = RandMirrord("image", GROUPS).set_random_state(0)
    image = torch.arange(3.0).reshape(1, 3, 1, 1)
    count = sum(not torch.equal(transform({"image": image})["image"], image) for _ in range(400))
    assert 160 < count < 240


def test_the_array_transform_repeats_its_last_draw_for_the_map() -> None:
    transform = RandMirror(GROUPS).set_random_state(1)
    image, lesions = torch.arange(6.0).reshape(1, 6, 1, 1), torch.rand(3, 3, 2, 4)
    outcomes = set()
    for _ in range(20):
        result, result_map = transform(image), transform(lesions, lesion_map=True, randomize=False)
        mirrored = not torch.equal(result, image)
        assert torch.equal(result, image.flip(1) if mirrored else image)
        assert torch.equal(result_map, lesions.flip(1)[[0, 2, 1]] if mirrored else lesions)
        outcomes.add(mirrored)
    assert outcomes == {True, False}


def test_arrays_are_mirrored_as_tensors_are() -> None:
    image = np.arange(12, dtype=np.int16).reshape(1, 3, 4, 1)
    for prob, expected in ((1, image[:, ::-1]), (0, image)):
        result = RandMirror(prob=prob)(image)
        assert isinstance(result, torch.Tensor)
        np.testing.assert_array_equal(result.numpy(), expected)


def test_a_study_costs_one_draw_whatever_comes_of_it() -> None:
    """The same seed mirrors the same studies for ever: trainings can be done again."""
    transform = RandMirrord(("image", "other"), GROUPS, prob=0.25).set_random_state(7)
    expected = np.random.RandomState(7).random(50) < 0.25
    image = torch.arange(3.0).reshape(1, 3, 1, 1)
    results = [transform({"image": image, "other": image}) for _ in range(50)]
    for key in ("image", "other"):
        assert [not torch.equal(result[key], image) for result in results] == expected.tolist()
    given = transform.set_random_state(state=np.random.RandomState(7))
    assert [not torch.equal(given({"image": image, "other": image})["image"], image) for _ in range(50)] == list(
        expected
    )


def test_a_map_of_other_groups_is_refused() -> None:
    with pytest.raises(DataError, match="one channel for each of its 3 groups, found 2 channels"):
        RandMirror(GROUPS)(torch.zeros(2, 3, 2, 4), lesion_map=True)
    with pytest.raises(UsageError, match="found 'hilar node L' without 'hilar node R'"):
        RandMirror(("hilar node L",))


def test_what_a_voxel_shows_keeps_its_world_position() -> None:
    image = MetaTensor(torch.rand(1, 7, 6, 4), affine=torch.from_numpy(AFFINE), meta={"case": "A"})
    lesion = (5, 1, 2)
    image[(0, *lesion)] = 9.0
    point_mm = (AFFINE @ [*lesion, 1])[:3].tolist()
    result = RandMirrord(("image", "lesion_mm"), GROUPS, ("lesion_mm",), prob=1)(
        {"image": image, "lesion_mm": torch.rand(3, 7, 6, 4)}
    )
    mirrored = result["image"]
    assert torch.equal(mirrored.as_tensor(), image.as_tensor().flip(1)) and mirrored.meta["case"] == "A"
    in_itk = itk_image(mirrored)
    assert in_itk.GetPixel(in_itk.TransformPhysicalPointToIndex(point_mm)) == 9.0
    # The whole study: through the world, the mirrored one is the one that was scanned.
    back = SimpleITK.Resample(in_itk, itk_image(image), SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, -1.0)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(back).transpose(2, 1, 0), image[0].numpy())
    # What came in is as it was, and a map without an affine stays without one.
    np.testing.assert_array_equal(image.affine.numpy(), AFFINE)
    assert not isinstance(result["lesion_mm"], MetaTensor)


def test_a_map_with_an_affine_is_turned_round_too() -> None:
    lesions = MetaTensor(torch.rand(3, 5, 2, 4), affine=torch.from_numpy(AFFINE))
    mirrored = RandMirror(GROUPS, prob=1)(lesions, lesion_map=True)
    np.testing.assert_allclose(mirrored.affine.numpy() @ [0, 1, 2, 1], AFFINE @ [4, 1, 2, 1])
    twice = RandMirror(GROUPS, prob=1)(mirrored, lesion_map=True)
    assert torch.equal(twice.as_tensor(), lesions.as_tensor())
    np.testing.assert_allclose(twice.affine.numpy(), AFFINE)
    assert RandMirror(GROUPS, prob=0)(lesions, lesion_map=True) is lesions
