"""FROC against a second implementation: the challenge's procedure, loop by loop, in plain Python."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.froc import POINTS, Findings, Marks, froc
from monai_staging.metrics.intervals import percentile_interval, resample


def literal_lists(scans, lesions, marks, excluded, limit):
    """(is a lesion, score or None, scan) of every lesion and every false positive, scan by scan.

    ``lesions`` and ``excluded`` are (scan, x, y, z, diameter), ``marks`` are (scan, x, y, z, score).
    """
    events = []
    for scan in scans:
        own = [mark for mark in marks if mark[0] == scan]
        if limit is not None and len(own) > limit:
            beyond = sorted((mark[4] for mark in own), reverse=True)[limit]
            own = [mark for mark in own if mark[4] > beyond]
        unclaimed = set(range(len(own)))
        for counts, findings in ((True, lesions), (False, excluded)):
            for where, x, y, z, diameter in findings:
                if where != scan:
                    continue
                radius = (10.0 if diameter < 0 else diameter) / 2
                best = None
                for number, (_, u, v, w, score) in enumerate(own):
                    if (x - u) ** 2 + (y - v) ** 2 + (z - w) ** 2 < radius**2:
                        unclaimed.discard(number)
                        best = score if best is None else max(best, score)
                if counts:
                    events.append((True, best, scan))
        events += [(False, own[number][4], scan) for number in sorted(unclaimed)]
    return events


def literal_curve(events, scans):
    """Points of the curve: threshold by threshold, counting."""
    hits = [score for is_lesion, score, _ in events if is_lesion and score is not None]
    false = [score for is_lesion, score, _ in events if not is_lesion]
    lesions = sum(is_lesion for is_lesion, _, _ in events)
    x, y = [0.0], [0.0]
    for threshold in sorted({*hits, *false}, reverse=True):
        false_rate = sum(score >= threshold for score in false) / len(false) if false else 0.0
        hit_rate = sum(score >= threshold for score in hits) / len(hits) if hits else 0.0
        x.append(false_rate * len(false) / scans)
        y.append(hit_rate * len(hits) / lesions)
    return x, y


def literal_read(x, y, at):
    """Linear between the points around; of a vertical stretch its upper end; flat after the last."""
    place = max(place for place in range(len(x)) if x[place] <= at)
    if place == len(x) - 1 or x[place] == at:
        return y[place]
    return y[place] + (y[place + 1] - y[place]) / (x[place + 1] - x[place]) * (at - x[place])


def literal(scans, lesions, marks, excluded=(), limit=None):
    events = literal_lists(scans, lesions, marks, excluded, limit)
    x, y = literal_curve(events, len(scans))
    return events, [literal_read(x, y, at) for at in POINTS]


def sklearn_sensitivities(events, scans):
    """As the challenge's script has it: ``roc_curve`` over the lists, scaled back, and ``numpy.interp``."""
    listed = [(is_lesion, score) for is_lesion, score, _ in events if score is not None]
    truth, scores = np.array([a for a, _ in listed], dtype=float), np.array([b for _, b in listed])
    lesions = sum(is_lesion for is_lesion, _, _ in events)
    false_rate, hit_rate, _ = roc_curve(truth, scores)
    x = false_rate * (len(listed) - truth.sum()) / scans
    return np.interp(POINTS, x, hit_rate * truth.sum() / lesions)


def findings(rows):
    return Findings([row[0] for row in rows], [row[1:4] for row in rows], [row[4] for row in rows])


def as_marks(rows):
    return Marks([row[0] for row in rows], [row[1:4] for row in rows], [row[4] for row in rows])


def ours(scans, lesions, marks, excluded=(), **settings):
    return froc(findings(lesions), as_marks(marks), scans, excluded=findings(excluded), **settings)


def copies(scans, weights):
    """(name of its own, scan): a scan that is drawn several times becomes several scans."""
    pairs = zip(scans, weights, strict=True)
    return [(f"{scan}, {number}", scan) for scan, weight in pairs for number in range(int(weight))]


# Whole and half millimetres close to one another, and few scores: marks on the sphere, on several lesions, and ties.
_SCANS = st.integers(1, 9).map(lambda count: [f"scan-{number}" for number in range(count)])
_PLACE = st.integers(-6, 6).map(lambda value: value / 2)


def _rows(scans, last, most, least=0):
    row = st.tuples(st.sampled_from(scans), _PLACE, _PLACE, st.just(0.0), last)
    return st.lists(row, min_size=least, max_size=most)


@st.composite
def cases(draw):
    scans = draw(_SCANS)
    lesions = draw(_rows(scans, st.sampled_from([-1.0, 1.0, 2.0, 3.0]), 8, least=1))
    excluded = draw(_rows(scans, st.sampled_from([-1.0, 0.0, 1.0, 2.0]), 5))
    marks = draw(_rows(scans, st.sampled_from([-0.5, 0.0, 0.1, 0.2, 0.25, 0.7, 0.9, 1.0]), 60))
    return scans, lesions, marks, excluded


@settings(max_examples=150)
@given(case=cases(), limit=st.one_of(st.none(), st.integers(1, 12)))
def test_agrees_with_the_procedure_loop_by_loop(case, limit):
    scans, lesions, marks, excluded = case
    events, expected = literal(scans, lesions, marks, excluded, limit)
    result = ours(scans, lesions, marks, excluded, max_marks=limit, n_boot=0)
    assert result.scans == len(scans)
    assert result.lesions == len(lesions)
    assert result.detected == sum(is_lesion and score is not None for is_lesion, score, _ in events)
    assert len(result.matches.false_scores) == sum(not is_lesion for is_lesion, _, _ in events)
    assert [estimate.value for estimate in result.sensitivity] == pytest.approx(expected, abs=1e-12)
    assert result.cpm.value == pytest.approx(sum(expected) / 7, abs=1e-12)


@settings(max_examples=150)
@given(case=cases())
def test_agrees_with_scikit_learn_where_that_is_defined(case):
    scans, lesions, marks, excluded = case
    events, _ = literal(scans, lesions, marks, excluded)
    listed = {is_lesion for is_lesion, score, _ in events if score is not None}
    result = ours(scans, lesions, marks, excluded, n_boot=0)
    if listed == {True, False}:
        expected = sklearn_sensitivities(events, len(scans))
        assert [estimate.value for estimate in result.sensitivity] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("false", "apart"), [(561, True), (8234, True), (8305, True), (9000, False)])
def test_agrees_with_scikit_learn_where_rounding_decides(false, apart):
    # With 888 scans all seven points lie on whole numbers of false positives, where the curve may be vertical. For some
    # totals, 222 / 8234 * 8234 / 888 and its like come out above 1/4, and the lower end is read instead of the upper.
    rng = np.random.default_rng(false)
    scans = [str(number) for number in range(888)]
    lesions = [(scan, 0.0, 0.0, 0.0, 5.0) for scan in scans]
    marks = [(scan, 0.0, 0.0, 0.0, score) for scan, score in zip(scans, rng.beta(2, 1, 888), strict=True)]
    marks += [(scans[place % 888], 50.0, 0.0, 0.0, score) for place, score in enumerate(rng.beta(1, 2, false))]
    result = ours(scans, lesions, marks, n_boot=0)
    events = [(mark[1] == 0, mark[4], mark[0]) for mark in marks]
    expected = sklearn_sensitivities(events, 888)
    assert [estimate.value for estimate in result.sensitivity] == pytest.approx(expected, abs=1e-12)
    hits = np.array([mark[4] for mark in marks[:888]])
    downwards = np.append(np.sort([mark[4] for mark in marks[888:]])[::-1], -1.0)
    upper = [(hits > downwards[min(int(888 * at), false)]).mean() for at in POINTS]
    assert bool(max(abs(upper - expected)) > 1e-4) is apart


@settings(max_examples=40)
@given(case=cases(), seed=st.integers(0, 1000), patients=st.booleans())
def test_intervals_are_those_of_resampling_and_evaluating_again(case, seed, patients):
    scans, lesions, marks, excluded = case
    of_scan = {scan: f"patient-{place // 2}" for place, scan in enumerate(scans)} if patients else None
    result = ours(scans, lesions, marks, excluded, patients=of_scan, n_boot=25, seed=seed)
    units = scans if of_scan is None else [of_scan[scan] for scan in scans]
    again = []
    for weights in resample(units, 25, seed).weights:
        drawn = copies(scans, weights)

        def copied(rows, drawn=drawn):
            return [(name, *row[1:]) for name, scan in drawn for row in rows if row[0] == scan]

        if not copied(lesions):
            again.append([math.nan] * 7)
            continue
        again.append(literal([name for name, _ in drawn], copied(lesions), copied(marks), copied(excluded))[1])
    again = np.array(again)
    for place, estimate in enumerate(result.sensitivity):
        expected = percentile_interval(again[:, place])
        assert (estimate.low, estimate.high) == pytest.approx(expected, abs=1e-12, nan_ok=True)
        assert estimate.n == len(set(units))
    expected = percentile_interval(again.mean(axis=1))
    assert (result.cpm.low, result.cpm.high) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_intervals_of_many_marks_need_not_look_at_all_of_them():
    # More false positives than 8 a scan are left out of the sums, unless a resample needs them.
    rng = np.random.default_rng(4)
    scans = [str(number) for number in range(20)]
    lesions = [(scans[number % 20], 0.0, 0.0, 0.0, 4.0) for number in range(30)]
    # One scan has nearly all false positives: resamples without it go down to the last mark.
    marks = [(scans[0], 90.0, 0.0, 0.0, score) for score in rng.random(2000)]
    marks += [(scan, place, 0.0, 0.0, rng.random()) for scan in scans for place in (0.0, 50.0)]
    result = ours(scans, lesions, marks, n_boot=40, seed=3)
    again = []
    for weights in resample(scans, 40, 3).weights:
        drawn = copies(scans, weights)
        own = [
            [(name, *row[1:]) for name, scan in drawn for row in rows if row[0] == scan] for rows in (lesions, marks)
        ]
        again.append(ours([name for name, _ in drawn], *own, n_boot=0))
    for place, estimate in enumerate(result.sensitivity):
        expected = percentile_interval(np.array([one.sensitivity[place].value for one in again]))
        assert (estimate.low, estimate.high) == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    # Four scans; scores down: hit .9, false .8, hit .7, false .6; one lesion is never hit, one scan has nothing.
    scans = ["a", "b", "c", "d"]
    lesions = [("a", 0, 0, 0, 6), ("b", 0, 0, 0, 6), ("b", 40, 0, 0, 6)]
    marks = [("a", 1, 0, 0, 0.9), ("a", 30, 0, 0, 0.8), ("b", 0, 2, 0, 0.7), ("c", 0, 0, 0, 0.6)]
    result = ours(scans, lesions, marks, n_boot=50)
    assert result.curve.false_positives_per_scan.tolist() == [0, 0, 0.25, 0.25, 0.5]
    assert result.curve.sensitivity == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert result.curve.thresholds.tolist() == [math.inf, 0.9, 0.8, 0.7, 0.6]
    expected = [1 / 3, *[2 / 3] * 6]
    assert [estimate.value for estimate in result.sensitivity] == pytest.approx(expected)
    assert result.cpm.value == pytest.approx(sum(expected) / 7)
    assert (result.scans, result.lesions, result.detected) == (4, 3, 2)
    assert [result.curve.threshold_at(rate) for rate in (0.1, 0.25, 0.4, 8)] == [0.9, 0.7, 0.7, 0.6]


def test_a_tie_is_a_slope():
    # One score for all: from nothing to everything in a straight line to 4 false positives in 1 scan.
    marks = [("a", 0, 0, 0, 0.5), *[("a", 20 + place, 0, 0, 0.5) for place in range(4)]]
    result = ours(["a"], [("a", 0, 0, 0, 6)], marks, n_boot=0)
    assert [estimate.value for estimate in result.sensitivity] == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1]


@pytest.mark.parametrize(
    ("marks", "sensitivity", "detected"),
    [
        ([], 0.0, 0),
        ([("a", 50, 0, 0, 0.3)], 0.0, 0),
        ([("a", 0, 0, 0, 0.3)], 1.0, 1),
        ([("a", 0, 0, 0, -5.0), ("a", 50, 0, 0, -900.0)], 1.0, 1),
    ],
)
def test_nothing_found_nothing_wrong(marks, sensitivity, detected):
    result = ours(["a", "b"], [("a", 0, 0, 0, 6)], marks, n_boot=30)
    assert [estimate.value for estimate in result.sensitivity] == [sensitivity] * 7
    assert result.detected == detected
    assert (result.cpm.low, result.cpm.high) == (sensitivity, sensitivity)


def test_the_document():
    document = ours(["a", "b"], [("a", 0, 0, 0, 6)], [("a", 0, 0, 0, 1)], n_boot=10).to_json()
    assert list(document) == [
        *("scans", "lesions", "detected", "false_positives_per_scan", "sensitivity", "low", "high"),
        *("cpm", "cpm_low", "cpm_high"),
    ]
    assert document["false_positives_per_scan"] == [0.125, 0.25, 0.5, 1, 2, 4, 8]
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    none = ours(["a", "b"], [("a", 0, 0, 0, 6)], [("a", 0, 0, 0, 1)], n_boot=0).to_json()
    assert none["low"] == none["high"] == [None] * 7
    assert none["cpm_low"] is None and none["cpm"] == 1


def test_the_band_goes_through_the_points():
    scans = [str(number) for number in range(12)]
    rng = np.random.default_rng(1)
    lesions = [(scan, 0, 0, 0, 6) for scan in scans]
    marks = [(scan, place, 0, 0, rng.random()) for scan in scans for place in (0, 20, 40)]
    result = ours(scans, lesions, marks, n_boot=100)
    band = result.band
    for point, estimate in zip(POINTS, result.sensitivity, strict=True):
        [place] = np.flatnonzero(band.false_positives_per_scan == point)
        assert (band.sensitivity[place], band.low[place], band.high[place]) == (
            *(estimate.value, estimate.low, estimate.high),
        )
    assert np.all(band.low <= band.high)


def test_strata_share_the_false_positives():
    scans = ["a", "b"]
    lesions = [("a", 0, 0, 0, 6), ("a", 30, 0, 0, 6), ("b", 0, 0, 0, 6)]
    marks = [("a", 0, 0, 0, 0.9), ("a", 30, 0, 0, 0.2), ("b", 60, 0, 0, 0.5), ("b", 80, 0, 0, 0.4)]
    result = ours(scans, lesions, marks, strata=["10", "9", "solid"], n_boot=40)
    assert list(result.strata) == ["9", "10", "solid"]
    found = {name: [estimate.value for estimate in one.sensitivity] for name, one in result.strata.items()}
    # The lesion with .2 comes after both false positives, 1 a scan; that with .9 before them.
    assert found == {"10": [1.0] * 7, "9": [0, 0, 0, 1, 1, 1, 1], "solid": [0.0] * 7}
    assert [one.lesions for one in result.strata.values()] == [1, 1, 1]
    assert [one.detected for one in result.strata.values()] == [1, 1, 0]
    assert all(len(one.curve.thresholds) <= len(result.curve.thresholds) for one in result.strata.values())
    document = result.to_json()
    assert list(document)[-1] == "strata" and list(document["strata"]) == ["9", "10", "solid"]
    assert list(document["strata"]["9"]) == list(document)[:-1]


def test_one_stratum_is_the_whole():
    scans = [str(number) for number in range(6)]
    lesions = [(scan, 0, 0, 0, 6) for scan in scans]
    rng = np.random.default_rng(2)
    marks = [(scan, place, 0, 0, rng.random()) for scan in scans for place in (0, 20, 40)]
    result = ours(scans, lesions, marks, strata=["x"] * 6, n_boot=60)
    assert result.strata["x"].to_json() == {key: value for key, value in result.to_json().items() if key != "strata"}


def test_patients_are_the_unit_where_they_are_known():
    scans = [f"{number}" for number in range(16)]
    lesions = [(scan, 0, 0, 0, 6) for scan in scans]
    # A patient's two scans are alike: all found, or none.
    marks = [(scan, 0, 0, 0, 1) for number, scan in enumerate(scans) if number % 4 < 2]
    patients = {scan: f"p{number // 2}" for number, scan in enumerate(scans)}
    by_scan, by_patient = (ours(scans, lesions, marks, patients=given, n_boot=2000) for given in (None, patients))
    assert (by_scan.unit, by_scan.cpm.n, by_patient.unit, by_patient.cpm.n) == ("scan", 16, "patient", 8)
    assert by_scan.cpm.value == by_patient.cpm.value == 0.5
    ratio = (by_patient.cpm.high - by_patient.cpm.low) / (by_scan.cpm.high - by_scan.cpm.low)
    assert ratio == pytest.approx(math.sqrt(2), rel=0.2)


LESION = [("a", 0, 0, 0, 6)]


@pytest.mark.parametrize(
    ("error", "settings", "message"),
    [
        (UsageError, {"n_boot": -1}, "at least 0, got -1 and 0"),
        (UsageError, {"seed": -3}, "at least 0, got 1000 and -3"),
        (UsageError, {"level": 1.0}, "between 0 and 1, got 1.0"),
        (UsageError, {"max_marks": 0}, "at least 1 mark, got max_marks=0"),
        (UsageError, {"strata": ["x", "y"]}, "got 2 strata for 1 lesions"),
        (DataError, {"patients": {"a": "p"}}, "Scan b: where patients are given, every scan has one; 1 of 2 have none"),
    ],
)
def test_what_makes_no_sense(error, settings, message):
    with pytest.raises(error, match=message):
        ours(["a", "b"], LESION, [], **settings)


def test_no_lesion():
    with pytest.raises(DataError, match="at least 1 lesion, found 0 in 2 scans"):
        ours(["a", "b"], [], [("a", 0, 0, 0, 1)])
