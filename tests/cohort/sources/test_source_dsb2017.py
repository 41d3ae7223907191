from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_staging.cli.main import main
from monai_staging.cohort import load_cohort
from monai_staging.cohort.audit import audit_cohort
from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.sources import make_plan
from monai_staging.cohort.sources.base import Plan, SourceOptions
from monai_staging.cohort.splits import SplitOptions
from monai_staging.cohort.volume import read_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.tnm.categories import categories

ONE = IngestOptions(split=SplitOptions(test=0), workers=1)
HEADER = "id,cancer\n"


def name(number: int) -> str:
    """A patient's name as that of the Bowl: 32 hexadecimal digits."""
    return hashlib.md5(str(number).encode()).hexdigest()


@pytest.fixture
def scan(patient_series: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """Writes a patient's folder as the Bowl has it, files named by hashes; gives the HU (row, column) of each slice."""

    def write(stage: str, number: int, series: int | None = None, folder: str | None = None) -> np.ndarray:
        patient = name(number)
        # The same pixels in two patients would be a leak.
        stored = np.random.default_rng(number).integers(0, 4096, (12, 14)).astype("<u2")
        written = patient_series(
            patient,
            f"{stage}/{folder or patient}",
            number if series is None else series,
            PatientName=patient,
            PatientBirthDate="19000101",
            PatientSex="",
            PixelData=stored.tobytes(),
        )
        for k, file in enumerate(written.files):
            file.rename(file.with_name(f"{name(1000 * (series or number) + k)}.dcm"))
        return stored.astype(np.int16) - 1024

    return write


def test_public_layout(raw: Path, tmp_path: Path, scan: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    written = {n: scan("stage1", n) for n in (1, 2, 3, 4)} | {5: scan("stage2", 5)}
    scan("sample_images", 1)
    (raw / "stage1_labels.csv").write_text(f"{HEADER}{name(1)},1\n{name(2)},0\n{name(9)},1\n")
    (raw / "stage1_solution.csv").write_text(f"id,cancer,Usage\n{name(3)},1,Public\n")
    (raw / "stage1_sample_submission.csv").write_text(f"{HEADER}{name(3)},0.5\n")
    (raw / "stage2_sample_submission.csv").write_text(f"{HEADER}{name(5)},0.5\n")
    out = tmp_path / "out"
    assert main(["ingest", "dsb2017", str(raw), str(out), "--test", "0", "--workers", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cases"], told["lesions"], told["masks"], told["rejected"]) == (5, 0, 0, {})
    assert told["clinical"] == "stage1_labels.csv, stage1_solution.csv"
    assert (told["patients_without_images"], told["patients_without_row"]) == (1, 2)
    assert told["notes"] == [
        "T, N and M are unknown for every patient: the data set has none.",
        "Cancer was diagnosed in 2 of 3 patients with images and label.",
    ]
    cohort = load_cohort(out)
    cases = {case.patient: case for case in cohort.cases}
    assert {number: cases[name(number)].clinical["cancer"] for number in written} == {
        1: True,
        2: False,
        3: True,
        4: None,
        5: None,
    }
    for number, hu in written.items():
        case = cases[name(number)]
        assert case.t == categories("t", "8")
        assert (read_volume(cohort.image_path(case)).array == hu.T[:, :, None]).all()
    # As JSON has them, not as Python or the table does.
    assert '"cancer": true' in (out / "cohort.json").read_text()
    assert audit_cohort(cohort).acceptable
    assert main(["audit", str(out)]) == 0


def cancer(plan: Plan) -> dict[str, bool | None]:
    return {job.series.patient: job.labels.clinical["cancer"] for job in plan.jobs}


def test_stage_2_and_a_table_in_a_folder(raw: Path, scan: Callable[..., Any]) -> None:
    scan("stage2", 1)
    scan("stage2", 2)
    (raw / "solution").mkdir()
    (raw / "solution" / "stage2_solution.csv").write_text(f"id,cancer,Usage\n{name(1)},0,Private\n{name(2)},1,Public\n")
    assert cancer(make_plan("dsb2017", raw, SourceOptions())) == {name(1): False, name(2): True}


def test_what_cannot_be_trusted_is_refused_and_the_rest_goes_on(
    raw: Path, tmp_path: Path, scan: Callable[..., Any], patient_series: Callable[..., Any]
) -> None:
    scan("stage1", 1)
    scan("stage1", 2)
    scan("stage1", 3, folder=name(33))
    # Two acquisitions of one series at the same places, as patient b8bb02d2... has them.
    scan("stage1", 4)
    again = patient_series(name(4), f"stage1/{name(4)}", 4)
    for file in again.files:
        file.rename(file.with_suffix(".dcm"))
    (raw / "stage1" / name(2) / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"no more")
    (raw / "stage1_labels.csv").write_text(
        f"{HEADER}{name(1)},0\n{name(2)},1\n{name(2)},1\n{name(3)},1\n{name(4)},1\n{name(5)},0\n,1\n"
    )
    (raw / "stage1_solution.csv").write_text(f"{HEADER}{name(1)},1\n")
    result = ingest("dsb2017", raw, tmp_path / "out", ONE)
    (case,) = result.cohort.cases
    assert (case.patient, case.clinical["cancer"]) == (name(2), True)
    found = {rejection.rule: rejection for rejection in result.rejections}
    assert {rule: rejection.patient for rule, rejection in found.items()} == {
        "conflicting-clinical-rows": name(1),
        "ambiguous-identity": name(3),
        "duplicate-positions": name(4),
        "unreadable": "",
    }
    assert found["conflicting-clinical-rows"].found == (
        "rows contradict each other: stage1_labels.csv, line 2: cancer 0; stage1_solution.csv, line 2: cancer 1."
    )
    assert f"in the folder {name(33)}" in found["ambiguous-identity"].found
    assert found["unreadable"].files == (f"stage1/{name(2)}/broken.dcm",)


def test_values_that_are_no_label_are_counted(raw: Path, tmp_path: Path, scan: Callable[..., Any]) -> None:
    for number in (1, 2, 3):
        scan("stage1", number)
    table = tmp_path / "mine.csv"
    table.write_text(f"cancer, id\n0.5,{name(1)}\n1,{name(2)}\n,{name(3)}\n")
    (raw / "stage1_labels.csv").write_text(f"{HEADER}{name(1)},1\n")
    made = make_plan("dsb2017", raw, SourceOptions(clinical=table))
    assert cancer(made) == {name(1): None, name(2): True, name(3): None}
    assert made.report.clinical == "mine.csv"
    assert made.report.unknown_codes == {"cancer": {"0.5": 1}}


def test_without_a_table(raw: Path, scan: Callable[..., Any]) -> None:
    scan("stage1", 1)
    made = make_plan("dsb2017", raw, SourceOptions())
    assert cancer(made) == {name(1): None}
    assert (made.report.clinical, made.report.patients_without_row) == (None, ())
    assert any("nothing is known of any patient's cancer" in note for note in made.report.notes)


def test_refuses_another_layout(raw: Path, scan: Callable[..., Any]) -> None:
    scan("other", 1)
    with pytest.raises(DataError, match="no folder stage1 or stage2"):
        make_plan("dsb2017", raw, SourceOptions())
    scan("stage1", 1)
    (raw / "stage1_labels.csv").write_text(f"patient,cancer\n{name(1)},1\n")
    with pytest.raises(DataError, match=r"stage1_labels\.csv has no column id; it has patient, cancer"):
        make_plan("dsb2017", raw, SourceOptions())
    (raw / "copy").mkdir()
    (raw / "copy" / "stage1_labels.csv").write_text(HEADER)
    with pytest.raises(UsageError, match=r"several clinical tables .*name one"):
        make_plan("dsb2017", raw, SourceOptions())
