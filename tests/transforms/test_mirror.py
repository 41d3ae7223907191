"""Mirrored studies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.mirror import RandMirror, RandMirrord

GROUPS = ("primary", "hilar node L", "hilar node R")


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
