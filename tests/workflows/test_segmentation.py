"""The segmentation bundle's data, batches, loss, turns and sampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss
from torch import Tensor
from torch.nn import functional

from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.cohort.nodules.split import NoduleSplit
from monai_staging.errors import DataError, UsageError
from monai_staging.networks.segmenter import SegmentationOutput
from monai_staging.transforms.nodule_patches import NodulePatches
from monai_staging.transforms.nodule_views import consensus
from monai_staging.transforms.rand_views import RandViews
from monai_staging.workflows.segmentation import (
    FlippingInferer,
    SegmentationLoss,
    SegmentationPrepareBatch,
    nodule_sampler,
)
from monai_staging.workflows.segmentation_data import SegmentationData


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_nodules(tmp_path_factory.mktemp("data") / "nodules", 16, seed=1)


@pytest.fixture(scope="module")
def data(folder: Path) -> SegmentationData:
    return SegmentationData(folder, NodulePatches("2.5d", size=48), NoduleSplit(folds=3))


def test_every_slice_of_a_patient_is_in_one_part(data: SegmentationData) -> None:
    training, test = (set(data.part(name).values("nodule").tolist()) for name in ("training", "test"))
    assert training and test and training | test == set(range(16))
    patients = [{data.record(index).patient for index in part} for part in (training, test)]
    assert not patients[0] & patients[1]
    batch = data.part("test").__getitems__([0, 1])
    assert batch["image"].shape == (2, 3, 48, 48) and batch["share"].shape == (2, 1, 48, 48)
    assert batch["case"][0] == data.record(int(batch["nodule"][0])).name


def test_the_share_of_the_readers_comes_back_on_the_nodules_voxels(data: SegmentationData) -> None:
    part = data.part("test")
    index = int(part.values("nodule")[0])
    share = part.values("share")[part.values("nodule") == index][:, 0]
    back = data.restore(index, share.numpy().astype(np.float32) / 255)
    inside = np.zeros(back.shape, dtype=bool)
    inside[:, 8:-8, 8:-8] = True
    np.testing.assert_array_equal((back >= 0.5)[inside], consensus(data.volume(index).outlines)[inside])


def test_training_leaves_out_slices_far_from_every_outline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = SegmentationData(folder, NodulePatches("2d"), margin=1)
    volume = data.volume(0)
    wide = type(volume)(
        np.pad(volume.image, ((0, 0), (4, 4), (0, 0), (0, 0))),
        np.pad(volume.outlines, ((0, 0), (4, 4), (0, 0), (0, 0))),
    )
    near = data._near(wide, wide.image.shape[1])
    assert near.sum() == volume.image.shape[1] + 2 and not near[:3].any() and not near[-3:].any()


def test_nodules_without_outlines_or_outside_the_limit_are_in_no_part(folder: Path) -> None:
    data = SegmentationData(folder, NodulePatches("3d", size=16, spacing_mm=2.0), limit=5)
    assert data.parts == {"test": [0, 1, 2, 3, 4]} and data.arrays["image"].shape == (5, 1, 16, 16, 16)
    with pytest.raises(UsageError, match="a part is one of test; found 'training'"):
        data.part("training")
    with pytest.raises(UsageError, match="0 slices or more is needed, found -1"):
        SegmentationData(folder, NodulePatches(), margin=-1)


def test_pictures_without_outlines_are_refused(tmp_path: Path) -> None:
    arrays = {f"{part}_images": np.zeros((2, 28, 28), np.uint8) for part in ("train", "val", "test")}
    arrays |= {f"{part}_labels": np.array([[0], [1]]) for part in ("train", "val", "test")}
    np.savez(tmp_path / "some.npz", **arrays)
    with pytest.raises(DataError, match="at least one nodule with an outline is needed; found none"):
        SegmentationData(tmp_path / "some.npz", NodulePatches())


def test_image_and_share_are_moved_together() -> None:
    torch.manual_seed(0)
    share = torch.zeros(8, 1, 32, 32, dtype=torch.uint8)
    share[:, :, 8:16, 10:20] = 255
    batch = {"image": share.expand(-1, 3, -1, -1), "share": share}
    still = RandViews(3, shift_pixels=6, gamma=0, contrast=0, brightness=0, noise=0)
    image, target, _, kwargs = SegmentationPrepareBatch(still, crop=24)(batch)
    assert image.shape == (8, 3, 24, 24) and kwargs == {"details": True}
    torch.testing.assert_close(image, target.expand(-1, 3, -1, -1))
    assert not torch.equal(target[0], target[1])
    image, target, _, kwargs = SegmentationPrepareBatch()(batch)
    assert image.shape == (8, 3, 32, 32) and kwargs == {} and target.max() == 1
    with pytest.raises(UsageError, match="at least 1 pixel is needed, found 0"):
        SegmentationPrepareBatch(crop=0)


def output_of(logits: Tensor, levels: int = 0) -> SegmentationOutput:
    return SegmentationOutput(logits, torch.stack([logits] * levels, 1) if levels else logits[:, None][:, :0], logits)


def test_the_loss_is_monais_at_every_level() -> None:
    torch.manual_seed(0)
    logits, share = torch.randn(3, 1, 8, 8), torch.rand(3, 1, 8, 8)
    hard = (share >= 0.5).float()
    expected = DiceCELoss(sigmoid=True, smooth_nr=1, smooth_dr=1)(logits, hard)
    torch.testing.assert_close(SegmentationLoss()(output_of(logits), share), expected)
    torch.testing.assert_close(SegmentationLoss()(output_of(logits, 2), share), 1.75 * expected)
    soft = DiceCELoss(sigmoid=True, smooth_nr=1, smooth_dr=1)(logits, share)
    torch.testing.assert_close(SegmentationLoss(soft=True)(output_of(logits), share), soft)
    together = DiceCELoss(sigmoid=True, smooth_nr=1, smooth_dr=1, batch=True)(logits, hard)
    torch.testing.assert_close(SegmentationLoss(pooled=True)(output_of(logits), share), together)
    assert not torch.isclose(together, expected)
    with pytest.raises(UsageError, match="dice_ce, tversky is needed, found 'focal'"):
        SegmentationLoss("focal")


def test_tversky_minds_what_is_left_out() -> None:
    share = torch.zeros(1, 1, 10, 10)
    share[..., 3:7, 3:7] = 1
    small, large = torch.full_like(share, -20), torch.full_like(share, -20)
    small[..., 4:6, 3:7] = 20  # 8 of 16 left out
    large[..., 2:8, 3:7] = 20  # 8 taken wrongly
    loss = SegmentationLoss("tversky", beta=0.8)
    assert loss(output_of(small), share) > loss(output_of(large), share)


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_turns_and_mirror_images_are_turned_back(views: int) -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 1, 6, 6)
    inferer = FlippingInferer("cpu", amp=False, views=views)
    torch.testing.assert_close(inferer(image, lambda seen: seen), image.sigmoid())
    # Of a network that looks to the right, the views look everywhere.
    right = functional.pad(image, (0, 1))[..., 1:]
    found = inferer(image, lambda seen: functional.pad(seen, (0, 1))[..., 1:])
    assert torch.equal(found, right.sigmoid()) == (views == 1)
    if views == 8:
        turned = inferer(image.rot90(1, (2, 3)), lambda seen: functional.pad(seen, (0, 1))[..., 1:])
        torch.testing.assert_close(turned, found.rot90(1, (2, 3)))
    with pytest.raises(UsageError, match="1, 2, 4 or 8; found 3"):
        FlippingInferer("cpu", views=3)


def test_nodules_are_drawn_alike_at_full_balance(data: SegmentationData) -> None:
    part = data.part("training")
    assert nodule_sampler(part, 0) is None
    sampler = nodule_sampler(part, 1)
    assert sampler is not None and len(sampler) == len(part)
    torch.manual_seed(0)
    owner = part.values("nodule")[torch.tensor([index for _ in range(60) for index in sampler])]
    counts = torch.bincount(owner)[owner.unique()].double()
    assert (counts / counts.mean() - 1).abs().max() < 0.25
    with pytest.raises(UsageError, match="0 to 1 is needed, found 2"):
        nodule_sampler(part, 2)
