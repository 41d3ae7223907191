"""T, N and M of a scan as the staging bundle has learned them: its own inference run, on a cohort of one case."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import Cohort, volume_name
from monai_staging.cohort.volume import Volume, write_volume
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.outputs.reported import FloatArray, SliceAttention
from monai_staging.tnm.categories import LETTERS, categories
from monai_staging.workflows.configured import ConfiguredBundle
from monai_staging.workflows.staging_collector import StagingCollector

SERIES = "scan"


@dataclass(frozen=True, eq=False)
class LearnedStage:
    """What a staging network says of a scan.

    Attributes:
        probabilities: for each letter, by category, as they come from the network.
        edition: of TNM.
        attention: where it looked.
    """

    probabilities: dict[str, dict[str, float]]
    edition: str
    attention: SliceAttention


def one_case_cohort(folder: Path, volume: Volume, name: str, edition: str) -> Path:
    """A cohort of one scan, of which nothing else is known, as its test part.

    Args:
        folder: that it is written to.
        volume: the scan.
        name: of the case, without identity.
        edition: of TNM.
    """
    path = folder / volume_name(SERIES)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, volume)
    t, n, m = (categories(letter, edition) for letter in LETTERS)
    case = Case(name, name, SERIES, volume_name(SERIES), t, n, m, edition)
    Cohort(folder, "study", "study", volume.spacing_mm, test=(case,)).save()
    return folder


class Stager:
    """The staging bundle's inference, with a collector in the place of what it writes.

    Args:
        bundle: the inference's configs with weights; run once a scan.
    """

    def __init__(self, bundle: ConfiguredBundle) -> None:
        self.bundle = bundle
        self.edition = str(bundle.part("edition"))
        # Built and loaded once: whatever else of the configs is replaced, this stays.
        bundle.replace("net", bundle.part("net").eval())

    def __call__(self, cohort: str | os.PathLike[str]) -> LearnedStage:
        """Of the one case of a cohort, see :func:`one_case_cohort`."""
        bundle = self.bundle
        bundle.replace("dataset_dir", str(cohort))
        bundle.replace("output_dir", str(Path(cohort) / "output"))
        classes = bundle.part("classes")
        collector = _Heights(classes)
        bundle.replace("handlers", [collector])
        bundle.part("evaluator").run()
        predictions = collector.predictions
        assert predictions is not None  # the run is over
        (weights,) = collector.attention.values()
        return LearnedStage(
            {letter: _by_category(predictions, letter) for letter in LETTERS},
            self.edition,
            SliceAttention(collector.z_mm, dict(zip(LETTERS, np.asarray(weights, dtype=np.float64), strict=True))),
        )


class _Heights(StagingCollector):
    """Keeps the heights of the slices too."""

    z_mm: FloatArray = np.zeros(0)

    def keep(self, batch, output):  # type: ignore[no-untyped-def]
        """One study."""
        super().keep(batch, output)
        self.z_mm = np.asarray(batch["slice_z_mm"][0], dtype=np.float64)


def _by_category(predictions: StagingPredictions, letter: str) -> dict[str, float]:
    chances = getattr(predictions, letter)[0]
    return {name: float(chance) for name, chance in zip(predictions.classes[letter], chances, strict=True)}
