from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd, Spacingd

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.spacing import ResampleSpacing, ResampleSpacingd


def monai_chain(volume: Any, affine: Any, spacing_mm: Any) -> MetaTensor:
    image = MetaTensor(torch.as_tensor(np.ascontiguousarray(volume))[None].float(), affine=torch.as_tensor(affine))
    chain = Compose(
        [
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=spacing_mm, mode="bilinear", padding_mode="border"),
        ]
    )
    return chain({"image": image})["image"]


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.5, 1.1, 2.0)])
@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR"])
def test_takes_the_place_of_monais_orientation_and_spacing(axes: str, spacing_mm: Any) -> None:
    codes = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "S": (2, 1), "I": (2, -1)}
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (letter, voxel) in enumerate(zip(axes, (0.78, 0.83, 1.7), strict=True)):
        row, sign = codes[letter]
        affine[row, column] = sign * voxel
    affine[:3, 3] = [100, -50, 20]
    volume = np.random.default_rng(0).integers(-1000, 1000, (30, 28, 17), dtype=np.int16)
    expected = monai_chain(volume, affine, spacing_mm)
    found = ResampleSpacing(spacing_mm, antialias=False)(volume[None], affine)
    assert found.shape == expected.shape
    torch.testing.assert_close(found.affine, expected.affine)
    # MONAI normalises positions in single precision, which moves them by about a thousandth of a voxel.
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2)


def test_real_series_agrees_with_monai(lidc_series: Path, record_property: Callable[[str, object], None]) -> None:
    from monai_staging.cohort.dicom import load_series

    volume = load_series(lidc_series)
    # A part of it: the whole takes MONAI several seconds and gigabytes.
    affine = volume.affine.copy()
    affine[:3, 3] = affine[:3, :3] @ [100, 100, 100] + affine[:3, 3]
    part = volume.array[100:356, 100:356, 100:150]
    expected = monai_chain(part, affine, (1.0, 1.0, 1.0))
    found = ResampleSpacing(1.0)(part[None], affine)
    difference = (found.as_tensor() - expected.as_tensor()).abs()
    record_property("mean_hu", difference.mean().item())
    assert difference.mean().item() < 0.01 and difference.max().item() < 2


def test_size_gives_one_shape_for_all_and_the_centre_stays() -> None:
    affine = np.diag([-0.8, -0.8, 2.5, 1.0])
    volume = np.full((64, 48, 10), 50, dtype=np.int16)
    found = ResampleSpacing((2.0, 2.0, 2.0), size=(20, 30, 20))(volume[None], affine)
    assert found.shape == (1, 20, 30, 20)
    middle = affine @ [31.5, 23.5, 4.5, 1]
    np.testing.assert_allclose(found.affine.numpy() @ [9.5, 14.5, 9.5, 1], middle)
    # x is cut off, y (38 mm) and z (25 mm) are padded with air.
    assert found[0, :, 15, 10].eq(50).all()
    assert found[0, 10, 0, 10] == -1024 and found[0, 10, 15, 0] == -1024 and found[0, 10, 15, 10] == 50


def test_a_point_in_the_middle() -> None:
    volume = np.zeros((40, 40, 40), dtype=np.int16)
    volume[30, 10, 20] = 1000
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    point = (affine @ [30, 10, 20, 1])[:3]
    found = ResampleSpacing(1.0, size=(5, 5, 5))(volume[None], affine, center_mm=point)
    assert found[0, 2, 2, 2] == 1000 and found.sum() == 1000


def test_dictionary_twin_puts_a_mask_on_its_images_grid() -> None:
    affine = torch.from_numpy(np.diag([-0.7, -0.7, 3.0, 1.0]))
    image = MetaTensor(torch.randint(-1000, 1000, (1, 20, 22, 9)).short(), affine=affine)
    mask = MetaTensor((image > 0).to(torch.uint8).as_tensor(), affine=affine)
    item = {"image": image, "mask": mask, "t": ["T1a"]}
    transform = ResampleSpacingd(("image", "mask"), 1.0, mode=("linear", "nearest"), pad_value=(-1024, 0))
    found = transform(item)
    assert found["image"].shape == found["mask"].shape and torch.equal(found["image"].affine, found["mask"].affine)
    assert set(found["mask"].unique().tolist()) <= {0.0, 1.0}
    assert item["image"] is image and found["t"] == ["T1a"]
    moved = ResampleSpacingd("image", 1.0, size=(8, 8, 8), center_key="center")({**item, "center": [-5.0, -6.0, 7.0]})
    np.testing.assert_allclose(moved["image"].affine.numpy()[:3, 3], [-8.5, -9.5, 3.5])


def test_several_channels_and_metadata_are_kept() -> None:
    image = MetaTensor(torch.randn(2, 6, 6, 6), affine=torch.eye(4), meta={"case": "case-1"})
    found = ResampleSpacing(2.0)(image)
    assert found.shape == (2, 4, 4, 4) and found.meta["case"] == "case-1"
    torch.testing.assert_close(found[1:].as_tensor(), ResampleSpacing(2.0)(image[1:]).as_tensor())


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UsageError, match="mode must be linear or nearest, found 'cubic'"):
        ResampleSpacing(1.0, mode="cubic")
    with pytest.raises(UsageError, match="above 0 mm"):
        ResampleSpacing((1.0, -1.0, 1.0))
    with pytest.raises(UsageError, match="no size is given"):
        ResampleSpacingd("image", 1.0, center_key="center")
    with pytest.raises(UsageError, match="no size is given"):
        ResampleSpacing(1.0)(np.zeros((1, 2, 2, 2)), np.eye(4), center_mm=(0, 0, 0))
    with pytest.raises(DataError, match="found a Tensor without one"):
        ResampleSpacing(1.0)(torch.zeros(1, 2, 2, 2))
    with pytest.raises(DataError, match=r"\(C, I, J, K\) is needed"):
        ResampleSpacing(1.0)(torch.zeros(2, 2, 2), np.eye(4))
