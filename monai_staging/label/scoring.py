"""Labels of a data store beside each other: two annotators of the same studies, or a model and the final label."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom import scan
from monai_staging.cohort.lesions import part_of_mask
from monai_staging.cohort.privacy import case_name
from monai_staging.errors import DataError, UsageError
from monai_staging.label.datastore import FINAL, IMAGES, StudyDatastore
from monai_staging.label.kinds import KINDS
from monai_staging.label.names import check_tag
from monai_staging.label.trainings import Trainings
from monai_staging.measure.images import Image, check_same_grid, read_image
from monai_staging.metrics.segmentation import dice, hausdorff_mm, mean_estimate, surface_dice
from monai_staging.predict.choice import choose_series

MODEL = "original"
"""Tag of a model's labels."""
METRICS = ("dice", "hd95_mm", "surface_dice")
_BY_CLIENT = ("client_id", "method", "name")
Pair = tuple[str, str]


@dataclass(frozen=True)
class Scorer:
    """Scores the labels of a data store.

    Attributes:
        store: that has them.
        trainings: whose key names patients.
    """

    store: StudyDatastore
    trainings: Trainings

    def score(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Scores of one method, study by study and as means with intervals over patients.

        Args:
            method: of :data:`METHODS`.
            params: ``tags``, the two to compare; without, the method's own.

        Raises:
            UsageError: the tags are none, or another parameter is given.
            DataError: no study has two label maps to compare.
        """
        labels = label_maps(self.store)
        pairs = METHODS[method](_tags(params), sorted({tag for own in labels.values() for tag in own}))
        found = [self._pair(pair, labels) for pair in pairs]
        if not any(own["studies"] for own in found):
            told = " or ".join(" and ".join(pair) for pair in pairs) or "two annotators"
            raise DataError(f"Scoring: a study with label maps of {told} is needed; found none.")
        return {"method": method, "pairs": [own for own in found if own["studies"]]}

    def _pair(self, pair: Pair, labels: Mapping[str, Mapping[str, Path]]) -> dict[str, Any]:
        both = [name for name, own in labels.items() if set(pair) <= set(own)]
        patients = [self._patient(name) for name in both]
        studies = []
        for name, patient in zip(both, patients, strict=True):
            first, second = (read_image(labels[name][tag]) for tag in pair)
            studies.append({"patient": patient, **label_scores(first, second)})
        means = {}
        for metric in METRICS if studies else ():
            values = np.array([study[metric] for study in studies], dtype=np.float64)
            means[metric] = mean_estimate(values, patients).to_json()
        told = [{key: _json(value) for key, value in study.items()} for study in studies]
        return {"tags": list(pair), "studies": told, "mean": means, "patients": len(set(patients))}

    def _patient(self, name: str) -> str:
        """Whose study it is, by a keyed hash: as in trainings and in MLflow."""
        source = self.store.source(name)
        if source.is_file():
            stated = self.store.get_image_info(name).get("patient")
            patient = stated if isinstance(stated, str) and stated.strip() else name
        else:
            patient = choose_series(scan(source, watch=iter), name).series.patient
        return case_name(patient, self.trainings.key)


def label_maps(store: StudyDatastore) -> dict[str, dict[str, Path]]:
    """The label maps of each study, by tag; labels that are markups are left out."""
    names = store.list_images()
    objects = store.json()["objects"]
    return {
        name: {
            tag: Path(store.get_label_uri(name, tag))
            for tag, label in objects[name]["labels"].items()
            if label["ext"] in IMAGES
        }
        for name in names
        if name in objects
    }


def annotators(asked: Pair | None, tags: Sequence[str]) -> list[Pair]:
    """Two annotators of the same studies: every two tags but the models' `original`, or the two that are asked for."""
    return [asked] if asked else list(combinations([tag for tag in tags if tag != MODEL], 2))


def model(asked: Pair | None, tags: Sequence[str]) -> list[Pair]:
    """A model's label, `original`, beside the final one; or two tags that are asked for, the model's first."""
    return [asked or (MODEL, FINAL)]


METHODS: dict[str, Callable[[Pair | None, Sequence[str]], list[Pair]]] = {"agreement": annotators, "model": model}
"""By the name that clients ask for: from the tags that are asked for, and those that there are, to pairs of them."""


def label_scores(first: Image, second: Image) -> dict[str, Any]:
    """How well two label maps of a study agree.

    Returns:
        Of all lesions together ``dice``, ``hd95_mm`` and ``surface_dice`` (2 mm), ``volumes_mm3`` of both, and
        ``kinds``, Dice of each kind that one of them has. NaN where something is undefined: nothing is marked in
        either, or, of a distance, in one.

    Raises:
        DataError: they are not on one grid.
    """
    check_same_grid(first, second)
    one, other = (image.read(image.whole) for image in (first, second))
    union = part_of_mask((one != 0) | (other != 0))
    spacing = np.linalg.norm(first.affine[:3, :3], axis=0).tolist()
    voxel_mm3 = float(abs(np.linalg.det(first.affine[:3, :3])))
    # What neither marks changes no score: a lesion costs a lesion, not a scan.
    box = (slice(0, 1),) * 3 if union is None else union.box
    one, other = one[box], other[box]
    masks = one != 0, other != 0
    return {
        "dice": dice(*masks),
        "hd95_mm": hausdorff_mm(*masks, spacing),
        "surface_dice": surface_dice(*masks, spacing),
        "volumes_mm3": [float(mask.sum() * voxel_mm3) for mask in masks],
        "kinds": {kind: score for kind, value in KINDS.items() if not math.isnan(score := _of_kind(one, other, value))},
    }


def _of_kind(one: npt.NDArray[Any], other: npt.NDArray[Any], value: int) -> float:
    return dice(np.asarray(one == value), np.asarray(other == value))


def _tags(params: Mapping[str, Any]) -> Pair | None:
    unknown = sorted(set(params) - {"tags", *_BY_CLIENT})
    if unknown:
        raise UsageError(f"Scoring: the one parameter is tags; found {unknown[0][:60]!r}.")
    tags = params.get("tags")
    if tags is None:
        return None
    if not isinstance(tags, list) or len(tags) != 2 or not all(isinstance(tag, str) for tag in tags):
        raise UsageError(f"Scoring: tags are two of those that labels are saved with; found {str(tags)[:60]}.")
    first, second = (check_tag(tag) for tag in tags)
    if first == second:
        raise UsageError(f"Scoring: two different tags are compared; found {first} twice.")
    return first, second


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
