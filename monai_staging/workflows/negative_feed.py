"""Negative feed (Pearce 2017): after each epoch what was misclassified is learned from again, turned and noised."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ignite.engine import Engine, Events
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from monai_staging.errors import UsageError

logger = logging.getLogger("monai_staging.workflows")


class RatioSampler(Sampler[int]):
    """Draws the positives and negatives of a data set at a ratio, as many as are asked for.

    Positives are all drawn before any is drawn again, negatives likewise. Draws come from torch's global generator.

    Args:
        labels: (N), above 0 for the positives.
        positive_fraction: of the draws; ``None`` goes through the data set once, as it is.
        draws: an epoch; by default twice the positives at one half, that is, as many as have each positive once.

    Raises:
        UsageError: one of both kinds is missing though a ratio is wanted, or a setting out of range.
    """

    def __init__(self, labels: Tensor, positive_fraction: float | None = 1 / 3, draws: int | None = None) -> None:
        positive = labels.flatten() > 0
        self.positives, self.negatives = (torch.nonzero(own)[:, 0] for own in (positive, ~positive))
        self.fraction = positive_fraction
        if positive_fraction is None:
            self.draws = len(positive) if draws is None else min(draws, len(positive))
        else:
            if not 0 < positive_fraction < 1 or not len(self.positives) or not len(self.negatives):
                raise UsageError(
                    "RatioSampler: a fraction above 0 and below 1, positives and negatives are needed; found "
                    f"{positive_fraction}, {len(self.positives)} and {len(self.negatives)}"
                )
            self.draws = round(len(self.positives) / positive_fraction) if draws is None else draws
        if self.draws < 1:
            raise UsageError(f"RatioSampler: at least one draw is needed, found {self.draws}")

    def __len__(self) -> int:
        return self.draws

    def __iter__(self) -> Iterator[int]:
        if self.fraction is None:
            order = torch.randperm(len(self.positives) + len(self.negatives))
            return iter(order[: self.draws].tolist())
        positives = max(1, round(self.fraction * self.draws))
        every = torch.cat([drawn(self.positives, positives), drawn(self.negatives, self.draws - positives)])
        return iter(every[torch.randperm(len(every))].tolist())


class NegativeFeed(Sampler[int]):
    """A sampler that feeds back what the network got wrong, and a handler that finds out what that is.

    An epoch begins with the draws of another sampler. Then comes the feed: after the epoch before the whole data set
    was looked at, and fed are those that were misclassified, together with a random sample of those that were not, so
    that they are not unlearned. They are numbered from ``len(labels)`` on: :class:`FedTwice` marks these, to be turned
    and noised. Epochs are all as long: before there is anything to feed, items are drawn at random in its place.

    It works for any classification with a label an item. Attach it to the trainer before anything that starts the
    loader. It has a state for a checkpoint, so that a training that goes on after a kill is fed the same.

    Args:
        sampler: of each epoch's first part.
        labels: (N), above 0 for the positives.
        score: gives the network's probability of the positive class for items (places in the data set).
        draws: of the feed, an epoch; by default as many as the sampler's.
        threshold: from here on an item is taken for positive.
        wrong: the misclassified make up at most this part of the feed. More are drawn from at random, fewer are all
            there once.
        first: the epoch, counted from 1, that is fed first.

    Raises:
        UsageError: a setting out of range.
    """

    def __init__(
        self,
        sampler: Sampler[int],
        labels: Tensor,
        score: Callable[[Tensor], npt.NDArray[np.floating[Any]]],
        draws: int | None = None,
        threshold: float = 0.5,
        wrong: float = 0.5,
        first: int = 2,
    ) -> None:
        if (draws is not None and draws < 1) or not 0 < wrong <= 1 or first < 1 or not 0 < threshold < 1:
            raise UsageError(
                "NegativeFeed: draws and an epoch of at least 1, a threshold above 0 and below 1 and a share above 0 "
                f"to 1 are needed; found {draws}, {first}, {threshold} and {wrong}"
            )
        self.sampler = sampler
        self.labels = labels.flatten() > 0
        self.score = score
        self.draws = len(sampler) if draws is None else draws  # type: ignore[arg-type]  # a sampler with a length
        self.threshold = threshold
        self.wrong = wrong
        self.first = first
        self.fed = torch.zeros(0, dtype=torch.long)

    def attach(self, engine: Engine) -> None:
        """Registers with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda one: self.look(one.state.epoch))

    def look(self, epoch: int) -> None:
        """Before an epoch (counted from 1) runs the network over all items, and chooses what is fed."""
        if epoch < self.first:
            return
        every = torch.arange(len(self.labels))
        taken = torch.from_numpy(np.asarray(self.score(every))) >= self.threshold
        wrong = torch.nonzero(taken != self.labels)[:, 0]
        right = torch.nonzero(taken == self.labels)[:, 0]
        most = self.draws if not len(right) else max(1, round(self.wrong * self.draws))
        chosen = wrong[torch.randperm(len(wrong))[:most]]
        others = drawn(right, self.draws - len(chosen)) if len(right) else drawn(wrong, self.draws - len(chosen))
        self.fed = torch.cat([chosen, others])
        logger.info(
            "negative feed: %d of %d misclassified, %d of these missed; %d are fed, beside %d others",
            *(len(wrong), len(every), int(self.labels[wrong].sum()), len(chosen), len(others)),
        )

    def state_dict(self) -> dict[str, Any]:
        """What is fed."""
        return {"fed": self.fed}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes back what ``state_dict`` gave."""
        self.fed = state_dict["fed"]

    def __len__(self) -> int:
        return len(self.sampler) + self.draws  # type: ignore[arg-type]  # a sampler with a length

    def __iter__(self) -> Iterator[int]:
        yield from self.sampler
        if len(self.fed):
            yield from (self.fed[torch.randperm(len(self.fed))] + len(self.labels)).tolist()
        else:
            yield from drawn(torch.arange(len(self.labels)), self.draws).tolist()


class FedTwice(Dataset[dict[str, Any]]):
    """A data set whose items are there twice: as they are, and from its length on to be turned and noised.

    Args:
        dataset: gives dictionaries.

    Returns:
        The item, with ``fed``, whether it is one of the second kind.
    """

    def __init__(self, dataset: Dataset[dict[str, Any]]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return 2 * len(self.dataset)  # type: ignore[arg-type]  # a data set with a length

    def __getitem__(self, index: int) -> dict[str, Any]:
        count = len(self) // 2
        return {**self.dataset[index % count], "fed": index >= count}


def drawn(places: Tensor, count: int) -> Tensor:
    """So many of them in random order, each once before any comes again."""
    rounds = -(-count // len(places))
    return torch.cat([places[torch.randperm(len(places))] for _ in range(rounds)])[:count] if count else places[:0]
