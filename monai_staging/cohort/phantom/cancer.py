"""A lung cancer as it was placed: the primary, its nodes and its metastases."""

from __future__ import annotations

from dataclasses import dataclass

from monai_staging.cohort.phantom.metastases import Fluid, place_metastases
from monai_staging.cohort.phantom.nodes import place_nodes
from monai_staging.cohort.phantom.place import Placed, Placer
from monai_staging.cohort.phantom.plan import DiseasePlan
from monai_staging.cohort.phantom.tumour import Primary, place_primary


@dataclass(frozen=True)
class Cancer:
    """All lesions, the primary (label 1) first, and the fluids; labels count through both."""

    primary: Primary
    lesions: list[Placed]
    fluids: list[Fluid]


def place_cancer(placer: Placer, plan: DiseasePlan, hu: dict[str, float]) -> Cancer:
    """Places what the plan asks for; ``hu`` are the attenuations of the contrast phase."""
    primary = place_primary(placer, plan, hu["lesion"])
    nodes = place_nodes(placer, plan.nodes, 2 + len(primary.nodules), hu["lesion"])
    first = 2 + len(primary.nodules) + len(nodes)
    metastases, fluids = place_metastases(placer, plan.metastases, plan.side, first, hu)
    return Cancer(primary, [primary.lesion, *primary.nodules, *nodes, *metastases], fluids)
