"""Which CT series of a study is looked at, by rules that are said with the choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.dicom import Scan, Series, SeriesRefused
from monai_staging.cohort.dicom.geometry import lay_out
from monai_staging.cohort.dicom.series import series_positions
from monai_staging.errors import DataError, UsageError

LEAST_MM = 120.0
"""Lungs of an adult are longer: what is shorter shows a part of a chest."""
THICKEST_MM = 6.0
"""Slices further apart than this miss the nodules that staging begins with."""
SAME_MM = 0.25
"""Slices whose distances differ by less are alike: then the larger series is taken."""
AXIAL = 0.94
"""Cosine of the angle (20 degrees) between the slices' normal and the patient's long axis."""
RULES = (
    "CT images that can be read without guessing",
    f"slices within 20 degrees of axial, at most {THICKEST_MM:g} mm apart, over {LEAST_MM:g} mm or more",
    "the smallest distance of slices, of those alike the most slices, of those the first by SeriesInstanceUID",
)
"""How a series is chosen, in this order."""


@dataclass(frozen=True)
class Candidate:
    """A CT series with what it is chosen by.

    Attributes:
        series: as it was scanned.
        slices: how many.
        spacing_mm: between slices.
        length_mm: over all slices.
    """

    series: Series
    slices: int
    spacing_mm: float
    length_mm: float

    def __str__(self) -> str:
        return f"{self.slices} slices {self.spacing_mm:.3g} mm apart"


@dataclass(frozen=True)
class Choice:
    """The series that is looked at, and why, a sentence without identity."""

    series: Series
    reason: str


def choose_series(found: Scan, whose: str, uid: str | None = None) -> Choice:
    """The series of a study to be looked at.

    Args:
        found: all of a folder, of one patient's one study.
        whose: what the folder is called in messages.
        uid: the SeriesInstanceUID to take, whatever the rules say but those of reading.

    Raises:
        UsageError: no series of that UID.
        DataError: nothing in the folder, several patients or studies, no CT, or none that can be used: each rule with
            the value found.
        SeriesRefused: the one that was asked for cannot be read.
    """
    if not len(found) and not found.rejections:
        raise DataError(f"{whose}: a DICOM study is needed; found {found.skipped} files, none of them DICOM.")
    if uid is not None:
        chosen = [series for series in found if series.series == uid]
        if not chosen:
            raise UsageError(
                f"{whose}: no series {uid}; found {', '.join(series.series for series in found) or 'none'}"
            )
        if chosen[0].modality != "CT":
            raise DataError(f"{whose}: a CT series is needed; found {chosen[0].modality} in {uid}.")
        return Choice(chosen[0], f"{_candidate(chosen[0])}; asked for by its UID")
    _check_one(found, whose)
    ct = [series for series in found if series.modality == "CT"]
    if not ct:
        held = sorted({series.modality or "no modality" for series in found})
        broken = found.rejections[0].found if found.rejections else ""
        raise DataError(f"{whose}: a CT series is needed; found {', '.join(held) or broken}.")
    usable, refused = _sorted_out(ct)
    if not usable:
        raise DataError(f"{whose}: no CT series can be used: {'; '.join(refused)}")
    best = _best(usable)
    return Choice(best.series, _reason(best, usable, refused))


def _check_one(found: Scan, whose: str) -> None:
    """Refuses several patients or studies: which of them is meant is not for us to guess."""
    for what, values in (
        ("patient", {series.patient for series in found}),
        ("study", {(series.patient, series.study) for series in found}),
    ):
        if len(values) > 1:
            plural = {"patient": "patients", "study": "studies"}[what]
            raise DataError(f"{whose}: one {what} is needed; found {len(values)} {plural}. Several: --batch.")


def _sorted_out(ct: Sequence[Series]) -> tuple[list[Candidate], list[str]]:
    """Those that the rules allow, and why the others are not among them."""
    usable, refused = [], []
    for series in ct:
        what = f"a series of {len(series.files)} files"
        try:
            own = _candidate(series)
            normal = _normal_z(series)
        except SeriesRefused as error:
            refused.append(f"{what}: {error.rule.value}, {error.found.rstrip('.')}")
            continue
        if normal < AXIAL:
            refused.append(f"{what}: slices are not axial (cosine {normal:.2f}, {AXIAL:g} needed)")
        elif own.spacing_mm > THICKEST_MM:
            refused.append(f"{what}: slices {own.spacing_mm:.3g} mm apart, at most {THICKEST_MM:g} mm are allowed")
        elif own.length_mm < LEAST_MM:
            refused.append(f"{what}: {own.length_mm:.0f} mm long, {LEAST_MM:g} mm are needed")
        else:
            usable.append(own)
    return usable, refused


def _candidate(series: Series) -> Candidate:
    count = len(series_positions(series))
    planes = [(index, plane) for index, header in enumerate(series.headers) for plane in header.planes]
    affine = lay_out(series.headers, planes).affine
    spacing_mm = float(np.linalg.norm(affine[:3, 2]))
    return Candidate(series, count, spacing_mm, count * spacing_mm)


def _normal_z(series: Series) -> float:
    """How far the slices' normal points along the patient's long axis: cosine, 0 to 1."""
    orientation = series.headers[0].planes[0].orientation
    assert orientation is not None  # the geometry was laid out
    across = np.cross(orientation[:3], orientation[3:])
    return float(abs(across[2]) / np.linalg.norm(across))


def _best(usable: Iterable[Candidate]) -> Candidate:
    thinnest = min(own.spacing_mm for own in usable)
    alike = [own for own in usable if own.spacing_mm < thinnest + SAME_MM]
    return min(alike, key=lambda own: (-own.slices, own.series.series))


def _reason(best: Candidate, usable: Sequence[Candidate], refused: Sequence[str]) -> str:
    count = len(usable) + len(refused)
    if count == 1:
        return f"{best}; the only CT series"
    kinds = f", {len(refused)} of which cannot be used" if refused else ""
    return f"{best}; of {count} CT series{kinds}, the one with the smallest distance of slices, then with the most"
