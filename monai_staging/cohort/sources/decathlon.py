"""Medical Segmentation Decathlon, Task06_Lung (http://medicaldecathlon.com): chest CTs as NIfTI, tumours outlined.

``dataset.json`` lists 63 images of ``imagesTr``, each with its label in ``labelsTr`` (1 is cancer), and 32 of
``imagesTs``, whose labels were kept back. Nothing names a patient: the file's name stands for patient, study and
series, one scan a patient (Antonelli et al., Nature Communications 13:4128, 2022). Hidden files that the archive may
hold beside them (``._lung_001.nii.gz``) are no images.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from monai_staging.cohort.dicom import Rejection, Rule, Scan, Series
from monai_staging.cohort.lesions import components, lesion_of_part, paint
from monai_staging.cohort.sources.base import Annotation, Defaults, Plan, SourceOptions, build_plan
from monai_staging.cohort.sources.nifti_scans import nifti_series, read_label_map, read_scan, refused_annotation
from monai_staging.cohort.sources.regions import ANNOTATION_OF_ANOTHER_PATIENT, NO_LESION_REGION
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError

FOLDER = "Task06_Lung"
LISTING = "dataset.json"
MODALITY = {"0": "CT"}
LABELS = {"0": "background", "1": "cancer"}
UNLISTED_IMAGE = "unlisted-image"


@dataclass(frozen=True)
class Listed:
    """One image of ``dataset.json``, and its label where it has one."""

    image: Path
    label: Path | None

    @property
    def name(self) -> str:
        """``lung_001`` for ``lung_001.nii.gz``."""
        return self.image.name.removesuffix(".gz").removesuffix(".nii")


@dataclass(frozen=True)
class LabelAnnotator:
    """Makes lesions of the connected parts of a label, the largest the primary."""

    label: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The label."""
        return (self.label,)

    def fingerprint(self) -> Any:
        """Nothing beside the file."""
        return None

    def annotate(self, series: Series, volume: Volume) -> Annotation:
        """The lesions and their mask; a label that does not fit is refused, and the case stays without it."""
        labels = read_label_map(self.label, series, volume, 1, "0 and 1")
        if isinstance(labels, Rejection):
            return Annotation(rejections=(labels,))
        parts = components(labels)
        if not parts:
            found = f"{self.label.name} marks no voxel as cancer."
            return Annotation(rejections=(refused_annotation(series, NO_LESION_REGION, found, self.label),))
        lesions = tuple(
            lesion_of_part(part, volume.affine, kind="primary" if number == 1 else "nodule", label=number)
            for number, part in enumerate(parts, start=1)
        )
        return Annotation(lesions, paint(parts, volume.shape))


def plan(raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest in ``Task06_Lung``, or in the folder it lies in.

    Raises:
        DataError: ``dataset.json`` is missing, or not that of Task06_Lung.
    """
    root = next((folder for folder in (raw, raw / FOLDER) if (folder / LISTING).is_file()), None)
    if root is None:
        raise DataError(f"{raw / LISTING}: no such file; the images and labels of {FOLDER} are listed in it")
    listed = read_listing(root)
    images, rejections = _images(root, listed)
    labels: dict[str, Path] = {}
    for own in images.values():
        problem = _label_problem(own)
        if problem is not None:
            rejections.append(problem)
        elif own.label is not None:
            labels[own.name] = own.label
    without = sum(own.label is None for own in images.values())
    made = build_plan(
        raw,
        Scan(tuple(nifti_series(own.image, name) for name, own in sorted(images.items())), (), 0),
        options,
        Defaults(),
        lambda series: LabelAnnotator(labels[series.series]) if series.series in labels else None,
        rejections=tuple(rejections),
        notes=(f"{without} images of imagesTs have no label: nothing is known of what is in them.",) if without else (),
    )
    return replace(made, jobs=tuple(replace(job, reader=read_scan) for job in made.jobs))


def read_listing(root: Path) -> list[Listed]:
    """The images that ``root``'s ``dataset.json`` lists, hidden ones left out.

    Raises:
        DataError: it cannot be read, is of another task, or names files elsewhere than in the task's folders.
    """
    path = root / LISTING
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    stated = (document.get("modality"), document.get("labels")) if isinstance(document, dict) else None
    if stated != (MODALITY, LABELS):
        raise DataError(f"{path}: {FOLDER} has modality and labels {(MODALITY, LABELS)}; found {stated}")

    def file(name: Any, folder: str) -> Path:
        parts = PurePosixPath(name).parts if isinstance(name, str) else ()
        if len(parts) != 2 or parts[0] != folder or not parts[1].endswith((".nii", ".nii.gz")):
            raise DataError(f"{path}: an image or label is ./{folder}/NAME.nii.gz; found {name!r}")
        return root.joinpath(*parts)

    try:
        found = [
            Listed(file(item["image"], "imagesTr"), file(item["label"], "labelsTr")) for item in document["training"]
        ]
        found += [Listed(file(name, "imagesTs"), None) for name in document["test"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not a listing of training and test images ({error!r})") from None
    return [own for own in found if not own.image.name.startswith(".")]


def _images(root: Path, listed: list[Listed]) -> tuple[dict[str, Listed], list[Rejection]]:
    """The listed images that are there, by name, and those refused: missing, listed again, or not listed."""
    by_name: dict[str, list[Listed]] = defaultdict(list)
    for own in listed:
        by_name[own.name].append(own)
    rejections = []

    def refuse(name: str, rule: str, found: str, *files: Path) -> None:
        rejections.append(Rejection(name, name, name, rule, found, tuple(map(str, files))))

    images = {}
    for name, same in by_name.items():
        files = tuple(own.image for own in same)
        if len(same) > 1:
            found = f"{LISTING} lists {len(same)} images of this name; refuse to choose."
            refuse(name, Rule.AMBIGUOUS_IDENTITY.value, found, *files)
        elif not files[0].is_file():
            refuse(name, Rule.UNREADABLE.value, f"{LISTING} lists {files[0].name}, and there is no such file.", *files)
        else:
            images[name] = same[0]
    known = {own.image for own in listed}
    for path in sorted(path for folder in ("imagesTr", "imagesTs") for path in (root / folder).glob("*.nii*")):
        if path not in known and not path.name.startswith("."):
            unlisted = Listed(path, None)
            refuse(unlisted.name, UNLISTED_IMAGE, f"{path.name} is not in {LISTING}.", path)
    return images, rejections


def _label_problem(own: Listed) -> Rejection | None:
    """Why an image's label cannot be its own, before it is read."""
    if own.label is None:
        return None
    series = nifti_series(own.image, own.name)
    if own.label.name != own.image.name:
        found = f"{LISTING} gives {own.image.name} the label {own.label.name}; refuse to take another image's."
        return refused_annotation(series, ANNOTATION_OF_ANOTHER_PATIENT, found, own.label)
    if not own.label.is_file():
        found = f"{LISTING} lists the label {own.label.name}, and there is no such file."
        return refused_annotation(series, Rule.UNREADABLE.value, found, own.label)
    return None
