"""What a report says in words: sizes, chances, the stage; the same for a study and in an index."""

from __future__ import annotations

from monai_staging.outputs.findings import Category, Findings, LesionFinding, StagingFinding
from monai_staging.tnm.categories import categories, expand
from monai_staging.tnm.tables import groups

NONE = "-"
"""What stands where nothing was measured or estimated."""
TUMOURS = (Category.PRIMARY, Category.NODULE)
"""Lesions whose size can give T: a node's or a metastasis's says nothing of it."""


def percent(share: float) -> str:
    """0 to 1 in words; what is neither 0 nor 1 is never told as if it were."""
    if 0 < share <= 0.005:
        return "<\u00a01\u00a0%"
    if 0.995 <= share < 1:
        return ">\u00a099\u00a0%"
    return f"{100 * share:.0f}\u00a0%"


def chance(share: float | None) -> str:
    """`percent`, or `NONE` where nothing was estimated."""
    return NONE if share is None else percent(share)


def length(size_mm: float | None) -> str:
    """A length without its unit, or `NONE`."""
    return NONE if size_mm is None else f"{size_mm:.1f}"


def millimetres(size_mm: float) -> str:
    """A length with its unit, never parted at the end of a line."""
    return f"{size_mm:.1f}\u00a0mm"


def sure(confidence: float) -> str:
    """A confidence, which is a round number."""
    return f"{100 * confidence:g}\u00a0%"


def by_size(findings: Findings) -> LesionFinding | None:
    """The lesion whose size T goes by: the largest primary tumour, else the largest nodule; None without either."""
    for category in TUMOURS:
        own = [lesion for lesion in findings.lesions if lesion.category is category]
        if own:
            return max(own, key=lambda lesion: lesion.measurement.diameter_3d_mm)
    return None


def t_by_size(lesion: LesionFinding) -> str:
    """``at least T1b``, or `NONE` where a size gives no T."""
    return f"at least {lesion.measurement.size_t.at_least}" if lesion.category in TUMOURS else NONE


def size_sentence(findings: Findings) -> str:
    """The largest lesion, and T as far as its size tells it."""
    count = len(findings.lesions)
    if not count:
        return "No lesion found, so no T by size"
    lesion = by_size(findings)
    if lesion is None:
        return f"{counted(count, 'lesion')}, none of them a lung tumour: no T by size"
    size = lesion.measurement
    longest, counts = millimetres(size.diameter_3d_mm), millimetres(size.size_t.size_mm)
    part = "" if counts == longest else f", solid part {counts}"
    whose = f"{longest}{part}, lesion {lesion.label} of {count}"
    sentence = f"At least {size.size_t.at_least} by size ({whose})"
    return sentence if lesion.category is Category.PRIMARY else f"{sentence}, if this nodule is the primary tumour"


def stage_sentence(staging: StagingFinding) -> str:
    """The stage groups, and with what confidence they hold the true one."""
    edition, named = staging.tnm.edition, staging.groups
    if not named:
        return f"No stage group: the {edition}th edition has none for these categories"
    if set(named).issuperset(groups(edition)):
        return f"Stage group not narrowed down: every one of the {edition}th edition is possible"
    many = len(named) > 1
    if staging.confidence is None:
        told = f"Stage groups still possible: {', '.join(named)}" if many else f"Stage group: {named[0]}"
        return f"{told} (no confidence is claimed)"
    told = f"Stage group, with {sure(staging.confidence)} confidence"
    return f"{told} one of: {', '.join(named)}" if many else f"{told}: {named[0]}"


def in_order(letter: str, chances: dict[str, float], edition: str) -> list[tuple[str, float]]:
    """A letter's probabilities in the edition's order, T0 and TX first."""
    order = categories(letter, edition)
    places = {
        key: min((order.index(own) for own in expand(key, edition) if own in order), default=-1) for key in chances
    }
    return sorted(chances.items(), key=lambda item: (places[item[0]], item[0]))


def counted(count: int, what: str) -> str:
    """``1 lesion``, ``2 lesions``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
