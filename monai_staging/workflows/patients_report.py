"""At the end of an evaluation of patients: scores, rows, pictures and, where it is asked for, a submission."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from sklearn.linear_model import LogisticRegression

from monai_staging.metrics.intervals import Estimate, FloatArray, patient_bootstrap
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.metrics.patients import Decision
from monai_staging.outputs.figures_curves import loss_figure
from monai_staging.outputs.figures_patients import PatientNodules, extreme_rows, patients_figure
from monai_staging.outputs.patients import PatientEvaluation, write_nodules, write_patient_evaluation
from monai_staging.outputs.submission import write_submission
from monai_staging.workflows.history import History
from monai_staging.workflows.nodule_data import NoduleExamples
from monai_staging.workflows.patients import PatientCollector
from monai_staging.workflows.patients_data import MEASURED, PatientData
from monai_staging.workflows.staging_data import cohort_title

RULER = "ruler"
_SIZE = MEASURED.index("size")
_LEAST = -4.0
"""Logarithm to base 2 of the largest nodule in cm where none was found: 0.6 mm."""


class PatientReport(PatientCollector):
    """Writes ``metrics.json``, ``predictions.csv``, ``nodules.csv`` and figures, and prints the table.

    Beside the network stands a ruler: a logistic regression on the size of the largest nodule alone, where there is a
    training part to fit it to that is not judged itself.

    Args:
        data: of the evaluation.
        pool: of the network.
        output_dir: folder for everything written.
        parts: whose patients these are.
        decision: gives threshold and temperature, chosen on others.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether they are drawn.
        history: of the training, if there was one: its losses are drawn too.
        submission: a csv for the Data Science Bowl 2017 is written there, with the source's patient ids, which go
            nowhere else.
        sample: its sample submission, for the order of the rows.
        tracker: a tracking handler that is given metrics and figures, if any.
        printer: where lines for the user go.
    """

    def __init__(
        self,
        data: PatientData,
        pool: str,
        output_dir: str | os.PathLike[str],
        parts: str | list[str] = "test",
        decision: Callable[[], Decision] = Decision,
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        history: History | None = None,
        submission: str | os.PathLike[str] | None = None,
        sample: str | os.PathLike[str] | None = None,
        tracker: Any = None,
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__(pool)
        self.data = data
        self.output_dir = Path(output_dir)
        self.parts = parts
        self.decision = decision
        self.seed, self.resamples = seed, resamples
        self.figures = figures
        self.history = history
        self.submission, self.sample = submission, sample
        self.tracker = tracker
        self.printer = printer
        self.result: PatientEvaluation | None = None

    def complete(self, engine: Engine) -> None:
        """Evaluates, writes and prints."""
        super().complete(engine)
        predictions, decision, title = self.predictions, self.decision(), self.data.title(self.parts)
        assert predictions is not None
        fitted = bool(self.data.parts.get("training")) and "training" not in self.parts
        others = {RULER: ruler(self.data, self.parts)} if fitted else {}
        self.result = write_patient_evaluation(
            self.output_dir,
            predictions,
            decision,
            others,
            more=found_share(self.data, predictions, self.seed, self.resamples),
            what=f"{self.pool}, this network",
            title=title,
            seed=self.seed,
            n_boot=self.resamples,
            figures=self.figures,
        )
        files = [*self.result.files, write_nodules(self.output_dir / "nodules.csv", self._rows(predictions))]
        figures = list(self.result.figures)
        if self.figures:
            figures += self._draw(predictions, title)
        self.printer(f"\n{title}")
        if self.result.metrics:
            self.printer(f"95 % intervals by resampling patients ({self.resamples} times, seed {self.seed})")
            self.printer(f"threshold {decision.threshold:.3f}, chosen on {decision.chosen_on or 'nobody'}\n")
            self.printer(f"{self.result.table}\n")
        else:
            self.printer("No label, no scores.\n")
        if self.submission is not None:
            files.append(self._submit(predictions, decision))
        self.printer("Written:")
        for path in (*files, *figures):
            self.printer(f"  {path}")
        if self.tracker is not None:
            if self.result.metrics:
                self.tracker.log_metrics_file(self.result.files[0])
            self.tracker.log_figures(figures)

    def _rows(self, predictions: NodulePredictions) -> list[list[str | float]]:
        rows: list[list[str | float]] = []
        for name, said in zip(predictions.names, self.said, strict=True):
            found = self.data.found[self.data.place(name)]
            for place, (box, score, rating) in enumerate(
                zip(found.boxes_mm, found.scores, self.data.ratings(name), strict=True)
            ):
                numbers = [*((box[:3] + box[3:]) / 2).round(2).tolist(), round(float((box[3:] - box[:3]).max()), 2)]
                rated = "" if math.isnan(rating) else round(float(rating), 2)
                rows.append([name, place + 1, *numbers, f"{score:.6g}", f"{said[place]:.6g}", rated])
        return rows

    def _draw(self, predictions: NodulePredictions, title: str) -> list[Path]:
        folder = self.output_dir / "figures"
        shown = extreme_rows(predictions)
        cubes = self.data.nodules.cubes
        figure = patients_figure(
            folder / "patients.png",
            predictions,
            shown,
            [self._pictures(predictions.names[row], self.said[row]) for row in shown],
            pixel_mm=cubes.spacing_mm,
            window=cubes.windows.windows[0],
            says="weight" if self.pool == "attention" else "p",
            subtitle=title,
        )
        if self.history is None or not self.history.epochs:
            return [figure]
        learned = cohort_title(self.data.cohort.root, "training")
        return [figure, loss_figure(folder / "losses.png", self.history.epochs, subtitle=learned)]

    def _pictures(self, name: str, said: FloatArray) -> PatientNodules:
        found = self.data.found[self.data.place(name)]
        middle = found.cubes[:, 0, self.data.nodules.cubes.size // 2]
        # Rows grow towards anterior and columns towards the patient's right; both are turned.
        slices = middle.flip(1, 2).numpy()
        return PatientNodules(slices, said[: len(slices)], found.scores, self.data.ratings(name))

    def _submit(self, predictions: NodulePredictions, decision: Decision) -> Path:
        """Of a patient with several studies the mean."""
        ids = self.data.identities()
        chances: dict[str, list[float]] = defaultdict(list)
        for name, chance in zip(predictions.names, decision.calibrated(predictions.probabilities[:, 0]), strict=True):
            chances[ids[name]].append(float(chance))
        assert self.submission is not None
        means = {patient: float(np.mean(own)) for patient, own in chances.items()}
        return write_submission(self.submission, means, sample=self.sample)


def found_share(
    data: PatientData, predictions: NodulePredictions, seed: int = 0, n_boot: int = 1000
) -> dict[str, Estimate]:
    """``worst_lesion_found``: of the patients with cancer, whose highest-rated lesion is among the nodules.

    Where it is not, no pool can see it. Nothing where no lesion of theirs was rated.
    """
    rows = np.flatnonzero(predictions.labels[:, 0] == 1)
    found = {int(row): data.worst_is_found(predictions.names[row]) for row in rows}
    known = {row: float(one) for row, one in found.items() if one is not None}
    if not known:
        return {}
    patients = [predictions.patients[row] for row in known]
    share = patient_bootstrap(np.mean, patients, np.array(list(known.values())), n=n_boot, seed=seed)
    return {"worst_lesion_found": share}


def ruler(data: PatientData, parts: str | list[str]) -> NodulePredictions:
    """What the size of the largest nodule alone says of the patients, fitted to the training part."""
    trained, judged = data.part("training"), data.part(parts)
    model = LogisticRegression().fit(_largest(trained), trained.values("label")[:, 0].numpy())
    items = [judged[place] for place in range(len(judged))]
    return NodulePredictions(
        names=tuple(item["name"] for item in items),
        patients=tuple(item["patient"] for item in items),
        task="binary",
        classes=("no cancer", "cancer"),
        labels=judged.values("label").double().numpy(),
        probabilities=model.predict_proba(_largest(judged))[:, 1:],
    )


def _largest(examples: NoduleExamples) -> FloatArray:
    """(N, 1) logarithm of the largest nodule's size."""
    sizes = examples.values("measured")[..., _SIZE].masked_fill(~examples.values("mask"), _LEAST)
    largest: FloatArray = sizes.amax(dim=1, keepdim=True).double().numpy()
    return largest
