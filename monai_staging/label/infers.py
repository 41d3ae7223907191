"""What the server infers: each task is one of the bundles' answers in the form that viewers of MONAI Label take.

A task is called with the request that the app has prepared: ``study`` is the path of the study, and the client's own
parameters are beside it. It returns a file that the caller deletes, or ``None``, and a document.
"""

from __future__ import annotations

import json
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.case import LESION_KINDS
from monai_staging.cohort.lesions import Part
from monai_staging.errors import UsageError
from monai_staging.label.click import outline_clicked, read_clicks
from monai_staging.label.kinds import KINDS, write_labels
from monai_staging.label.markups import roi_document
from monai_staging.label.pieces import OpenStudy, Pieces
from monai_staging.label.upstream import InferTask, InferType
from monai_staging.outputs.reported import NOT_A_DEVICE
from monai_staging.predict.study import Study
from monai_staging.tnm.categories import LETTERS

Answer = tuple[str | None, dict[str, Any]]


class StudyTask(InferTask):
    """A task on one study.

    Args:
        pieces: networks and studies, shared by all tasks.
    """

    type_: InferType
    description_: str
    labels_: Mapping[str, int] | Sequence[str] = ()
    file = False
    """Whether its answer has a file."""
    mask = False
    """Whether that is a label map."""

    def __init__(self, pieces: Pieces) -> None:
        super().__init__(self.type_, self.labels_, 3, self.description_)
        self.pieces = pieces

    def is_valid(self) -> bool:
        """Whether it can be asked: always."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """The answer for the request's study.

        Raises:
            UsageError: the request lacks what the task needs.
            DataError: the study cannot be used.
        """
        with self.pieces.lock:
            opened = self.pieces.open(Path(request["study"]))
            file, document = self.answer(opened, request)
        return file, {**document, "study": opened.study.name, "notice": NOT_A_DEVICE}

    @abstractmethod
    def answer(self, opened: OpenStudy, request: Mapping[str, Any]) -> Answer:
        """File and document; what is common to all tasks is added to the latter."""


class Tumour(StudyTask):
    """Lesions as a label map."""

    type_ = InferType.SEGMENTATION
    description_ = "Lesions: detected, outlined, the presumed primary tumour told from other nodules"
    labels_ = KINDS
    file = mask = True

    def answer(self, opened: OpenStudy, request: Mapping[str, Any]) -> Answer:
        """The label map, and each lesion."""
        document = {"label_names": KINDS, "lesions": lesion_documents(opened)}
        return label_map(opened.study, [(lesion.part, kind) for lesion, kind in opened.lesions]), document


class Detection(StudyTask):
    """Candidates as boxes."""

    type_ = InferType.DETECTION
    description_ = "Candidates for nodules as boxes (ROI markups of 3D Slicer)"
    labels_ = ("nodule",)
    file = True

    def answer(self, opened: OpenStudy, request: Mapping[str, Any]) -> Answer:
        """Markups, and each box with its score."""
        found = opened.detections
        names = [f"candidate {number} ({score:.2f})" for number, score in enumerate(found.scores, start=1)]
        markups = roi_document(found.boxes_mm, names, self.pieces.settings.point)
        with open(_temporary(".json"), "w", encoding="utf-8") as file:
            json.dump(markups, file, allow_nan=False)
        boxes = [
            {"box_mm": [round(float(edge), 3) for edge in box], "score": float(score)}
            for box, score in zip(found.boxes_mm, found.scores, strict=True)
        ]
        return file.name, {"coordinates": "RAS mm", "point": self.pieces.settings.point, "boxes": boxes}


class Staging(StudyTask):
    """T, N and M as probabilities."""

    type_ = InferType.CLASSIFICATION
    description_ = "T, N and M of the whole scan as probabilities, with where the network looked"

    def answer(self, opened: OpenStudy, request: Mapping[str, Any]) -> Answer:
        """No file; ``prediction`` as viewers show it, and all that is known of each letter."""
        predictor = self.pieces.predictor
        learned, sets = predictor.stage(opened.study)
        document: dict[str, Any] = {
            "prediction": _ranked(
                {name: own for letter in LETTERS for name, own in sets.probabilities[letter].items()}
            ),
            "edition": learned.edition,
            "groups": dict(sets.groups),
            "sets": {**{letter: list(own) for letter, own in sets.letter_sets.items()}, "group": list(sets.group_set)},
            "confidence": sets.confidence,
            "calibration": list(predictor.reader.statement(opened.study.phantom)),
            "attention": {
                "z_mm": learned.attention.z_mm.tolist(),
                "weights": {letter: own.tolist() for letter, own in learned.attention.weights.items()},
            },
        }
        return None, document | {letter: dict(sets.probabilities[letter]) for letter in LETTERS}


class Malignancy(StudyTask):
    """Whether the lesions of a scan are malignant."""

    type_ = InferType.CLASSIFICATION
    description_ = "The probability that each lesion found is malignant; of the scan, that of the surest one"
    labels_ = ("malignant",)

    def answer(self, opened: OpenStudy, request: Mapping[str, Any]) -> Answer:
        """No file; the scan's probability, and each lesion with its own."""
        surest = max((lesion.malignancy for lesion, _ in opened.lesions), default=0.0)
        return None, {"prediction": _ranked({"malignant": surest}), "lesions": lesion_documents(opened)}


class OutlineClick(StudyTask):
    """The lesion that an annotator points at."""

    type_ = InferType.DEEPGROW
    description_ = "The outline of the lesion that is clicked on: foreground and background points [i, j, k]"
    file = mask = True

    def answer(self, opened: OpenStudy, request: Mapping[str, Any]) -> Answer:
        """A label map of 1 where the lesion is; empty where nothing is found."""
        volume = opened.study.volume
        clicks = {what: read_clicks(request.get(what), what, volume.shape) for what in ("foreground", "background")}
        if not clicks["foreground"]:
            raise UsageError("outline_click: at least one point [i, j, k] is needed in params.foreground; found none.")
        part = outline_clicked(self.pieces.predictor.outliner, volume, opened.lungs_mm, **clicks)
        found = [] if part is None else [(part, LESION_KINDS[0])]
        return label_map(opened.study, found), {**clicks, "voxels": 0 if part is None else part.voxels}


TASKS: dict[str, type[StudyTask]] = {
    "tumour": Tumour,
    "detection": Detection,
    "staging": Staging,
    "malignancy": Malignancy,
    "outline_click": OutlineClick,
}
"""By the name that clients ask for."""


def lesion_documents(opened: OpenStudy) -> list[dict[str, Any]]:
    """The lesions of a study as values."""
    volume, documents = opened.study.volume, []
    for lesion, kind in opened.lesions:
        middle = np.argwhere(lesion.part.mask).mean(axis=0) + lesion.part.corner
        center = volume.affine[:3, :3] @ middle + volume.affine[:3, 3]
        documents.append(
            {
                "kind": kind,
                "center_mm": [round(float(own), 1) for own in center],
                "volume_mm3": lesion.part.voxels * float(np.prod(volume.spacing_mm)),
                "malignancy": lesion.malignancy,
                "score": lesion.score,
            }
        )
    return documents


def label_map(study: Study, parts: Sequence[tuple[Part, str]]) -> str:
    """A label map on the scan's voxels as a temporary ``.nii.gz``; where two parts overlap, the smaller one shows."""
    labels: npt.NDArray[np.uint8] = np.zeros(study.volume.shape, dtype=np.uint8, order="F")
    for part, kind in sorted(parts, key=lambda own: -own[0].voxels):
        labels[part.box][part.mask] = KINDS[kind]
    path = _temporary(".nii.gz")
    write_labels(Path(path), labels, study.volume.affine)
    return path


def _ranked(chances: Mapping[str, float]) -> list[dict[str, Any]]:
    """As MONAI Label's own classifiers answer."""
    return [
        {"idx": number, "label": name, "score": float(chance)} for number, (name, chance) in enumerate(chances.items())
    ]


def _temporary(ending: str) -> str:
    with tempfile.NamedTemporaryFile(prefix="monai-staging-", suffix=ending, delete=False) as file:
        return file.name
