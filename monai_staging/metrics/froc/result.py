"""FROC with intervals: the seven sensitivities of LUNA16 and their mean, the competition performance metric (CPM)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.froc.curve import Events, FrocCurve, froc_curve, resampled_sensitivity
from monai_staging.metrics.froc.findings import Findings, Marks
from monai_staging.metrics.froc.matching import Matches, match
from monai_staging.metrics.intervals import Estimate, FloatArray, percentile_interval, resample

POINTS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which LUNA16 reads the curve (Niemeijer et al., IEEE TMI 30(2), 2011)."""

_BETWEEN = 16
"""Points of the band from one doubling of the false positives to the next."""


@dataclass(frozen=True, eq=False)
class FrocBand:
    """The curve with its interval at false positive rates that are even on a logarithmic axis, for a figure.

    Attributes:
        false_positives_per_scan: (G) from 1/8 to 8.
        sensitivity, low, high: (G) of the curve, and the ends of its pointwise interval (NaN without resamples).
    """

    false_positives_per_scan: FloatArray
    sensitivity: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class FrocResult:
    """What :func:`froc` found.

    Attributes:
        scans: how many scans were searched.
        lesions: how many there are to find.
        detected: how many of them any mark hits.
        sensitivity: (7) at :data:`POINTS`, with the interval; ``n`` is the number of units that were resampled.
        cpm: their mean.
        unit: what was resampled, ``"patient"`` or ``"scan"``.
        curve: every point of the curve.
        band: the curve with its interval, for a figure.
        matches: scores of the lesions, false positives, and what was ignored.
        strata: the same for the lesions of each stratum, by its name; numbers in front, ascending.
    """

    scans: int
    lesions: int
    detected: int
    sensitivity: tuple[Estimate, ...]
    cpm: Estimate
    unit: str
    curve: FrocCurve
    band: FrocBand
    matches: Matches
    strata: Mapping[str, FrocResult] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document of ``monai-staging froc --json``; what is undefined is null. ``strata`` only where asked for."""
        points = [estimate.to_json() for estimate in self.sensitivity]
        cpm = self.cpm.to_json()
        document: dict[str, Any] = {
            "scans": self.scans,
            "lesions": self.lesions,
            "detected": self.detected,
            "false_positives_per_scan": list(POINTS),
            "sensitivity": [point["value"] for point in points],
            "low": [point["low"] for point in points],
            "high": [point["high"] for point in points],
            "cpm": cpm["value"],
            "cpm_low": cpm["low"],
            "cpm_high": cpm["high"],
        }
        if self.strata:
            document["strata"] = {name: stratum.to_json() for name, stratum in self.strata.items()}
        return document


def froc(
    lesions: Findings,
    marks: Marks,
    scans: Sequence[str],
    *,
    excluded: Findings | None = None,
    patients: Mapping[str, str] | None = None,
    strata: Sequence[str] | None = None,
    max_marks: int | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> FrocResult:
    """FROC analysis by the rules of LUNA16, with percentile intervals over resampled patients or scans.

    Which marks hit is said in :mod:`monai_staging.metrics.froc.matching`, how the curve is read in
    :mod:`monai_staging.metrics.froc.curve`. A resample draws units with all their scans, lesions and marks; like the
    challenge's script, but with the patients as units where they are known. The end of an interval is a quantile with
    linear interpolation, the challenge's the resampled value next to it.

    In a stratum only its own lesions are to be found; marks on those of other strata count neither way, and the false
    positives are all there are.

    Args:
        lesions: what is to be found, centres in millimetres.
        marks: in the same frame as the lesions: both LPS, as in LUNA16's files, or both RAS.
        scans: every scan that was searched, also those without lesion or mark.
        excluded: findings that count neither way.
        patients: scan to patient, every scan; the scans themselves are resampled without.
        strata: (lesions) the stratum of each.
        max_marks: how many marks a scan may have, the surest first (LUNA16's script: 100); no limit by default.
        n_boot: how many resamples; 0 for no intervals.
        seed: of the resampling.
        level: of the intervals.

    Raises:
        DataError: there is no lesion; a scan is listed twice, is not listed or has no patient; a number is not finite.
        UsageError: lengths differ, or ``max_marks``, ``n_boot``, ``seed`` or ``level`` is out of range.
    """
    if n_boot < 0 or seed < 0:
        raise UsageError(f"The number of resamples and the seed are at least 0, got {n_boot} and {seed}.")
    if strata is not None and len(strata) != len(lesions):
        raise UsageError(f"A stratum a lesion: got {len(strata)} strata for {len(lesions)} lesions.")
    if not len(lesions):
        raise DataError(f"FROC needs at least 1 lesion, found 0 in {len(scans)} scans.")
    matches = match(lesions, marks, scans, excluded=excluded, max_marks=max_marks)
    units = _units(scans, patients)
    weights = resample(units, n_boot, seed).weights if n_boot else np.zeros((0, len(scans)))
    shared = (weights, len(set(units)), "scan" if patients is None else "patient", level)
    names = np.array([] if strata is None else strata, dtype=object)
    own = {name: _evaluate(matches, names == name, {}, *shared) for name in sorted(set(names), key=_by_number)}
    return _evaluate(matches, np.ones(len(lesions), dtype=bool), own, *shared)


def _by_number(name: str) -> tuple[float, str]:
    """Where a stratum stands: by the number that its name begins with, then those without one by name."""
    number = re.match(r"[-+]?\d+(\.\d+)?", name)
    return (float(number[0]) if number else math.inf, name)


def _units(scans: Sequence[str], patients: Mapping[str, str] | None) -> list[str]:
    if patients is None:
        return list(scans)
    without = [scan for scan in scans if scan not in patients]
    if without:
        raise DataError(
            f"Scan {without[0]}: where patients are given, every scan has one; "
            f"{len(without)} of {len(scans)} have none."
        )
    return [patients[scan] for scan in scans]


def _evaluate(
    matches: Matches,
    chosen: np.ndarray[Any, np.dtype[np.bool_]],
    strata: Mapping[str, FrocResult],
    weights: FloatArray,
    units: int,
    unit: str,
    level: float,
) -> FrocResult:
    events = Events.of(matches, chosen)
    curve = froc_curve(events)
    # The seven points are every 16th of the band's.
    points = slice(None, None, _BETWEEN)
    grid = np.exp2(np.arange(-3 * _BETWEEN, 3 * _BETWEEN + 1) / _BETWEEN)
    grid[points] = POINTS
    values = curve.sensitivity_at(grid)
    resampled = resampled_sensitivity(events, weights, grid)
    ends = np.array([percentile_interval(column, level) for column in resampled.T])
    band = FrocBand(grid, values, ends[:, 0], ends[:, 1])
    estimates = tuple(
        Estimate(float(value), float(low), float(high), units)
        for value, (low, high) in zip(values[points], ends[points], strict=True)
    )
    mean = Estimate(
        float(values[points].mean()), *percentile_interval(resampled[:, points].mean(axis=1), level), n=units
    )
    return FrocResult(
        scans=matches.scans,
        lesions=int(chosen.sum()),
        detected=int((chosen & matches.detected).sum()),
        sensitivity=estimates,
        cpm=mean,
        unit=unit,
        curve=curve,
        band=band,
        matches=matches,
        strata=strata,
    )
