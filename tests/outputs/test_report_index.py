"""The index of a batch: a row a study that links to its report, the same for programs, and what failed."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monai_staging.outputs.findings import Category
from monai_staging.outputs.report_index import FAILURES, INDEX, STUDIES, Failure, IndexRow, write_index
from monai_staging.outputs.reported import NOT_A_DEVICE, ReportedStudy, ScanFacts

ROW = IndexRow("k1", "k1/report.html", 2, 15.6, "T1b", ("IA2", "IA3"), "8", 0.9, 0.667, 1)


@pytest.fixture
def reported(study: Any) -> ReportedStudy:
    return ReportedStudy(
        "k17", study.volume, study.mask, study.findings, (None, None), ScanFacts("DICOM", "the only one."),
        warnings=("one", "two"),
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_row_of_a_study(reported: ReportedStudy) -> None:
    row = IndexRow.of(reported, Path("k17") / "report.html")
    primary, node = reported.findings.lesions
    assert (row.name, row.report, row.lesions, row.warnings) == ("k17", "k17/report.html", 2, 2)
    assert row.largest_mm == max(primary.measurement.diameter_3d_mm, node.measurement.diameter_3d_mm)
    assert row.t_at_least == primary.measurement.size_t.at_least
    assert (row.confidence, row.edition, row.malignancy) == (0.9, "8", 2 / 3)
    assert row.groups == reported.findings.staging.groups


def test_t_is_of_a_lung_tumour(reported: ReportedStudy) -> None:
    lesions = [replace(lesion, category=Category.NODE) for lesion in reported.findings.lesions]
    nodes = replace(reported, findings=replace(reported.findings, lesions=tuple(lesions)))
    assert IndexRow.of(nodes, "a.html").t_at_least is None
    lesions[0] = replace(lesions[0], category=Category.NODULE)
    nodule = replace(reported, findings=replace(reported.findings, lesions=tuple(lesions)))
    assert IndexRow.of(nodule, "a.html").t_at_least == lesions[0].measurement.size_t.at_least


def test_row_without_lesions(study: Any, reported: ReportedStudy) -> None:
    row = IndexRow.of(replace(reported, findings=study.without_lesions(), boxes_mm=()), "r.html")
    assert (row.lesions, row.largest_mm, row.t_at_least, row.malignancy) == (0, None, None, None)


def test_page(tmp_path: Path) -> None:
    nothing = IndexRow("k2", "a b/<x>.html", 0, None, None, (), "8", None, None, 0)
    written = write_index(tmp_path, [ROW, nothing], [Failure("k3", "<script>alert(1)</script> & more")])
    assert written == tuple(tmp_path / name for name in (INDEX, STUDIES, FAILURES))
    text = (tmp_path / INDEX).read_text(encoding="utf-8")
    assert text.count(NOT_A_DEVICE) == 1
    assert 'href="k1/report.html"' in text and 'href="a%20b/%3Cx%3E.html"' in text
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "2 chest CTs, 1 study failed." in text
    for shown in ("15.6", "at least T1b", "IA2, IA3", "90\u00a0%", "67\u00a0%"):
        assert shown in text


def test_every_group_is_said_shortly(tmp_path: Path) -> None:
    every = ("0", "IA1", "IA2", "IA3", "IB", "IIA", "IIB", "IIIA", "IIIB", "IIIC", "IVA", "IVB")
    write_index(tmp_path, [replace(ROW, groups=every, confidence=None)])
    text = (tmp_path / INDEX).read_text(encoding="utf-8")
    assert "every one of the 8th edition" in text and "1 chest CT, 0 studies failed." in text
    assert 'id="failed"' not in text
    assert rows(tmp_path / STUDIES)[0]["groups"] == " ".join(every)


def test_csv(tmp_path: Path) -> None:
    nothing = IndexRow("k2", "k2/report.html", 0, None, None, (), "9", None, None, 0)
    write_index(tmp_path, [ROW, nothing], [Failure("k3", "no CT, or none that can be used")])
    first, second = rows(tmp_path / STUDIES)
    assert first == {
        **{"name": "k1", "report": "k1/report.html", "lesions": "2", "largest_mm": "15.600", "t_at_least": "T1b"},
        **{"groups": "IA2 IA3", "edition": "8", "confidence": "0.9", "malignancy": "0.6670", "warnings": "1"},
    }
    assert [second[name] for name in ("largest_mm", "t_at_least", "groups", "confidence", "malignancy")] == [""] * 5
    assert rows(tmp_path / FAILURES) == [{"name": "k3", "reason": "no CT, or none that can be used"}]


def test_nothing_at_all(tmp_path: Path) -> None:
    write_index(tmp_path, [], [])
    assert "No study was reported." in (tmp_path / INDEX).read_text(encoding="utf-8")
    assert rows(tmp_path / STUDIES) == [] and rows(tmp_path / FAILURES) == []


def test_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_index(tmp_path / name, [ROW], [Failure("k3", "because")])
    for name in (INDEX, STUDIES, FAILURES):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
