"""The index of a batch: a page that links to each study's report, and the same as CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from monai_staging.files import atomic_path, write_text_atomic
from monai_staging.outputs.report_markup import Markup, page, section, table, tag
from monai_staging.outputs.report_words import NONE, by_size, chance, counted, length, sure
from monai_staging.outputs.reported import NOT_A_DEVICE, ReportedStudy
from monai_staging.tnm.tables import groups

INDEX, STUDIES, FAILURES = "index.html", "studies.csv", "failures.csv"


@dataclass(frozen=True)
class IndexRow:
    """One study.

    Attributes:
        name: without identity.
        report: its page, relative to the index, with forward slashes.
        lesions: how many.
        largest_mm: the longest diameter of all lesions in three dimensions; None without one.
        t_at_least: T by size, the lowest category possible; None where no lesion can give it.
        groups: stage groups named.
        edition: of T and of the groups.
        confidence: with which they hold the true one; None where none is claimed.
        malignancy: the highest of all lesions; None where it was not estimated.
        warnings: how many.
    """

    name: str
    report: str
    lesions: int
    largest_mm: float | None
    t_at_least: str | None
    groups: tuple[str, ...]
    edition: str
    confidence: float | None
    malignancy: float | None
    warnings: int

    @classmethod
    def of(cls, study: ReportedStudy, report_path: str | os.PathLike[str]) -> IndexRow:
        """The row of a study.

        Args:
            study: that was reported.
            report_path: its page, relative to the index.
        """
        findings = study.findings
        chances = [lesion.malignancy for lesion in findings.lesions if lesion.malignancy is not None]
        tumour = by_size(findings)
        return cls(
            name=study.name,
            report=Path(report_path).as_posix(),
            lesions=len(findings.lesions),
            largest_mm=max((lesion.measurement.diameter_3d_mm for lesion in findings.lesions), default=None),
            t_at_least=None if tumour is None else tumour.measurement.size_t.at_least,
            groups=findings.staging.groups,
            edition=findings.staging.tnm.edition,
            confidence=findings.staging.confidence,
            malignancy=max(chances, default=None),
            warnings=len(study.warnings),
        )


@dataclass(frozen=True)
class Failure:
    """A study that was not reported, and why, a sentence without identity."""

    name: str
    reason: str


def write_index(
    folder: str | os.PathLike[str], rows: Sequence[IndexRow], failures: Sequence[Failure] = ()
) -> tuple[Path, Path, Path]:
    """Writes ``index.html``, ``studies.csv`` and ``failures.csv``.

    Args:
        folder: for all three.
        rows: studies, in the order they are shown.
        failures: what could not be reported.

    Returns:
        The three files.
    """
    folder = Path(folder)
    title = counted(len(rows), "chest CT") if len(rows) == 1 else f"{len(rows)} chest CTs"
    failed = f"{counted(len(failures), 'study')} failed" if len(failures) == 1 else f"{len(failures)} studies failed"
    body: list[str] = [
        tag("header", tag("h1", "Predicted studies"), tag("p", f"{title}, {failed}.", class_="lead")),
        tag("p", NOT_A_DEVICE, class_="notice", role="note"),
        section("Studies", _studies(rows), name="studies"),
    ]
    if failures:
        reasons = [[failure.name, failure.reason] for failure in failures]
        body.append(section("Failed", table("No report was written.", ["Study", "Reason"], reasons), name="failed"))
    write_text_atomic(folder / INDEX, page("Predicted studies", *body))
    _write_csv(
        folder / STUDIES,
        [own.name for own in fields(IndexRow)],
        [_values(row) for row in rows],
    )
    _write_csv(folder / FAILURES, ("name", "reason"), [[failure.name, failure.reason] for failure in failures])
    return folder / INDEX, folder / STUDIES, folder / FAILURES


def _studies(rows: Sequence[IndexRow]) -> Markup:
    if not rows:
        return tag("p", "No study was reported.")
    titles = ("Study", "Lesions", "Largest, mm", "T by size", "Stage groups", "Confidence", "Malignancy", "Warnings")
    body: list[list[str]] = [
        [
            tag("a", row.name, href=quote(str(PurePosixPath(row.report)))),
            str(row.lesions),
            length(row.largest_mm),
            NONE if row.t_at_least is None else tag("span", f"at least {row.t_at_least}", class_="whole"),
            _groups(row),
            NONE if row.confidence is None else sure(row.confidence),
            chance(row.malignancy),
            str(row.warnings),
        ]
        for row in rows
    ]
    caption = (
        "Largest: the longest diameter in three dimensions. T by size: of the primary tumour, else of the largest "
        "nodule, if that is the tumour. Malignancy: the highest of all lesions. Without a confidence none is claimed "
        "for the stage groups."
    )
    return table(caption, list(titles), body, numbers=frozenset({1, 2, 5, 6, 7}))


def _groups(row: IndexRow) -> str:
    if set(row.groups).issuperset(groups(row.edition)):
        return f"every one of the {row.edition}th edition"
    return ", ".join(row.groups) or NONE


def _values(row: IndexRow) -> list[str]:
    """A row for programs: groups with blanks between them; what is not known is left empty."""
    values = {
        **asdict(row),
        "largest_mm": "" if row.largest_mm is None else f"{row.largest_mm:.3f}",
        "groups": " ".join(row.groups),
        "malignancy": "" if row.malignancy is None else f"{row.malignancy:.4f}",
    }
    return ["" if value is None else str(value) for value in values.values()]


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
