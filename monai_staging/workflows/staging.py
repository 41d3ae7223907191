"""What the staging bundle's engines need beyond MONAI's: data list, batch, loss and the score that picks a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.engines import PrepareBatch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.cohort import load_cohort
from monai_staging.cohort.audit import refuse_leaks
from monai_staging.cohort.lesion_groups import LESION_GROUPS, lesion_group
from monai_staging.cohort.privacy import case_name, load_key
from monai_staging.errors import DataError
from monai_staging.metrics.levels import LabelCounts, label_counts
from monai_staging.networks.staging import LETTERS, StagingOutput

# Between the categories of a set that travels through a batch as one string.
SEPARATOR = "|"
PARTS = ("training", "validation", "test")


def join_set(categories: Sequence[str]) -> str:
    """A set of categories as one string that survives batching: ``["T1a", "T1b"]`` to ``"T1a|T1b"``."""
    return SEPARATOR.join(categories)


def split_set(text: str) -> tuple[str, ...]:
    """Inverse of :func:`join_set`."""
    return tuple(text.split(SEPARATOR))


def staging_datalist(
    dataset_dir: str | os.PathLike[str],
    part: str | Sequence[str],
    groups: Sequence[str] = tuple(LESION_GROUPS),
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """The cases of one or several parts of a cohort, as MONAI data dictionaries.

    Args:
        dataset_dir: the cohort's folder.
        part: ``training``, ``validation``, ``test`` or a list of them.
        groups: lesion groups whose map is learned. A group counts as annotated in every case with lesions if any
            case of the cohort has one: a reader who outlined nodes somewhere looked for nodes everywhere.
        limit: at most so many cases, for quick tries.

    Returns:
        One dictionary a case: ``image`` (absolute path), ``case`` (keyed hash, never the patient), ``lesions``, ``t``,
        ``n``, ``m`` (lists of categories still possible), ``t_set`` and so on (the same as one string), ``edition``,
        ``prefix``, ``clinical``, ``lesion_known`` (float32 array, one per group); ``mask`` (absolute path) where the
        case has one.

    Raises:
        DataError: when the part has no case.
    """
    cohort = load_cohort(dataset_dir)
    key = load_key(cohort.root)
    parts = (part,) if isinstance(part, str) else tuple(part)
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        raise DataError(f"Cohort {cohort.name}: a part is one of {', '.join(PARTS)}; found {unknown[0]!r}.")
    every = [case for name in PARTS for case in getattr(cohort, name)]
    annotated = {lesion_group(lesion.kind, lesion.site) for case in every for lesion in case.lesions}
    items = []
    for case in (case for name in parts for case in getattr(cohort, name)):
        known = [float(bool(case.lesions) and group in annotated) for group in groups]
        items.append(
            {
                "image": str(cohort.root / case.image),
                "case": case_name(case.patient, key),
                "lesions": [asdict(lesion) for lesion in case.lesions],
                **{letter: list(getattr(case, letter)) for letter in LETTERS},
                **{f"{letter}_set": join_set(getattr(case, letter)) for letter in LETTERS},
                "edition": case.edition,
                "prefix": case.prefix,
                "clinical": dict(case.clinical),
                # No tensor: pickled, it holds its address, and a persistent cache would never find it again.
                "lesion_known": np.asarray(known, dtype=np.float32),
                **({} if case.mask is None else {"mask": str(cohort.root / case.mask)}),
            }
        )
    if not items:
        raise DataError(f"Cohort {cohort.name}: part {' + '.join(parts)} has 0 cases; at least 1 is needed.")
    return items[:limit]


def without_leaks(dataset_dir: str | os.PathLike[str]) -> Path:
    """The cohort's folder, if no patient, study, series or volume of it stands on two sides of its split.

    Raises:
        DataError: the cohort leaks: a result on it would be worth nothing.
    """
    cohort = load_cohort(dataset_dir)
    refuse_leaks(cohort)
    return cohort.root


def mlflow_command(tracking_uri: str) -> str:
    """How to look at the runs of a tracking URI, as a line for the user."""
    if "://" in tracking_uri and not tracking_uri.startswith("http"):
        folder = f"sqlite:///{os.getcwd()}/"
        return f"MLflow: mlflow ui --backend-store-uri {tracking_uri.replace(folder, 'sqlite:///')}"
    return f"MLflow: {tracking_uri}"


def cohort_title(dataset_dir: str | os.PathLike[str], part: str | Sequence[str] | None = None) -> str:
    """What the data is, for tables and figures: ``phantom (synthetic), test part`` for phantoms, else the source."""
    source = load_cohort(dataset_dir).source or "cohort"
    title = "phantoms (synthetic CT)" if source == "phantom" else f"cohort from {source}"
    if part is None:
        return title
    return f"{title}, {part if isinstance(part, str) else ' + '.join(part)} part"


def training_counts(dataset_dir: str | os.PathLike[str]) -> LabelCounts | None:
    """Label counts of a cohort's training part, for the majority-class baseline; ``None`` where it has no case."""
    cases = load_cohort(dataset_dir).training
    if not cases:
        return None
    return label_counts([c.t for c in cases], [c.n for c in cases], [c.m for c in cases], cases[0].edition)


def has_lesions(dataset_dir: str | os.PathLike[str]) -> bool:
    """Whether a case of the cohort's training part has a lesion, so that the map can be learned from lesions."""
    return any(case.lesions for case in load_cohort(dataset_dir).training)


class StagingPrepareBatch(PrepareBatch):
    """Batch to network input, targets and clinical vector; asks the network for everything it knows.

    Targets are a dictionary: ``tnm`` (B, classes) sets as multi-hot, ``lesion_mm`` (B, groups, X', Y', S) and
    ``lesion_known`` (B, groups).
    """

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor], tuple[()], dict[str, Any]]:
        """Moves what the network and the loss need to ``device``."""

        def move(name: str) -> Tensor:
            return torch.as_tensor(batchdata[name]).to(device=device, non_blocking=non_blocking)

        names: tuple[str, ...] = ("tnm", "lesion_mm", "lesion_known")
        targets = {name: move(name) for name in names if name in batchdata}
        clinical = move("clinical") if "clinical" in batchdata else None
        return move("image"), targets, (), {"clinical": clinical, "details": True}


class StagingLoss(nn.Module):
    """Letters' loss plus, where a cohort has lesions, the lesion map's.

    Args:
        letters: loss of the logits and the multi-hot sets, for example
            :class:`monai_staging.losses.masked.MaskedTNMLoss`.
        lesion_weight: weight of the lesion map; 0 trains on the letters alone.
    """

    def __init__(self, letters: nn.Module, lesion_weight: float = 1.0) -> None:
        super().__init__()
        self.letters = letters
        self.lesion_weight = lesion_weight

    def forward(self, prediction: StagingOutput, targets: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss of a batch."""
        loss: Tensor = self.letters(prediction.logits, targets["tnm"])
        if self.lesion_weight and "lesion_mm" in targets:
            loss = loss + self.lesion_weight * lesion_loss(prediction, targets["lesion_mm"], targets["lesion_known"])
        return loss


def lesion_loss(prediction: StagingOutput, lesion_mm: Tensor, known: Tensor) -> Tensor:
    """How far the lesion map is from the truth: focal loss of presence plus error of the log-diameter in lesions.

    The focal loss (Lin et al., 2017, gamma 2) is summed and divided by the cells with a lesion, for each study and
    group by itself: a handful of cells hold a lesion, tens of thousands none, and a tumour of a hundred cells must not
    drown another patient's of two.

    Args:
        prediction: with ``presence`` and ``diameter_mm``, (B, groups, X', Y', S').
        lesion_mm: (B, groups, X, Y, S) true diameters in mm, 0 where there is no lesion.
        known: (B, groups), 1 where lesions of the group are annotated; others do not count.
    """
    truth = lesion_mm.float()
    if truth.shape != prediction.presence.shape:
        # Another stride, or a 3-D backbone with coarser slices: the largest lesion a cell covers counts.
        truth = functional.adaptive_max_pool3d(truth, prediction.presence.shape[2:])
    axes = (2, 3, 4)
    losses = cell_losses(prediction.presence, prediction.diameter_mm, truth).sum(axes)
    return (losses / lesion_cells(truth, axes) * known.to(losses.dtype)).mean()


def cell_losses(presence: Tensor, diameter_mm: Tensor, truth_mm: Tensor) -> Tensor:
    """Loss of every cell by itself, all three of the same shape; see :func:`lesion_loss`."""
    present = (truth_mm > 0).float()
    surprise = functional.binary_cross_entropy_with_logits(presence.float(), present, reduction="none")
    focal = surprise * (1 - torch.exp(-surprise)) ** 2
    ratio = (diameter_mm.float().clamp(min=1).log() - truth_mm.clamp(min=1).log()) * present
    return focal + functional.smooth_l1_loss(ratio, torch.zeros_like(ratio), reduction="none", beta=0.2)


def lesion_cells(truth_mm: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    """How many cells hold a lesion, 4 at least: one in a single cell is as likely an error of the grid as a finding."""
    return (truth_mm > 0).float().sum(axes).clamp(min=4)
