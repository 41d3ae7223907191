"""What an evaluation or an inference of the staging bundle leaves behind: metrics, predictions and figures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_staging.files import write_json_atomic
from monai_staging.metrics.levels import LabelCounts, Level
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.staging_calibration import StagingCalibration
from monai_staging.metrics.staging_sets import NAMES, finest
from monai_staging.networks.ensembles import first_member
from monai_staging.networks.staging import LETTERS
from monai_staging.outputs.calibration import SET_TITLES
from monai_staging.outputs.evaluation import EvaluationResult, case_captions, write_evaluation, write_predictions
from monai_staging.outputs.figures_attention import attention_figure
from monai_staging.workflows.staging_collector import StagingCollector
from monai_staging.workflows.staging_maps import write_study_maps

Printer = Callable[[str], None]


class _Shown(NamedTuple):
    """A study that figures are made of: (C, X, Y, Z) windows, (Z) heights, lesion kind to ranges of z, clinical."""

    image: Tensor
    z_mm: NDArray[np.float64]
    lesions_z_mm: dict[str, list[tuple[float, float]]]
    clinical: Tensor | None


class StagingOutputs(StagingCollector):
    """A collector that keeps some studies' images, so that attention can be shown on them.

    Args:
        classes: categories per letter, in the order of the network's outputs.
        windows: of the image's channels: names, or level and width in HU.
        spacing_mm: of the grid; the slices' positions come with the batch.
        output_dir: folder for everything written.
        title: said in every figure, for example what cohort it is.
        attention_cases: for how many cases an attention figure, and in an evaluation maps, are made.
        calibration: of the model, if there is one.
        printer: where lines for the user go.
    """

    def __init__(
        self,
        classes: Mapping[str, Sequence[str]],
        windows: Sequence[str | Sequence[float]],
        spacing_mm: Sequence[float],
        output_dir: str | os.PathLike[str],
        title: str = "",
        attention_cases: int = 2,
        calibration: StagingCalibration | None = None,
        printer: Printer = print,
    ) -> None:
        super().__init__(classes)
        self.windows = [window if isinstance(window, str) else f"L {window[0]:g} W {window[1]:g}" for window in windows]
        self.spacing_mm = tuple(float(value) for value in spacing_mm)
        self.output_dir = Path(output_dir)
        self.title = title
        self.attention_cases = attention_cases
        self.calibration = calibration
        self.printer = printer
        self._shown: dict[str, _Shown] = {}

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Keeps one batch, and the images of the first cases."""
        super().keep(batch, output)
        for place, study in enumerate(batch["study"]):
            if len(self._shown) < self.attention_cases:
                self._shown[study] = _Shown(
                    torch.as_tensor(batch["image"][place]).cpu().clone(),
                    torch.as_tensor(batch["slice_z_mm"][place]).cpu().numpy().astype(np.float64),
                    json.loads(batch["lesion_z_mm"][place]),
                    torch.as_tensor(batch["clinical"][place]).cpu() if "clinical" in batch else None,
                )

    def write_attention(self) -> list[Path]:
        """Writes ``figures/attention_<study>.png`` for the studies whose images were kept."""
        predictions = self.predictions
        assert predictions is not None  # complete() ran
        paths = []
        for study, shown in self._shown.items():
            row = predictions.studies.index(study)
            weights = self._per_slice(self.attention[study], len(shown.z_mm))
            paths.append(
                attention_figure(
                    self.output_dir / "figures" / f"attention_{study}.png",
                    {self.windows[channel]: shown.image[channel].double().numpy() for channel in self._channels()},
                    {letter: weights[index] for index, letter in enumerate(LETTERS)},
                    shown.z_mm,
                    spacing_mm=(self.spacing_mm[0], self.spacing_mm[1]),
                    case_name=study,
                    captions=case_captions(predictions, row),
                    marks=shown.lesions_z_mm,
                    subtitle=self.title,
                )
            )
        return paths

    def _channels(self) -> list[int]:
        """The channels that are drawn: the lung and the mediastinum window, or else the first two."""
        named = [channel for channel, name in enumerate(self.windows) if name in ("lung", "mediastinum")]
        return named or list(range(len(self.windows)))[:2]

    @staticmethod
    def _per_slice(weights: NDArray[Any], slices: int) -> NDArray[Any]:
        """Attention of coarser depth positions (3-D backbones), spread over the slices each of them covers."""
        if weights.shape[1] == slices:
            return weights
        owner = np.arange(slices) * weights.shape[1] // slices
        share = np.bincount(owner, minlength=weights.shape[1])
        return np.asarray(weights[:, owner] / share[owner])


class StagingReport(StagingOutputs):
    """At the end of an evaluation writes ``metrics.json``, ``predictions.csv`` and figures, and prints the table.

    Args:
        baseline: label counts of the training part, for the majority-class baseline.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether there are any; without, one training of many is told of in tables alone.
        tracker: a tracking handler that is given the metrics and figures, if any.
        scans: the evaluator's data list, with ``study`` and ``image``; without, no maps are drawn.
        settings: see :class:`StagingOutputs`.
    """

    def __init__(
        self,
        *,
        baseline: LabelCounts | None = None,
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        tracker: Any = None,
        scans: Sequence[Mapping[str, Any]] = (),
        **settings: Any,
    ) -> None:
        super().__init__(**settings if figures else {**settings, "attention_cases": 0})
        self.figures = figures
        self.baseline = baseline
        self.seed = seed
        self.resamples = resamples
        self.tracker = tracker
        self.volumes = {scan["study"]: scan["image"] for scan in scans}
        self.result: EvaluationResult | None = None

    def complete(self, engine: Engine) -> None:
        """Evaluates, writes and prints."""
        super().complete(engine)
        predictions = self.predictions
        assert predictions is not None
        self.result = write_evaluation(
            self.output_dir,
            predictions,
            self.baseline,
            subtitle=self.title,
            seed=self.seed,
            n_boot=self.resamples,
            figures=self.figures,
            calibration=self.calibration,
        )
        if self.tracker is not None:
            self.tracker.log_metrics_file(self.result.metrics_path)
        patients = len(set(predictions.patients))
        heading = f"{self.title}: " if self.title else ""
        self.printer(
            f"\n{heading}{patients} patients; 95 % intervals by resampling patients "
            f"({self.resamples} times, seed {self.seed})\n\n{self.result.table}\n"
        )
        for line in self.calibration.statement() if self.calibration is not None else ():
            self.printer(line)
        figures = [*self.result.figures, *self.write_attention()]
        # An evaluator's engine has the network.
        figures += self.write_maps(engine.network)  # type: ignore[attr-defined]
        self.printer("Written:")
        for path in (self.result.metrics_path, self.result.predictions_path, *figures):
            self.printer(f"  {path}")
        if self.tracker is not None:
            self.tracker.log_figures(figures)

    def write_maps(self, network: nn.Module) -> list[Path]:
        """Writes ``figures/maps_<study>.png`` for the studies with attention whose volumes are known.

        Of an ensemble the maps are its first network's.
        """
        predictions = self.predictions
        assert predictions is not None  # complete() ran
        return [
            write_study_maps(
                self.output_dir / "figures" / f"maps_{study}.png",
                first_member(network),  # type: ignore[arg-type]
                shown.image,
                shown.clinical,
                self._per_slice(self.attention[study], len(shown.z_mm)),
                predictions,
                predictions.studies.index(study),
                self.volumes[study],
                self.spacing_mm,
                self.title,
            )
            for study, shown in self._shown.items()
            if study in self.volumes
        ]


class StagingInference(StagingOutputs):
    """At the end of an inference writes ``predictions.json`` and ``.csv``, attention figures, and prints a line a case.

    Args:
        settings: see :class:`StagingOutputs`.
    """

    def complete(self, engine: Engine) -> None:
        """Writes and prints."""
        super().complete(engine)
        predictions = self.predictions
        assert predictions is not None
        documents = case_documents(predictions, self.calibration)
        write_json_atomic(self.output_dir / "predictions.json", documents)
        write_predictions(self.output_dir / "predictions.csv", predictions)
        for row, document in enumerate(documents):
            letters = " ".join(f"{document[letter]['most_likely']} ({document[letter]['p']:.2f})" for letter in LETTERS)
            # The main group first, as in the figure: the likeliest sub-group may be another's.
            level, finest = predictions.levels["group"], document["group"]
            best = int(level.predicted[row])
            group = f"{level.classes[best]} ({level.probabilities[row, best]:.2f})"
            if "group_fine" in predictions.levels:
                group += f", likeliest sub-group {finest['most_likely']} ({finest['p']:.2f})"
            self.printer(f"{document['study']}: {letters}; stage group, over all T, N and M: {group}")
            if self.calibration is not None:
                sets = "; ".join(f"{title} {', '.join(document[name]['set'])}" for name, title in SET_TITLES.items())
                self.printer(f"  {100 * self.calibration.level:g} % sets: {sets}")
        for line in self.calibration.statement() if self.calibration is not None else ():
            self.printer(line)
        self.printer("Written:")
        tables = [self.output_dir / "predictions.json", self.output_dir / "predictions.csv"]
        for path in (*tables, *self.write_attention()):
            self.printer(f"  {path}")


def case_documents(predictions: StagingPredictions, calibration: StagingCalibration | None) -> list[dict[str, Any]]:
    """A JSON document a study: most likely category and all probabilities of each letter and the group, as the model
    says. With a calibration also ``set_level`` and, beside those, ``calibrated_probabilities`` and ``set``.
    """
    documents = [case_document(predictions, row) for row in range(len(predictions))]
    if calibration is None:
        return documents
    calibrated = calibration.calibrated(predictions)
    for row, (document, sets) in enumerate(zip(documents, calibration.named(predictions), strict=True)):
        document["set_level"] = calibration.level
        for name in NAMES:
            document[name]["calibrated_probabilities"] = _probabilities(finest(calibrated, name), row)
            document[name]["set"] = list(sets[name])
    return documents


def case_document(predictions: StagingPredictions, row: int) -> dict[str, Any]:
    """One case's prediction as a JSON document: most likely category and all probabilities, per letter and group."""
    document: dict[str, Any] = {
        "case": predictions.patients[row],
        "study": predictions.studies[row],
        "edition": predictions.edition,
        "prefix": predictions.prefix,
    }
    for name in NAMES:
        level = finest(predictions, name)
        best = int(level.predicted[row])
        document[name] = {
            "most_likely": level.classes[best],
            "p": round(float(level.probabilities[row, best]), 4),
            "probabilities": _probabilities(level, row),
        }
    return document


def _probabilities(level: Level, row: int) -> dict[str, float]:
    return {label: round(float(value), 4) for label, value in zip(level.classes, level.probabilities[row], strict=True)}
