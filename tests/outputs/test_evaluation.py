from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from monai_staging.metrics import StagingPredictions, label_counts
from monai_staging.outputs.evaluation import case_captions, write_evaluation
from monai_staging.tnm.categories import categories

CLASSES = {"t": ("T1a", "T1b", "T2a", "T3"), "n": ("N0", "N1", "N2"), "m": ("M0", "M1a", "M1c")}


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    rows = 24
    truth = {letter: [(names[rng.integers(len(names))],) for _ in range(rows)] for letter, names in CLASSES.items()}
    truth["t"][0] = ("T2a", "T2b")
    truth["n"][1] = categories("n", "8")
    return StagingPredictions(
        [f"case-{index:010x}" for index in range(rows)],
        CLASSES,
        *(rng.dirichlet(np.ones(len(names)), rows) for names in CLASSES.values()),
        *(truth[letter] for letter in "tnm"),
    )


@pytest.fixture(scope="module")
def result(predictions, tmp_path_factory):
    baseline = label_counts([["T3"]] * 3, [["N0"]] * 3, [["M0"]] * 3, "8")
    folder = tmp_path_factory.mktemp("evaluation") / "new" / "output"
    return write_evaluation(folder, predictions, baseline, subtitle="24 test phantoms", seed=1, n_boot=100)


def test_everything_is_written(result):
    folder = result.metrics_path.parent
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    levels = ("t", "n", "m", "group")
    expected = {f"figures/{kind}_{name}.png" for kind in ("confusion", "roc", "reliability") for name in levels}
    expected |= {f"figures/confusion_{name}_fine.png" for name in ("t", "m", "group")}
    assert names == expected | {"metrics.json", "predictions.csv"}
    assert {path.relative_to(folder).as_posix() for path in result.figures} == expected
    for path in result.figures:
        assert min(Image.open(path).size) > 400


def test_metrics_agree_with_the_file_and_the_table(result):
    document = json.loads(result.metrics_path.read_text())
    assert document["t_accuracy"]["value"] == result.metrics["t_accuracy"].value
    assert document["n_accuracy"]["n"] == 23
    assert document["t_majority_accuracy"]["low"] <= document["t_majority_accuracy"]["high"]
    assert result.metrics["group_auroc"].text() in result.table


def test_predictions_can_be_recomputed_from_the_file(predictions, result):
    with open(result.predictions_path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == list(predictions.patients)
    assert (rows[0]["truth_t"], rows[1]["truth_n"]) == ("T2a|T2b", "X")
    level = predictions.levels["t"]
    for row in rows:
        by_main = {}
        for name in CLASSES["t"]:
            by_main[name[:2]] = by_main.get(name[:2], 0) + float(row[f"p_{name}"])
        assert row["predicted_t"] == max(by_main, key=by_main.get)
        assert row["predicted_t_fine"] == max(CLASSES["t"], key=lambda name: float(row[f"p_{name}"]))
        assert row["predicted_n"] == row["predicted_n_fine"]
        assert (row["edition"], row["prefix"]) == ("8", "c")
        groups = {name: float(row[f"p_{name}"]) for name in predictions.levels["group_fine"].classes}
        assert sum(groups.values()) == pytest.approx(1, abs=1e-4)
        assert row["predicted_group_fine"] == max(groups, key=groups.get)
    right = [row["predicted_t"] == level.classes[index] for row, index in zip(rows, level.truth, strict=True)]
    assert np.mean(right) == pytest.approx(result.metrics["t_accuracy"].value)


def test_the_same_seed_writes_the_same_files(predictions, result, tmp_path):
    baseline = label_counts([["T3"]] * 3, [["N0"]] * 3, [["M0"]] * 3, "8")
    again = write_evaluation(tmp_path, predictions, baseline, subtitle="24 test phantoms", seed=1, n_boot=100)
    assert again.metrics_path.read_bytes() == result.metrics_path.read_bytes()
    assert again.predictions_path.read_bytes() == result.predictions_path.read_bytes()
    for first, second in zip(again.figures, result.figures, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_prints_nothing_and_skips_levels_without_truth(predictions, tmp_path, capfd):
    some = StagingPredictions(
        predictions.patients[:6],
        CLASSES,
        *(getattr(predictions, letter)[:6] for letter in "tnm"),
        predictions.truth_t[:6],
        [categories("n", "8")] * 6,
        [categories("m", "8")] * 6,
    )
    result = write_evaluation(tmp_path, some, n_boot=20)
    assert capfd.readouterr() == ("", "")
    assert {path.stem for path in result.figures} == {"confusion_t", "roc_t", "reliability_t", "confusion_t_fine"}
    assert json.loads(result.metrics_path.read_text())["group_accuracy"] == {
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
    }


def test_captions(predictions):
    captions = case_captions(predictions, 0)
    level = predictions.levels["t"]
    best = level.predicted[0]
    expected = f"predicted {level.classes[best]} ({level.probabilities[0, best]:.2f}), reference T2a or T2b"
    assert captions["t"] == expected
    assert captions["group"].startswith("stage group, over all T, N and M: predicted ")
    assert case_captions(predictions, 1)["n"].endswith("reference unknown")
