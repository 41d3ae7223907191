"""From a staging network's probabilities to what is reported of the stage."""

from __future__ import annotations

from dataclasses import dataclass

from monai_staging.predict.combine import StageSets
from monai_staging.predict.models import LoadedModel
from monai_staging.predict.stager import LearnedStage
from monai_staging.tnm.probabilities import group_probabilities


@dataclass(frozen=True)
class StageReader:
    """Takes probabilities as they are: nobody has calibrated them.

    Attributes:
        statement: what a report says of them, a sentence each.
    """

    statement: tuple[str, ...]

    @classmethod
    def beside(cls, model: LoadedModel) -> StageReader:
        """The one for a staging model."""
        return cls(("Probabilities of T, N and M are the network's own: not calibrated, and no sets are given.",))

    def __call__(self, learned: LearnedStage) -> StageSets:
        """What is reported."""
        chances = learned.probabilities
        groups = group_probabilities(chances["t"], chances["n"], chances["m"], learned.edition)
        return StageSets(chances, groups, {}, (), None)
