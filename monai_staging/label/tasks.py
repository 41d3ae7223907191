"""Trainings and scores as tasks of MONAI Label: what the server says of them, and what it does when asked for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_staging.errors import DataError
from monai_staging.label.datastore import FINAL, StudyDatastore
from monai_staging.label.held_out import FEWEST
from monai_staging.label.orders import NETWORK, defaults, read_order
from monai_staging.label.scoring import METHODS, Scorer, label_maps
from monai_staging.label.trainer import Trainer
from monai_staging.label.trainings import Trainings
from monai_staging.label.upstream import ScoringMethod, TrainTask


class Training(TrainTask):
    """A model that can be trained from final labels.

    Args:
        model: its name.
        trainer: trains it.
    """

    def __init__(self, model: str, trainer: Trainer) -> None:
        super().__init__(f"Trains the network {NETWORK} from final labels; it is served if it is better than before")
        self.model = model
        self.trainer = trainer

    def config(self) -> dict[str, Any]:
        """What a request may set."""
        return defaults()

    def __call__(self, request: Mapping[str, Any], datastore: StudyDatastore) -> dict[str, Any]:
        """Begins a training; gives its state.

        Raises:
            UsageError: the model is not trained here, or the request asks for what cannot be.
            DataError: too few studies have a final label map.
            Busy: another training runs.
        """
        order = read_order(self.model, request)
        labelled = sum(FINAL in tags for tags in label_maps(datastore).values())
        if labelled < 2 * FEWEST:
            raise DataError(
                f"Train: {2 * FEWEST} studies with a final label map are needed at least; found {labelled}."
            )
        return self.trainer.start(order)


class Scoring(ScoringMethod):
    """A way to score labels.

    Args:
        name: of :data:`monai_staging.label.scoring.METHODS`.
        trainings: whose key names patients.
    """

    def __init__(self, name: str, trainings: Trainings) -> None:
        super().__init__(METHODS[name].__doc__ or "")
        self.name = name
        self.trainings = trainings

    def __call__(self, request: Mapping[str, Any], datastore: StudyDatastore) -> dict[str, Any]:
        """Scores of a data store's labels, see :meth:`monai_staging.label.scoring.Scorer.score`."""
        return Scorer(datastore, self.trainings).score(self.name, request)
