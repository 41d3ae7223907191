"""How many images of a pretraining reach the network in a second: item by item, and by whole batches.

Prints a line for MONAI's cached data set with a random transform of each item, and one for each task of
`bundles/pretrain`; then how fast a network trains on them. Seconds are the processor's, of one thread, and the best of
three passes. Usage: ``OMP_NUM_THREADS=1 python scripts/pretrain_rate.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose, EnsureTyped, RandAffined, Resized, ScaleIntensityRanged

from monai_staging.cohort.image_sets import read_public_set
from monai_staging.networks.backbones import build_backbone
from monai_staging.workflows.pretrain import build_task
from monai_staging.workflows.pretrain_batch import PretrainPrepareBatch
from monai_staging.workflows.pretrain_data import ImageBatches, load_data
from monai_staging.workflows.pretrain_patches import PatchSettings

CONFIG = Path(__file__).parents[1] / "bundles" / "pretrain" / "train.json"
BATCH = 64
PASSES = 3


def rate(work: Callable[[], int]) -> float:
    """Images a second of ``work``, which says how many it has done."""
    best = 0.0
    for _ in range(PASSES):
        start = time.process_time()
        count = work()
        best = max(best, count / (time.process_time() - start))
    return best


def item_by_item() -> DataLoader:
    """The digits through MONAI's transforms, resized once and turned anew each time."""
    training, _ = read_public_set("digits", ".")
    transform = Compose(
        [
            EnsureTyped("image"),
            Resized("image", (64, 64)),
            ScaleIntensityRanged("image", 0, 255, 0, 1),
            RandAffined("image", prob=1, rotate_range=0.17, scale_range=0.1, padding_mode="zeros"),
        ]
    )
    items = [{"image": image} for image in training.images]
    return DataLoader(CacheDataset(items, transform, progress=False), batch_size=BATCH, shuffle=True)


def main() -> None:
    """Measures and prints."""
    torch.set_num_threads(1)
    settings = ConfigParser.load_config_file(str(CONFIG))["tasks"]
    items = item_by_item()
    print(f"item by item: {rate(lambda: sum(len(batch['image']) for batch in items)):.0f} images/s")
    # The same images for every task: what is measured is the way, not the set.
    dataset = ImageBatches(load_data("digits", ".", in_channels=1, patches=PatchSettings()).training)
    sampler = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(dataset), BATCH, drop_last=True)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, sampler=sampler)
    for task in ("digits", "restoration", "contrastive"):
        prepare = PretrainPrepareBatch(build_task(task, settings), 1, training=True)

        def prepared(prepare: PretrainPrepareBatch = prepare) -> int:
            return sum(len(batch["index"]) for batch in loader if prepare(batch, "cpu"))

        print(f"{task}, by batches: {rate(prepared):.0f} images/s")
    for fast in (False, True):
        layout = torch.channels_last if fast else torch.contiguous_format
        network = build_backbone("resnet18", in_channels=1).to(memory_format=layout)
        images = torch.rand(BATCH, 1, 64, 64).contiguous(memory_format=layout)

        def step(network: torch.nn.Module = network, images: torch.Tensor = images, fast: bool = fast) -> int:
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                maps = network(images)
            maps.float().square().mean().backward()
            return BATCH

        how = "bfloat16, channels last" if fast else "float32"
        print(f"resnet18, forward and backward, {how}: {rate(step):.0f} images/s")


if __name__ == "__main__":
    main()
