"""From a staging network's probabilities to what is reported of the stage: calibrated, with sets, where it can be."""

from __future__ import annotations

from dataclasses import dataclass

from monai_staging.metrics.staging_calibration import StagingCalibration
from monai_staging.predict.combine import StageSets
from monai_staging.predict.models import LoadedModel
from monai_staging.predict.stager import LearnedStage
from monai_staging.tnm.categories import LETTERS
from monai_staging.tnm.probabilities import group_probabilities
from monai_staging.workflows.staging_calibration import load_calibration

NOT_CALIBRATED = (
    "The probabilities of T, N and M are the network's own, not calibrated: nobody has compared them with what "
    "became of patients. No sets are given.",
)


@dataclass(frozen=True, eq=False)
class StageReader:
    """Reads what a staging network says.

    Attributes:
        calibration: of its weights; ``None`` where they have none.
    """

    calibration: StagingCalibration | None

    @classmethod
    def beside(cls, model: LoadedModel) -> StageReader:
        """With the calibration that lies beside a model's weights, if there is one.

        Raises:
            DataError: it is of other weights, or no calibration.
        """
        return cls(load_calibration("beside", [model.bundle.weights]))

    @property
    def statement(self) -> tuple[str, ...]:
        """What a report says of the probabilities, a sentence each."""
        return NOT_CALIBRATED if self.calibration is None else self.calibration.statement()

    def __call__(self, learned: LearnedStage) -> StageSets:
        """What is reported."""
        chances = learned.probabilities
        if self.calibration is None:
            groups = group_probabilities(chances["t"], chances["n"], chances["m"], learned.edition)
            return StageSets(chances, groups, {}, (), None)
        sets = self.calibration.sets(chances)
        return StageSets(
            self.calibration.apply(chances),
            self.calibration.group_probabilities(chances),
            {letter: sets[letter] for letter in LETTERS},
            sets["group"],
            self.calibration.level,
        )
