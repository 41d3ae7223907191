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
from monai_staging.cohort.lesions import Part, paint
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
from monai_staging.predict.combine import OutlinedLesion, StageSets, combine, order_lesions, too_uncertain
from monai_staging.predict.models import STEPS, LoadedModel
from monai_staging.predict.nodules import NoduleClassifier
from monai_staging.predict.outliner import LesionOutliner, without_repeats
from monai_staging.predict.stager import LearnedStage, Stager, one_case_cohort
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


@dataclass(frozen=True, eq=False)
class FoundLesions:
    """What detector and outliner make of a scan.

    Attributes:
        lungs_mm: (2, 3), box of the lungs, RAS mm.
        detections: every box of the detector above the operating point's score, the surest first.
        boxes_mm: (N, 6) corners of the places that were looked at, those a reader saw first, then the detections'.
        scores: (N) of the detector; ``None`` where it found nothing.
        parts: (N) the outline at each place; ``None`` where there is none.
        kept: of the places those that are lesions of their own, one each.
    """

    lungs_mm: FloatArray
    detections: Detections
    boxes_mm: FloatArray
    scores: list[float | None]
    parts: list[Part | None]
    kept: list[int]

    @property
    def outlined(self) -> list[Part]:
        """The outline of each lesion, in the order of ``kept``."""
        return [part for place in self.kept if (part := self.parts[place]) is not None]


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
        found = self.find(study, at_mm)
        lesions = self.classify(study, found)
        learned, sets = self.stage(study)
        volume, seen = study.volume, len(at_mm)
        with self._step("measurement"):
            uids = [self._uid(study, label) for label in range(1, len(lesions) + 1)]
            findings, warnings = combine(volume, lesions, uids, sets, found.lungs_mm, self.algorithm, learned.edition)
        unoutlined = tuple(place for place, part in enumerate(found.parts) if part is None)
        detected = tuple(place - seen for place in unoutlined if place >= seen)
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
                *(f"Nothing was outlined {_where(at_mm[place])}." for place in unoutlined if place < seen),
                *too_uncertain(lesions, f"{self.sure:.2f} ({PRIMARY_POINT})"),
                *self._warnings(len(lesions), found.detections, detected, study.phantom),
            ),
            seconds=dict(self._seconds),
        )
        return Prediction(reported, found.detections, detected)

    def find(self, study: Study, at_mm: Sequence[tuple[float, float, float]] = ()) -> FoundLesions:
        """Detects lesions and outlines them.

        Args:
            study: the scan.
            at_mm: places (RAS mm) at which a reader sees a lesion, besides those that are detected.

        Raises:
            DataError: there are no lungs in it, or a place lies outside the scan.
        """
        volume = study.volume
        seen = _boxes_at(volume, at_mm)
        with self._step("lungs"):
            lungs_mm = lungs_box(study)
        with self._step("detection"):
            detections = self.detect(study)
        with self._step("segmentation"):
            boxes = np.concatenate([seen, detections.boxes_mm])
            scores = [None] * len(seen) + detections.scores.tolist()
            parts = self.outliner(volume, boxes, lungs_mm)
            kept, repeats = without_repeats(parts)
            for place, first in repeats.items():
                if scores[first] is None:  # what a reader saw was detected too
                    boxes[first], scores[first] = boxes[place], scores[place]
        return FoundLesions(lungs_mm, detections, boxes, scores, parts, kept)

    def detect(self, study: Study) -> Detections:
        """The detector's boxes above the operating point's score, the surest first."""
        found = self.detector.detect(study.volume, study.name).at_least(self.threshold)
        return found.rows(np.argsort(-found.scores, kind="stable"))

    def classify(self, study: Study, found: FoundLesions) -> list[OutlinedLesion]:
        """The lesions that were found, each with its probability of malignancy, in the order they are reported in."""
        with self._step("malignancy"):
            chances = self.classifier(study.volume, found.outlined)
        return order_lesions(
            [
                OutlinedLesion(part, found.boxes_mm[place], score, chance, score >= self.sure)
                if (score := found.scores[place]) is not None
                else OutlinedLesion(part, None, None, chance)
                for part, place, chance in zip(found.outlined, found.kept, chances, strict=True)
            ]
        )

    def stage(self, study: Study) -> tuple[LearnedStage, StageSets]:
        """T, N and M as the staging network has learned them, and as they are reported."""
        with self._step("staging"), tempfile.TemporaryDirectory(prefix="monai-staging-") as folder:
            learned = self.stager(one_case_cohort(Path(folder), study.volume, study.name, self.stager.edition))
            return learned, self.reader(learned, study.phantom)

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

    def _warnings(self, lesions: int, detections: Detections, unoutlined: tuple[int, ...], phantom: bool) -> list[str]:
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
            if "phantom" in learned_from and not phantom:
                warnings.append(f"The {name} weights have learned from {learned_from}: of patients they know nothing.")
        return warnings

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self.say(name)
        start = time.monotonic()
        yield
        self._seconds[name] = time.monotonic() - start


def lungs_box(study: Study) -> FloatArray:
    """The box of a scan's lungs, (2, 3), RAS mm.

    Raises:
        DataError: there are none in it.
    """
    try:
        return lung_bound(study.volume.array, study.volume.affine).box_mm
    except DataError as error:
        raise DataError(f"{study.name}: {error}") from None


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
