"""The staging bundle's data: which cohorts it may use, and what is known of each case."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_staging.cohort import load_cohort
from monai_staging.cohort.audit import refuse_leaks
from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import PARTS
from monai_staging.cohort.lesion_groups import LESION_GROUPS, lesion_group
from monai_staging.cohort.privacy import case_name, load_key, study_names
from monai_staging.cohort.splits import label_fraction as fraction_of
from monai_staging.errors import DataError
from monai_staging.metrics.levels import LabelCounts, label_counts
from monai_staging.tnm.categories import LETTERS, categories, check_edition, is_unknown
from monai_staging.transforms.labels import TNMTargets

logger = logging.getLogger("monai_staging.workflows")

# Between the categories of a set that travels through a batch as one string.
SEPARATOR = "|"


def join_set(members: Sequence[str]) -> str:
    """A set of categories as one string that survives batching: ``["T1a", "T1b"]`` to ``"T1a|T1b"``."""
    return SEPARATOR.join(members)


def split_set(text: str) -> tuple[str, ...]:
    """Inverse of :func:`join_set`."""
    return tuple(text.split(SEPARATOR))


def model_classes(edition: str) -> dict[str, list[str]]:
    """The classes of a staging model of an edition: each letter's finest categories, without Tis.

    Carcinoma in situ is no mass to be measured, and hardly a cohort has enough of it.
    """
    return {letter: [name for name in categories(letter, edition) if name != "Tis"] for letter in LETTERS}


def staging_datalist(
    dataset_dir: str | os.PathLike[str],
    part: str | Sequence[str],
    groups: Sequence[str] = tuple(LESION_GROUPS),
    limit: int | None = None,
    edition: str = "8",
    labels: bool = True,
    label_fraction: float = 1.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The cases of one or several parts of a cohort, as MONAI data dictionaries.

    Args:
        dataset_dir: the cohort's folder.
        part: ``training``, ``validation``, ``test`` or a list of them.
        groups: lesion groups whose map is learned. A group counts as annotated in every case with lesions if any
            case of the cohort has one: a reader who outlined nodes somewhere looked for nodes everywhere.
        limit: at most so many cases, for quick tries.
        edition: of the model; a case without any known letter counts as one of this edition.
        labels: whether letters, lesions and masks are looked at. Without, every letter is unknown and there are no
            lesions, so that cases of any edition will do.
        label_fraction: of the training part's patients, the others being left out; see :func:`training_cases`.
        seed: of that fraction.

    Returns:
        One dictionary a case: ``image`` (absolute path), ``case`` (keyed hash, never the patient), ``study`` (the same,
        numbered where the patient has several), ``lesions``, ``t``, ``n``, ``m`` (lists of categories still possible),
        ``t_set`` and so on (the same as one string), ``edition``, ``prefix``, ``clinical``, ``lesion_known`` (float32
        array, one per group), ``lesion_z_mm`` (kind to ranges of z, as JSON), ``files`` (size and time of what is read,
        so that a cache never takes a new volume for the one it had); ``mask`` (absolute path) where the case has one.

    Raises:
        DataError: the part has no case, or a file of it is missing.
        UsageError: a label fraction out of range.
    """
    cohort = load_cohort(dataset_dir)
    key = load_key(cohort.root)
    parts = (part,) if isinstance(part, str) else tuple(part)
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        raise DataError(f"Cohort {cohort.name}: a part is one of {', '.join(PARTS)}; found {unknown[0]!r}.")
    annotated = {lesion_group(lesion.kind, lesion.site) for case in cohort.cases for lesion in case.lesions}
    names = dict(zip(map(id, cohort.cases), study_names(cohort.cases, key), strict=True))
    prefix = next((case.prefix for case in cohort.cases if labels and _is_labelled(case)), "c")
    items = []
    kept = {**cohort.parts, "training": fraction_of(cohort.training, label_fraction, seed)}
    for original in (case for name in parts for case in kept[name]):
        case = original if labels else replace(original, lesions=(), mask=None)
        if not labels or not _is_labelled(case):
            t, n, m = (categories(letter, edition) for letter in LETTERS)
            case = replace(case, t=t, n=n, m=m, edition=check_edition(edition), prefix=prefix)
        files = {name: cohort.root / path for name in ("image", "mask") if (path := getattr(case, name)) is not None}
        known = [float(bool(case.lesions) and group in annotated) for group in groups]
        items.append(
            {
                **{name: str(path) for name, path in files.items()},
                "files": [file_state(path) for path in files.values()],
                "case": case_name(case.patient, key),
                "study": names[id(original)],
                "lesions": [asdict(lesion) for lesion in case.lesions],
                "lesion_z_mm": _lesion_ranges(case),
                # No tensor: pickled, it holds its address, and a persistent cache would never find it again.
                "lesion_known": np.asarray(known, dtype=np.float32),
                **{letter: list(getattr(case, letter)) for letter in LETTERS},
                **{f"{letter}_set": join_set(getattr(case, letter)) for letter in LETTERS},
                "edition": case.edition,
                "prefix": case.prefix,
                "clinical": dict(case.clinical),
            }
        )
    if not items:
        raise DataError(f"Cohort {cohort.name}: part {' + '.join(parts)} has 0 cases; at least 1 is needed.")
    return items[:limit]


def _is_labelled(case: Case) -> bool:
    return not all(is_unknown(letter, frozenset(getattr(case, letter)), case.edition) for letter in LETTERS)


def _lesion_ranges(case: Case) -> str:
    """What a batch can carry of where the lesions are: ``{"primary": [[-120.5, -98.0]], ...}``, z in mm, as JSON."""
    ranges: dict[str, list[list[float]]] = defaultdict(list)
    for lesion in case.lesions:
        center, height = lesion.center_mm[2], lesion.size_mm[2]
        ranges[lesion.kind].append([round(center - height / 2, 2), round(center + height / 2, 2)])
    return json.dumps(ranges)


def file_state(path: Path) -> str:
    """Size and time of a file, so that a cache never takes a new one for the one it had.

    Raises:
        DataError: it cannot be read.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path}: a file of the cohort cannot be read ({error.strerror})") from None
    return f"{found.st_size} {found.st_mtime_ns}"


def without_leaks(dataset_dir: str | os.PathLike[str]) -> Path:
    """The cohort's folder, if no patient, study, series or volume of it stands on two sides of its split.

    Raises:
        DataError: the cohort leaks: a result on it would be worth nothing.
    """
    cohort = load_cohort(dataset_dir)
    refuse_leaks(cohort)
    return cohort.root


def with_labels(
    dataset_dir: str | os.PathLike[str],
    edition: str,
    classes: Mapping[str, Sequence[str]],
    mapping: Mapping[str, str | None] | None = None,
) -> Path:
    """The cohort's folder, if its labels are of the model's edition and of one prefix.

    Says how many cases have a letter that no class stands for (Tis, T0).

    Args:
        dataset_dir: the cohort's folder.
        edition: of the model's classes.
        classes: letter to classes.
        mapping: see :class:`monai_staging.transforms.labels.TNMTargets`.

    Raises:
        DataError: labels of another edition, or of several prefixes.
    """
    cohort = load_cohort(dataset_dir)
    edition = check_edition(edition)
    labelled = [case for case in cohort.cases if _is_labelled(case)]
    found = Counter(case.edition for case in labelled)
    if set(found) - {edition}:
        counts = ", ".join(f"{count} of the {name}th" for name, count in sorted(found.items()))
        raise DataError(
            f"Cohort {cohort.name}: the model's classes are of the {edition}th edition, the labelled cases {counts}. "
            "Editions do not mix: give --edition of the cohort to train, or a cohort of the model's edition."
        )
    prefixes = Counter(case.prefix for case in labelled)
    if len(prefixes) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(prefixes.items()))
        raise DataError(
            f"Cohort {cohort.name}: the labels must be of one prefix, found {counts}. Clinical and pathological stages "
            "are different statements: ingest a cohort for each."
        )
    targets = TNMTargets(classes, mapping)
    for letter in LETTERS:
        stray = Counter(
            join_set(getattr(case, letter))
            for case in labelled
            if targets.has_no_class(letter, getattr(case, letter), edition)
        )
        if stray:
            logger.warning(
                "Cohort %s: %d cases have a %s that no class of the model stands for (%s): unknown in training; an "
                "evaluation counts Tis as wrong, and T0 and TX not at all.",
                *(cohort.name, sum(stray.values()), letter.upper()),
                ", ".join(f"{name} {count}" for name, count in sorted(stray.items())),
            )
    return cohort.root


def cohort_digest(dataset_dir: str | os.PathLike[str]) -> str:
    """SHA-256 of the cohort's ``cohort.json``."""
    return load_cohort(dataset_dir).digest


def mlflow_command(tracking_uri: str) -> str:
    """How to look at the runs of a tracking URI, as a line for the user."""
    if "://" in tracking_uri and not tracking_uri.startswith("http"):
        folder = f"sqlite:///{os.getcwd()}/"
        return f"MLflow: mlflow ui --backend-store-uri {tracking_uri.replace(folder, 'sqlite:///')}"
    return f"MLflow: {tracking_uri}"


def cohort_title(dataset_dir: str | os.PathLike[str], part: str | Sequence[str] | None = None) -> str:
    """What the data is, for tables and figures: ``phantom (synthetic), test part`` for phantoms, else the source."""
    source = load_cohort(dataset_dir).source or "cohort"
    title = "phantoms (synthetic CT)" if source == "phantom" else f"cohort from {source}"
    if part is None:
        return title
    return f"{title}, {part if isinstance(part, str) else ' + '.join(part)} part"


def training_cases(dataset_dir: str | os.PathLike[str], label_fraction: float = 1.0, seed: int = 0) -> tuple[Case, ...]:
    """The cases that a training sees: a fraction of the training part's patients, the same for every network.

    Args:
        dataset_dir: the cohort's folder.
        label_fraction: of the patients, see :func:`monai_staging.cohort.splits.label_fraction`.
        seed: of the draw.

    Raises:
        UsageError: a label fraction out of range.
    """
    return fraction_of(load_cohort(dataset_dir).training, label_fraction, seed)


def training_counts(
    dataset_dir: str | os.PathLike[str], label_fraction: float = 1.0, seed: int = 0
) -> LabelCounts | None:
    """Label counts of a cohort's training part, for the majority-class baseline; ``None`` where no case has a label.

    Args as in :func:`training_cases`: the majority is that of the labels which the network had.
    """
    cases = [case for case in training_cases(dataset_dir, label_fraction, seed) if _is_labelled(case)]
    if not cases:
        return None
    return label_counts([c.t for c in cases], [c.n for c in cases], [c.m for c in cases], cases[0].edition)


def has_lesions(
    dataset_dir: str | os.PathLike[str],
    groups: Sequence[str] = tuple(LESION_GROUPS),
    label_fraction: float = 1.0,
    seed: int = 0,
) -> bool:
    """Whether a case that is trained on has a lesion of these groups, so that the map can be learned."""
    cases = training_cases(dataset_dir, label_fraction, seed)
    return any(lesion_group(lesion.kind, lesion.site) in groups for case in cases for lesion in case.lesions)
