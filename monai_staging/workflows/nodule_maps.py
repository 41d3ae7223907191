"""The picture of what spoke for nodules' classes, of an evaluation of the malignancy bundle."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from monai_staging.cohort.nodules.nodule import NoduleSet
from monai_staging.explain.classifiers import nodule_activation
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.outputs.figures_explain import NoduleMap, nodule_maps_figure
from monai_staging.outputs.figures_nodules import surest_rows
from monai_staging.workflows.nodule_data import NoduleData


def write_nodule_maps(
    path: str | os.PathLike[str],
    network: NoduleNetwork,
    data: NoduleData,
    predictions: NodulePredictions,
    subtitle: str = "",
) -> Path | None:
    """Draws class activation of the class that was called: of each class the surest nodule called so and not so.

    The map is of the views as they lie, without the turns that an evaluation averages.

    Args:
        path: the PNG to write.
        network: that predicted; the maps are made on its device.
        data: whose views it saw.
        predictions: of the evaluation.
        subtitle: what the data is.

    Returns:
        None where there is nothing to draw: other than two classes, or no nodule with a label.
    """
    known = predictions.known
    if known.task != "binary" or not len(known):
        return None
    place = {name: index for index, name in enumerate(data.arrays["name"])}
    views, features = data.arrays["views"], data.arrays["features"]
    assert isinstance(views, Tensor) and isinstance(features, Tensor)
    device = next(network.parameters()).device
    shown = []
    for (truth, called), rows in surest_rows(known).items():
        for row in rows[:1].tolist():
            index = place[known.names[row]]
            seen = views[index].to(device).float() / 255
            found = nodule_activation(network, seen, features[index].to(device), called)
            chance = known.probabilities[row, 0]
            caption = (
                f"nodule {known.names[row]}: {known.classes[truth]}, called {known.classes[called]} "
                f"(probability of {known.classes[1]} {chance:.2f}); map of {known.classes[called]}"
            )
            shown.append(NoduleMap(caption, seen.cpu().numpy(), found.maps.cpu().numpy()))
    notes = [f"{subtitle}; of each class the surest that was called so, and that was not"]
    if network.scale is not None:
        notes.append("the picture's part alone: measured features had their say too, and are not in the map")
    if data.views.padding == "edge":
        notes.append("beyond what was recorded its edge is repeated, as streaks")
    return nodule_maps_figure(
        path,
        data.views,
        shown,
        sided=is_sided(data.nodules),
        grey=grey_text(data.nodules),
        subtitle="\n".join(notes),
    )


def is_sided(nodules: NoduleSet) -> bool:
    """Whether it is known how the voxels lie: of a cohort's; other layouts do not say."""
    return nodules.source == "cohort"


def grey_text(nodules: NoduleSet) -> str:
    """What black and white are: HU of a cohort; other layouts were stretched, and do not say from where to where."""
    low, high = nodules.value_range
    return f"black {low:g} HU, white {high:g} HU" if nodules.source == "cohort" else "grey as stored, no HU"
