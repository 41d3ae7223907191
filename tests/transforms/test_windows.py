from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.windows import HUWindows, HUWindowsd


def test_named_windows_are_the_usual_ones() -> None:
    hu = torch.tensor([[-1350.0, -600, 150, -160, 40, 240, -500, 400, 1300]])
    lung, mediastinum, bone = HUWindows(["lung", "mediastinum", "bone"])(hu)
    torch.testing.assert_close(lung[:3], torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(mediastinum[3:6], torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(bone[6:], torch.tensor([0.0, 0.5, 1.0]))


@given(st.floats(-1000, 1000), st.floats(1, 4000), st.lists(st.integers(-2000, 4000), min_size=1, max_size=20))
def test_is_a_clipped_line(level: float, width: float, hu: list[int]) -> None:
    found = HUWindows([(level, width)])(np.array([hu], dtype=np.int16))
    expected = np.clip((np.array(hu) - (level - width / 2)) / width, 0, 1)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-4)


def test_keeps_the_affine_and_the_order_in_memory() -> None:
    affine = torch.diag(torch.tensor([2.0, 2, 3, 1], dtype=torch.float64))
    volume = MetaTensor(torch.randn(1, 4, 5, 6).permute(0, 2, 3, 1), affine=affine)
    found = HUWindows(["lung", "bone"])(volume)
    assert isinstance(found, MetaTensor) and torch.equal(found.affine, affine)
    assert found.shape == (2, 5, 6, 4) and found.stride()[1:] == volume.stride()[1:]
    assert type(HUWindows(["lung"])(torch.zeros(1, 2))) is torch.Tensor


def test_half_precision_windows_before_it_rounds() -> None:
    hu = torch.arange(-1400, 400, dtype=torch.int16)[None]
    exact, half = HUWindows(["lung"])(hu), HUWindows(["lung"], dtype="float16")(hu)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), exact, atol=3e-4, rtol=0)


def test_dictionary_twin_leaves_the_input_alone() -> None:
    item = {"image": torch.zeros(1, 2, 2, 2), "other": 3}
    found = HUWindowsd("image", [(0, 100)])(item)
    assert torch.equal(found["image"], torch.full((1, 2, 2, 2), 0.5)) and found["other"] == 3
    assert not item["image"].any()
    assert HUWindowsd(["image", "second"], allow_missing_keys=True)(item)["image"].shape[0] == 3


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (["liver"], "found 'liver'"),
        ([(40, 0)], "width above 0"),
        ([(40,)], "width above 0"),
        ([], "a list of windows is needed"),
        ("lung", "a list of windows is needed"),
    ],
)
def test_wrong_windows_are_refused(windows: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        HUWindows(windows)


def test_wrong_types_and_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="found 'int8'"):
        HUWindows(dtype="int8")
    with pytest.raises(DataError, match=r"found shape \(2, 3\)"):
        HUWindows()(torch.zeros(2, 3))
