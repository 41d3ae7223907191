"""Calibrates a staging model on a part of a cohort, and finds the calibration that belongs to a model's weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.metrics.calibrated import scaling_metrics
from monai_staging.metrics.cross_fitting import cross_fitted
from monai_staging.metrics.staging_calibration import StagingCalibration
from monai_staging.networks.ensembles import WeightFiles, check_passes, weight_files
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.outputs.calibration import calibration_table, scaling_table
from monai_staging.outputs.figures_calibration import calibration_figure
from monai_staging.workflows.staging_collector import StagingCollector

FILE = "calibration.json"


def model_digests(weights: WeightFiles) -> tuple[str, ...]:
    """SHA-256 of each file of weights.

    Raises:
        DataError: a file is not there.
    """
    digests = []
    for path in weight_files(weights):
        if not path.is_file():
            raise DataError(f"Weights {path}: no such file, so no calibration can belong to it.")
        digests.append(file_sha256(path))
    return tuple(digests)


def calibration_file(weights: WeightFiles, passes: int = 0) -> Path:
    """Where the calibration of a model lies: ``calibration.json`` beside its weights.

    An ensemble's is beside its first weights, ``calibration-<digest of all>.json``; that of passes with dropout has
    ``-<passes>-passes`` in its name. So a network's own calibration is never taken for an ensemble's.

    Raises:
        DataError: one of several files of weights is not there.
    """
    files, name = weight_files(weights), Path(FILE).stem
    if len(files) > 1:
        name += "-" + hashlib.sha256("".join(sorted(model_digests(weights))).encode()).hexdigest()[:12]
    if check_passes(passes):
        name += f"-{passes}-passes"
    return files[0].with_name(f"{name}.json")


def load_calibration(
    calibration: str | os.PathLike[str] | None, weights: WeightFiles, passes: int = 0
) -> StagingCalibration | None:
    """The calibration of a model, or none.

    Args:
        calibration: ``beside``, for that of :func:`calibration_file` if there is one; ``none``; or a file.
        weights: the model's.
        passes: of Monte-Carlo dropout.

    Raises:
        DataError: the file cannot be read, or belongs to another model.
    """
    if calibration is None or str(calibration).lower() == "none":
        return None
    path = Path(calibration)
    if str(calibration) == "beside":
        path = calibration_file(weights, passes)
        if not path.is_file():
            return None
    return StagingCalibration.load(path, model_digests(weights), passes)


class StagingCalibrator(StagingCollector):
    """At the end of an evaluation fits a calibration, writes it, and prints what it is.

    Beside it, ``metrics.json`` and ``figures/calibration.png`` in ``output_dir`` say what it changes on the patients
    it is fitted on, each scaled as the *others* say.

    Args:
        classes: categories per letter, in the order of the network's outputs.
        path: the file to write.
        weights: of the model that is evaluated.
        passes: of Monte-Carlo dropout.
        output_dir: folder for metrics and figure.
        title: what the data is.
        cohort_digest: of the cohort.
        method: ``temperature`` or ``isotonic``.
        score: kind of the conformal scores, ``threshold`` or ``adaptive``.
        level: probability with which a set holds the truth.
        partial: of truths that leave sub-categories open, ``worst`` or ``omit``.
        chose_epoch: whether the same patients chose the weights' epoch.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether there are any.
        tracker: a tracking handler that is given the file, if any.
        printer: where lines for the user go.
    """

    def __init__(
        self,
        classes: Mapping[str, Sequence[str]],
        path: str | os.PathLike[str],
        weights: WeightFiles,
        output_dir: str | os.PathLike[str],
        title: str,
        cohort_digest: str,
        passes: int = 0,
        method: str = "temperature",
        score: str = "threshold",
        level: float = 0.9,
        partial: str = "worst",
        chose_epoch: bool = False,
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        tracker: Any = None,
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__(classes)
        self.path, self.output_dir = Path(path), Path(output_dir)
        self.digests = model_digests(weights)
        self.settings: dict[str, Any] = {
            **{"passes": passes, "fitted_on": title, "cohort_digest": cohort_digest, "method": method},
            **{"score": score, "level": float(level), "partial": partial, "chose_epoch": chose_epoch},
        }
        self.seed, self.resamples, self.figures = seed, resamples, figures
        self.tracker, self.printer = tracker, printer
        self.calibration: StagingCalibration | None = None

    def complete(self, engine: Engine) -> None:
        """Fits, writes and prints."""
        super().complete(engine)
        before = self.predictions
        assert before is not None
        calibration = StagingCalibration.fit(before, weights_sha256=self.digests, **self.settings)
        self.calibration = calibration
        after = cross_fitted(before, calibration.method)
        metrics = scaling_metrics(before, after, seed=self.seed, n_boot=self.resamples)
        written = [calibration.save(self.path), self.output_dir / "metrics.json"]
        write_json_atomic(written[-1], {name: one.to_json() for name, one in metrics.items()})
        if self.figures:
            path = self.output_dir / "figures" / "calibration.png"
            subtitle = f"{calibration.fitted_on}, scaled by the others"
            written.append(calibration_figure(path, before, after, metrics, subtitle=subtitle))
        heading = (
            f"{calibration.fitted_on}: {len(set(before.patients))} patients, each scaled as the others say; 95 % "
            f"intervals by resampling patients ({self.resamples} times, seed {self.seed})"
        )
        self.printer(f"\n{heading}\n\n{scaling_table(metrics)}\n\n{calibration_table(calibration)}\n")
        for line in (*calibration.statement(), "Written:", *(f"  {path}" for path in written)):
            self.printer(line)
        if self.tracker is not None:
            self.tracker.log_metrics_file(written[1], prefix="calibration")
            self.tracker.log_artifact(written[0])
            self.tracker.log_figures(written[2:])
