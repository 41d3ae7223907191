"""Everything an evaluation leaves behind, in one call: metrics, predictions, figures and the table."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monai_staging.files import atomic_path
from monai_staging.metrics.calibrated import scaling_metrics, set_metrics
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.levels import LabelCounts
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.staging import staging_metrics
from monai_staging.metrics.staging_calibration import StagingCalibration
from monai_staging.outputs.calibration import scaling_table, sets_table
from monai_staging.outputs.figures_calibration import calibration_figure
from monai_staging.outputs.figures_confusion import confusion_figure
from monai_staging.outputs.figures_curves import reliability_figure, roc_figure
from monai_staging.outputs.table import metrics_table, write_metrics
from monai_staging.tnm.categories import LETTERS, is_unknown, ordered
from monai_staging.tnm.tables import stage_groups

# More categories than these are counted in a caption, not named.
_NAMED = 4


@dataclass(frozen=True)
class EvaluationResult:
    """What :func:`write_evaluation` wrote.

    Attributes:
        metrics: see :func:`monai_staging.metrics.staging_metrics`; with a calibration also those of
            :mod:`monai_staging.metrics.calibrated`.
        figures: the PNG files.
        table: the metrics as text.
        metrics_path: ``metrics.json``.
        predictions_path: ``predictions.csv``.
    """

    metrics: Mapping[str, Estimate]
    figures: tuple[Path, ...]
    table: str
    metrics_path: Path
    predictions_path: Path


def write_evaluation(
    output_dir: str | os.PathLike[str],
    predictions: StagingPredictions,
    baseline: LabelCounts | None = None,
    *,
    subtitle: str = "",
    seed: int = 0,
    n_boot: int = 1000,
    figures: bool = True,
    calibration: StagingCalibration | None = None,
) -> EvaluationResult:
    """Writes ``metrics.json``, ``predictions.csv`` and ``figures/*.png`` to a folder; prints nothing.

    Figures: a confusion matrix for every level, ROC curves and a reliability diagram for T, N, M and the stage group.
    A level at which no patient's truth is known has none. With a calibration there is ``calibration.png`` beside them;
    all else, and ``predictions.csv``, stay of what the model says.

    Args:
        output_dir: the folder, made where it does not exist.
        predictions: probabilities and truth; names without identity.
        baseline: label counts of the training part, see :func:`monai_staging.metrics.staging_metrics`.
        subtitle: what the data is, for the figures; says "phantom" where the data is.
        seed: of the resampling.
        n_boot: how many resamples.
        figures: whether there are any; without, one training of many is told of in tables alone.
        calibration: of the model that predicted: metrics of what it changes and of its prediction sets are added.
    """
    folder = Path(output_dir)
    metrics = staging_metrics(predictions, baseline, seed=seed, n_boot=n_boot)
    table = metrics_table(metrics)
    after = None if calibration is None else calibration.calibrated(predictions)
    if calibration is not None and after is not None:
        sets = calibration.prediction_sets(predictions)
        metrics |= scaling_metrics(predictions, after, seed=seed, n_boot=n_boot)
        metrics |= set_metrics(predictions, sets, seed=seed, n_boot=n_boot)
        table = "\n\n".join([table, scaling_table(metrics), sets_table(metrics, calibration.level)])
    pictures = folder / "figures"
    paths = []
    for name, level in predictions.levels.items():
        if not figures or not level.known.any():
            continue
        paths.append(confusion_figure(pictures / f"confusion_{name}.png", level, subtitle=subtitle))
        if name.endswith("_fine"):
            continue
        paths.append(
            roc_figure(
                pictures / f"roc_{name}.png",
                level,
                predictions.patients,
                macro=metrics[f"{name}_auroc"],
                subtitle=subtitle,
                seed=seed,
                n_boot=n_boot,
            )
        )
        path = pictures / f"reliability_{name}.png"
        paths.append(reliability_figure(path, level, ece=metrics[f"{name}_ece"], subtitle=subtitle))
    if figures and after is not None:
        paths.append(calibration_figure(pictures / "calibration.png", predictions, after, metrics, subtitle=subtitle))
    return EvaluationResult(
        metrics,
        tuple(paths),
        table,
        write_metrics(folder / "metrics.json", metrics),
        write_predictions(folder / "predictions.csv", predictions),
    )


def write_predictions(path: str | os.PathLike[str], predictions: StagingPredictions) -> Path:
    """Writes one row a prediction as CSV.

    Columns: ``patient``, ``study`` (the same, numbered where a patient has several), ``edition``, ``prefix``; for each
    of t, n, m and group ``truth_<letter>`` (what is still possible, joined by ``|``; ``X`` for an unknown letter),
    ``predicted_<letter>`` (main category or group) and ``predicted_<letter>_fine``; then the probabilities,
    ``p_<category>`` of the model's classes and ``p_<group>``.
    """
    levels = predictions.levels
    names = (*LETTERS, "group")
    fine = [levels.get(f"{name}_fine", levels[name]) for name in names]
    header = ["patient", "study", "edition", "prefix", *(f"truth_{name}" for name in names)]
    header += [f"predicted_{name}{suffix}" for name in names for suffix in ("", "_fine")]
    header += [f"p_{category}" for letter in LETTERS for category in predictions.classes[letter]]
    header += [f"p_{group}" for group in fine[-1].classes]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row, patient in enumerate(predictions.patients):
            cells = [patient, predictions.studies[row], predictions.edition, predictions.prefix]
            cells += _truth(predictions, row)
            for name, level in zip(names, fine, strict=True):
                cells += [one.classes[one.probabilities[row].argmax()] for one in (levels[name], level)]
            values = [*predictions.t[row], *predictions.n[row], *predictions.m[row], *fine[-1].probabilities[row]]
            writer.writerow(cells + [f"{value:.6g}" for value in values])
    return Path(path)


def case_captions(predictions: StagingPredictions, row: int) -> dict[str, str]:
    """A line on each letter and on the group of one row, for :func:`~monai_staging.outputs.figures_attention`.

    The group's probability is summed over all letters, so that the likeliest need not be that of the likeliest letters;
    the line says so, lest it look like an error. For example ``{"t": "predicted T2 (0.61), reference T2a or T2b", ...,
    "group": "stage group, over all T, N and M: predicted III (0.27), ..."}``.
    """
    captions = {}
    for name, truth in zip((*LETTERS, "group"), _truth(predictions, row), strict=True):
        level = predictions.levels[name]
        best = level.predicted[row]
        possible = truth.split("|")
        reference = "unknown" if truth in ("X", "") else " or ".join(possible)
        if len(possible) > _NAMED:
            reference = f"one of {len(possible)} {'groups' if name == 'group' else 'categories'}"
        text = f"predicted {level.classes[best]} ({level.probabilities[row, best]:.2f}), reference {reference}"
        captions[name] = f"stage group, over all T, N and M: {text}" if name == "group" else text
    return captions


def _truth(predictions: StagingPredictions, row: int) -> list[str]:
    """T, N, M and stage group still possible, as text; "X" for an unknown letter, and a group of unknown letters."""
    sets = [getattr(predictions, f"truth_{letter}")[row] for letter in LETTERS]
    edition = predictions.edition
    texts = [
        "X" if is_unknown(letter, frozenset(one), edition) else "|".join(ordered(letter, one, edition))
        for letter, one in zip(LETTERS, sets, strict=True)
    ]
    nothing = all(text == "X" for text in texts)
    return [*texts, "X" if nothing else "|".join(stage_groups(sets[0], sets[1], sets[2], edition))]
