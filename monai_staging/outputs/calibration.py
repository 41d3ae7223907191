"""What calibration changed, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping

from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.levels import LEVEL_TITLES, LEVELS
from monai_staging.metrics.staging_calibration import StagingCalibration
from monai_staging.metrics.staging_sets import NAMES
from monai_staging.outputs.table import text_table
from monai_staging.tnm.categories import LETTERS

SET_TITLES = {"t": "T", "n": "N", "m": "M", "group": "Stage group"}


def scaling_table(metrics: Mapping[str, Estimate]) -> str:
    """Log loss and calibration error of every level before and after, two tables, value [95 % interval].

    Args:
        metrics: with those of :func:`monai_staging.metrics.calibrated.scaling_metrics`.
    """
    parts = []
    for columns in (
        {"log_loss": "log loss", "calibrated_log_loss": "calibrated", "log_loss_gain": "gain"},
        {"ece": "calibration error", "calibrated_ece": "calibrated"},
    ):
        rows = [
            [LEVEL_TITLES[name], str(first.n), *(metrics[f"{name}_{score}"].text() for score in columns)]
            for name in LEVELS
            if (first := metrics.get(f"{name}_log_loss")) is not None
        ]
        parts.append(text_table(["", "n", *columns.values()], rows))
    return "\n\n".join(parts)


def sets_table(metrics: Mapping[str, Estimate], level: float) -> str:
    """Coverage and mean size of the prediction sets, value [95 % interval].

    Args:
        metrics: with those of :func:`monai_staging.metrics.calibrated.set_metrics`.
        level: of the sets.
    """
    header = [f"{100 * level:g} % sets", "n", "coverage", "mean size"]
    rows = []
    for name in NAMES:
        held, size = metrics[f"{name}_set_coverage"], metrics[f"{name}_set_size"]
        rows.append([SET_TITLES[name], str(held.n), held.text(), size.text(1)])
    return text_table(header, rows)


def calibration_table(calibration: StagingCalibration) -> str:
    """What was fitted: temperatures, and the thresholds of the sets with the number of patients behind each."""
    header = ["", "patients", "temperature", "patients of the sets", "of them sub-category open", "largest score named"]
    rows = []
    for name in NAMES:
        one = calibration.thresholds[name]
        fit = [str(calibration.patients[name]), "-"] if name in LETTERS else ["-", "-"]
        if name in calibration.temperatures:
            fit[1] = f"{calibration.temperatures[name]:.3f}"
        rows.append([SET_TITLES[name], *fit, str(one.patients), str(one.partial), f"{one.threshold:.4f}"])
    return text_table(header, rows)
