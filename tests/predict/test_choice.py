from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monai_staging.cohort.dicom import scan
from monai_staging.errors import DataError, UsageError
from monai_staging.predict.choice import choose_series

UID = "1.2.826.0.1.3680043.10."


def chosen(folder: Path, **options: str) -> tuple[str, str]:
    found = choose_series(scan(folder), "STUDY", **options)
    return found.series.series, found.reason


def of_study(edit: Callable[[int, object], None] | None = None) -> Callable[[int, object], None]:
    def own(k: int, dataset: object) -> None:
        dataset.StudyInstanceUID = f"{UID}9"  # type: ignore[attr-defined]
        dataset.FrameOfReferenceUID = f"{UID}8"  # type: ignore[attr-defined]
        if edit is not None:
            edit(k, dataset)

    return own


@pytest.fixture
def study(tmp_path: Path, write_ct: Callable[..., object]) -> Path:
    """Three series of one study: thick, thin, and as thin with fewer slices."""
    write_ct(of_study(), folder="study/thick", uid=f"{UID}1", count=40, step=5.0)
    write_ct(of_study(), folder="study/thin", uid=f"{UID}2", count=130, step=1.0)
    write_ct(of_study(), folder="study/less", uid=f"{UID}3", count=125, step=1.1)
    return tmp_path / "study"


def test_the_thinnest_then_the_longest(study: Path) -> None:
    uid, reason = chosen(study)
    assert uid == f"{UID}2"
    assert reason.startswith("130 slices 1 mm apart; of 3 CT series")


def test_what_is_asked_for(study: Path) -> None:
    assert chosen(study, uid=f"{UID}1") == (f"{UID}1", "40 slices 5 mm apart; asked for by its UID")
    with pytest.raises(UsageError, match="no series 1.2.3; found 1.2.826"):
        chosen(study, uid="1.2.3")


def test_what_cannot_be_used_is_passed_over_and_counted(study: Path, write_ct: Callable[..., object]) -> None:
    def coronal(k: int, dataset: object) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]  # type: ignore[attr-defined]
        dataset.ImagePositionPatient = [0, float(k) / 2, 0]  # type: ignore[attr-defined]

    write_ct(of_study(coronal), folder="study/coronal", uid=f"{UID}4", count=260, step=0.5)
    uid, reason = chosen(study)
    assert uid == f"{UID}2"
    assert "of 4 CT series, 1 of which cannot be used" in reason


def tilted(k: int, dataset: object) -> None:
    dataset.GantryDetectorTilt = 12.0  # type: ignore[attr-defined]


def gap(k: int, dataset: object) -> None:
    if k > 20:
        x, y, z = dataset.ImagePositionPatient  # type: ignore[attr-defined]
        dataset.ImagePositionPatient = [x, y, z + 3.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("edit", "settings", "message"),
    [
        (tilted, {"count": 60}, "gantry-tilt"),
        (gap, {"count": 60}, "missing-slices"),
        (None, {"count": 3}, "9 mm long, 120 mm are needed"),
        (None, {"count": 1}, "too-few-slices"),
        (None, {"count": 30, "step": 10.0}, "10 mm apart, at most 6 mm"),
    ],
)
def test_every_reason_is_said(
    tmp_path: Path, write_ct: Callable[..., object], edit: object, settings: dict[str, float], message: str
) -> None:
    write_ct(edit, folder="study", **settings)
    with pytest.raises(DataError, match=message) as found:
        chosen(tmp_path / "study")
    assert "LUNG1-001" not in str(found.value)


def test_no_study_or_several(tmp_path: Path, write_ct: Callable[..., object]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found 0 files, none of them DICOM"):
        chosen(tmp_path / "empty")

    def other(k: int, dataset: object) -> None:
        dataset.PatientID = "LUNG1-002"  # type: ignore[attr-defined]

    write_ct(folder="two/a", count=50)
    write_ct(other, folder="two/b", count=50, uid=f"{UID}5")
    with pytest.raises(DataError, match="one patient is needed; found 2 patients"):
        chosen(tmp_path / "two")
    write_ct(folder="visits/a", count=50)
    write_ct(folder="visits/b", count=50, uid=f"{UID}5")
    with pytest.raises(DataError, match="one study is needed; found 2 studies"):
        chosen(tmp_path / "visits")

    def magnetic(k: int, dataset: object) -> None:
        dataset.Modality = "MR"  # type: ignore[attr-defined]

    write_ct(magnetic, folder="mr", count=50)
    with pytest.raises(DataError, match="a CT series is needed; found MR"):
        chosen(tmp_path / "mr")
