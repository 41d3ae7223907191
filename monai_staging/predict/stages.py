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
    "became of patients. No sets are named.",
)
OF_PHANTOMS = (
    "The probabilities of T, N and M are the network's own. Their calibration was fitted on phantoms, and this scan is "
    "no phantom: it would promise what nobody has seen, so no sets are named.",
)


@dataclass(frozen=True, eq=False)
class StageReader:
    """Reads what a staging network says.

    A calibration holds for scans like those it was fitted on. Whether a patient's scan is like another's is for people
    to judge; that it is not like a phantom is certain, and there it is left out.

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
        return cls(load_calibration("beside", model.bundle.members, model.passes))

    def statement(self, phantom: bool) -> tuple[str, ...]:
        """What a report says of the probabilities, a sentence each.

        Args:
            phantom: whether the scan is one.
        """
        if self.calibration is None:
            return NOT_CALIBRATED
        return self.calibration.statement() if self._holds(phantom) else OF_PHANTOMS

    def __call__(self, learned: LearnedStage, phantom: bool) -> StageSets:
        """What is reported.

        Args:
            learned: as the network says.
            phantom: whether the scan is one.
        """
        chances, calibration = learned.probabilities, self.calibration
        if calibration is None or not self._holds(phantom):
            groups = group_probabilities(chances["t"], chances["n"], chances["m"], learned.edition)
            return StageSets(chances, groups, {}, (), None)
        sets = calibration.sets(chances)
        return StageSets(
            calibration.apply(chances),
            calibration.group_probabilities(chances),
            {letter: sets[letter] for letter in LETTERS},
            sets["group"],
            calibration.level,
        )

    def _holds(self, phantom: bool) -> bool:
        return self.calibration is not None and (phantom or "phantom" not in self.calibration.fitted_on)
