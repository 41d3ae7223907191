"""A cohort: a folder with ``cohort.json`` (a MONAI datalist) and the volumes it points to."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from monai_staging.cohort.case import Case, CaseError
from monai_staging.cohort.numbers import is_number
from monai_staging.errors import DataError
from monai_staging.files import write_text_atomic

FILE_NAME = "cohort.json"
# The version of the format of cohort.json, raised whenever an older reader would misread a newer file.
VERSION = 1
PARTS = ("training", "validation", "test")
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_KEYS = ("name", "version", "spacing", "source", *PARTS)


@dataclass(frozen=True)
class Cohort:
    """The cases of a cohort by part, and where they lie.

    Attributes:
        root: the cohort's folder; the cases' paths are relative to it.
        name: a short name.
        source: the source it was ingested from.
        spacing: the voxel spacing in mm along i, j and k that all volumes share; ``None`` where they differ.
        training: cases to train on.
        validation: cases to choose by.
        test: cases held out.
        version: the version of the format, :data:`VERSION`.
        digest: SHA-256 of ``cohort.json``.
    """

    root: Path
    name: str
    source: str
    spacing: tuple[float, float, float] | None = None
    training: tuple[Case, ...] = ()
    validation: tuple[Case, ...] = ()
    test: tuple[Case, ...] = ()
    version: int = VERSION
    digest: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", hashlib.sha256(self.to_text().encode()).hexdigest())

    @property
    def parts(self) -> Mapping[str, tuple[Case, ...]]:
        """The cases by part, in the order of :data:`PARTS`."""
        return {part: getattr(self, part) for part in PARTS}

    @property
    def cases(self) -> tuple[Case, ...]:
        """Every case: training, then validation, then test."""
        return self.training + self.validation + self.test

    @property
    def phantom(self) -> bool:
        """Whether it is synthetic, with a truth that no reader had to find."""
        return self.source == "phantom"

    def image_path(self, case: Case) -> Path:
        """Where the case's volume lies."""
        return self.root / case.image

    def mask_path(self, case: Case) -> Path | None:
        """Where the case's mask lies; ``None`` where it has none."""
        return None if case.mask is None else self.root / case.mask

    def to_json(self) -> dict[str, Any]:
        """The content of ``cohort.json``."""
        head: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "spacing": None if self.spacing is None else list(self.spacing),
            "source": self.source,
        }
        return head | {part: [case.to_json() for case in cases] for part, cases in self.parts.items()}

    def to_text(self) -> str:
        """``cohort.json`` as it is written; the same cohort always gives the same bytes."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self) -> Path:
        """Writes ``cohort.json`` atomically and gives its path."""
        path = self.root / FILE_NAME
        write_text_atomic(path, self.to_text())
        return path


def load_cohort(path: str | os.PathLike[str], *, identify: bool = False) -> Cohort:
    """Reads a cohort.

    Args:
        path: the cohort's folder or its ``cohort.json``.
        identify: name a case that breaks a rule by its patient too, not only by its place in the file.

    Raises:
        DataError: there is no cohort, or it breaks a rule; the message names the case's place, the rule and the value
            found.
            Whether the volumes are there is for :func:`monai_staging.cohort.audit.audit_cohort` to say.
    """
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"Cohort {path}: {FILE_NAME} cannot be read ({error.strerror})") from None
    try:
        document = json.loads(content, parse_constant=_refuse_constant)
        if _HALF.search(content):  # half a character can be read, but not written
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"Cohort {path}: {FILE_NAME} is not JSON ({error})") from None
    if not isinstance(document, dict) or set(document) != set(_KEYS):
        found = sorted(document) if isinstance(document, dict) else type(document).__name__
        raise DataError(f"Cohort {path}: {FILE_NAME} must have the keys {', '.join(_KEYS)}; found {found}")
    if document["version"] != VERSION:
        raise DataError(f"Cohort {path}: version must be {VERSION}; found {document['version']!r}")
    for key in ("name", "source"):
        if not isinstance(document[key], str):
            raise DataError(f"Cohort {path}: {key} must be a text; found {document[key]!r}")
    for part in PARTS:
        if not isinstance(document[part], list):
            raise DataError(f"Cohort {path}: {part} must be a list of cases; found {type(document[part]).__name__}")
    return Cohort(
        root=file.parent,
        name=document["name"],
        source=document["source"],
        spacing=_spacing(path, document["spacing"]),
        training=_cases(path, "training", document["training"], identify),
        validation=_cases(path, "validation", document["validation"], identify),
        test=_cases(path, "test", document["test"], identify),
        digest=hashlib.sha256(content).hexdigest(),
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _cases(path: Path, part: str, documents: list[Any], identify: bool) -> tuple[Case, ...]:
    cases = []
    for index, document in enumerate(documents):
        try:
            cases.append(Case.from_json(document))
        except CaseError as error:
            # Training logs get this message too, so that the patient's name is left out.
            whose = f" ({error.whose})" if identify else ""
            raise DataError(f"Cohort {path}: {FILE_NAME}, {part}[{index}]{whose}: {error.rule}") from None
    return tuple(cases)


def _spacing(path: Path, value: Any) -> tuple[float, float, float] | None:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 3 and all(is_number(v) and v > 0 for v in value):
        return (float(value[0]), float(value[1]), float(value[2]))
    raise DataError(f"Cohort {path}: spacing must be three positive numbers of millimetres or null; found {value!r}")


def file_stem(series: str) -> str:
    """The name of a series' files, without suffix: nothing that identifies a patient is in it."""
    return hashlib.sha256(series.encode()).hexdigest()[:16]


def volume_name(series: str) -> str:
    """Where a series' volume lies, relative to the cohort's folder."""
    return f"volumes/{file_stem(series)}.nii"


def mask_name(series: str) -> str:
    """Where a series' mask lies, relative to the cohort's folder."""
    return f"masks/{file_stem(series)}.nii"
