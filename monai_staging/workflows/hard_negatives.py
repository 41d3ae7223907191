"""Hard-negative mining in rounds: what the classifier takes for lesions most is what it learns from next."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor
from torch.utils.data import Sampler

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.tracking.losses import EpochMeans
from monai_staging.workflows.negative_feed import drawn

logger = logging.getLogger("monai_staging.workflows")

OTHERS = 0.25
"""Of the negatives of an epoch that are drawn from all of them, so that what was easy stays so."""


class HardNegatives(Sampler[int]):
    """Draws every positive once an epoch and as many negatives, the hard ones more often.

    In the first round negatives are drawn from all. Before each other round all of them are scored, and those with the
    highest scores are kept: three of four draws are from them, the fourth from all. An epoch always has as many draws.
    Attach it to the trainer before anything that starts the loader; the draws come from torch's generator, seeded by
    :class:`~monai_staging.workflows.determinism.EpochSeeder`. It has a state for a checkpoint.

    Args:
        labels: (N) or (N, 1), above 0 for the positives.
        score: (n) cubes' places to (n) scores, the higher the more like a lesion.
        epochs: of the training.
        rounds: of the training, each with as many epochs, to one.
        keep: share of the negatives that is kept, at least one of them.

    Raises:
        UsageError: positives or negatives are missing, rounds that are not 1 to ``epochs``, or a share outside (0, 1].
    """

    def __init__(
        self,
        labels: Tensor,
        score: Callable[[Tensor], FloatArray],
        epochs: int,
        rounds: int = 3,
        keep: float = 0.3,
    ) -> None:
        positive = labels.flatten() > 0
        if not positive.any() or positive.all():
            raise UsageError("HardNegatives: positives and negatives are needed, found one of both")
        if not 1 <= rounds <= epochs or not 0 < keep <= 1:
            raise UsageError(
                f"HardNegatives: 1 to {epochs} rounds and a share above 0 to 1 are needed, found {rounds} and {keep}"
            )
        self.positives = torch.nonzero(positive)[:, 0]
        self.negatives = torch.nonzero(~positive)[:, 0]
        self.score = score
        self.starts = round_starts(epochs, rounds)
        self.keep = keep
        self.kept: Tensor | None = None

    def attach(self, engine: Engine) -> None:
        """Registers with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda one: self.mine(one.state.epoch))

    def mine(self, epoch: int) -> None:
        """Before the first epoch of a round (counted from 1) scores all negatives and keeps the hardest."""
        if epoch not in self.starts:
            return
        scores = self.score(self.negatives)
        count = max(1, round(self.keep * len(self.negatives)))
        hardest = np.argsort(-scores, kind="stable")[:count]
        self.kept = self.negatives[torch.from_numpy(hardest)]
        logger.info(
            "hard negatives: %d of %d kept, scored %.3f to %.3f",
            *(count, len(scores), scores[hardest[-1]], scores[hardest[0]]),
        )

    def state_dict(self) -> dict[str, Any]:
        """What is kept."""
        return {"kept": self.kept}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes back what ``state_dict`` gave."""
        self.kept = state_dict["kept"]

    def __len__(self) -> int:
        return 2 * len(self.positives)

    def __iter__(self) -> Iterator[int]:
        count = len(self.positives)
        others = count if self.kept is None else round(OTHERS * count)
        chosen = [self.positives, drawn(self.negatives, others)]
        if self.kept is not None:
            chosen.append(drawn(self.kept, count - others))
        every = torch.cat(chosen)
        return iter(every[torch.randperm(len(every))].tolist())


def round_starts(epochs: int, rounds: int) -> set[int]:
    """The first epoch, counted from 1, of each round but the first, of a training in rounds of the same length."""
    return {epochs * place // rounds + 1 for place in range(1, rounds)}


class StageMetrics:
    """Tracks a trainer that is not the run's first: its losses and metrics under a name of their own.

    Args:
        tracker: the run's tracking handler.
        prefix: the name.
        evaluator: whose metrics are logged beside, if it ran in the epoch.
    """

    def __init__(self, tracker: Any, prefix: str, evaluator: Engine) -> None:
        self.tracker = tracker
        self.prefix = prefix
        self.evaluator = evaluator
        self._means = EpochMeans()

    def attach(self, engine: Engine) -> None:
        """Registers with the trainer; after its ``ValidationHandler``."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._means.reset())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._means.update)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._completed)

    def _completed(self, engine: Engine) -> None:
        metrics: dict[str, Any] = self._means.take()
        if self.evaluator.state.epoch == engine.state.epoch:
            metrics |= {f"val_{name}": value for name, value in self.evaluator.state.metrics.items()}
        self.tracker.log_metrics(metrics, step=engine.state.epoch, prefix=self.prefix)
