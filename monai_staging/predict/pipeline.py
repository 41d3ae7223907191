"""The whole way of a study: detection, outlines, malignancy, sizes, stage."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from monai_staging.cohort.dicom.objects import make_uid
from monai_staging.cohort.lesions import paint
from monai_staging.cohort.nodules.cut import index_of
from monai_staging.cohort.volume import Volume
from monai_staging.detection.detections import Detections
from monai_staging.detection.operating_points import OperatingPoints
from monai_staging.errors import DataError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.networks.folding import fold_norms
from monai_staging.outputs.dicom_sources import lesion_uid
from monai_staging.outputs.findings import Algorithm
from monai_staging.outputs.reported import ReportedStudy
from monai_staging.predict.combine import OutlinedLesion, combine, order_lesions, too_uncertain
from monai_staging.predict.models import STEPS, LoadedModel
from monai_staging.predict.nodules import NoduleClassifier
from monai_staging.predict.outliner import LesionOutliner, without_repeats
from monai_staging.predict.stager import Stager, one_case_cohort
from monai_staging.predict.stages import StageReader
from monai_staging.predict.study import Study
from monai_staging.transforms.lung_mask import lung_bound
from monai_staging.version import __version__
from monai_staging.workflows.configured import ConfiguredBundle
from monai_staging.workflows.lesion_window import box_at

T = TypeVar("T")

NAME = "monai_staging predict"
POINTS = "operating_points.json"
LISTED = 5
"""Places without an outline that a warning names; all are among the detections."""
PRIMARY_POINT = "2 fp/scan"
"""A primary tumour has the score of this operating point at the least: no stage rests on what scans without a lesion
are full of."""
MOST = 20
"""Lesions of a study: a detector that finds more than this has not understood the scan."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in a study.

    Attributes:
        reported: all that a report is made of.
        detections: every box of the detector above the operating point's score, the surest first.
        unoutlined: places of those in which nothing was outlined.
    """

    reported: ReportedStudy
    detections: Detections
    unoutlined: tuple[int, ...]


@dataclass
class Predictor:
    """All steps with their networks, loaded once for any number of studies.

    Args:
        models: by step, see :data:`monai_staging.predict.models.STEPS`.
        point: operating point of the detector: detections count from its score on.
        device: where the networks run.
        say: told of each step as it begins.
    """

    models: Mapping[str, LoadedModel]
    point: str = "8 fp/scan"
    device: str | torch.device = "cpu"
    say: Callable[[str], None] = lambda step: None
    _seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [name for name in STEPS if name not in self.models]
        if missing:
            raise DataError(f"Predict: a model for each of {', '.join(STEPS)} is needed; found none for {missing[0]}.")
        detection = self.models["detection"]
        self.points = OperatingPoints.load(detection.folder / POINTS)
        self.threshold = self.points.threshold(self.point)
        self.sure = self.points.threshold(PRIMARY_POINT)
        self.detector = self._built("detection", lambda bundle: bundle.part("scanner"))
        self.outliner = self._built("segmentation", self._outliner)
        self.classifier = self._built("malignancy", NoduleClassifier)
        self.stager = self._built("staging", Stager)
        self.reader = StageReader.beside(self.models["staging"])
        self.algorithm = Algorithm(NAME, __version__, tuple(own for name in STEPS for own in self.models[name].models))

    def __call__(self, study: Study, at_mm: Sequence[tuple[float, float, float]] = ()) -> Prediction:
        """What is found in a study.

        Args:
            study: the scan.
            at_mm: places (RAS mm) at which a reader sees a lesion, besides those that are detected.

        Raises:
            DataError: there are no lungs in it, or a place lies outside the scan.
        """
        self._seconds = {}
        volume = study.volume
        seen = _boxes_at(volume, at_mm)
        with self._step("lungs"):
            try:
                lungs = lung_bound(volume.array, volume.affine)
            except DataError as error:
                raise DataError(f"{study.name}: {error}") from None
        with self._step("detection"):
            found = self.detector.detect(volume, study.name).at_least(self.threshold)
            order = np.argsort(-found.scores, kind="stable")
            detections = found.rows(order)
        with self._step("segmentation"):
            boxes = np.concatenate([seen, detections.boxes_mm])
            scores = [None] * len(seen) + detections.scores.tolist()
            parts = self.outliner(volume, boxes, lungs.box_mm)
            kept, repeats = without_repeats(parts)
            for place, first in repeats.items():
                if scores[first] is None:  # what a reader saw was detected too
                    boxes[first], scores[first] = boxes[place], scores[place]
            outlined = [part for place in kept if (part := parts[place]) is not None]
        with self._step("malignancy"):
            chances = self.classifier(volume, outlined)
        with self._step("staging"), tempfile.TemporaryDirectory(prefix="monai-staging-") as folder:
            learned = self.stager(one_case_cohort(Path(folder), volume, study.name, self.stager.edition))
            sets = self.reader(learned, study.phantom)
        with self._step("measurement"):
            lesions = order_lesions(
                [
                    OutlinedLesion(part, boxes[place], score, chance, score >= self.sure)
                    if (score := scores[place]) is not None
                    else OutlinedLesion(part, None, None, chance)
                    for part, place, chance in zip(outlined, kept, chances, strict=True)
                ]
            )
            uids = [self._uid(study, label) for label in range(1, len(lesions) + 1)]
            findings, warnings = combine(volume, lesions, uids, sets, lungs.box_mm, self.algorithm, learned.edition)
        unoutlined = tuple(place for place, part in enumerate(parts) if part is None)
        detected = tuple(place - len(seen) for place in unoutlined if place >= len(seen))
        reported = ReportedStudy(
            name=study.name,
            volume=volume,
            mask=paint([lesion.part for lesion in lesions], volume.shape),
            findings=findings,
            boxes_mm=tuple(lesion.box_mm for lesion in lesions),
            scan=study.facts,
            letter_sets=sets.letter_sets,
            attention=learned.attention,
            calibration=(*self._detection_statement(), *self.reader.statement(study.phantom)),
            warnings=(
                *warnings,
                *(f"Nothing was outlined {_where(at_mm[place])}." for place in unoutlined if place < len(seen)),
                *too_uncertain(lesions, f"{self.sure:.2f} ({PRIMARY_POINT})"),
                *self._warnings(len(lesions), detections, detected),
            ),
            seconds=dict(self._seconds),
        )
        return Prediction(reported, detections, detected)

    def _built(self, name: str, build: Callable[[ConfiguredBundle], T]) -> T:
        """What a step works with, its weights loaded."""
        try:
            return build(self.models[name].bundle)
        except DataError as error:
            # torch lists every tensor that does not fit, a line each.
            reason = str(error).splitlines()[0].rstrip(".:")
            raise DataError(f"{name.capitalize()}: {reason}. Train some: {self.models[name].training}") from None

    def _outliner(self, bundle: ConfiguredBundle) -> LesionOutliner:
        network = fold_norms(bundle.part("net").eval())
        return LesionOutliner(network, bundle.part("views"), bundle.part("parts"), self.device, bundle.part("amp"))

    def _uid(self, study: Study, label: int) -> str:
        if study.sources is not None:
            return lesion_uid(study.sources, self.algorithm, label)
        return make_uid(NAME, study.name, repr(self.algorithm), label)

    def _detection_statement(self) -> tuple[str, ...]:
        points, rate = self.points, self.point.split(" ", maxsplit=1)[0]
        return (
            f"Detection: scores from {self.threshold:.2f} on count, with at most {rate} false positives a scan in "
            f"{points.scans} scans with {points.lesions} lesions ({points.chosen_on}).",
        )

    def _warnings(self, lesions: int, detections: Detections, unoutlined: tuple[int, ...]) -> list[str]:
        warnings = []
        if unoutlined:
            shown = [
                f"score {detections.scores[place]:.2f} {_where(detections.centers_mm[place])}"
                for place in unoutlined[:LISTED]
            ]
            if len(unoutlined) > LISTED:
                shown.append(f"and {len(unoutlined) - LISTED} of lower scores")
            warnings.append(f"Detected without an outline, and so not among the lesions: {'; '.join(shown)}.")
        if lesions > MOST:
            warnings.append(
                f"{lesions} lesions were found, more than {MOST}: the detector is not made for such a scan."
            )
        for name in STEPS:
            learned_from = self.models[name].learned_from
            if "phantom" in learned_from:
                warnings.append(f"The {name} weights have learned from {learned_from}: of patients they know nothing.")
        return warnings

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self.say(name)
        start = time.monotonic()
        yield
        self._seconds[name] = time.monotonic() - start


def _boxes_at(volume: Volume, at_mm: Sequence[tuple[float, float, float]]) -> FloatArray:
    """A box around each place, (N, 6) corners in RAS mm."""
    points = np.asarray(at_mm, dtype=np.float64).reshape(-1, 3)
    for point in points:
        index = index_of(volume, point.tolist())
        if (index < -0.5).any() or (index > np.asarray(volume.shape) - 0.5).any():
            raise DataError(f"A place must lie in the scan; found one {_where(point)}.")
    return np.array([box_at([point]) for point in points.tolist()]).reshape(-1, 6)


def _where(point_mm: Sequence[float] | FloatArray) -> str:
    x, y, z = (float(value) for value in point_mm)
    return f"at x {x:.0f}, y {y:.0f}, z {z:.0f} mm (RAS)"
