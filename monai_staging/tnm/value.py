"""A TNM: three sets of categories, with the edition and the prefix they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from monai_staging.errors import UsageError
from monai_staging.tnm.categories import check_edition, check_prefix, is_unknown, ordered
from monai_staging.tnm.parse import ParsedCode, TXMeans, parse_code
from monai_staging.tnm.tables import stage_groups


class Relation(str, Enum):
    """How two sets of categories, or of groups, relate."""

    SAME = "same"
    NARROWER = "narrower"  # the first is a proper part of the second
    WIDER = "wider"  # the second is a proper part of the first
    OVERLAP = "overlap"
    DISJOINT = "disjoint"


@dataclass(frozen=True)
class TNM:
    """What is known of one patient's stage: for each letter the categories still possible (the full set: unknown).

    ``==`` asks whether two values are the same in every field, edition and prefix included; to compare findings use
    `compare`, which refuses values of different editions or prefixes.

    Attributes:
        t, n, m: sets of categories of the edition; any iterable of strings is accepted.
        edition: "6", "7", "8" or "9".
        prefix: "c", "p", "yc", "yp" or "r".

    Raises:
        UsageError: a category the edition does not have, an empty set, or no such edition or prefix.
    """

    t: frozenset[str]
    n: frozenset[str]
    m: frozenset[str]
    edition: str = "8"
    prefix: str = "c"

    def __post_init__(self) -> None:
        """Checks and normalises the fields."""
        object.__setattr__(self, "edition", check_edition(self.edition))
        object.__setattr__(self, "prefix", check_prefix(self.prefix))
        for letter in "tnm":
            members = getattr(self, letter)
            if isinstance(members, str):
                raise UsageError(
                    f"{letter.upper()} must be a set of categories, got the text {members!r}: use TNM.parse."
                )
            members = frozenset(members)
            if not ordered(letter, members, self.edition):
                raise UsageError(f"{letter.upper()} must hold at least one category, got an empty set.")
            object.__setattr__(self, letter, members)

    @classmethod
    def parse(
        cls,
        t: object = None,
        n: object = None,
        m: object = None,
        edition: str = "8",
        prefix: str | None = None,
        *,
        tx_means: TXMeans = "unknown",
    ) -> TNM:
        """Reads three codes (None: unknown); see `parse_code` for the spellings and ``tx_means``.

        Without ``prefix`` the one written in the codes counts, and "c" where they have none.

        Raises:
            UsageError: the codes contradict ``prefix`` or each other (see `common_prefix`).
        """
        parsed_t = parse_code("t", t, edition, tx_means=tx_means)
        parsed_n, parsed_m = parse_code("n", n, edition), parse_code("m", m, edition)
        prefix = common_prefix(parsed_t, parsed_n, parsed_m, prefix=prefix) or "c"
        return cls(parsed_t.members, parsed_n.members, parsed_m.members, edition, prefix)

    def ordered(self, letter: str) -> tuple[str, ...]:
        """The categories of one letter, from least to most advanced."""
        return ordered(letter, getattr(self, letter.lower()), self.edition)

    def is_unknown(self, letter: str) -> bool:
        """Whether a letter says nothing (the full set)."""
        return is_unknown(letter, getattr(self, letter.lower()), self.edition)

    @property
    def groups(self) -> tuple[str, ...]:
        """The stage groups still possible, in order; empty where the table has no row ("Tis N1 M0")."""
        return stage_groups(self.t, self.n, self.m, self.edition)

    @property
    def group(self) -> str | None:
        """The stage group where only one is possible, else None."""
        return self.groups[0] if len(self.groups) == 1 else None

    def to_json(self) -> dict[str, str | list[str]]:
        """Lists in order, edition, prefix and groups, ready for `json.dumps`."""
        document: dict[str, str | list[str]] = {letter: list(self.ordered(letter)) for letter in "tnm"}
        return {**document, "edition": self.edition, "prefix": self.prefix, "groups": list(self.groups)}

    def __str__(self) -> str:
        """Short and readable: "cT2a/T2b N0 M unknown (8th edition)"."""
        letters = (
            f"{letter.upper()} unknown" if self.is_unknown(letter) else "/".join(self.ordered(letter))
            for letter in "tnm"
        )
        return f"{self.prefix}{' '.join(letters)} ({self.edition}th edition)"


def common_prefix(t: ParsedCode, n: ParsedCode, m: ParsedCode, *, prefix: str | None = None) -> str | None:
    """The prefix of a TNM: the given one, else the one its codes carry, else None.

    The codes of T and N must carry that prefix or none. M may carry c or p beside any: M is usually known clinically
    also where T and N are pathological ("pT2a pN1 cM0").

    Raises:
        UsageError: a code contradicts the given prefix or another code.
    """
    expected = None if prefix is None else check_prefix(prefix)
    whose = "the given prefix"
    for code in (t, n):
        if code.prefix is None:
            continue
        if expected is None:
            expected, whose = code.prefix, repr(code.code)
        elif code.prefix != expected:
            raise UsageError(
                f"Prefixes must agree: {code.letter.upper()} {code.code!r} has {code.prefix!r}, "
                f"{whose} says {expected!r}."
            )
    if m.prefix is None:
        return expected
    if expected is not None and m.prefix not in (expected, "c", "p"):
        raise UsageError(f"Prefixes must agree: M {m.code!r} has {m.prefix!r}, {whose} says {expected!r}.")
    return expected or m.prefix


def relation(first: frozenset[str], second: frozenset[str]) -> Relation:
    """How two sets relate."""
    if first == second:
        return Relation.SAME
    if first < second:
        return Relation.NARROWER
    if second < first:
        return Relation.WIDER
    return Relation.OVERLAP if first & second else Relation.DISJOINT


def compare(first: TNM, second: TNM) -> dict[str, Relation]:
    """How two values relate, for "t", "n", "m" and "groups".

    Raises:
        UsageError: they are of different editions or prefixes; convert first (`convert`), or compare the like.
    """
    for name in ("edition", "prefix"):
        a, b = getattr(first, name), getattr(second, name)
        if a != b:
            raise UsageError(f"TNM values compare within one {name} only: {first} has {a!r}, {second} has {b!r}.")
    relations = {letter: relation(getattr(first, letter), getattr(second, letter)) for letter in "tnm"}
    return {**relations, "groups": relation(frozenset(first.groups), frozenset(second.groups))}
