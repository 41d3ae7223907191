"""What the server's tasks share: the networks of ``monai-staging predict``, and the studies opened last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from monai_staging.detection.detections import Detections
from monai_staging.errors import DataError, UsageError
from monai_staging.label.looks import Looker
from monai_staging.label.orders import STEP
from monai_staging.label.trainings import RUNS, Trainings
from monai_staging.metrics.intervals import FloatArray
from monai_staging.predict.combine import MALIGNANT, OutlinedLesion
from monai_staging.predict.models import STEPS, LoadedModel, load_model
from monai_staging.predict.pipeline import Predictor, lungs_box
from monai_staging.predict.study import Study, open_study

OPEN = 2
"""Studies kept in memory: an annotator asks one study several times, and goes on to the next."""
LOOKS = ".looks"
"""Folder within the studies' of what the staging network saw in each; derived, and may be deleted at any time."""


@dataclass(frozen=True)
class Settings:
    """What ``--conf KEY VALUE`` can set.

    Attributes:
        weights: by step, see :func:`monai_staging.predict.models.load_model`.
        point: the detector's operating point.
        device: where the networks run; ``auto`` for a GPU if there is one.
        runs: folder in which trainings are kept.
    """

    weights: Mapping[str, str]
    point: str = Predictor.point
    device: str = "auto"
    runs: str = RUNS

    @classmethod
    def of(cls, conf: Mapping[str, str]) -> Settings:
        """The settings that pairs of key and value mean.

        Raises:
            UsageError: a key is not known.
        """
        unknown = sorted(set(conf) - {*STEPS, "point", "device", "runs"})
        if unknown:
            raise UsageError(f"--conf has the keys {', '.join(STEPS)}, point, device and runs; found {unknown[0]!r}")
        weights = {name: conf[name] for name in STEPS if name in conf}
        return cls(weights, **{name: conf[name] for name in ("point", "device", "runs") if name in conf})


class OpenStudy:
    """A study, and what was found in it: the second task that asks for it does not wait.

    Args:
        pieces: whose networks look at it.
        study: as it was read.
    """

    def __init__(self, pieces: Pieces, study: Study) -> None:
        self.pieces = pieces
        self.study = study

    @cached_property
    def lungs_mm(self) -> FloatArray:
        """The box of its lungs, (2, 3), RAS mm."""
        return lungs_box(self.study)

    @cached_property
    def lesions(self) -> list[tuple[OutlinedLesion, str]]:
        """Its lesions with their kinds, in the order of ``monai-staging predict``."""
        predictor = self.pieces.predictor
        found = predictor.find(self.study)
        self.detections = found.detections
        return [
            (lesion, "primary" if place == 0 and lesion.malignancy >= MALIGNANT else "nodule")
            for place, lesion in enumerate(predictor.classify(self.study, found))
        ]

    @cached_property
    def detections(self) -> Detections:
        """The detector's boxes, the surest first."""
        return self.pieces.predictor.detect(self.study)


class Pieces:
    """Networks, loaded when one is first asked, and open studies. What uses either holds ``lock``.

    Args:
        settings: which weights, and where they run.
        studies: the folder of the studies, in which is kept what the networks saw of each.
    """

    def __init__(self, settings: Settings, studies: Path) -> None:
        self.settings = settings
        self.studies = studies
        self.trainings = Trainings(studies, Path(settings.runs).resolve())
        self._taken: dict[str, Path] = {}
        # A network's bundle is run by replacing parts of it: by one request at a time.
        self.lock = threading.RLock()
        self._open: OrderedDict[tuple[Path, int], OpenStudy] = OrderedDict()

    @property
    def device(self) -> str:
        """Where the networks run."""
        asked = self.settings.device
        return asked if asked != "auto" else "cuda:0" if torch.cuda.is_available() else "cpu"

    @cached_property
    def predictor(self) -> Predictor:
        """All steps with their networks."""
        return Predictor({name: self._load(name) for name in STEPS}, self.settings.point, self.device)

    def weights(self, name: str) -> Path:
        """The weights of a step's network that answers."""
        with self.lock:
            return self.predictor.models[name].bundle.weights

    def take(self, name: str, weights: Path) -> None:
        """Answers with other weights of a step's network from now on.

        Raises:
            DataError: they do not fit; the ones before go on answering.
        """
        with self.lock:
            before = dict(self._taken)
            self._taken[name] = weights
            try:
                self.predictor = Predictor({own: self._load(own) for own in STEPS}, self.settings.point, self.device)
            except DataError:
                self._taken = before
                raise
            # What was found in a study was found with the weights before.
            self._open.clear()

    @cached_property
    def looker(self) -> Looker:
        """The staging network that strategies ask, apart from the one that answers."""
        return Looker(self._load("staging"), self.studies / LOOKS)

    def open(self, path: Path) -> OpenStudy:
        """The study at a path, read again only when it has changed.

        Raises:
            DataError: it cannot be trusted.
        """
        key = (path, path.stat().st_mtime_ns)
        if key not in self._open:
            self._open[key] = OpenStudy(self, open_study(path, watch=iter))
        self._open.move_to_end(key)
        while len(self._open) > OPEN:
            self._open.popitem(last=False)
        return self._open[key]

    def _load(self, name: str) -> LoadedModel:
        source = self._taken.get(name) or self.settings.weights.get(name)
        if source is None and name == STEP:
            source = self.trainings.served()
        return load_model(name, None if source is None else str(source), self.device)
