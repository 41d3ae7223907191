from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from monai_staging.errors import DataError
from monai_staging.label.verdict import judge


def predictions(path: Path, scores: Mapping[str, float]) -> Path:
    rows = [f"{name},case-{name.split('-')[0]},{score}" for name, score in scores.items()]
    path.write_text("scan,patient,dice\n" + "\n".join(rows) + "\n")
    return path


SERVED = {"a-1": 0.5, "a-2": 0.7, "b-1": 0.6, "c-1": 0.2}


def test_better_on_every_patient_is_better(tmp_path: Path) -> None:
    trained = {name: score + 0.1 for name, score in SERVED.items()}
    served = predictions(tmp_path / "served.csv", SERVED)
    verdict = judge(served, predictions(tmp_path / "trained.csv", trained), "interval")
    assert verdict.better and verdict.lesions == 4 and verdict.difference.n == 3
    assert verdict.difference.value == pytest.approx(0.1) and verdict.difference.low == pytest.approx(0.1)
    assert verdict.served.value == pytest.approx(0.5) and verdict.trained.value == pytest.approx(0.6)
    assert "Dice 0.600" in verdict.text and "against 0.500" in verdict.text and "Better" in verdict.text
    assert verdict.to_json()["better"] is True


def test_a_mean_that_one_patient_makes_is_better_only_by_the_mean(tmp_path: Path) -> None:
    trained = {**SERVED, "a-1": 0.45, "c-1": 0.9}
    files = predictions(tmp_path / "served.csv", SERVED), predictions(tmp_path / "trained.csv", trained)
    assert not (strict := judge(*files, "interval")).better and judge(*files, "mean").better
    assert strict.difference.low < 0 < strict.difference.value and "Not better" in strict.text


def test_the_same_is_not_better(tmp_path: Path) -> None:
    files = predictions(tmp_path / "served.csv", SERVED), predictions(tmp_path / "trained.csv", SERVED)
    assert not judge(*files, "interval").better and not judge(*files, "mean").better


def test_other_lesions_are_not_compared(tmp_path: Path) -> None:
    files = predictions(tmp_path / "served.csv", SERVED), predictions(tmp_path / "trained.csv", {"a-1": 1.0})
    with pytest.raises(DataError, match="the same lesions are compared"):
        judge(*files, "interval")
