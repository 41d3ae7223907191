from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.volume import read_mask
from monai_staging.errors import DataError

HEADER = "patient,series,label,kind,site,x_mm,y_mm,z_mm,dx_mm,dy_mm,dz_mm,diameter_mm,solid_diameter_mm\n"
UID = "1.2.826.0.1.3680043.10.1"
BOX = (3, 6, 2, 4, (1, 2))
ONE = IngestOptions(workers=1)


def row(label: int, *, series: str = UID, kind: str = "primary", diameter: str = "5.5") -> str:
    return f"P1,{series},{label},{kind},RUL,6.4,17.9,-207.5,3.2,2.1,6,{diameter},{diameter}\n"


@pytest.fixture
def tree(raw: Path, patient_series: Callable[..., Any], write_rtstruct: Callable[..., Path]) -> Callable[..., Path]:
    """A tree with two outlined lesions and these rows of ``lesions.csv``."""

    def write(*rows: str) -> Path:
        series = patient_series("P1", "P1/CT", 1)
        write_rtstruct(
            raw / "P1" / "RTSTRUCT" / "lesions.dcm", series, {"2 node 7": (9, 9, 9, 9, (3,)), "1 primary": BOX}
        )
        (raw / "clinical.csv").write_text("patient,age,sex,smoking,t,n,m,edition,prefix\nP1,60,M,never,TX,N1,M0,8,c\n")
        (raw / "lesions.csv").write_text(HEADER + "".join(rows))
        return raw

    return write


def test_lesions_of_the_table_and_masks_of_the_outlines(tree: Callable[..., Path], tmp_path: Path) -> None:
    raw = tree(row(2, kind="node", diameter=""), row(1), row(1, series="1.2.3"))
    result = ingest("phantom", raw, tmp_path / "out", ONE)
    (case,) = result.cohort.cases
    assert [(own.label, own.kind, own.diameter_mm) for own in case.lesions] == [(1, "primary", 5.5), (2, "node", None)]
    assert case.lesions[0].center_mm == (6.4, 17.9, -207.5)
    assert len(case.t) == 9
    assert case.n == ("N1",)
    path = result.cohort.mask_path(case)
    assert path is not None
    mask = read_mask(path)[0]
    assert np.argwhere(mask == 2).tolist() == [[9, 9, 3]]
    assert np.count_nonzero(mask == 1) == 4 * 3 * 2
    assert any("1 series that are not in this tree" in note for note in result.report.notes)


def test_a_lesion_without_an_outline_is_told(tree: Callable[..., Path], tmp_path: Path) -> None:
    result = ingest("phantom", tree(row(1), row(3)), tmp_path / "out", ONE)
    (rejection,) = result.rejections
    assert rejection.rule == "lesion-without-region"
    assert "lesions 3 of lesions.csv" in rejection.found
    assert rejection.files == ("P1/RTSTRUCT/lesions.dcm",)


def test_a_malformed_outline_does_not_cost_the_case(tree: Callable[..., Path], tmp_path: Path) -> None:
    raw = tree(row(1))
    file = raw / "P1" / "RTSTRUCT" / "lesions.dcm"
    ds = pydicom.dcmread(file)
    del ds.StructureSetROISequence[0].ROINumber
    ds.save_as(file)
    result = ingest("phantom", raw, tmp_path / "out", ONE)
    (case,) = result.cohort.cases
    assert (len(case.lesions), case.mask) == (1, None)
    (rejection,) = result.rejections
    assert (rejection.rule, rejection.files) == ("unreadable", ("P1/RTSTRUCT/lesions.dcm",))
    assert "has no ROINumber" in rejection.found


def test_a_changed_table_changes_the_cohort(tree: Callable[..., Path], tmp_path: Path) -> None:
    raw = tree(row(1))
    ingest("phantom", raw, tmp_path / "out", ONE)
    (raw / "lesions.csv").write_text(HEADER + row(1, diameter="7"))
    (case,) = ingest("phantom", raw, tmp_path / "out", ONE).cohort.cases
    assert case.lesions[0].diameter_mm == 7


@pytest.mark.parametrize("rows", [("P1,1.2,first,primary\n",), (row(1, kind="tumour"),), (row(1, diameter="big"),)])
def test_refuses_a_table_that_is_not_as_it_should_be(
    tree: Callable[..., Path], tmp_path: Path, rows: tuple[str, ...]
) -> None:
    with pytest.raises(DataError, match="line 2: not a lesion"):
        ingest("phantom", tree(*rows), tmp_path / "out", ONE)


def test_refuses_a_tree_without_the_table(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="lesions.csv: no such file"):
        ingest("phantom", tmp_path / "raw", tmp_path / "out", ONE)
