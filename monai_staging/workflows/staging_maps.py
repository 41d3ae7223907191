"""The picture of what spoke for a study's T, N and M, of an evaluation of the staging bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_staging.cohort.volume import read_volume
from monai_staging.explain.classifiers import study_activation
from monai_staging.metrics.levels import main_class
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.networks.slice_staging import SliceStagingNetwork
from monai_staging.networks.staging import LETTERS, StagingNetwork
from monai_staging.outputs.evaluation import case_captions
from monai_staging.outputs.figures_explain import LetterMap, study_maps_figure
from monai_staging.transforms.spacing import ResampleSpacing


def shown_category(predictions: StagingPredictions, row: int, letter: str) -> tuple[str, float]:
    """Of the predicted main category the likeliest of the network's own, and its probability.

    A network has T1a to T1c where a report says T1: the likeliest of all may be another's, of which nobody was told.
    """
    level = predictions.levels[letter]
    predicted = level.classes[level.predicted[row]]
    chances = getattr(predictions, letter)[row]
    names = predictions.classes[letter]
    own = [place for place, name in enumerate(names) if main_class(letter, name) == predicted]
    best = max(own, key=lambda place: float(chances[place]))
    return names[best], float(chances[best])


def write_study_maps(
    path: str | os.PathLike[str],
    network: StagingNetwork | SliceStagingNetwork,
    image: Tensor,
    clinical: Tensor | None,
    attention: NDArray[Any],
    predictions: StagingPredictions,
    row: int,
    volume_path: str | os.PathLike[str],
    spacing_mm: Sequence[float],
    subtitle: str = "",
) -> Path:
    """Draws class activation of the predicted letters over the study as it was recorded.

    Args:
        path: the PNG to write.
        network: that predicted; the maps are made on its device.
        image: (C, X, Y, S), as the network took it, on a grid about the volume's centre.
        clinical: as the network took it.
        attention: (letters, S).
        predictions: of the evaluation.
        row: the study's.
        volume_path: where it is recorded.
        spacing_mm: of the grid.
        subtitle: what the data is.
    """
    volume = read_volume(volume_path)
    size = image.shape[1:]
    grid = ResampleSpacing(spacing_mm, size).grid(volume.shape, volume.affine)
    device = next(network.parameters()).device
    beside = None if clinical is None else clinical.to(device)
    captions = case_captions(predictions, row)
    letters = {}
    for place, letter in enumerate(LETTERS):
        category, chance = shown_category(predictions, row, letter)
        found = study_activation(network, image.to(device), letter, category, beside)
        # The finest category, where the line above tells of the main one.
        finer = "" if category == main_class(letter, category) else f"; map of {category} ({chance:.2f})"
        letters[letter] = LetterMap(
            captions[letter] + finer, found.maps.cpu().numpy(), np.asarray(attention[place], dtype=np.float64)
        )
    return study_maps_figure(path, volume, grid, letters, case_name=predictions.studies[row], subtitle=subtitle)
