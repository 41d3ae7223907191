"""Epochs whose randomness depends on seed, epoch and rank alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import CacheDataset, DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandGaussianNoised, RandLambdad

from monai_staging.errors import UsageError
from monai_staging.workflows.determinism import EpochSeeder, epoch_seed


def numpy_noise(image: torch.Tensor) -> torch.Tensor:
    """A transform that takes its numbers from NumPy's and torch's global generators."""
    return image + float(np.random.rand()) + torch.rand(1)


def epochs_seen(workers: int, first_epoch: int, kind: type[Dataset] = Dataset, **loader: Any) -> dict[int, list[float]]:
    """What a training that begins after ``first_epoch`` sees: epoch -> sums of images in order, and dropout."""
    items = [{"image": torch.full((1, 2, 2), float(i)), "label": torch.zeros(1)} for i in range(6)]
    noise = Compose([RandGaussianNoised("image", prob=0.8), RandLambdad("image", numpy_noise, prob=1.0)])
    dropout = torch.nn.Dropout(0.5)
    network = torch.nn.Sequential(torch.nn.Flatten(), dropout, torch.nn.Linear(4, 1))
    seen: dict[int, list[float]] = {}
    arguments = {"shuffle": True, **loader}
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=3,
        train_data_loader=DataLoader(kind(items, noise), batch_size=2, num_workers=workers, **arguments),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.0),
        loss_function=torch.nn.MSELoss(),
        decollate=False,
        train_handlers=[EpochSeeder(5)],
    )

    @trainer.on("STARTED")
    def skip(engine: Any) -> None:
        engine.state.epoch, engine.state.iteration = first_epoch, first_epoch * 3

    @trainer.on("ITERATION_COMPLETED")
    def note(engine: Any) -> None:
        images = [float(image.sum()) for image in engine.state.output["image"]]
        seen.setdefault(engine.state.epoch, []).extend([*images, float(torch.rand(1))])

    torch.manual_seed(first_epoch)  # whatever came before must not matter
    np.random.seed(first_epoch)
    trainer.run()
    return seen


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_epochs_are_those_of_the_whole_training(workers: int) -> None:
    whole, resumed = epochs_seen(workers, 0), epochs_seen(workers, 1)
    assert sorted(whole) == [1, 2, 3]
    assert resumed == {epoch: whole[epoch] for epoch in (2, 3)}
    assert whole[1] != whole[2] != whole[3]


def test_cached_data_sets_and_own_generators_are_seeded_too() -> None:
    def seen(first: int) -> dict[int, list[float]]:
        generator = torch.Generator().manual_seed(100 + first)
        return epochs_seen(0, first, CacheDataset, generator=generator)

    whole, resumed = seen(0), seen(2)
    assert resumed == {3: whole[3]}


def test_persistent_workers_are_refused() -> None:
    with pytest.raises(UsageError, match="persistent_workers"):
        epochs_seen(1, 0, persistent_workers=True)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**32), st.integers(0, 1000), st.integers(0, 64)), min_size=2, max_size=20, unique=True
    )
)
def test_seeds_fit_every_generator_and_differ(inputs: list[tuple[int, int, int]]) -> None:
    seeds = [epoch_seed(*values) for values in inputs]
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert len(set(seeds)) == len(seeds)
