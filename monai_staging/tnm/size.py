"""T from a measured size: "at least", because an image measurement leaves descriptors open."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from monai_staging.errors import UsageError
from monai_staging.tnm.categories import categories, check_edition
from monai_staging.tnm.descriptors import Descriptor, descriptor_level, descriptors

# Category and the largest size it holds, in mm; the boundary itself belongs to the smaller category (10.0 mm is T1a).
_T_8 = (("T1a", 10.0), ("T1b", 20.0), ("T1c", 30.0), ("T2a", 40.0), ("T2b", 50.0), ("T3", 70.0), ("T4", math.inf))
_LIMITS_MM: dict[str, tuple[tuple[str, float], ...]] = {
    "6": (("T1", 30.0), ("T2", math.inf)),
    "7": (("T1a", 20.0), ("T1b", 30.0), ("T2a", 50.0), ("T2b", 70.0), ("T3", math.inf)),
    "8": _T_8,
    "9": _T_8,
}
_SUBSOLID_TOTAL_MM = 30.0  # up to this whole size, pure ground glass is Tis and a small solid part T1mi
_MINIMAL_SOLID_MM = 5.0  # a solid part up to this size is minimal invasion


@dataclass(frozen=True)
class SizeT:
    """T as far as a size and the descriptors that were looked at tell it.

    Attributes:
        t: the categories still possible, in order: ``at_least``, and above it what a descriptor not assessed gives.
        measured: the category that the size alone gives.
        at_least: the lowest category possible, after the descriptors found.
        size_mm: the size that counted: the solid component's where one was given, else the whole lesion's.
        reasons: how it came about, one sentence each.
        not_assessed: the descriptors of the edition nobody looked at.
        edition: the edition.
    """

    t: tuple[str, ...]
    measured: str
    at_least: str
    size_mm: float
    reasons: tuple[str, ...]
    not_assessed: tuple[Descriptor, ...]
    edition: str

    @property
    def members(self) -> frozenset[str]:
        """`t` as a set."""
        return frozenset(self.t)


def category_of_size(size_mm: float, edition: str) -> str:
    """The T category of a longest dimension in mm, for a solid lesion: "T1b" for 10.01 mm in the 8th edition.

    Raises:
        UsageError: a size that is not a positive number.
    """
    _check_size("size_mm", size_mm, minimum_allowed=False)
    return next(category for category, limit in _LIMITS_MM[check_edition(edition)] if size_mm <= limit)


def t_from_size(
    size_mm: float,
    edition: str = "8",
    *,
    solid_mm: float | None = None,
    present: Iterable[Descriptor | str] = (),
    absent: Iterable[Descriptor | str] = (),
) -> SizeT:
    """T from the size of the primary tumour.

    Args:
        size_mm: longest dimension of the whole lesion in any plane, mm.
        edition: "6", "7", "8" or "9".
        solid_mm: longest dimension of the solid component, mm; 0 for pure ground glass; None for a solid lesion, whose
            whole size counts. From the 8th edition on the solid component counts: pure ground glass up to 30 mm is Tis
            and above T1a; a solid part up to 5 mm in a lesion up to 30 mm is T1mi. Earlier editions go by the whole
            size.
        present: descriptors found; each raises T to its level at least.
        absent: descriptors looked for and not found: what they would give is no longer possible, unless another that
            nobody looked at gives it too.

    Returns:
        The set, the reasons and the descriptors not assessed. A size of 15 mm with nothing else known is at least T1b
        in the 8th edition; a descriptor could make it T2a, T3 or T4, but nothing T1c or T2b, which come from a size
        alone.

    Raises:
        UsageError: a size that is no positive number, a solid part larger than the whole, an unknown descriptor, or one
            that is both present and absent.
    """
    edition = check_edition(edition)
    found, excluded = _descriptors(present), _descriptors(absent)
    both = found & excluded
    if both:
        raise UsageError(f"A descriptor is present or absent, not both: {', '.join(sorted(d.value for d in both))}.")
    measured, counted_mm, reason = _measured(size_mm, edition, solid_mm)
    order = categories("t", edition)
    reasons = [reason]
    at_least = measured
    for descriptor in Descriptor:
        if descriptor not in found:
            continue
        level = descriptor_level(descriptor, edition)
        if level is None:
            reasons.append(f"{descriptor.value}: no T descriptor of the {edition}th edition, T not raised")
        elif order.index(level) > order.index(at_least):
            at_least = level
            reasons.append(f"{descriptor.value}: at least {level}")
        else:
            reasons.append(f"{descriptor.value}: {level}, not above {at_least}")
    not_assessed = tuple(d for d in descriptors(edition) if d not in found and d not in excluded)
    levels = {descriptor_level(descriptor, edition) for descriptor in not_assessed}
    t = (at_least, *(category for category in order[order.index(at_least) + 1 :] if category in levels))
    return SizeT(t, measured, at_least, counted_mm, tuple(reasons), not_assessed, edition)


def _measured(size_mm: float, edition: str, solid_mm: float | None) -> tuple[str, float, str]:
    """The category of the size alone, the size that counted in mm, and the reason."""
    _check_size("size_mm", size_mm, minimum_allowed=False)
    if solid_mm is None:
        category = category_of_size(size_mm, edition)
        return category, size_mm, f"size {_shown(size_mm)} mm, taken as solid throughout: {category}"
    _check_size("solid_mm", solid_mm, minimum_allowed=True)
    if solid_mm > size_mm:
        raise UsageError(
            f"The solid component is part of the lesion: solid_mm {solid_mm:g} exceeds size_mm {size_mm:g}."
        )
    if edition in ("6", "7"):
        category = category_of_size(size_mm, edition)
        whole = f"the {edition}th edition counts the whole lesion"
        return category, size_mm, f"size {_shown(size_mm)} mm: {category} ({whole})"
    if solid_mm == 0:
        category = "Tis" if size_mm <= _SUBSOLID_TOTAL_MM else "T1a"
        return category, 0.0, f"pure ground glass of {_shown(size_mm)} mm: {category}"
    if solid_mm <= _MINIMAL_SOLID_MM and size_mm <= _SUBSOLID_TOTAL_MM:
        return "T1mi", solid_mm, f"solid component {_shown(solid_mm)} mm in a lesion of {_shown(size_mm)} mm: T1mi"
    category = category_of_size(solid_mm, edition)
    return category, solid_mm, f"solid component {_shown(solid_mm)} mm of a lesion of {_shown(size_mm)} mm: {category}"


def _descriptors(names: Iterable[Descriptor | str]) -> frozenset[Descriptor]:
    if isinstance(names, str):
        names = (names,)
    found = set()
    for name in names:
        try:
            found.add(Descriptor(name))
        except ValueError:
            known = ", ".join(descriptor.value for descriptor in Descriptor)
            raise UsageError(f"T descriptor must be one of: {known}; got {name!r}.") from None
    return frozenset(found)


def _shown(value_mm: float) -> str:
    """A length as it is told: to a tenth, unless that would move it onto a limit, which are whole millimetres."""
    tenth = round(float(value_mm), 1)
    return f"{value_mm if tenth.is_integer() else tenth:g}"


def _check_size(name: str, value_mm: float, *, minimum_allowed: bool) -> None:
    if not math.isfinite(value_mm) or value_mm < 0 or (value_mm == 0 and not minimum_allowed):
        at_least = "zero or more" if minimum_allowed else "positive"
        raise UsageError(f"{name} must be a finite number of millimetres, {at_least}; got {value_mm!r}.")
