"""How probable it is that an outlined lesion is malignant, by the malignancy bundle's network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.nodules.cut import WINDOW_HU, Axes, nodule_box
from monai_staging.cohort.nodules.nodule import NoduleVolume
from monai_staging.cohort.volume import Volume
from monai_staging.transforms.nodule_features import NoduleFeatures
from monai_staging.transforms.nodule_views import NoduleViews
from monai_staging.workflows.configured import ConfiguredBundle


@dataclass(frozen=True)
class ViewedNodules:
    """What a nodule network's config asks of its data: so many logits, and the channels of a view."""

    views: NoduleViews
    outputs: int = 1

    @property
    def in_channels(self) -> int:
        """Of a view of CT, which has one colour."""
        return self.views.in_channels(1)


class NoduleClassifier:
    """The network of the malignancy bundle on lesions of a scan.

    Args:
        bundle: its evaluation's configs with weights.
    """

    def __init__(self, bundle: ConfiguredBundle) -> None:
        self.views: NoduleViews = bundle.part("views_def")
        bundle.replace("data", ViewedNodules(self.views))
        self.network = bundle.part("net").eval()
        self.inferer = bundle.part("inferer")
        self.device = torch.device(bundle.part("device"))

    def __call__(self, volume: Volume, parts: Sequence[Part]) -> list[float]:
        """Probability of malignancy of each lesion."""
        if not parts:
            return []
        axes = Axes.of(volume.affine)
        measure = NoduleFeatures()
        views, features = [], []
        for part in parts:
            nodule = cut_nodule(volume, part, axes)
            views.append(torch.as_tensor(self.views(nodule, axes.spacing_mm, WINDOW_HU)))
            features.append(torch.as_tensor(np.asarray(measure(nodule, axes.spacing_mm), dtype=np.float32)))
        batch = torch.stack(views).to(self.device).float() / 255
        with torch.inference_mode():
            found = self.inferer(batch, self.network, features=torch.stack(features).to(self.device), details=True)
        chances: list[float] = found.logits[:, 0].float().sigmoid().cpu().tolist()
        return chances


def cut_nodule(volume: Volume, part: Part, axes: Axes) -> NoduleVolume:
    """A lesion as the malignancy bundle has its nodules: a box of the scan, with the outline as its one reader."""
    low, high = np.asarray(part.corner), np.add(part.corner, part.mask.shape)
    middle = volume.affine[:3, :3] @ ((low + high - 1) / 2) + volume.affine[:3, 3]
    extent_mm = np.abs(volume.affine[:3, :3]) @ (high - low)
    box = nodule_box(volume, middle.tolist(), extent_mm.tolist())
    assert box is not None  # a part lies in its volume
    outline = np.zeros(tuple(own.stop - own.start for own in box), dtype=bool)
    inside = tuple(
        slice(max(0, first - own.start), end - own.start) for first, end, own in zip(low, high, box, strict=True)
    )
    outline[inside] = part.mask
    return NoduleVolume(axes.arrange(volume.array[box])[None], axes.arrange(outline)[None])
