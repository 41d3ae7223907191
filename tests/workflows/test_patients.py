"""The patient score's batches, what is collected of nodules, and what is chosen on validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.utils.data import DataLoader

from monai_staging.cohort.cohort import Cohort
from monai_staging.detection.two_stage import CandidateCubes
from monai_staging.errors import DataError
from monai_staging.metrics.patients import Decision
from monai_staging.networks.nodule_bag import BagOutput
from monai_staging.outputs.patients import read_patient_predictions
from monai_staging.workflows.malignancy import NoduleLoss, TurningInferer
from monai_staging.workflows.nodule_data import as_batch
from monai_staging.workflows.patients import DecisionChooser, PatientCollector, PatientPrepareBatch, read_decision
from monai_staging.workflows.patients_data import PatientData
from monai_staging.workflows.patients_nodules import NoduleCutter
from monai_staging.workflows.patients_report import PatientReport, ruler

LABELS = (True, False, True, False, True, False, True, False, True, False)


@pytest.fixture(scope="module")
def cohort(patients_with_balls: Callable[..., Cohort], tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return patients_with_balls(tmp_path_factory.mktemp("patients"), LABELS)


@pytest.fixture(scope="module")
def data(cohort: Cohort, balls: Any, tmp_path_factory: pytest.TempPathFactory) -> PatientData:
    cutter = NoduleCutter(balls(), CandidateCubes(16, 1.0, ["lung"]), most=4, cache=tmp_path_factory.mktemp("cache"))
    return PatientData(cohort.root, cutter)


class Bright(nn.Module):
    """A nodule is a cancer where much of it is bright."""

    def forward(self, nodules: Tensor, mask: Tensor, measured: Tensor | None = None, details: bool = False) -> Any:
        own = ((nodules > 0.9).flatten(2).sum(dim=2) - 100.0) / 20
        own = own.masked_fill(~mask, -9.0)
        return BagOutput(own.amax(dim=1, keepdim=True), own)


def evaluated(data: PatientData, collector: PatientCollector, part: str | list[str] = "test") -> Engine:
    prepare, inferer = PatientPrepareBatch(), TurningInferer("cpu", amp=False)

    def step(engine: Engine, batch: Any) -> dict[str, Any]:
        nodules, targets, arguments, settings = prepare(batch)
        return {"pred": inferer(nodules, engine.network, *arguments, **settings), "label": targets["label"]}

    engine = Engine(step)
    engine.network = Bright()
    collector.attach(engine)
    engine.run(DataLoader(data.part(part), batch_size=3, collate_fn=as_batch))
    return engine


def test_a_batch_is_cubes_with_their_mask_and_measures(data: PatientData) -> None:
    batch = data.part("training").__getitems__([0, 1])
    nodules, targets, (mask,), settings = PatientPrepareBatch()(batch)
    assert nodules.dtype == torch.float32 and float(nodules.max()) <= 1
    assert targets["label"].tolist() == batch["label"].tolist() and mask.sum().item() == 6
    torch.testing.assert_close(settings["measured"], batch["measured"])
    flipped, _, _, settings = PatientPrepareBatch(lambda views: views.flip(-1), measured=False)(batch)
    torch.testing.assert_close(flipped, nodules.flip(-1))
    assert settings == {"details": True}
    loss = NoduleLoss(soft=False, attribute_weight=0)(Bright()(nodules, mask), targets)
    assert torch.isfinite(loss)


def test_the_collector_scores_patients_and_keeps_what_is_said_of_nodules(data: PatientData) -> None:
    collector = PatientCollector("max")
    metrics = evaluated(data, collector).state.metrics
    assert metrics["auroc"] == 1 and metrics["accuracy"] == 1 and metrics["score"] < 0
    assert collector.predictions is not None and collector.predictions.classes == ("no cancer", "cancer")
    assert collector.said.shape == (4, 4) and np.isnan(collector.said[:, 3]).all()
    np.testing.assert_allclose(np.nanmax(collector.said, axis=1), collector.predictions.probabilities[:, 0], rtol=1e-5)


def test_what_is_chosen_is_written_and_read_again(data: PatientData, tmp_path: Path) -> None:
    lines: list[str] = []
    chooser = DecisionChooser("max", tmp_path, data.title("validation"), printer=lines.append)
    evaluated(data, chooser, "validation")
    assert chooser.decision.patients == 2 and "1 with cancer, 1 without: threshold" in lines[0]
    assert read_decision(tmp_path / "decision.json") == chooser.decision
    assert read_decision(tmp_path / "none.json", lines.append) == Decision() and "is not there" in lines[-1]
    for text, rule in (
        ("{", "a threshold and a temperature are needed"),
        ('{"sure": 1}', "a threshold and a temperature are needed"),
        ('{"threshold": 2}', "a threshold lies in 0..1 and a temperature above 0, found 2 and 1.0"),
    ):
        (tmp_path / "odd.json").write_text(text)
        with pytest.raises(DataError, match=rule):
            read_decision(tmp_path / "odd.json")


def test_the_report_writes_and_prints_everything(data: PatientData, cohort: Cohort, tmp_path: Path) -> None:
    lines: list[str] = []
    decision = Decision(0.4, 2.0, 2, "others")
    (tmp_path / "sample.csv").write_text("id,cancer\npatient-02,0.5\npatient-00,0.5\npatient-03,0.5\npatient-01,0.5\n")
    report = PatientReport(
        data,
        "max",
        tmp_path / "out",
        decision=lambda: decision,
        resamples=20,
        submission=tmp_path / "submission.csv",
        sample=tmp_path / "sample.csv",
        printer=lines.append,
    )
    evaluated(data, report)
    text = "\n".join(lines)
    assert "4 patients, 2 with cancer, 2 without" in text and "threshold 0.400, chosen on others" in text
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics["log_loss"]) == {"value", "low", "high", "n"} and metrics["temperature"]["value"] == 2
    assert metrics["worst_lesion_found"] == {"value": 1, "low": 1, "high": 1, "n": 2} and metrics["ruler_auroc"]
    predictions, called = read_patient_predictions(tmp_path / "out" / "predictions.csv")
    assert report.predictions is not None and predictions.names == report.predictions.names
    np.testing.assert_array_equal(predictions.probabilities, report.predictions.probabilities)
    assert called == [1, 0, 1, 0]
    rows = (tmp_path / "out" / "nodules.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 3 and rows[1].endswith(",4.5")
    for name in ("roc", "reliability", "patients"):
        assert (tmp_path / "out" / "figures" / f"{name}.png").stat().st_size > 10_000
    # The source's ids are in the submission, in the sample's order, and nowhere else.
    given = [line.split(",") for line in (tmp_path / "submission.csv").read_text().splitlines()[1:]]
    assert [name for name, _ in given] == ["patient-02", "patient-00", "patient-03", "patient-01"]
    expected = decision.calibrated(predictions.probabilities[:, 0])[[2, 0, 3, 1]]
    np.testing.assert_allclose([float(value) for _, value in given], np.clip(expected, 0.001, 0.999), atol=1e-6)
    assert "patient-0" not in text
    for path in (tmp_path / "out").glob("*.*"):
        assert "patient-0" not in path.read_text()


def test_patients_of_whom_nothing_is_known_are_predicted_without_scores(
    patients_with_balls: Callable[..., Cohort], balls: Any, tmp_path: Path
) -> None:
    made = patients_with_balls(tmp_path / "cohort", (None,) * 7)
    cutter = NoduleCutter(balls(), CandidateCubes(16, 1.0), cache=tmp_path)
    parts = ["training", "test"]
    data = PatientData(made.root, cutter, parts=parts, labelled=False)
    lines: list[str] = []
    report = PatientReport(data, "attention", tmp_path / "out", parts, printer=lines.append)
    evaluated(data, report, parts)
    assert "No label, no scores.\n" in lines and not (tmp_path / "out" / "metrics.json").exists()
    predictions, _ = read_patient_predictions(tmp_path / "out" / "predictions.csv")
    assert len(predictions) == 5 and np.isnan(predictions.labels).all()
    assert (tmp_path / "out" / "figures" / "patients.png").is_file()


def test_the_ruler_goes_by_the_largest_nodule(data: PatientData) -> None:
    found = ruler(data, "test")
    assert (found.probabilities[found.labels == 1].min() > found.probabilities[found.labels == 0]).all()
