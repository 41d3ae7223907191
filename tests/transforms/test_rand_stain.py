"""Varied stains: what was drawn, read back in the reference's colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.transforms.rand_stain import RandStain, RandStaind
from monai_staging.transforms.stain import GLASS, REFERENCE, Stains, optical_density


@pytest.fixture
def image() -> torch.Tensor:
    """A tile (3, 96, 96) whose pixels are of both stains, in random parts and strengths."""
    draw = np.random.default_rng(2)
    share, strength = draw.random((96, 96)), draw.uniform(0.6, 1.6, (96, 96))
    density = np.tensordot(REFERENCE.matrix[:, :2], np.stack([share * strength, (1 - share) * strength]), axes=1)
    return torch.from_numpy(np.clip(GLASS * np.exp(-density) - 1, 0, 255).round().astype(np.uint8))


def test_varied_stains_are_seeded_and_small(image: torch.Tensor) -> None:
    vary = RandStain(0.2, 0.05).set_random_state(3)
    first, second = vary(image), vary(image)
    assert not torch.equal(first, second) and torch.equal(RandStain(0.2, 0.05).set_random_state(3)(image), first)
    assert torch.equal(vary(image, randomize=False), second)
    assert 1 < (first.float() - image.float()).abs().mean() < 40
    # Concentrations are what was drawn: read back in the reference's colours.
    before, after = (
        np.linalg.solve(REFERENCE.matrix, optical_density(tile).flatten(1).numpy()) for tile in (image, second)
    )
    for stain in (0, 1):
        expected = vary.factors[stain] * before[stain] + vary.offsets[stain]
        assert np.abs(after[stain] - expected).mean() < 0.02
    assert (RandStain(0, 0)(image).int() - image.int()).abs().max() <= 2
    assert torch.equal(RandStain(prob=0.0)(image), image)
    for settings_ in ({"scale": 1.0}, {"shift": -0.1}):
        with pytest.raises(UsageError, match="RandStain"):
            RandStain(**settings_)
    assert isinstance(vary.stains, Stains)


def test_varied_as_a_dictionary_the_keys_are_varied_alike(image: torch.Tensor) -> None:
    vary = RandStaind(("tile", "again"), 0.2, 0.05).set_random_state(3)
    result = vary({"tile": image, "again": image.clone(), "other": 1})
    assert torch.equal(result["tile"], RandStain(0.2, 0.05).set_random_state(3)(image))
    assert torch.equal(result["again"], result["tile"]) and result["other"] == 1
    assert not torch.equal(vary({"tile": image, "again": image})["tile"], result["tile"])
    still = RandStaind("tile", prob=0.0)({"tile": image})["tile"]
    assert torch.equal(still, image)
    with pytest.raises(KeyError, match="again"):
        vary({"tile": image})
    with pytest.raises(UsageError, match="RandStain: scale is 0 to below 1 and shift at least 0; found 1.0 and 0.05"):
        RandStaind("tile", scale=1.0)
