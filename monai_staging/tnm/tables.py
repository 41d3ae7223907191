"""Stage groups: the table of each edition, for single categories and for sets of them.

Sources: 8th edition, Goldstraw 2016; 9th, Rami-Porta 2024. Any M1 decides the group whatever T and N.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from types import MappingProxyType

from monai_staging.errors import DataError
from monai_staging.tnm.categories import EDITIONS, FINDINGS, categories, check_edition, ordered

OCCULT = "occult"

# One line a T category: its groups at M0, in the order of the edition's N categories.
_M0_ROWS = {
    "6": """
        T1 IA IIA IIIA IIIB
        T2 IB IIB IIIA IIIB
        T3 IIB IIIA IIIA IIIB
        T4 IIIB IIIB IIIB IIIB""",
    "7": """
        T1a IA IIA IIIA IIIB
        T1b IA IIA IIIA IIIB
        T2a IB IIA IIIA IIIB
        T2b IIA IIB IIIA IIIB
        T3 IIB IIIA IIIA IIIB
        T4 IIIA IIIA IIIB IIIB""",
    "8": """
        T1mi IA1 IIB IIIA IIIB
        T1a IA1 IIB IIIA IIIB
        T1b IA2 IIB IIIA IIIB
        T1c IA3 IIB IIIA IIIB
        T2a IB IIB IIIA IIIB
        T2b IIA IIB IIIA IIIB
        T3 IIB IIIA IIIB IIIC
        T4 IIIA IIIA IIIB IIIC""",
    "9": """
        T1mi IA1 IIA IIB IIIA IIIB
        T1a IA1 IIA IIB IIIA IIIB
        T1b IA2 IIA IIB IIIA IIIB
        T1c IA3 IIA IIB IIIA IIIB
        T2a IB IIB IIIA IIIB IIIB
        T2b IIA IIB IIIA IIIB IIIB
        T3 IIB IIIA IIIA IIIB IIIC
        T4 IIIA IIIA IIIB IIIB IIIC""",
}
_M1_GROUPS = {
    "6": {"M1": "IV"},
    "7": {"M1a": "IV", "M1b": "IV"},
    "8": {"M1a": "IVA", "M1b": "IVA", "M1c": "IVB"},
    "9": {"M1a": "IVA", "M1b": "IVA", "M1c1": "IVB", "M1c2": "IVB"},
}
_OLD = ("0", "IA", "IB", "IIA", "IIB", "IIIA", "IIIB", "IV")
_NEW = ("0", "IA1", "IA2", "IA3", "IB", "IIA", "IIB", "IIIA", "IIIB", "IIIC", "IVA", "IVB")
_GROUPS = {"6": _OLD, "7": _OLD, "8": _NEW, "9": _NEW}


def _build(edition: str) -> dict[tuple[str, str, str], str]:
    """Every (T, N, M) that has a group; Tis, T0 and TX have one at M0 only where the table gives it."""
    table = {("Tis", "N0", "M0"): "0", ("TX", "N0", "M0"): OCCULT}
    ns = categories("n", edition)
    for line in _M0_ROWS[edition].strip().splitlines():
        t, *row = line.split()
        table.update({(t, n, "M0"): group for n, group in zip(ns, row, strict=True)})
    for m, group in _M1_GROUPS[edition].items():
        table.update({(t, n, m): group for t in (*FINDINGS["t"], *categories("t", edition)) for n in ns})
    return table


_TABLES = {edition: _build(edition) for edition in EDITIONS}


def groups(edition: str, *, occult: bool = False) -> tuple[str, ...]:
    """The stage groups of ``edition`` from 0 to IV; with ``occult``, "occult" comes first."""
    named = _GROUPS[check_edition(edition)]
    return (OCCULT, *named) if occult else named


def main_group(group: str) -> str:
    """The group without its letter and digit: "IIIA" -> "III", "IA2" -> "I"; "0" and "occult" are their own."""
    match = re.match(r"[IV]+", group)
    return match.group() if match else group


def main_groups(edition: str) -> tuple[str, ...]:
    """The main groups of ``edition``, in order: ("0", "I", "II", "III", "IV")."""
    return tuple(dict.fromkeys(map(main_group, groups(edition))))


def stage_group(t: str, n: str, m: str, edition: str) -> str:
    """The stage group of single categories.

    Raises:
        UsageError: a category does not exist in the edition (a main category such as "T1" is a set: use
            `stage_groups`).
        DataError: the categories exist but the table has no such row ("Tis N1 M0", "T0 N0 M0").
    """
    edition = check_edition(edition)
    group = _TABLES[edition].get((t, n, m))
    if group is None:
        for letter, category in (("t", t), ("n", n), ("m", m)):
            ordered(letter, (category,), edition)
        raise DataError(f"The {edition}th edition's table gives no stage group for {t} {n} {m}.")
    return group


def stage_groups(t: Iterable[str], n: Iterable[str], m: Iterable[str], edition: str) -> tuple[str, ...]:
    """The groups that members of the sets can have, in the edition's order: the union over every combination.

    A combination without a row in the table (Tis with N1) adds nothing, so the result may be empty. TX as a finding
    with nodes and no metastasis has no row of its own, and any primary is possible: it counts as any T.

    Raises:
        UsageError: a member is no category of its letter and edition.
    """
    return _stage_groups(frozenset(t), frozenset(n), frozenset(m), check_edition(edition))


@lru_cache(maxsize=65536)
def _stage_groups(t: frozenset[str], n: frozenset[str], m: frozenset[str], edition: str) -> tuple[str, ...]:
    for letter, members in (("t", t), ("n", n), ("m", m)):
        ordered(letter, members, edition)
    table = _TABLES[edition]
    found = {table.get((a, b, c)) for a in t for b in n for c in m}
    if "TX" in t and "M0" in m:
        found |= {table.get((a, b, "M0")) for a in categories("t", edition) for b in n if b != "N0"}
    return tuple(group for group in groups(edition, occult=True) if group in found)


@cache
def group_table(edition: str) -> Mapping[str, Mapping[str, Mapping[str, str | None]]]:
    """The whole table as ``table[t][n][m]``, read-only, over `categories`; None where no group exists (Tis with nodes).

    For callers that vectorise. With probabilities p(t), p(n), p(m), that of a group is the sum of p(t) p(n) p(m) over
    the entries that hold it, divided by the same sum over the entries that hold any (see `group_probabilities`).
    """
    edition = check_edition(edition)
    table = _TABLES[edition]
    ts, ns, ms = (categories(letter, edition) for letter in "tnm")
    return MappingProxyType(
        {t: MappingProxyType({n: MappingProxyType({m: table.get((t, n, m)) for m in ms}) for n in ns}) for t in ts}
    )
