"""What the server says of trainings and scores before one is asked for; they are asked for by other requests."""

from __future__ import annotations

from typing import Any, NoReturn

from monai_staging.label.orders import NETWORK, defaults
from monai_staging.label.upstream import ScoringMethod, TrainTask


class Training(TrainTask):
    """A model that can be trained from final labels."""

    def __init__(self) -> None:
        super().__init__(f"Trains the network {NETWORK} from final labels; it is served if it is better than before")

    def config(self) -> dict[str, Any]:
        """What a request may set."""
        return defaults()

    def __call__(self, request: Any, datastore: Any) -> NoReturn:
        """Never called: see :class:`monai_staging.label.trainer.Trainer`."""
        raise NotImplementedError


class Scoring(ScoringMethod):
    """A way to score labels."""

    def __call__(self, request: Any, datastore: Any) -> NoReturn:
        """Never called: see :class:`monai_staging.label.scoring.Scorer`."""
        raise NotImplementedError
