from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics import staging_metrics
from monai_staging.metrics.calibrated import SCALING_SCORES, SET_SCORES, scaling_metrics, set_metrics
from monai_staging.metrics.cross_fitting import cross_fitted, fit_scalings
from monai_staging.metrics.levels import true_classes
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.staging_calibration import ConformalThreshold, StagingCalibration
from monai_staging.metrics.staging_sets import NAMES, finest, truth_sets
from monai_staging.metrics.temperature import TemperatureScaling
from monai_staging.tnm.categories import LETTERS, categories
from monai_staging.tnm.tables import groups

WEIGHTS = "a" * 64
FACTS = {
    "weights_sha256": [WEIGHTS],
    "fitted_on": "phantoms (synthetic CT), validation part",
    "cohort_digest": "b" * 64,
}


def cohort(rows, seed=0, edition="8", sharpness=2.0, partial=0.05, unknown=0.06):
    """Letters of a model that is ``sharpness`` times too sure; truths by the phantoms' rule of spelling."""
    rng = np.random.default_rng(seed)
    classes = {letter: tuple(name for name in categories(letter, edition) if name != "Tis") for letter in LETTERS}
    values, truths = {}, {}
    for letter, names in classes.items():
        logits = 1.5 * rng.normal(size=(rows, len(names)))
        values[letter] = softmax(sharpness * logits, axis=1)
        truth = []
        for row in softmax(logits, axis=1):
            name, draw = names[rng.choice(len(names), p=row)], rng.random()
            main = tuple(one for one in names if one[:2] == name[:2])
            full = categories(letter, edition)
            truth.append(full if draw < unknown else main if draw < unknown + partial else (name,))
        truths[f"truth_{letter}"] = tuple(truth)
    return StagingPredictions(tuple(f"p{row}" for row in range(rows)), classes, **values, **truths, edition=edition)


def letters_of(predictions, row):
    return {
        letter: dict(zip(predictions.classes[letter], getattr(predictions, letter)[row].tolist(), strict=True))
        for letter in LETTERS
    }


@pytest.fixture(scope="module")
def predictions():
    return cohort(40)


@pytest.fixture(scope="module")
def calibration(predictions):
    return StagingCalibration.fit(predictions, **FACTS, chose_epoch=True)


def test_temperatures_are_of_each_letter_and_about_the_truth():
    found = StagingCalibration.fit(cohort(400), **FACTS).temperatures
    assert set(found) == set(LETTERS) and all(1.6 < value < 2.5 for value in found.values())


def test_one_study_is_treated_as_a_row_of_many(predictions, calibration):
    calibrated, sets = calibration.calibrated(predictions), calibration.named(predictions)
    for row in (0, 7, 39):
        letters = letters_of(predictions, row)
        applied = calibration.apply(letters)
        for letter in LETTERS:
            assert list(applied[letter]) == list(predictions.classes[letter])
            assert list(applied[letter].values()) == pytest.approx(getattr(calibrated, letter)[row])
            assert getattr(calibrated, letter)[row].argmax() == getattr(predictions, letter)[row].argmax()
        group = calibration.group_probabilities(letters)
        assert list(group) == list(groups("8"))
        assert list(group.values()) == pytest.approx(finest(calibrated, "group").probabilities[row])
        assert calibration.sets(letters) == sets[row]
        for name in NAMES:
            order = [one for one in finest(predictions, name).classes if one in sets[row][name]]
            assert sets[row][name] and list(sets[row][name]) == order


def test_sets_name_what_is_likely_enough(predictions, calibration):
    calibrated, sets = calibration.calibrated(predictions), calibration.prediction_sets(predictions)
    for name in NAMES:
        level = finest(calibrated, name)
        least = 1 - calibration.thresholds[name].threshold
        likeliest = level.probabilities == level.probabilities.max(axis=1, keepdims=True)
        assert (sets[name] == ((level.probabilities >= least - 2e-9) | likeliest)).all()


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_patient_is_scaled_as_the_others_say(method, predictions):
    held_out = cross_fitted(predictions, method)
    rows = np.arange(len(predictions)) != 11
    for letter, scaling in fit_scalings(predictions, method, rows).items():
        assert getattr(held_out, letter)[11] == pytest.approx(scaling.apply(getattr(predictions, letter)[11]))
    # The patient's own truth plays no part.
    other = list(predictions.truth_t)
    other[11] = ("T4",) if other[11] != ("T4",) else ("T1a",)
    assert cross_fitted(replace(predictions, truth_t=tuple(other)), method).t[11] == pytest.approx(held_out.t[11])


def test_a_patient_with_several_studies_counts_once(predictions):
    twice = StagingPredictions(
        predictions.patients * 2,
        predictions.classes,
        **{letter: np.tile(getattr(predictions, letter), (2, 1)) for letter in LETTERS},
        **{f"truth_{letter}": getattr(predictions, f"truth_{letter}") * 2 for letter in LETTERS},
    )
    once, again = (StagingCalibration.fit(one, **FACTS) for one in (predictions, twice))
    assert again.temperatures == pytest.approx(once.temperatures) and again.patients == once.patients
    for name in NAMES:
        assert again.thresholds[name].threshold == pytest.approx(once.thresholds[name].threshold)
        assert again.thresholds[name].patients == once.thresholds[name].patients


def test_which_truths_count():
    base = cohort(1)
    rows = [("T2a",), ("T2a", "T2b"), ("T1a", "T2a"), categories("t", "8"), ("T0",), ("Tis",)]
    many = StagingPredictions(
        tuple("abcdef"),
        base.classes,
        **{letter: np.tile(getattr(base, letter), (6, 1)) for letter in LETTERS},
        truth_t=tuple(rows),
        truth_n=(("N0",),) * 6,
        truth_m=(("M0",),) * 3 + (("M1a", "M1b", "M1c"),) + (("M0",),) * 2,
    )
    names = categories("t", "8")
    chosen = [tuple(np.asarray(names)[row].tolist()) for row in truth_sets(many, "t")]
    assert chosen == [("T2a",), ("T2a", "T2b"), (), (), (), ("Tis",)]
    assert truth_sets(many, "t", "omit").sum(axis=1).tolist() == [1, 0, 0, 0, 0, 1]
    named = [tuple(np.asarray(groups("8"))[row].tolist()) for row in truth_sets(many, "group")]
    # T1a N0 M0 is IA1, T2a IB: both are stage I. Any M1 is IVA or IVB, whatever T is.
    # T2a or T2b is IB or IIA, of two main groups.
    assert named == [("IB",), (), ("IA1", "IB"), ("IVA", "IVB"), (), ("0",)]
    with pytest.raises(UsageError, match="worst or omit"):
        truth_sets(many, "t", "best")


def test_too_few_patients_name_everything_and_say_so():
    few = cohort(6)
    found = StagingCalibration.fit(few, **FACTS)
    assert all(math.isinf(one.threshold) for one in found.thresholds.values())
    assert found.sets(letters_of(few, 0)) == {
        **{letter: categories(letter, "8") for letter in LETTERS},
        "group": groups("8"),
    }
    assert (
        "Sets of T, N, M and stage group: too few patients for 90 %, so every category is named." in found.statement()
    )


@pytest.mark.parametrize("edition", ["6", "7", "9"])
def test_other_editions_have_their_own_categories(edition):
    some = cohort(30, edition=edition)
    found = StagingCalibration.fit(some, **FACTS)
    sets = found.sets(letters_of(some, 3))
    assert set(sets["group"]) <= set(groups(edition)) and set(sets["t"]) <= set(categories("t", edition))
    with pytest.raises(DataError, match=f"it is of the {edition}th edition and classes .* predictions are of the 8th"):
        found.calibrated(cohort(2))


def test_coverage_is_kept_with_the_scaling_fitted_on_the_same_patients():
    held, draws = {name: [] for name in NAMES}, 60
    new = cohort(400, seed=999, unknown=0, partial=0)
    for draw in range(draws):
        found = StagingCalibration.fit(cohort(20, seed=draw, unknown=0, partial=0), **FACTS, level=0.8)
        for name, estimate in set_metrics(new, found.prediction_sets(new), n_boot=1).items():
            if name.endswith("coverage"):
                held[name.removesuffix("_set_coverage")].append(estimate.value)
    # Of 20 patients the 17th smallest: 17 / 21 = .81 on average, spread .08 a draw, and .02 for 400 new patients.
    for values in held.values():
        assert 0.8 - 3 * 0.085 / np.sqrt(draws) - 0.02 < np.mean(values) < 0.89


@pytest.mark.parametrize(
    "settings",
    [{}, {"method": "isotonic", "score": "adaptive", "partial": "omit", "level": 0.8, "passes": 20}],
    ids=["default", "other"],
)
def test_what_was_saved_is_loaded(settings, predictions, tmp_path):
    found = StagingCalibration.fit(predictions, **FACTS, **settings)
    path = found.save(tmp_path / "calibration.json")
    again = StagingCalibration.load(path, [WEIGHTS], settings.get("passes", 0))
    assert again == found and again.named(predictions) == found.named(predictions)
    # A threshold that nothing is above is null: JSON has no infinity.
    replace(found, thresholds={name: ConformalThreshold(math.inf, 3) for name in NAMES}).save(path)
    assert "Infinity" not in path.read_text()
    assert StagingCalibration.load(path).thresholds["n"] == ConformalThreshold(math.inf, 3)


def test_a_calibration_of_other_weights_is_refused(calibration, tmp_path):
    path = calibration.save(tmp_path / "calibration.json")
    with pytest.raises(DataError, match=r"SHA-256 aaaaaaaaaaaa, these have cccccccccccc.*--calibration none"):
        StagingCalibration.load(path, ["c" * 64])
    with pytest.raises(DataError, match="0 passes of dropout, here there are 20"):
        StagingCalibration.load(path, [WEIGHTS], 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "is no file of a calibration"),
        ({"version": 2}, "version must be 1, found 2"),
        ({"more": 1}, "does not know more"),
        ({"edition": 8}, "edition must be a str, found 8"),
        ({"passes": True}, "passes must be a int, found True"),
        ({"edition": "5"}, "edition is one of 6, 7, 8, 9, found '5'"),
        ({"method": "platt"}, "method must be one of temperature, isotonic"),
        ({"score": "other"}, "score is one of"),
        ({"level": 1.5}, "level lies between 0 and 1"),
        ({"scaling": {"t": {}}}, "cannot be understood"),
        ({"scaling": {letter: {"temperature": -1} for letter in LETTERS}}, "A temperature is above 0, found -1"),
        ({"weights_sha256": ["abc"]}, "SHA-256 of 64 digits"),
        ({"classes": {"t": ["T9"], "n": ["N0"], "m": ["M0"]}}, "classes of T are different categories of the 8th"),
        ({"thresholds": {name: {"threshold": -1, "patients": 2, "partial": 0} for name in NAMES}}, "is 0 or more"),
    ],
)
def test_a_file_of_something_else_is_refused(change, message, calibration, tmp_path):
    path = calibration.save(tmp_path / "calibration.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message) as caught:
        StagingCalibration.load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        StagingCalibration.load(tmp_path / "nothing.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(DataError, match="is no JSON"):
        StagingCalibration.load(tmp_path / "text.json")


def test_probabilities_of_something_else_are_refused(predictions, calibration):
    letters = letters_of(predictions, 0)
    with pytest.raises(DataError, match="probabilities of T are of T1mi, .*, found Tis"):
        calibration.apply({**letters, "t": {"Tis": 1.0}})
    with pytest.raises(DataError, match="found none"):
        calibration.sets({"t": letters["t"], "n": letters["n"]})
    with pytest.raises(DataError, match="sum to 1"):
        calibration.sets({**letters, "n": {"N0": 0.5}})
    with pytest.raises(UsageError, match="temperature or isotonic, got 'platt'"):
        StagingCalibration.fit(predictions, **FACTS, method="platt")
    with pytest.raises(DataError, match="scaling are of t, n, m"):
        replace(calibration, scaling={"t": TemperatureScaling()})


def test_the_statement_says_what_it_rests_on(calibration):
    text = " ".join(calibration.statement())
    for letter in LETTERS:
        assert f"{calibration.temperatures[letter]:.2f} ({letter.upper()})" in text
    assert "patients of phantoms (synthetic CT), validation part." in text
    assert "with a probability of at least 90 %, on average over patients" in text
    assert "left out" in text and "chose the epoch" in text and "sub-categories open" in text
    other = replace(calibration, partial="omit", chose_epoch=False, passes=20, weights_sha256=(WEIGHTS, "c" * 64))
    text = " ".join(other.statement())
    assert "20 passes" in text and "2 networks" in text and "chose the epoch" not in text


def test_what_calibration_changes_is_scored_on_the_same_patients():
    before = cohort(60, seed=3, sharpness=4)
    found = StagingCalibration.fit(cohort(200, seed=4, sharpness=4), **FACTS)
    after = found.calibrated(before)
    metrics = scaling_metrics(before, after, n_boot=200)
    assert set(metrics) == {f"{name}_{score}" for name in before.levels for score in SCALING_SCORES}
    truth = true_classes(before.truth_t, before.truth_n, before.truth_m, "8")
    for name, level in after.levels.items():
        known = truth[name] >= 0
        used = np.flatnonzero(level.probabilities.sum(axis=0))
        expected = log_loss(
            np.searchsorted(used, truth[name][known]), level.probabilities[known][:, used], labels=range(len(used))
        )
        assert metrics[f"{name}_calibrated_log_loss"].value == pytest.approx(expected)
        gain = metrics[f"{name}_log_loss_gain"]
        difference = metrics[f"{name}_log_loss"].value - metrics[f"{name}_calibrated_log_loss"].value
        assert gain.value == pytest.approx(difference) and gain.low < gain.value < gain.high
        assert gain.n == known.sum()
    assert metrics["t_log_loss_gain"].low > 0
    # The same number, and the same interval, as in every evaluation.
    usual = staging_metrics(before, n_boot=200)
    assert {name: one for name, one in metrics.items() if name in usual} == {
        name: usual[name] for name in usual if name.endswith("_ece")
    }


def test_sets_are_scored_where_the_truth_is_one_category(predictions, calibration):
    sets = calibration.prediction_sets(predictions)
    metrics = set_metrics(predictions, sets, n_boot=50)
    assert set(metrics) == {f"{name}_{score}" for name in NAMES for score in SET_SCORES}
    named = calibration.named(predictions)
    known = [row for row, truth in enumerate(predictions.truth_t) if len(truth) == 1]
    held = [predictions.truth_t[row][0] in named[row]["t"] for row in known]
    assert (metrics["t_set_coverage"].value, metrics["t_set_coverage"].n) == (np.mean(held), len(known))
    assert metrics["t_set_size"].value == np.mean([len(row["t"]) for row in named])
    assert metrics["t_set_size"].n == len(predictions)


def test_a_level_without_a_known_truth_has_no_scores():
    some = cohort(3, unknown=1)
    found = scaling_metrics(some, some, n_boot=10)
    assert all(math.isnan(one.value) and one.n == 0 for one in found.values())
