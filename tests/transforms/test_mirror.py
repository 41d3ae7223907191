"""Mirrored studies."""

from __future__ import annotations

import torch

from monai_staging.transforms.mirror import RandMirrord

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
