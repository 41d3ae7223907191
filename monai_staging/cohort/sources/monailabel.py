"""What ``monai-staging label --studies DIR`` serves: studies, and what annotators have said of them.

The folder is a data store of MONAI Label: ``datastore_v2.json``, final labels in ``labels/final``, studies as NIfTI
files and folders of DICOM files. A label map's values are :data:`monai_staging.label.kinds.KINDS`; markups are boxes.
Of a DICOM study the series is taken that the labels were drawn on, which is the one that ``monai-staging predict``
takes. MONAI Label need not be installed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from monai_staging.cohort.case import LESION_KINDS, Lesion
from monai_staging.cohort.clinical import Labels, unknown_labels
from monai_staging.cohort.dicom import Rejection, Rule, Scan, Series, scan
from monai_staging.cohort.lesions import Part, components, lesion_of_part, paint
from monai_staging.cohort.sources.base import NO_TABLE, Annotation, Defaults, Job, Plan, SourceOptions, build_plan
from monai_staging.cohort.sources.folder import NAMING
from monai_staging.cohort.sources.nifti_scans import nifti_series, read_label_map, read_scan, refused_annotation
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError, UsageError
from monai_staging.label.kinds import KINDS
from monai_staging.label.letters import Letters, kept_letters
from monai_staging.label.markups import read_roi
from monai_staging.label.names import check_name
from monai_staging.progress import progress
from monai_staging.tnm.categories import LETTERS

INDEX = "datastore_v2.json"
FINAL = "final"
"""Tag of the labels that annotators have finished."""
NO_USABLE_SERIES = "no-usable-series"
MALFORMED_LABEL = "malformed-label"
MALFORMED_STAGING = "malformed-staging"
BOX_OUTSIDE_IMAGE = "annotation-outside-image"


@dataclass(frozen=True)
class Served:
    """A study of a data store.

    Attributes:
        name: as the server calls it.
        path: its NIfTI file, or the folder of its DICOM files.
        patient: whose it is, as far as the store says; ``None`` where it does not.
        label: its final label.
        letters: T, N and M that were entered with it, see :func:`monai_staging.label.letters.read_letters`.
        problem: why letters that are there are not taken.
    """

    name: str
    path: Path
    patient: str | None
    label: Path | None
    letters: Letters
    problem: str | None = None


@dataclass(frozen=True)
class FinalLabel:
    """Makes lesions of a final label: the connected parts of a label map, or the boxes of markups."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The label."""
        return (self.path,)

    def fingerprint(self) -> Any:
        """What its values and names stand for."""
        return [KINDS, list(map(list, NAMING.kinds))]

    def annotate(self, series: Series, volume: Volume) -> Annotation:
        """The lesions, and their mask of a label map; what does not fit is refused, and the case stays without it."""
        if self.path.suffix == ".json":
            return self._boxes(series, volume)
        meant = ", ".join(f"{number} {kind}" for kind, number in KINDS.items())
        labels = read_label_map(self.path, series, volume, max(KINDS.values()), f"0 and {meant}")
        if isinstance(labels, Rejection):
            return Annotation(rejections=(labels,))
        found: list[tuple[str, Part]] = []
        for kind, number in KINDS.items():
            for place, part in enumerate(components(labels == number)):
                found.append(("nodule" if kind == "primary" and place else kind, part))
        found.sort(key=lambda own: LESION_KINDS.index(own[0]))
        lesions = tuple(
            lesion_of_part(part, volume.affine, kind=kind, label=label)
            for label, (kind, part) in enumerate(found, start=1)
        )
        # An empty map says that somebody has looked and found nothing: so does an empty mask.
        return Annotation(lesions, paint([part for _, part in found], volume.shape))

    def _boxes(self, series: Series, volume: Volume) -> Annotation:
        lesions: list[Lesion] = []
        rejections: list[Rejection] = []

        def refuse(rule: str, found: str) -> None:
            rejections.append(refused_annotation(series, rule, f"{self.path.name}: {found}", self.path))

        try:
            nodes = json.loads(self.path.read_bytes())["markups"]
        except (ValueError, RecursionError, KeyError, TypeError):
            nodes = None
        if not isinstance(nodes, list):
            refuse(MALFORMED_LABEL, "a list of markups is needed; found none.")
            nodes = []
        to_voxel = np.linalg.inv(volume.affine)
        for node in nodes:
            try:
                roi = read_roi(node)
            except DataError as error:
                refuse(MALFORMED_LABEL, str(error))
                continue
            voxel = to_voxel[:3, :3] @ roi.center_mm + to_voxel[:3, 3]
            if (voxel < -0.5).any() or (voxel > np.asarray(volume.shape) - 0.5).any():
                center = np.round(roi.center_mm, 1).tolist()
                refuse(BOX_OUTSIDE_IMAGE, f"markup {roi.name!r} has its centre, {center} RAS mm, outside its image.")
                continue
            x, y, z = (round(own, 3) + 0.0 for own in roi.center_mm.tolist())
            dx, dy, dz = (round(own, 3) for own in roi.size_mm.tolist())
            kind = NAMING.kind_of(roi.name, len(nodes)) or "nodule"
            lesions.append(Lesion(kind=kind, center_mm=(x, y, z), size_mm=(dx, dy, dz)))
        lesions.sort(key=lambda own: LESION_KINDS.index(own.kind))
        return Annotation(tuple(lesions), None, tuple(rejections))


def plan(raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest in a data store.

    Raises:
        DataError: ``datastore_v2.json`` is missing, or not one.
    """
    served = read_store(raw)
    wanted = [own for own in served if options.unlabelled or own.label is not None or own.letters]
    found, rejections = _series(wanted)
    by_series = {series.series: own for own, series in found}
    rejections += [
        refused_annotation(series, MALFORMED_STAGING, own.problem, raw / INDEX) for own, series in found if own.problem
    ]
    labelled = {own.name: own.label for own in wanted if own.label is not None}
    left = len(served) - len(wanted)
    made = build_plan(
        raw,
        Scan(tuple(series for _, series in found), (), 0),
        options,
        Defaults(),
        lambda series: FinalLabel(labelled[name]) if (name := by_series[series.series].name) in labelled else None,
        rejections=tuple(rejections),
        notes=(f"{left} studies have no final label, T, N or M: left out; see --unlabelled.",) if left else (),
    )
    jobs = []
    for job in made.jobs:
        own = by_series[job.series.series]
        reader = read_scan if own.path.is_file() else None
        jobs.append(replace(job, labels=entered_labels(job.labels, own.letters), reader=reader))
    return replace(made, jobs=tuple(jobs), report=replace(made.report, notes=_notes(made, jobs, by_series)))


def read_store(root: Path) -> list[Served]:
    """The studies that a data store's index lists, by name.

    Raises:
        DataError: there is none, or it is none of MONAI Label's.
    """
    path = root / INDEX
    if not path.is_file():
        raise DataError(f"{path}: no such file; `monai-staging label --studies DIR` makes it in DIR")
    try:
        document = json.loads(path.read_bytes())
        images = root / _inside(document.get("images_dir", ""))
        labels = root / _inside(document.get("labels_dir", "labels")) / FINAL
        return [_served(name, own, images, labels) for name, own in sorted(document["objects"].items())]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not the index of a data store ({type(error).__name__}: {error})") from None


def entered_labels(labels: Labels, letters: Letters) -> Labels:
    """What is known of a patient, with what was entered for a study.

    What was entered goes before the clinical table. A letter that was not entered is the table's where the table's
    edition and prefix are those of what was entered, and unknown elsewhere.
    """
    if not letters:
        return labels
    same = (labels.edition, labels.prefix) == (letters["edition"], letters["prefix"])
    others = labels if same else unknown_labels(letters["edition"], letters["prefix"])
    t, n, m = (tuple(letters.get(letter) or getattr(others, letter)) for letter in LETTERS)
    return replace(labels, t=t, n=n, m=m, edition=letters["edition"], prefix=letters["prefix"])


def _served(name: str, entry: Mapping[str, Any], images: Path, labels: Path) -> Served:
    image, final = entry["image"], entry["labels"].get(FINAL)
    check_name(name, "Image")
    info = image.get("info") or {}
    patient = info.get("patient")
    letters: Letters = {}
    problem = None
    try:
        letters = kept_letters(info, FINAL, {} if final is None else final.get("info") or {})
    except UsageError as error:
        problem = str(error)
    return Served(
        name,
        images / (name + _ending(image["ext"])),
        patient if isinstance(patient, str) and patient.strip() else None,
        None if final is None else labels / (name + _ending(final["ext"])),
        letters,
        problem,
    )


def _ending(ext: Any) -> str:
    if ext not in ("", ".nii", ".nii.gz", ".json"):
        raise ValueError(f"a study or label ends in .nii, .nii.gz or .json, or is a folder; found {str(ext)[:20]!r}")
    return str(ext)


def _inside(folder: Any) -> str:
    path = PurePosixPath(str(folder))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"its folders lie in it; found {str(folder)[:60]!r}")
    return str(path)


def _series(wanted: list[Served]) -> tuple[list[tuple[Served, Series]], list[Rejection]]:
    """The series of each study, and the studies that are refused."""
    # Late: what chooses a series for predictions reads cohorts' DICOM.
    from monai_staging.predict.choice import choose_series

    found: list[tuple[Served, Series]] = []
    rejections: list[Rejection] = []

    def refuse(own: Served, rule: str, why: str, path: Path) -> None:
        rejections.append(Rejection(own.name, own.name, own.name, rule, why, (str(path),)))

    for own in progress(wanted, description="studies", unit="scan"):
        missing = next((path for path in (own.path, own.label) if path is not None and not path.exists()), None)
        if missing is not None:
            refuse(own, Rule.UNREADABLE.value, f"{INDEX} lists {missing.name}, and there is no such file.", missing)
        elif own.path.is_file():
            found.append((own, nifti_series(own.path, own.name, own.patient)))
        else:
            try:
                found.append((own, choose_series(scan(own.path), own.name).series))
            except DataError as error:
                refuse(own, NO_USABLE_SERIES, str(error), own.path)
    seen = Counter(series.series for _, series in found)
    for own, series in found:
        if seen[series.series] > 1:
            why = f"{seen[series.series]} studies of the data store have the series {series.series}; refuse to choose."
            refuse(own, Rule.AMBIGUOUS_IDENTITY.value, why, own.path)
    return [(own, series) for own, series in found if seen[series.series] == 1], rejections


def _notes(made: Plan, jobs: list[Job], by_series: Mapping[str, Served]) -> tuple[str, ...]:
    """What there is to say; that nobody's T, N and M are known is said only where nobody entered any."""
    entered = sum(bool(by_series[job.series.series].letters) for job in jobs)
    notes = tuple(note for note in made.report.notes if note != NO_TABLE or not entered)
    return (*notes, f"T, N or M was entered for {entered} of {len(jobs)} studies.") if entered else notes
