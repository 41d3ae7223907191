"""What a registered version says of itself: tags for machines, a description for people."""

from __future__ import annotations

import math
from collections.abc import Mapping

from monai_staging.compare.outcomes import MEASURES
from monai_staging.tracking.environment import versions
from monai_staging.tracking.pyfunc.settings import NoduleModelSettings
from monai_staging.tracking.registry_source import Candidate

DIGEST_TAG = "monai_staging.digest"
DATA_TAG = "data.digest"
METRIC_TAG = "metric"
"""Name of the metric that versions are judged by; ``metric.<name>`` and ``_low``, ``_high``, ``_n`` are tags too."""

_LOWER = {measure.name for measure in MEASURES["nodules"] if not measure.higher_is_better}


def version_tags(candidate: Candidate, settings: NoduleModelSettings) -> dict[str, str]:
    """Tags of a version: digests, origin, metrics with intervals, commit, package versions. No path, no patient."""
    tags = {
        DIGEST_TAG: settings.digest,
        DATA_TAG: settings.data_digest,
        "task": settings.task,
        "networks": str(len(settings.members)),
        **candidate.origin,
    }
    for name in ("mlflow.source.git.commit", "git.dirty"):
        if name in candidate.run.tags:
            tags[name.removeprefix("mlflow.source.")] = candidate.run.tags[name]
    if candidate.run.run_ids:
        tags["source.run_id"] = candidate.run.run_ids[0]
    if candidate.metrics:
        tags[METRIC_TAG] = next(iter(candidate.metrics))
    for name, one in candidate.metrics.items():
        for end in ("value", "low", "high", "n"):
            value = one.get(end)
            if value is not None:
                tags[f"metric.{name}" + ("" if end == "value" else f"_{end}")] = f"{value:.6g}"
    return tags | {f"version.{name}": version for name, version in versions().items()}


def description(candidate: Candidate, settings: NoduleModelSettings) -> str:
    """Markdown: what it is, its metrics, and of whom they are."""
    count = len(settings.members)
    text = [f"{candidate.title}. Probability of {', '.join(settings.classes)}"]
    text[0] += f", the mean of {count} networks." if count > 1 else " by one network."
    if candidate.metrics:
        rows = [f"| {name} | {_figure(one)} |" for name, one in candidate.metrics.items()]
        text.append("\n".join(["| metric | value [95 % interval], patients |", "| --- | --- |", *rows]))
    else:
        text.append("It was not tested.")
    if count > 1 and candidate.metrics:
        text.append(
            "The metrics are means over its networks, each on patients that it was not trained on; the mean of all "
            "networks has seen every one of these patients and was not tested itself."
        )
    text.append(f"Data: SHA-256 `{settings.data_digest}`. Not a medical device.")
    return "\n\n".join(text)


def worse(candidate: Mapping[str, str], holder: Mapping[str, str]) -> str | None:
    """Why a version may not take another's place by their tags; ``None`` where it may, or where nothing compares them.

    Only a metric of the same name on the same data is compared.
    """
    name = candidate.get(METRIC_TAG)
    if name is None or holder.get(METRIC_TAG) != name or holder.get(DATA_TAG) != candidate.get(DATA_TAG):
        return None
    new, old = (_number(tags.get(f"metric.{name}")) for tags in (candidate, holder))
    if math.isnan(old) or (new <= old if name in _LOWER else new >= old):
        return None
    return f"{name} {new:g} is worse than {old:g} on the same data"


def _figure(one: Mapping[str, float]) -> str:
    text = f"{one['value']:.3f}"
    low, high, n = (one.get(name) for name in ("low", "high", "n"))
    if low is not None and high is not None:
        text += f" [{low:.3f}, {high:.3f}]"
    return text if n is None else f"{text}, {n:g}"


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan
