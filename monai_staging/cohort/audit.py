"""Is a cohort fit to train on: leakage between its parts and folds, labels, geometry, files."""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from monai_staging.cohort.audit_volumes import GeometrySummary, Problem, inspect_volumes, pixel_groups
from monai_staging.cohort.case import IDENTITIES, Case
from monai_staging.cohort.cohort import Cohort
from monai_staging.cohort.privacy import case_name, load_key
from monai_staging.errors import DataError
from monai_staging.tnm import TNM, groups, is_unknown, main_category, main_group

LETTERS = ("t", "n", "m")
Namer = Callable[[Case], str]


@dataclass(frozen=True)
class Leak:
    """The same thing on two sides of a split.

    Attributes:
        kind: ``patient``, ``study``, ``series`` or ``pixels``; ``case`` for test cases that are in a fold too.
        sides: the parts, or the folds (``fold 0``, ...), that share it.
        cases: who shares it, by name.
    """

    kind: str
    sides: tuple[str, ...]
    cases: tuple[str, ...]

    def __str__(self) -> str:
        return f"the same {self.kind} in {' and '.join(self.sides)}: {', '.join(self.cases)}"


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        leaks: reasons not to train.
        problems: files that are missing or contradict ``cohort.json``.
        duplicates: cases of one part with identical pixels, by name; no leak, but counted twice.
        labels: part, then ``t``, ``n``, ``m`` or ``group``, then main category (or ``unknown``), to a number of cases.
        missing_labels: part, then letter, to the cases where nothing is known of it.
        patients: part to its number of patients.
        cases: part to its number of cases.
        geometry: of the volumes.
        digest: of ``cohort.json``.
    """

    leaks: tuple[Leak, ...]
    problems: tuple[Problem, ...]
    duplicates: tuple[tuple[str, ...], ...]
    labels: Mapping[str, Mapping[str, Mapping[str, int]]]
    missing_labels: Mapping[str, Mapping[str, int]]
    patients: Mapping[str, int]
    cases: Mapping[str, int]
    geometry: GeometrySummary | None = field(default=None)
    digest: str = ""

    @property
    def acceptable(self) -> bool:
        """Whether nothing leaks and every file is there and as ``cohort.json`` says."""
        return not self.leaks and not self.problems


def audit_cohort(cohort: Cohort, *, name_of: Namer | None = None) -> Audit:
    """Audits a cohort; reads every volume's header and a few of its slices (all of it where those are not unique).

    Args:
        cohort: the cohort.
        name_of: how cases are named; by keyed hash unless the user asks otherwise.
    """
    name_of = name_of or hashed_names(cohort)
    members = _members(cohort, name_of)
    problems, geometry, readable = inspect_volumes(cohort, name_of)
    identical = [[members[index] for index in group] for group in pixel_groups(cohort, readable)]
    parts = cohort.parts
    return Audit(
        leaks=(*_identity_leaks(members), *_leaks("pixels", identical)),
        problems=problems,
        duplicates=tuple(_names(group) for group in identical if not list(_leaks("pixels", [group]))),
        labels={part: _label_counts(cases) for part, cases in parts.items()},
        missing_labels={
            part: {x: sum(_unknown(c, x) for c in cases) for x in LETTERS} for part, cases in parts.items()
        },
        patients={part: len({case.patient for case in cases}) for part, cases in parts.items()},
        cases={part: len(cases) for part, cases in parts.items()},
        geometry=geometry,
        digest=cohort.digest,
    )


def refuse_leaks(cohort: Cohort, *, pixels: bool = True) -> None:
    """Raises :class:`DataError` for a cohort in which a patient, study, series or volume is on two sides of a split.

    Args:
        cohort: the cohort.
        pixels: compare volumes too, as far as they can be read.
    """
    name_of = hashed_names(cohort)
    members = _members(cohort, name_of)
    leaks = list(_identity_leaks(members))
    if pixels and not leaks:
        _, _, readable = inspect_volumes(cohort, name_of)
        leaks += _leaks("pixels", ([members[index] for index in group] for group in pixel_groups(cohort, readable)))
    if leaks:
        more = f" (and {len(leaks) - 1} more; see `monai-staging audit`)" if len(leaks) > 1 else ""
        raise DataError(f"Cohort {cohort.name}: {leaks[0]}{more}; refuse to train on a cohort that leaks")


def hashed_names(cohort: Cohort) -> Namer:
    """Names by keyed hash; of this run alone where the cohort's folder can hold no key."""
    try:
        key = load_key(cohort.root)
    except DataError:
        key = secrets.token_bytes(32)
    return lambda case: case_name(case.patient, key)


@dataclass(frozen=True, eq=False)
class _Member:
    """A case in its part."""

    case: Case
    part: str
    name: str


def _members(cohort: Cohort, name_of: Namer) -> list[_Member]:
    """In the order of ``cohort.cases``."""
    return [_Member(case, part, name_of(case)) for part, cases in cohort.parts.items() for case in cases]


def _identity_leaks(members: list[_Member]) -> Iterable[Leak]:
    for kind, key in IDENTITIES.items():
        shared: dict[str, list[_Member]] = defaultdict(list)
        for member in members:
            shared[key(member.case)].append(member)
        yield from _leaks(kind, shared.values())
    folded = [member for member in members if member.part == "test" and member.case.fold is not None]
    if folded:
        yield Leak("case", ("test", *sorted({f"fold {member.case.fold}" for member in folded})), _names(folded))


def _leaks(kind: str, shared: Iterable[list[_Member]]) -> Iterable[Leak]:
    """A leak for every group that lies in several parts, or else in several folds."""
    for group in shared:
        parts = tuple(dict.fromkeys(member.part for member in group))
        folds = sorted({member.case.fold for member in group if member.case.fold is not None})
        if len(parts) > 1:
            yield Leak(kind, parts, _names(group))
        elif len(folds) > 1:
            yield Leak(kind, tuple(f"fold {fold}" for fold in folds), _names(group))


def _names(members: Iterable[_Member]) -> tuple[str, ...]:
    return tuple(sorted({member.name for member in members}))


def _unknown(case: Case, letter: str) -> bool:
    return is_unknown(letter, frozenset(getattr(case, letter)), case.edition)


def _label_counts(cases: Iterable[Case]) -> dict[str, dict[str, int]]:
    counters: dict[str, Counter[str]] = {key: Counter() for key in (*LETTERS, "group")}
    for case in cases:
        for letter in LETTERS:
            found = dict.fromkeys(main_category(category) for category in getattr(case, letter))
            counters[letter]["unknown" if _unknown(case, letter) else "/".join(found)] += 1
        stages = TNM(frozenset(case.t), frozenset(case.n), frozenset(case.m), case.edition, case.prefix).groups
        every = dict.fromkeys(map(main_group, groups(case.edition)))
        mains = dict.fromkeys(map(main_group, stages))
        counters["group"]["unknown" if set(mains) >= set(every) else "/".join(mains)] += 1
    return {key: dict(sorted(counter.items())) for key, counter in counters.items()}
