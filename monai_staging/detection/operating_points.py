"""Scores from which a detection counts, chosen at so many false positives a scan on a validation part."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_staging.detection.detections import Detections
from monai_staging.errors import DataError, UsageError
from monai_staging.files import write_json_atomic
from monai_staging.metrics.froc.result import POINTS, FrocResult


@dataclass(frozen=True)
class OperatingPoint:
    """A score to stop at.

    Attributes:
        name: ``"1/8 fp/scan"`` and so on to ``"8 fp/scan"``.
        false_positives_per_scan: at most so many, where it was chosen.
        threshold: a detection counts from this score on; infinity where even the surest ones are false too often.
        sensitivity: with this threshold, where it was chosen.
    """

    name: str
    false_positives_per_scan: float
    threshold: float
    sensitivity: float


@dataclass(frozen=True)
class OperatingPoints:
    """The operating points of a detector, and the scans that they were chosen on.

    Attributes:
        points: by ascending false positives.
        chosen_on: what these scans are: never those that the detector is judged by.
        scans: how many scans.
        lesions: how many lesions in them.
    """

    points: tuple[OperatingPoint, ...]
    chosen_on: str
    scans: int
    lesions: int

    @classmethod
    def choose(cls, result: FrocResult, chosen_on: str) -> OperatingPoints:
        """For each of LUNA16's seven rates the lowest score that has at most so many false positives a scan."""
        points = []
        for rate in POINTS:
            threshold = result.curve.threshold_at(rate)
            place = int((result.curve.thresholds == threshold).argmax())
            points.append(OperatingPoint(point_name(rate), rate, threshold, float(result.curve.sensitivity[place])))
        return cls(tuple(points), chosen_on, result.scans, result.lesions)

    def threshold(self, name: str) -> float:
        """Of the point of that name.

        Raises:
            UsageError: there is none.
        """
        for point in self.points:
            if point.name == name:
                return point.threshold
        names = ", ".join(point.name for point in self.points)
        raise UsageError(f"Operating point: one of {names} is needed, found {name!r}.")

    def apply(self, detections: Detections, name: str) -> Detections:
        """The detections that count at the point of that name.

        Raises:
            UsageError: there is none.
        """
        return detections.at_least(self.threshold(name))

    def to_json(self) -> dict[str, Any]:
        """The document of :meth:`save`; a threshold that nothing reaches is null."""
        return {
            "chosen_on": self.chosen_on,
            "scans": self.scans,
            "lesions": self.lesions,
            "points": {
                point.name: {
                    "false_positives_per_scan": point.false_positives_per_scan,
                    "threshold": point.threshold if math.isfinite(point.threshold) else None,
                    "sensitivity": point.sensitivity,
                }
                for point in self.points
            },
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes them as JSON."""
        write_json_atomic(path, self.to_json())
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> OperatingPoints:
        """Those that :meth:`save` wrote.

        Raises:
            DataError: the file cannot be read or holds something else.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            points = tuple(
                OperatingPoint(
                    name,
                    float(point["false_positives_per_scan"]),
                    math.inf if point["threshold"] is None else float(point["threshold"]),
                    float(point["sensitivity"]),
                )
                for name, point in document["points"].items()
            )
            return cls(points, str(document["chosen_on"]), int(document["scans"]), int(document["lesions"]))
        except OSError as error:
            raise DataError(f"Operating points {path}: cannot be read ({error.strerror}).") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"Operating points {path}: not a file of operating points ({error!r}).") from None


def point_name(false_positives_per_scan: float) -> str:
    """``"1/8 fp/scan"`` for .125, ``"2 fp/scan"`` for 2."""
    rate = false_positives_per_scan
    return f"{f'1/{round(1 / rate)}' if rate < 1 else f'{rate:g}'} fp/scan"
