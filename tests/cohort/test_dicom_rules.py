"""The names that `rejected.json` holds, and what an error says."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path

from monai_staging.cohort.dicom import Rejection, Rule, SeriesRefused
from monai_staging.errors import DataError


def test_the_rules_of_the_issue_have_their_names():
    names = {rule.value for rule in Rule}
    assert len(names) == len(list(Rule))
    assert names >= {
        "missing-slices", "duplicate-positions", "uneven-gaps", "gantry-tilt", "mixed-orientations", "mixed-spacings",
        "mixed-sizes", "localizer", "missing-geometry", "not-ct", "truncated", "mask-outside-volume",
    }  # fmt: skip


def test_a_refusal_is_a_data_error_that_survives_a_process_and_json():
    error = SeriesRefused(Rule.LOCALIZER, "a localizer.", "P1", "1", "1.1", (Path("a"), Path("b")))
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, DataError)
    assert (str(again), again.exit_code) == ("Case P1: a localizer.", 1)
    record = again.rejection()
    assert json.loads(json.dumps(asdict(record))) == {
        "patient": "P1",
        "study": "1",
        "series": "1.1",
        "rule": "localizer",
        "found": "a localizer.",
        "files": ["a", "b"],
    }
    assert record == Rejection("P1", "1", "1.1", "localizer", "a localizer.", ("a", "b"))


def test_a_case_without_a_name():
    assert str(SeriesRefused(Rule.NOT_CT, "no.")) == "Case without PatientID: no."
