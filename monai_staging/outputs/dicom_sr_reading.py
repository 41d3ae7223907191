"""Findings back from the DICOM measurement report that `monai_staging.outputs.dicom_sr.write_sr` makes of them."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from monai_staging.errors import DataError, StagingError
from monai_staging.measure.lesion import Measurement
from monai_staging.outputs import dicom_codes as codes
from monai_staging.outputs.dicom_codes import Code, category_of, grouping_code, letter_code
from monai_staging.outputs.dicom_sr_content import COUNTED, ESTIMATED, MEASURED
from monai_staging.outputs.findings import Algorithm, Category, Findings, LesionFinding, Model, Site, StagingFinding
from monai_staging.tnm.descriptors import Descriptor
from monai_staging.tnm.size import SizeT
from monai_staging.tnm.value import TNM

if TYPE_CHECKING:
    from pydicom import Dataset

_Key = tuple[str, str]
_Value = TypeVar("_Value")
_MEASUREMENTS, _GROUP = ("126010", "DCM"), ("125007", "DCM")
_LESION, _STAGE = "1411", "1501"
_SITE, _FINDING = ("363698007", "SCT"), ("121071", "DCM")
_TRACKING_ID, _TRACKING_UID, _SEGMENT = ("112039", "DCM"), ("112040", "DCM"), ("121191", "DCM")
_ALGORITHM, _VERSION, _PARAMETER = ("111001", "DCM"), ("111003", "DCM"), ("111002", "DCM")


def read_sr(source: str | os.PathLike[str] | Dataset) -> Findings:
    """The findings that a report of ours holds, value for value.

    Args:
        source: path or data set.

    Raises:
        DataError: it cannot be parsed, is no report of ours, or lacks a part of one.
    """
    from pydicom import dcmread

    name = "Report"
    dataset: Any = source
    if isinstance(source, (str, os.PathLike)):
        name = Path(source).name
        try:
            dataset = dcmread(source)
        # pydicom fails on a damaged file in many ways; all mean the same here.
        except Exception as error:
            raise DataError(f"{name}: cannot be parsed as DICOM ({' '.join(str(error).split())}).") from error
    try:
        return _findings(dataset)
    except StagingError as error:
        raise DataError(f"{name}: {error}") from error
    # An item without what its type must have.
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"{name}: a part of the report is damaged ({type(error).__name__}: {error}).") from error


class _Group:
    """The content items of a measurement group, by concept."""

    def __init__(self, item: Any) -> None:
        self.items: dict[_Key, list[Any]] = defaultdict(list)
        for child in item.ContentSequence:
            self.items[_key(child.ConceptNameCodeSequence)].append(child)

    def one(self, key: _Key, what: str) -> Any:
        """The only item of a concept."""
        found = self.items.get(key, [])
        if len(found) != 1:
            raise DataError(f"a measurement group has one {what}; found {len(found)}.")
        return found[0]

    def number(self, code: Code) -> float | None:
        """The number of a concept, None where there is none."""
        return _number(self.one(code.key, code.meaning)) if code.key in self.items else None

    def needed(self, code: Code) -> float:
        """The number of a concept that must be there."""
        return _number(self.one(code.key, code.meaning))

    def values(self, code: Code) -> list[_Key]:
        """The codes of a concept, in order."""
        return [_key(item.ConceptCodeSequence) for item in self.items.get(code.key, [])]

    def texts(self, key: _Key) -> tuple[str, ...]:
        """The texts of a concept, in order."""
        return tuple(str(item.TextValue) for item in self.items.get(key, []))


def _findings(dataset: Any) -> Findings:
    containers = [item for item in dataset.get("ContentSequence") or [] if _name(item) == _MEASUREMENTS]
    if len(containers) != 1:
        kind = getattr(dataset.get("SOPClassUID"), "name", "an object without SOP class")
        raise DataError(f"a measurement report (TID 1500) is expected; found {kind}.")
    groups: dict[str, list[_Group]] = defaultdict(list)
    for item in containers[0].ContentSequence:
        if _name(item) == _GROUP:
            groups[str(item.ContentTemplateSequence[0].TemplateIdentifier)].append(_Group(item))
    stages = [group for group in groups[_STAGE] if codes.EDITION.key in group.items]
    if len(stages) != 1:
        raise DataError(f"a report of ours has one group for the stage; found {len(stages)}.")
    (stage,) = stages
    staging = _staging(stage)
    # A group without a segment is a box of a label.
    lesions = tuple(_lesion(group, staging.tnm.edition) for group in groups[_LESION] if _SEGMENT in group.items)
    count = stage.needed(codes.LESIONS)
    if count != len(lesions):
        raise DataError(f"the stage was reported with {count:g} lesions; found {len(lesions)}.")
    return Findings(lesions, staging, _algorithm(stage))


def _lesion(group: _Group, edition: str) -> LesionFinding:
    numbers: dict[str, float | int | None] = {number.name: group.number(number.code) for number in MEASURED}
    for number in COUNTED:
        value = group.number(number.code)
        numbers[number.name] = None if value is None else int(value)
    size = SizeT(
        t=tuple(category_of(*value) for value in group.values(codes.T_BY_SIZE)),
        measured=_category(group, codes.T_MEASURED),
        at_least=_category(group, codes.T_AT_LEAST),
        size_mm=group.needed(codes.COUNTED_SIZE),
        reasons=group.texts(codes.REASON.key),
        not_assessed=tuple(_look_up(_DESCRIPTORS, value) for value in group.values(codes.NOT_ASSESSED)),
        edition=edition,
    )
    for number in (*MEASURED, *COUNTED):
        if numbers[number.name] is None and not number.name.startswith("solid_"):
            group.needed(number.code)  # says what is missing
    return LesionFinding(
        label=int(group.one(_SEGMENT, "segment").ReferencedSOPSequence[0].ReferencedSegmentNumber),
        tracking_id=str(group.one(_TRACKING_ID, "tracking identifier").TextValue),
        tracking_uid=str(group.one(_TRACKING_UID, "tracking UID").UID),
        category=_look_up(_CATEGORIES, _key(group.one(_FINDING, "finding").ConceptCodeSequence)),
        site=_look_up(_SITES, _key(group.one(_SITE, "finding site").ConceptCodeSequence)),
        measurement=Measurement(size_t=size, **numbers),  # type: ignore[arg-type]  # checked above
        **{number.name: group.number(number.code) for number in ESTIMATED},
    )


def _staging(group: _Group) -> StagingFinding:
    edition = _look_up(_EDITIONS, _key(group.one(codes.EDITION.key, "TNM edition").ConceptCodeSequence))
    prefix = _look_up(_PREFIXES, _key(group.one(codes.PREFIX.key, "TNM prefix").ConceptCodeSequence))
    letters = {
        letter: frozenset(category_of(*value) for value in group.values(letter_code(letter, prefix)))
        for letter in "tnm"
    }
    probabilities: dict[str, dict[str, float]] = {"t": {}, "n": {}, "m": {}, "group": {}}
    for item in group.items.get(codes.PROBABILITY.key, []):
        (of,) = item.ContentSequence
        value = _key(of.ConceptCodeSequence)
        if _name(of) == grouping_code(prefix).key:
            probabilities["group"][_look_up(_GROUPS, value)] = _number(item)
        else:
            category = category_of(*value)
            probabilities[category[0].lower()][category] = _number(item)
    return StagingFinding(
        tnm=TNM(**letters, edition=edition, prefix=prefix),
        groups=tuple(_look_up(_GROUPS, value) for value in group.values(grouping_code(prefix))),
        confidence=group.number(codes.CONFIDENCE),
        **{f"{name}_probabilities": values for name, values in probabilities.items()},
        reasons=group.texts(codes.REASON.key),
        not_assessed=tuple(map(_what, group.items.get(codes.NOT_ASSESSED.key, []))),
    )


def _algorithm(group: _Group) -> Algorithm:
    models = tuple(Model(*text.split(" ", 1)) for text in group.texts(_PARAMETER))
    name, version = (
        str(group.one(key, what).TextValue) for key, what in ((_ALGORITHM, "algorithm"), (_VERSION, "version"))
    )
    return Algorithm(name, version, models)


def _category(group: _Group, code: Code) -> str:
    return category_of(*_key(group.one(code.key, code.meaning).ConceptCodeSequence))


def _what(item: Any) -> str:
    if item.ValueType == "TEXT":
        return str(item.TextValue)
    return _look_up(_DESCRIPTORS, _key(item.ConceptCodeSequence)).value


def _number(item: Any) -> float:
    value = item.MeasuredValueSequence[0]
    return float(value.get("FloatingPointValue", value.NumericValue))


def _name(item: Any) -> _Key:
    return _key(item.ConceptNameCodeSequence)


def _key(sequence: Any) -> _Key:
    return str(sequence[0].CodeValue), str(sequence[0].CodingSchemeDesignator)


def _look_up(table: dict[_Key, _Value], key: _Key) -> _Value:
    if key not in table:
        raise DataError(f"the report has the code {key[0]} of {key[1]}, which means nothing there.")
    return table[key]


_CATEGORIES: dict[_Key, Category] = {kind.key: category for category, (_, kind) in codes.CATEGORIES.items()}
_SITES: dict[_Key, Site] = {code.key: site for site, code in codes.SITES.items()}
_DESCRIPTORS: dict[_Key, Descriptor] = {code.key: descriptor for descriptor, code in codes.DESCRIPTORS.items()}
_EDITIONS: dict[_Key, str] = {code.key: edition for edition, code in codes.EDITIONS.items()}
_PREFIXES: dict[_Key, str] = {code.key: prefix for prefix, code in codes.PREFIX_CODES.items()}
_GROUPS: dict[_Key, str] = {code.key: group for group, code in codes.GROUPS.items()}
