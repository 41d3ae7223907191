from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monai_staging.cohort import Case, Cohort, load_cohort
from monai_staging.cohort.cohort import mask_name, volume_name
from monai_staging.errors import DataError


def make(root: Path) -> Cohort:
    case = Case("P1", "1.2", "1.2.3", volume_name("1.2.3"), ("T1a",), ("N0",), ("M0",), "8")
    other = replace(case, patient="P2", series="1.2.4", image=volume_name("1.2.4"), mask=mask_name("1.2.4"))
    return Cohort(root, "mine", "folder", (0.7, 0.7, 1.25), training=(case,), test=(other,))


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    path = cohort.save()
    for given in (tmp_path, path):
        loaded = load_cohort(given)
        assert loaded == cohort
        assert loaded.digest == cohort.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [case.patient for case in loaded.cases] == ["P1", "P2"]
    assert loaded.image_path(loaded.test[0]) == tmp_path / volume_name("1.2.4")
    assert loaded.mask_path(loaded.test[0]) == tmp_path / mask_name("1.2.4")
    assert loaded.mask_path(loaded.training[0]) is None


def test_json_is_the_contract_s(tmp_path: Path) -> None:
    document = json.loads(make(tmp_path).save().read_text())
    assert list(document) == ["name", "version", "spacing", "source", "training", "validation", "test"]
    assert document["version"] == 1
    assert document["validation"] == []


def test_file_names_identify_nobody() -> None:
    assert volume_name("1.2.3") == f"volumes/{hashlib.sha256(b'1.2.3').hexdigest()[:16]}.nii"
    assert mask_name("1.2.3") == volume_name("1.2.3").replace("volumes", "masks")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"version": 2}, "version must be 1; found 2"),
        ({"spacing": [1, 1]}, "spacing"),
        ({"spacing": [1, 1, -1]}, "spacing"),
        ({"name": None}, "name must be a text"),
        ({"training": {}}, "training must be a list"),
        ({"extra": 1}, "must have the keys"),
        ({"test": [{"patient": "P9"}]}, r"cohort\.json, test\[0\]: study, series, image, t, n, m, edition missing"),
    ],
)
def test_refuses_with_the_rule_and_the_value(tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    document = make(tmp_path).to_json() | change
    (tmp_path / "cohort.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=rule):
        load_cohort(tmp_path)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"t": ["T99"]}, "t must be a set of categories"),
        ({"patient": 314159}, "patient must be a non-empty text; found int"),
        ({"patient": ""}, "patient must be a non-empty text; found an empty one"),
        ({"clinical": ["SECRET-3"]}, "clinical must be an object; found list"),
        ({"lesions": [{"kind": "x", "center_mm": [0, 0, 0], "size_mm": [0, 0, 0]}]}, "lesion: kind must be one of"),
        ({"surname": 1}, "unknown key surname"),
        ("SECRET-3", "must be a JSON object; found str"),
    ],
)
def test_a_case_that_breaks_a_rule_is_named_by_its_place(tmp_path: Path, change: Any, rule: str) -> None:
    document = make(tmp_path).to_json()
    good = document["training"][0] | {"patient": "SECRET-3"}
    document["training"] = [good, good | change if isinstance(change, dict) else change]
    (tmp_path / "cohort.json").write_text(json.dumps(document))
    with pytest.raises(DataError) as caught:
        load_cohort(tmp_path)
    assert f"{tmp_path}: cohort.json, training[1]: {rule}" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("SECRET", "314159"))
    with pytest.raises(DataError, match=r"training\[1\] \(Case .*\): "):
        load_cohort(tmp_path, identify=True)


def test_refuses_what_is_not_there_or_no_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_cohort(tmp_path)
    (tmp_path / "cohort.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        load_cohort(tmp_path)
