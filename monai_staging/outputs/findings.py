"""What is reported of a study, whatever it is written as: its lesions, its stage, and what found them.

Values only, in words of the field; what each becomes in DICOM is for the writers to say.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum

from monai_staging.errors import DataError
from monai_staging.measure.lesion import Measurement
from monai_staging.tnm.categories import expand
from monai_staging.tnm.probabilities import TOLERANCE
from monai_staging.tnm.tables import groups
from monai_staging.tnm.value import TNM

NAME_CHARACTERS = 64
"""Names of at most so many characters fit every attribute of DICOM that holds them (value representation LO)."""
_UID = re.compile(r"(?=.{1,64}$)(0|[1-9]\d*)(\.(0|[1-9]\d*))+")


class Category(str, Enum):
    """What a lesion is taken for; the values are :data:`monai_staging.cohort.case.LESION_KINDS`."""

    PRIMARY = "primary"
    NODULE = "nodule"
    NODE = "node"
    METASTASIS = "metastasis"


class Site(str, Enum):
    """Where a lesion is, as closely as is known."""

    RIGHT_UPPER_LOBE = "right upper lobe"
    RIGHT_MIDDLE_LOBE = "right middle lobe"
    RIGHT_LOWER_LOBE = "right lower lobe"
    LEFT_UPPER_LOBE = "left upper lobe"
    LEFT_LOWER_LOBE = "left lower lobe"
    RIGHT_LUNG = "right lung"
    LEFT_LUNG = "left lung"
    LUNG = "lung"
    HILUM = "hilum of lung"
    MEDIASTINUM = "mediastinum"
    PLEURA = "pleura"
    CHEST_WALL = "chest wall"
    LIVER = "liver"
    ADRENAL_GLAND = "adrenal gland"
    BONE = "bone"
    BRAIN = "brain"
    THORAX = "thorax"


@dataclass(frozen=True)
class Model:
    """Weights that took part: a name without blanks, and a digest that says which (``sha256:...``)."""

    name: str
    digest: str

    def __post_init__(self) -> None:
        for name, value in (("name", self.name), ("digest", self.digest)):
            _check_text("Model", name, value)
            if " " in value:
                raise DataError(f"Model {self.name!r}: {name} must be one word; found {value!r}.")


@dataclass(frozen=True)
class Algorithm:
    """What found it all.

    Attributes:
        name, version: at most :data:`NAME_CHARACTERS` characters.
        models: the weights that took part, each with a name of its own.
    """

    name: str
    version: str
    models: tuple[Model, ...] = ()

    def __post_init__(self) -> None:
        _check_name("Algorithm", "name", self.name)
        _check_name("Algorithm", "version", self.version)
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise DataError(f"Algorithm {self.name!r}: each model has a name of its own; found {names}.")


@dataclass(frozen=True)
class LesionFinding:
    """One lesion.

    Attributes:
        label: its voxels' value in the mask, from 1.
        tracking_id: a name for people, unique in the study, at most :data:`NAME_CHARACTERS` characters.
        tracking_uid: a UID, the same for the lesion wherever it is reported.
        category: what it is taken for.
        site: where it is.
        measurement: its size.
        score: the detector's, 0 to 1; None where no detector was asked.
        malignancy: probability that it is malignant; None where that was not estimated.
    """

    label: int
    tracking_id: str
    tracking_uid: str
    category: Category
    site: Site
    measurement: Measurement
    score: float | None = None
    malignancy: float | None = None

    def __post_init__(self) -> None:
        whose = f"Lesion {self.label}"
        _check_name(whose, "tracking_id", self.tracking_id)
        if not _UID.fullmatch(self.tracking_uid):
            raise DataError(f"{whose}: tracking_uid must be a UID; found {self.tracking_uid!r}.")
        for name in ("score", "malignancy"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
                raise DataError(f"{whose}: {name} must be 0 to 1; found {value!r}.")
        for reason in self.measurement.size_t.reasons:
            _check_text(whose, "a reason of T by size", reason)


@dataclass(frozen=True)
class StagingFinding:
    """The stage: what is still possible, how probable it is, and why.

    Attributes:
        tnm: for each letter the categories still possible; edition and prefix.
        groups: the stage groups named, in the edition's order.
        confidence: the probability with which ``groups`` is meant to hold the true one; None where none is claimed.
        t_probabilities, n_probabilities, m_probabilities: by category or main category; empty where not estimated.
        group_probabilities: by stage group; empty where not estimated.
        reasons: how it came about, a sentence each.
        not_assessed: what nobody looked at: T descriptors by their value, whatever else in words.
    """

    tnm: TNM
    groups: tuple[str, ...]
    confidence: float | None = None
    t_probabilities: Mapping[str, float] = field(default_factory=dict, hash=False)
    n_probabilities: Mapping[str, float] = field(default_factory=dict, hash=False)
    m_probabilities: Mapping[str, float] = field(default_factory=dict, hash=False)
    group_probabilities: Mapping[str, float] = field(default_factory=dict, hash=False)
    reasons: tuple[str, ...] = ()
    not_assessed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        edition = self.tnm.edition
        order = groups(edition, occult=True)
        expected = tuple(group for group in order if group in self.groups)
        if self.groups != expected:
            raise DataError(
                f"Stage groups must be those of the {edition}th edition in its order, each once;"
                f" found {list(self.groups)}, expected {list(expected)}."
            )
        if self.confidence is not None and not (math.isfinite(self.confidence) and 0 <= self.confidence <= 1):
            raise DataError(f"Stage groups: confidence must be 0 to 1; found {self.confidence!r}.")
        for letter in "tnm":
            found = self.probabilities(letter)
            stray = [key for key in found if key[:1] != letter.upper() or not expand(key, edition)]
            _check_probabilities(letter.upper(), found, stray, edition)
        stray = [key for key in self.group_probabilities if key not in order]
        _check_probabilities("Stage group", self.group_probabilities, stray, edition)
        for name in ("reasons", "not_assessed"):
            for value in getattr(self, name):
                _check_text("Stage", name, value)

    def probabilities(self, letter: str) -> Mapping[str, float]:
        """Those of "t", "n" or "m"."""
        found: Mapping[str, float] = getattr(self, f"{letter}_probabilities")
        return found


@dataclass(frozen=True)
class Findings:
    """All that is reported of a study.

    Attributes:
        lesions: labelled 1, 2, 3 ... in this order, so that segments can have the labels as their numbers.
        staging: the stage.
        algorithm: what found it all.
    """

    lesions: tuple[LesionFinding, ...]
    staging: StagingFinding
    algorithm: Algorithm

    def __post_init__(self) -> None:
        labels = [lesion.label for lesion in self.lesions]
        if labels != list(range(1, len(labels) + 1)):
            raise DataError(f"Lesions must be labelled 1 to {len(labels)}, in order; found {labels}.")
        for name in ("tracking_id", "tracking_uid"):
            values = [getattr(lesion, name) for lesion in self.lesions]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise DataError(f"Lesions: each has a {name} of its own; found {twice[0]!r} more than once.")
        edition = self.staging.tnm.edition
        for lesion in self.lesions:
            own = lesion.measurement.size_t.edition
            if own != edition:
                raise DataError(
                    f"Lesion {lesion.label}: one edition of TNM for all; found T by size in the {own}th,"
                    f" the stage in the {edition}th."
                )

    @property
    def digest(self) -> str:
        """SHA-256 of every value, in hexadecimal: the same findings, the same digest, in any process."""
        document = json.dumps(asdict(self), sort_keys=True, default=sorted, ensure_ascii=False)
        return hashlib.sha256(document.encode()).hexdigest()


def _check_text(whose: str, name: str, value: str) -> None:
    """Whether every writer and reader keeps a text: DICOM drops blanks at its ends and forbids control characters."""
    if not value or value != value.strip() or not value.isprintable():
        raise DataError(f"{whose}: {name} must be one line of text without blanks at its ends; found {value!r}.")


def _check_name(whose: str, name: str, value: str) -> None:
    _check_text(whose, name, value)
    if len(value) > NAME_CHARACTERS or "\\" in value:
        raise DataError(
            f"{whose}: {name} must have at most {NAME_CHARACTERS} characters and no backslash; found {value!r}."
        )


def _check_probabilities(whose: str, found: Mapping[str, float], stray: Sequence[str], edition: str) -> None:
    if stray:
        raise DataError(f"{whose} probabilities must be of the {edition}th edition's categories; found {stray[0]!r}.")
    for key, value in found.items():
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise DataError(f"Probability of {key} must be 0 to 1; found {value!r}.")
    total = math.fsum(found.values())
    if found and abs(total - 1) > TOLERANCE:
        raise DataError(f"{whose} probabilities must sum to 1 (tolerance {TOLERANCE:g}); they sum to {total:.6g}.")
