from __future__ import annotations

from pathlib import Path

from monai_staging.cohort import load_cohort
from monai_staging.cohort.privacy import load_key, study_names
from monai_staging.predict.batch import studies_of


def test_the_cases_of_a_cohort(screening_cohort: Path) -> None:
    waiting, failures = studies_of(screening_cohort)
    cohort = load_cohort(screening_cohort)
    assert failures == []
    assert [study.name for study in waiting] == study_names(cohort.cases, load_key(cohort.root))
    study = waiting[0].read()
    assert study.phantom and study.sources is None
    assert study.name == waiting[0].name


def test_what_cannot_be_told_apart_is_a_failure(tmp_path: Path, write_ct) -> None:
    def nobody(k: int, dataset) -> None:
        dataset.PatientID = ""

    write_ct(nobody, folder="tree/a", count=3)
    write_ct(folder="tree/b", count=3, uid="1.2.826.0.1.3680043.10.7")
    waiting, failures = studies_of(tmp_path / "tree")
    (study,), (failure,) = waiting, failures
    assert failure.reason.startswith("missing-identity")
    assert "LUNG1-001" not in study.name
