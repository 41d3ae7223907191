"""What a comparison found, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from monai_staging.compare.findings import Contrast, Key, headline, leading
from monai_staging.compare.outcomes import Measure
from monai_staging.compare.plan import BASELINE, Comparison
from monai_staging.metrics.conclusions import conclusion
from monai_staging.metrics.intervals import Estimate


def conclusions(
    comparison: Comparison,
    contrasts: Mapping[str, Sequence[Contrast]],
    rivals: Sequence[Contrast],
    estimates: Mapping[Key, Mapping[str, Estimate]],
    best: Key,
    measures: Sequence[Measure],
) -> tuple[str, ...]:
    """A sentence a network and leading figure of merit, then the largest gain, the best arm and its rivals.

    Args:
        comparison: whose.
        contrasts: initialisations against the reference, by figure of merit.
        rivals: the best arm against the baselines.
        estimates: of every kind of arm.
        best: the best arm.
        measures: figures of merit.
    """
    sentences = []
    outcomes = leading(measures)
    for measure in outcomes:
        for network in comparison.networks:
            for init in comparison.initialisations:
                own = [one for one in contrasts[measure.name] if (one.network, one.init) == (network, init.name)]
                if own:
                    sentences.append(
                        conclusion(
                            network if len(outcomes) == 1 else f"{network}, {measure.title}",
                            measure.title,
                            {one.fraction: one.difference for one in own},
                            initialisation=init.name,
                            adjusted={one.fraction: one.adjusted for one in own},
                            higher_is_better=measure.higher_is_better,
                        )
                    )
    head = headline(measures)
    sign = 1 if head.higher_is_better else -1
    gains = [one for one in contrasts[head.name] if not math.isnan(one.difference.value)]
    if gains:
        most = max(gains, key=lambda one: sign * one.difference.value)
        sentences.append(
            f"Largest gain: {most.network}, {most.init}, {head.title} difference {most.difference.text(3)} at "
            f"{100 * most.fraction:g} % of labels."
        )
    sentences.append(
        f"Best: {best[0]}, {best[1]}, {head.title} {estimates[best][head.name].text(3)} at {100 * best[2]:g} % of "
        "labels."
    )
    for one in rivals:
        other = one.other_network if one.other_init == BASELINE else f"{one.other_network}, {one.other_init}"
        verdict = "no difference seen"
        if one.difference.low > 0 or one.difference.high < 0:
            ahead = (one.difference.value > 0) == head.higher_is_better
            verdict = "ahead" if ahead else "behind"
        sentences.append(f"Against {other}: {verdict}, {head.title} difference {one.difference.text(3)}.")
    return tuple(sentences)
