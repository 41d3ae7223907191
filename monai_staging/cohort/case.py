"""One imaging study of one patient, and the lesions in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from monai_staging.cohort.numbers import is_integer, is_number
from monai_staging.cohort.ratings import check_ratings
from monai_staging.errors import DataError, UsageError
from monai_staging.tnm.categories import EDITIONS, LETTERS, PREFIXES, ordered
from monai_staging.tnm.parse import plain

LESION_KINDS = ("primary", "node", "metastasis", "nodule")
SEXES = ("F", "M")
SMOKING = ("never", "former", "current")

Point = tuple[float, float, float]
Box = tuple[int, float, float, float, float]


class CaseError(DataError):
    """A case that breaks a rule.

    Attributes:
        whose: the case, by its patient: for those who may know.
        rule: the rule and the value found, without the patient.
    """

    def __init__(self, whose: str, rule: str) -> None:
        super().__init__(whose, rule)
        self.whose = whose
        self.rule = rule

    def __str__(self) -> str:
        """Both in one line."""
        return f"{self.whose}: {self.rule}"


@dataclass(frozen=True)
class Lesion:
    """One tumour, nodule or node, in RAS world millimetres.

    Attributes:
        kind: one of :data:`LESION_KINDS`.
        center_mm: centre ``(x, y, z)`` of the box below.
        size_mm: extents ``(dx, dy, dz)`` of the smallest box along the world's axes that holds the lesion.
        site: where it is (lobe, station, organ), as the source spells it.
        diameter_mm: longest diameter, where the source gives one.
        solid_diameter_mm: longest diameter of the solid component, where the source gives one.
        label: the lesion's voxel value in the case's mask, where there is a mask.
        boxes: the source's boxes on single slices, ``(k, xmin, ymin, xmax, ymax)``: slice index ``k`` of the volume,
            edges in pixels, pixel ``(i, j)`` covering ``[i, i + 1] x [j, j + 1]`` (``x`` along i, ``y`` along j).
        malignancy: each reader's rating, 1 to 5; empty where nobody rated it.
        ratings: the same readers' other ratings, in the same order, by :data:`monai_staging.cohort.ratings.RATINGS`.
    """

    kind: str
    center_mm: Point
    size_mm: Point
    site: str | None = None
    diameter_mm: float | None = None
    solid_diameter_mm: float | None = None
    label: int | None = None
    boxes: tuple[Box, ...] = ()
    malignancy: tuple[int, ...] = ()
    ratings: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.kind not in LESION_KINDS:
            raise DataError(f"lesion: kind must be one of {', '.join(LESION_KINDS)}; found {self.kind!r}")
        for name in ("center_mm", "size_mm"):
            value = getattr(self, name)
            if len(value) != 3 or not all(is_number(v) for v in value):
                raise DataError(f"lesion: {name} must be three finite numbers; found {value!r}")
        if self.site is not None and not isinstance(self.site, str):
            raise DataError(f"lesion: site must be a text or null; found {self.site!r}")
        if min(self.size_mm) < 0:
            raise DataError(f"lesion: size_mm must not be negative; found {self.size_mm!r}")
        for name in ("diameter_mm", "solid_diameter_mm"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and value >= 0):
                raise DataError(f"lesion: {name} must be a number of millimetres or null; found {value!r}")
        if self.label is not None and not (is_integer(self.label) and self.label > 0):
            raise DataError(f"lesion: label must be a positive integer or null; found {self.label!r}")
        for box in self.boxes:
            if len(box) != 5 or not is_integer(box[0]) or not all(is_number(v) for v in box[1:]):
                raise DataError(f"lesion: a box is (slice, xmin, ymin, xmax, ymax); found {box!r}")
        try:
            check_ratings(self.malignancy, self.ratings)
        except DataError as error:
            raise DataError(f"lesion: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """The lesion as a JSON object; ``boxes``, ``malignancy`` and ``ratings`` only where there are any."""
        document: dict[str, Any] = {
            "kind": self.kind,
            "site": self.site,
            "center_mm": list(self.center_mm),
            "size_mm": list(self.size_mm),
            "diameter_mm": self.diameter_mm,
            "solid_diameter_mm": self.solid_diameter_mm,
            "label": self.label,
        }
        if self.boxes:
            document["boxes"] = [list(box) for box in self.boxes]
        if self.malignancy:
            document["malignancy"] = list(self.malignancy)
        if self.ratings:
            document["ratings"] = {name: list(values) for name, values in self.ratings.items()}
        return document

    @classmethod
    def from_json(cls, document: Any) -> Lesion:
        """The lesion of :meth:`to_json`'s object; raises :class:`DataError` for one that breaks a rule."""
        required = ("kind", "center_mm", "size_mm")
        optional = ("site", "diameter_mm", "solid_diameter_mm", "label", "boxes", "malignancy", "ratings")
        _check_keys("lesion", document, required + optional, required)
        values = dict(document)
        for name in ("center_mm", "size_mm"):
            values[name] = _as_tuple("lesion", name, values[name])
        values["boxes"] = tuple(
            _as_tuple("lesion", "boxes", box) for box in _as_tuple("lesion", "boxes", values.get("boxes", []))
        )
        values["malignancy"] = _as_tuple("lesion", "malignancy", values.get("malignancy", []))
        ratings = values.get("ratings", {})
        if not isinstance(ratings, dict):
            raise CaseError("lesion", f"ratings must be an object; found {_kind(ratings)}")
        values["ratings"] = {name: _as_tuple("lesion", name, own) for name, own in ratings.items()}
        return cls(**values)


@dataclass(frozen=True)
class Case:
    """One imaging study of one patient, with what is known about it.

    Attributes:
        patient: the patient's identifier in the source.
        study: StudyInstanceUID.
        series: SeriesInstanceUID of the volume.
        image: the volume's path relative to the cohort's folder, ``/`` between its parts.
        mask: the mask's path likewise; a mask lies on the volume's grid, 0 is background.
        lesions: what is in it, as far as the source says.
        t: T categories still possible, in the edition's order; all of the edition's where T is unknown.
        n: the same for N.
        m: the same for M.
        edition: TNM edition, ``"6"`` to ``"9"``.
        prefix: ``c``, ``p``, ``yc``, ``yp`` or ``r``.
        subtype: histology.
        fold: cross-validation fold, from 0; ``None`` outside the folds.
        clinical: ``age`` in years, ``sex`` (:data:`SEXES`), ``smoking`` (:data:`SMOKING`), each ``None`` where unknown,
            and whatever else the source knows (JSON values).
    """

    patient: str
    study: str
    series: str
    image: str
    t: tuple[str, ...]
    n: tuple[str, ...]
    m: tuple[str, ...]
    edition: str
    prefix: str = "c"
    mask: str | None = None
    lesions: tuple[Lesion, ...] = ()
    subtype: str | None = None
    fold: int | None = None
    clinical: Mapping[str, Any] = field(default_factory=lambda: {"age": None, "sex": None, "smoking": None})

    def __post_init__(self) -> None:
        for name in ("patient", "study", "series", "image"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise self._error(f"{name} must be a non-empty text; found {_kind(value)}")
        for name in ("image", "mask"):
            self._check_path(name, getattr(self, name))
        self._check_categories()
        if not isinstance(self.prefix, str) or self.prefix not in PREFIXES:
            raise self._error(f"prefix must be one of {', '.join(PREFIXES)}; found {self.prefix!r}")
        if self.subtype is not None and not isinstance(self.subtype, str):
            raise self._error(f"subtype must be a text or null; found {self.subtype!r}")
        if self.fold is not None and not (is_integer(self.fold) and self.fold >= 0):
            raise self._error(f"fold must be an integer from 0 or null; found {self.fold!r}")
        if not isinstance(self.clinical, Mapping):
            raise self._error(f"clinical must be an object; found {_kind(self.clinical)}")
        age = self.clinical.get("age")
        if age is not None and not (is_number(age) and 0 <= age <= 130):
            raise self._error(f"age must be 0 to 130 years or null; found {age!r}")
        for name, allowed in (("sex", SEXES), ("smoking", SMOKING)):
            value = self.clinical.get(name)
            if value is not None and value not in allowed:
                raise self._error(f"{name} must be one of {', '.join(allowed)} or null; found {value!r}")

    def _error(self, rule: str) -> CaseError:
        return CaseError(f"Case {self.patient}", rule)

    def _check_path(self, name: str, value: str | None) -> None:
        if value is None:
            return
        if not isinstance(value, str) or "\0" in value:
            raise self._error(f"{name} must be a path inside the cohort's folder; found {_kind(value)}")
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value:
            raise self._error(f"{name} must be a path inside the cohort's folder; found {value!r}")

    def _check_categories(self) -> None:
        if not isinstance(self.edition, str) or self.edition not in EDITIONS:
            choices = ", ".join(EDITIONS)
            raise self._error(f"edition must be one of {choices}; found {self.edition!r}")
        for letter in LETTERS:
            found = getattr(self, letter)
            try:
                expected = ordered(letter, found, self.edition)
            except (UsageError, TypeError) as error:
                raise self._error(f"{letter} must be a set of categories: {error}") from None
            if not found or tuple(found) != expected:
                raise self._error(
                    f"{letter} must be a non-empty set in the edition's order;"
                    f" found {list(found)}, expected {list(expected)}"
                )

    def to_json(self) -> dict[str, Any]:
        """The case as a JSON object; ``mask`` only where there is one."""
        document: dict[str, Any] = {
            "patient": self.patient,
            "study": self.study,
            "series": self.series,
            "image": self.image,
        }
        if self.mask is not None:
            document["mask"] = self.mask
        return document | {
            "lesions": [lesion.to_json() for lesion in self.lesions],
            "t": list(self.t),
            "n": list(self.n),
            "m": list(self.m),
            "edition": self.edition,
            "prefix": self.prefix,
            "subtype": self.subtype,
            "fold": self.fold,
            "clinical": dict(self.clinical),
        }

    @classmethod
    def from_json(cls, document: Any) -> Case:
        """The case of :meth:`to_json`'s object; raises :class:`CaseError` for a broken rule."""
        required = ("patient", "study", "series", "image", "t", "n", "m", "edition")
        optional = ("mask", "lesions", "prefix", "subtype", "fold", "clinical")
        name = f"Case {document.get('patient', '?')}" if isinstance(document, dict) else "Case ?"
        _check_keys(name, document, required + optional, required)
        values = dict(document)
        for letter in ("t", "n", "m"):
            values[letter] = _as_tuple(name, letter, values[letter])
        lesions = _as_tuple(name, "lesions", values.get("lesions", []))
        try:
            values["lesions"] = tuple(map(Lesion.from_json, lesions))
        except DataError as error:
            raise CaseError(name, str(error)) from None
        return cls(**values)


# What must not be on two sides of a split: splits keep together, and audits look for, cases that share one of these.
IDENTITIES: Mapping[str, Callable[[Case], str]] = {
    # Spelled differently, it is still the same patient.
    "patient": lambda case: plain(case.patient),
    "study": lambda case: case.study,
    "series": lambda case: case.series,
}


def _check_keys(name: str, document: Any, known: Iterable[str], required: Iterable[str]) -> None:
    if not isinstance(document, dict):
        raise CaseError(name, f"must be a JSON object; found {_kind(document)}")
    missing = [key for key in required if key not in document]
    if missing:
        raise CaseError(name, f"{', '.join(missing)} missing")
    unknown = sorted(set(document) - set(known))
    if unknown:
        raise CaseError(name, f"unknown key {', '.join(unknown)}")


def _kind(value: object) -> str:
    """What a value is, where the value itself could name a patient."""
    return "an empty one" if value == "" else type(value).__name__


def _as_tuple(name: str, key: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise CaseError(name, f"{key} must be a list; found {value!r}")
    return tuple(value)
