"""Stage-group probabilities from T, N and M probabilities: sums over the table, given that the letters are independent.

The letters are learned, the table is a rule; they stay apart, and the only assumption that joins them is stated here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from monai_staging.errors import DataError
from monai_staging.tnm.categories import FINDINGS, categories, check_edition, check_letter, expand
from monai_staging.tnm.tables import groups, stage_groups

TOLERANCE = 1e-3  # how far a letter's probabilities may be from summing to 1 (half-precision softmax stays well below)


@dataclass(frozen=True)
class Bounds:
    """What is certain and what is possible about one group.

    Attributes:
        low: probability of the combinations that give this group and no other.
        high: probability of the combinations that can give this group.
    """

    low: float
    high: float


def group_probabilities(
    t: Mapping[str, float],
    n: Mapping[str, float],
    m: Mapping[str, float],
    edition: str = "8",
    *,
    shares: Mapping[str, float] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, float]:
    """p(group) = sum of p(t) p(n) p(m) over the table's entries with that group.

    The table has no group for Tis with nodes and no metastasis; the result is given that the combination is one the
    table has, so that it sums to 1.

    Args:
        t, n, m: probability by category. A key may be a main category ("T2"): its probability is divided among its
            sub-stages in proportion to ``shares``. Categories left out have probability 0.
        edition: the edition of categories and groups.
        shares: weight of each sub-stage within its main category, such as its frequency in the training cohort;
            sub-stages left out weigh 1, so that the default is an even division. `group_bounds` needs no such
            assumption.
        tolerance: how far the probabilities of a letter may be from summing to 1.

    Returns:
        Probability by group, every group of the edition in order ("occult" only where T holds "TX").

    Raises:
        DataError: a key the edition does not have, a negative or non-finite probability or weight, a sum that is not 1,
            or letters whose every combination has no group.
    """
    edition = check_edition(edition)
    letters = {
        letter: _divide(_check(letter, given, edition, tolerance), edition, shares or {})
        for letter, given in (("t", t), ("n", n), ("m", m))
    }
    totals = dict.fromkeys(groups(edition, occult="TX" in letters["t"]), 0.0)
    for a, p_a in letters["t"].items():
        for b, p_b in letters["n"].items():
            for c, p_c in letters["m"].items():
                # One group, none, or (TX with nodes) several that share evenly.
                named = stage_groups((a,), (b,), (c,), edition)
                for group in named:
                    totals[group] += p_a * p_b * p_c / len(named)
    whole = math.fsum(totals.values())
    if whole <= 0.0:
        raise DataError(f"The {edition}th edition's table gives no stage group for any combination of these letters.")
    return {group: value / whole for group, value in totals.items()}


def group_bounds(
    t: Mapping[str, float],
    n: Mapping[str, float],
    m: Mapping[str, float],
    edition: str = "8",
    *,
    tolerance: float = TOLERANCE,
) -> dict[str, Bounds]:
    """Lower and upper probability of each group where keys are main categories, without assuming how they divide.

    Args, errors: as `group_probabilities`. For single categories both bounds are the probability.
    """
    edition = check_edition(edition)
    letters = {letter: _check(letter, given, edition, tolerance) for letter, given in (("t", t), ("n", n), ("m", m))}
    names = groups(edition, occult="TX" in letters["t"])
    low, high = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    whole = 0.0
    for a, p_a in letters["t"].items():
        for b, p_b in letters["n"].items():
            for c, p_c in letters["m"].items():
                named = stage_groups(expand(a, edition), expand(b, edition), expand(c, edition), edition)
                p = p_a * p_b * p_c
                whole += p if named else 0.0
                for group in named:
                    high[group] += p
                    low[group] += p if len(named) == 1 else 0.0
    if whole <= 0.0:
        raise DataError(f"The {edition}th edition's table gives no stage group for any combination of these letters.")
    return {group: Bounds(low[group] / whole, high[group] / whole) for group in names}


def _check(letter: str, given: Mapping[str, float], edition: str, tolerance: float) -> dict[str, float]:
    """The probabilities as floats that sum to 1."""
    name = check_letter(letter)
    values = {}
    for key, value in given.items():
        if not isinstance(key, str) or key[:1] != letter.upper() or not expand(key, edition):
            known = ", ".join((*FINDINGS[name], *categories(name, edition)))
            raise DataError(f"{letter.upper()} probabilities of the {edition}th edition are for {known}; got {key!r}.")
        values[key] = float(value)
        if not math.isfinite(values[key]) or values[key] < 0.0:
            raise DataError(f"Probability of {key} must be a finite number, zero or more; got {value!r}.")
    total = math.fsum(values.values())
    if abs(total - 1.0) > tolerance:
        raise DataError(
            f"{letter.upper()} probabilities must sum to 1 (tolerance {tolerance:g}); they sum to {total:.6g}."
        )
    return {key: value / total for key, value in values.items()}


def _divide(given: Mapping[str, float], edition: str, shares: Mapping[str, float]) -> dict[str, float]:
    """Main categories divided among their sub-stages."""
    divided: dict[str, float] = {}
    for key, value in given.items():
        members = expand(key, edition)
        weights = {member: float(shares.get(member, 1.0)) for member in members}
        if not all(math.isfinite(weight) and weight >= 0.0 for weight in weights.values()):
            raise DataError(f"Shares of the sub-stages of {key} must be finite numbers, zero or more; got {weights}.")
        total = math.fsum(weights.values())
        if total <= 0.0:
            raise DataError(f"Shares of the sub-stages of {key} must not all be zero.")
        for member, weight in weights.items():
            divided[member] = divided.get(member, 0.0) + value * weight / total
    return divided
