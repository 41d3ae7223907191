"""What is read of trainings and comparisons that are to be registered, and which are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_staging.cohort.nodules import load_nodules
from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.errors import DataError
from monai_staging.tracking.journal import JOURNAL_NAME, Journal
from monai_staging.tracking.registry_source import read_candidate, read_run

Maker = Callable[..., Path]


def test_training_says_what_its_network_and_views_are(make_training: Maker, tmp_path: Path) -> None:
    found = read_candidate(make_training(tmp_path / "run"))
    assert found.weights == (tmp_path / "run" / "model.pt",)
    assert found.settings.network == {
        **{"network": "resnet10", "outputs": 1, "in_channels": 2, "views": 1, "branches": "shared"},
        **{"spatial_dims": 2, "width": 0.25, "features": 0, "attributes": 0, "trees": 0, "landmarks": 0},
    }
    assert found.settings.views == {
        **{"kind": "central", "size": 32, "spacing_mm": 1.125, "step_mm": 3.0, "slices": 3},
        **{"channels": ("image", "outline"), "padding": "edge"},
    }
    assert (found.settings.classes, found.settings.turns, found.settings.data_digest) == (("malignant",), 4, "d" * 64)
    assert list(found.metrics) == ["auroc", "accuracy"]  # of this network, the one it is judged by first
    assert found.origin == {"network": "resnet10", "start": "scratch", "comparison": "one"}
    assert found.members == (f"{0:032x}",)


def test_best_arm_is_all_its_folds_and_repetitions(make_comparison: Maker, tmp_path: Path) -> None:
    found = read_candidate(make_comparison(tmp_path / "c", auroc=0.8))
    names = [path.parent.name for path in found.weights]
    assert names == [f"resnet-10-transfer-100pct-seed{seed}-fold{fold}" for seed in (0, 1) for fold in (0, 1)]
    assert found.metrics == {"auroc": {"value": 0.8, "low": 0.8 - 0.1, "high": 0.8 + 0.1, "n": 23}}
    assert found.origin == {"comparison": "tried", "network": "ResNet-10", "start": "transfer", "fraction": "1"}
    assert len(set(found.members)) == 4


def test_arm_of_a_comparison_is_a_training(make_comparison: Maker, tmp_path: Path) -> None:
    found = read_candidate(make_comparison(tmp_path / "c") / "arms" / "resnet-10-transfer-100pct-seed1-fold0")
    assert len(found.weights) == 1


def test_folders_that_are_neither_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found neither"):
        read_candidate(tmp_path)
    with pytest.raises(DataError, match="found neither"):
        read_candidate(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: (c / "findings.json").unlink(), "not finished; the command that began it goes on"),
        (lambda c: (c / "findings.json").write_text("{"), "findings.json: cannot be read"),
        (lambda c: (c / "findings.json").write_text("[]"), "a JSON object is needed, found list"),
        (lambda c: (c / "findings.json").write_text("{}"), "do not name a best arm"),
        (lambda c: (c / "comparison.json").unlink(), "comparison.json: cannot be read"),
        (
            lambda c: next(c.glob("arms/*seed1-fold0/model.pt")).unlink(),
            "not finished: resnet-10-transfer-100pct-seed1-fold0",
        ),
        (lambda c: next(c.glob("arms/*seed0-fold1/arm.json")).unlink(), "all 4 runs of the best arm"),
        (lambda c: (c / JOURNAL_NAME).unlink(), "no tracking journal"),
    ],
)
def test_comparisons_that_are_not_whole_are_refused(
    make_comparison: Maker, tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    folder = make_comparison(tmp_path / "c")
    change(folder)
    with pytest.raises(DataError, match=said):
        read_candidate(folder)


def test_baseline_is_no_network(make_comparison: Maker, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no network and cannot be registered"):
        read_candidate(make_comparison(tmp_path / "c", init="baseline"))


def test_runs_of_one_arm_share_their_settings(make_comparison: Maker, make_training: Maker, tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "c")
    arm = next(folder.glob("arms/*seed1-fold1"))
    for path in arm.iterdir():
        path.unlink()
    arm.rmdir()
    make_training(arm, size=48)
    (arm / "arm.json").write_text("{}")
    with pytest.raises(DataError, match=r"seed1-fold1 does not"):
        read_candidate(folder)


def test_other_data_than_was_compared_on_is_refused(make_comparison: Maker, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="were trained on data eeee.*, compared on dddd"):
        read_candidate(make_comparison(tmp_path / "c", data="e" * 64))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"network_def.width": "wide"}, "the journal's parameters are not in order"),
        ({"checkpoint.identity.views": "NoduleViews("}, "the journal's parameters are not in order"),
        ({"checkpoint.identity.views": "open('x')"}, "the journal's parameters are not in order"),
        ({"checkpoint.identity.views": "{'kind': 'central'}"}, "views needs channels"),
        ({"network_def.views": "3"}, "found views 1 and 3"),
        ({"network_def.pooling": "max"}, "settings that are not known: pooling"),
    ],
)
def test_journals_that_make_no_sense_are_refused(
    make_training: Maker, tmp_path: Path, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_candidate(make_training(tmp_path / "run", **params))


def test_training_of_another_bundle_is_refused(make_training: Maker, tmp_path: Path) -> None:
    folder = make_training(tmp_path / "run")
    (folder / JOURNAL_NAME).unlink()
    journal = Journal(folder / JOURNAL_NAME, {"key": "k"})
    journal.append("params", params={"network": "resnet18"})
    journal.close()
    with pytest.raises(DataError, match="no training of the malignancy bundle: its journal has no loss.task"):
        read_candidate(folder)


def test_journal_is_that_of_the_training(make_training: Maker, tmp_path: Path) -> None:
    folder = make_training(tmp_path / "run", key="trained")
    (folder / JOURNAL_NAME).rename(folder / "tracking-spool-trained.jsonl")
    refused = Journal(folder / JOURNAL_NAME, {"key": "refused"})
    refused.append("params", params={"turns": "1"})
    refused.close()
    assert read_run(folder).params["turns"] == "4"
    with open(folder / "tracking-spool-trained.jsonl", "a") as file:
        file.write('{"op": "params", "params": {"turns": "2"')  # cut off by a kill
    assert read_run(folder).params["turns"] == "4"
    (folder / "tracking-spool-trained.jsonl").unlink()
    with pytest.raises(DataError, match=r"that tracking-run.json names is not there"):
        read_run(folder)


def test_classes_of_a_training_on_all_patients_are_those_of_its_data(make_training: Maker, tmp_path: Path) -> None:
    """Such a training has no test part, hence no predictions and no metrics."""
    nodules = write_phantom_nodules(tmp_path / "nodules", 2, 0)
    digest, params = load_nodules(nodules).digest, {"data.dataset_dir": str(nodules)}
    folder = make_training(tmp_path / "run", auroc=None, data=digest, **params)
    (folder / "predictions.csv").unlink()
    found = read_candidate(folder)
    assert found.settings.classes == ("malignant",) and found.metrics == {}
    other = make_training(tmp_path / "other", auroc=None, **params)
    (other / "predictions.csv").unlink()
    with pytest.raises(DataError, match="has changed"):
        read_candidate(other)
    lost = make_training(tmp_path / "lost", auroc=None)
    (lost / "predictions.csv").unlink()
    with pytest.raises(DataError, match="is not there"):
        read_candidate(lost)


def test_settings_of_measures_without_value_are_left_out(make_training: Maker, tmp_path: Path) -> None:
    folder = make_training(tmp_path / "run")
    (folder / "metrics.json").write_text(json.dumps({"auroc": {"value": None}, "brier": {"value": 0.1}, "ece": 3}))
    assert list(read_candidate(folder).metrics) == ["brier"]


def test_views_that_were_cut_before_there_was_padding_are_padded_as_then(make_training: Maker, tmp_path: Path) -> None:
    before = {"kind": "central", "size": 32, "spacing_mm": 1.125, "step_mm": 3.0, "slices": 3, "channels": ("image",)}
    params = {"checkpoint.identity.views": str(before), "network_def.in_channels": "1"}
    assert read_candidate(make_training(tmp_path / "run", **params)).settings.views == {**before, "padding": "zero"}
