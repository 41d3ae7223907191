"""What a comparison found, in a sentence: differences by fraction of labels, in plain words with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.multiplicity import holm
from monai_staging.metrics.paired import PairedDifference


def conclusion(
    network: str,
    metric: str,
    differences: Mapping[float, PairedDifference],
    *,
    initialisation: str = "transfer",
    adjusted: Mapping[float, float] | None = None,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    digits: int = 3,
) -> str:
    """One sentence on a network: where an initialisation adds something, costs something, or makes no difference seen.

    The interval decides what is said. Where the adjusted p-value says otherwise (significant at ``alpha`` although the
    interval includes 0, or the reverse), the sentence says that too: they answer different questions, see
    :func:`~monai_staging.metrics.paired.paired_difference`. "No difference seen" is not "no difference": the interval
    shows what is left possible.

    Args:
        network: as readers know it, "ResNet-18".
        metric: as readers know it, "AUC".
        differences: by fraction of labels, in (0, 1]; each the initialisation's value less the other's.
        initialisation: name of the arm that is judged.
        adjusted: by fraction, p-values that were adjusted over a larger family (all networks); by default Holm's over
            the fractions given. NaN where there is none.
        higher_is_better: whether a larger value of the metric is better; if not, the sentence says "lowers" and
            "raises".
        alpha: level of the tests.
        digits: after the decimal point.

    Raises:
        UsageError: there is no difference, a fraction is not in (0, 1], or a fraction has no adjusted p-value.
    """
    if not differences or not all(0 < fraction <= 1 for fraction in differences):
        raise UsageError(f"A conclusion is drawn from fractions of labels in (0, 1], got {list(differences)}.")
    if adjusted is None:
        adjusted = dict(zip(differences, holm([one.p for one in differences.values()]).tolist(), strict=True))
    missing = [fraction for fraction in differences if fraction not in adjusted]
    if missing:
        raise UsageError(f"Every fraction has an adjusted p-value, or NaN; none given for {missing}.")
    clauses: list[str] = []
    for fraction in sorted(differences):
        where = f"{100 * fraction:g} %" + (" of labels" if not clauses else "")
        one = differences[fraction]
        clauses.append(
            _clause(initialisation, metric, one, where, higher_is_better, digits)
            + _reservation(one, adjusted[fraction], alpha)
        )
    return f"{network}: {'; '.join(clauses)}."


def _clause(
    initialisation: str, metric: str, difference: PairedDifference, where: str, higher_is_better: bool, digits: int
) -> str:
    if math.isnan(difference.value):
        return f"{metric} undefined at {where}"
    if math.isnan(difference.low):
        return f"no interval, so no conclusion, at {where} ({_signed(difference.value, digits)})"
    if _includes_0(difference):
        return f"no difference seen at {where} ({difference.text(digits)})"
    upwards = difference.low > 0
    size = difference if upwards else Estimate(-difference.value, -difference.high, -difference.low, difference.n)
    amount, interval = size.text(digits).split(" ", 1)
    if higher_is_better:
        return f"{initialisation} {'adds' if upwards else 'costs'} {amount} {metric} {interval} at {where}"
    return f"{initialisation} {'raises' if upwards else 'lowers'} {metric} by {amount} {interval} at {where}"


def _reservation(difference: PairedDifference, p: float, alpha: float) -> str:
    """What is added where the test does not agree with the interval; nothing where it does or there is none."""
    if math.isnan(p) or math.isnan(difference.low) or (p <= alpha) != _includes_0(difference):
        return ""
    found = f"adjusted p = {p:.3f}" if p >= 0.001 else "adjusted p < 0.001"
    if p <= alpha:
        return f", although the test finds one ({found})"
    return f", although the test does not confirm it ({found})"


def _includes_0(difference: PairedDifference) -> bool:
    return difference.low <= 0 <= difference.high


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}"
