"""Pictures of patients: who is shown, and how their nodules are turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.outputs import figures_patients
from monai_staging.outputs.figures_patients import PatientNodules, extreme_rows, patients_figure


def predictions(chances: list[float], labels: list[float]) -> NodulePredictions:
    names = tuple(f"case-{row}" for row in range(len(chances)))
    columns = (np.array(values, dtype=float).reshape(-1, 1) for values in (labels, chances))
    return NodulePredictions(names, names, "binary", ("no cancer", "cancer"), *columns)


def test_those_of_highest_and_lowest_probability_of_both_kinds_are_shown_once() -> None:
    chances, labels = [0.9, 0.1, 0.5, 0.4, 0.3, 0.8, 0.7], [1, 1, 1, 1, 1, 0, 0]
    assert extreme_rows(predictions(chances, labels)) == {
        0: "cancer, highest",
        2: "cancer, highest",
        4: "cancer, lowest",
        1: "cancer, lowest",
        5: "no cancer, highest",
        6: "no cancer, highest",
    }
    unknown = extreme_rows(predictions([0.2, 0.6, 0.4], [np.nan] * 3), each=1)
    assert unknown == {1: "not known, highest", 0: "not known, lowest"}


def test_every_nodule_has_its_number_and_a_patient_without_any_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    plain = Axes.text

    def text(self: Axes, x: float, y: float, s: str, **look: object) -> object:
        texts.append(s)
        return plain(self, x, y, s, **look)

    monkeypatch.setattr(figures_patients.Axes, "text", text)
    found = predictions([0.9, 0.2], [1, 0])
    slices = np.random.default_rng(0).integers(0, 255, (2, 16, 16)).astype(np.uint8)
    some = PatientNodules(slices, np.array([0.1, 0.8]), np.array([0.99, 0.5]), np.array([4.5, np.nan]))
    none = PatientNodules(slices[:0], np.zeros(0), np.zeros(0), np.zeros(0))
    path = patients_figure(
        tmp_path / "patients.png",
        found,
        extreme_rows(found),
        [some, none],
        pixel_mm=1.0,
        window=(-600.0, 1500.0),
        says="weight",
        subtitle="phantoms",
    )
    assert path.stat().st_size > 10_000
    assert {"weight 0.10; score 0.99\nrated 4.5", "weight 0.80; score 0.50\nno rated lesion", "no nodule found"} <= set(
        texts
    )
    assert {"R", "L", "A", "P", "5 mm"} <= set(texts)
