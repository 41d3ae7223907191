"""Lesions by what they mean for the stage: a node of the hilum is N1 or N3, a liver metastasis M1b or M1c.

A group's name ends in `` L`` or `` R`` where the side is part of it: the mediastinum's nodes lie so close to the middle
that only anatomy, not a coordinate, tells their side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from monai_staging.errors import UsageError

# Patterns of "kind site", the site being an IASLC station or an organ; the first group that fits counts.
LESION_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "primary": ("primary*",),
        "nodule": ("nodule*", "metastasis lung*"),
        "hilar node L": ("node 1[0-4]L",),
        "hilar node R": ("node 1[0-4]R",),
        "mediastinal node L": ("node [234789]L", "node 3[ap]L", "node [56]", "node [56]L"),
        "mediastinal node R": ("node [234789]R", "node 3[ap]R"),
        "midline node": ("node [789]", "node 3p", "node 3a"),
        "supraclavicular node": ("node 1", "node 1[LR]"),
        "effusion": ("metastasis *effusion*",),
        "adrenal metastasis": ("metastasis adrenal*",),
        "liver metastasis": ("metastasis liver*",),
        "bone metastasis": ("metastasis bone*",),
    }
)

EVIDENCE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "t": ("primary", "nodule"),
        "n": ("hilar node", "mediastinal node", "midline node", "supraclavicular node"),
        "m": ("nodule", "effusion", "adrenal metastasis", "liver metastasis", "bone metastasis"),
    }
)
"""The groups, without their side, that each letter is read from."""


def without_side(group: str) -> str:
    """A group's name as in `EVIDENCE`."""
    return group.removesuffix(" L").removesuffix(" R")


def lesion_group(kind: str, site: str | None) -> str | None:
    """The group of a lesion; ``None`` for one whose site says too little, such as a node without a station.

    Args:
        kind: see :class:`monai_staging.cohort.case.Lesion`.
        site: see there.
    """
    text = f"{kind} {site or ''}".strip()
    for name, patterns in LESION_GROUPS.items():
        if any(fnmatchcase(text, pattern) for pattern in patterns):
            return name
    return None


def check_groups(groups: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple.

    Raises:
        UsageError: a name that is no group, a name twice, or one side of a pair without the other.
    """
    names = tuple(groups)
    for name in names:
        if name not in LESION_GROUPS:
            raise UsageError(f"A lesion group is one of {', '.join(LESION_GROUPS)}; found {name!r}")
        other = other_side(name)
        if other is not None and other not in names:
            raise UsageError(f"Lesion groups have both sides or none; found {name!r} without {other!r}")
    if len(set(names)) != len(names):
        raise UsageError(f"Each lesion group is named once; found {list(names)}")
    return names


def other_side(name: str) -> str | None:
    """The same group of the other side; ``None`` for groups without sides."""
    if name.endswith((" L", " R")):
        return name[:-1] + ("R" if name[-1] == "L" else "L")
    return None


def mirrored(groups: Iterable[str]) -> list[int]:
    """For each group, the index of what it becomes when left and right change places."""
    names = list(groups)
    return [names.index(other_side(name) or name) for name in names]
