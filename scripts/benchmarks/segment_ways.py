"""Ways to segment a whole CT with one network: this package's, MONAI's sliding windows, and nnU-Net's predictor.

Everything has the same network, weights, grid, window size, overlap and Gaussian weights, and goes from the scan's
voxels to lesions on the scan's voxels; the settings are those of `bundles/segmentation/chest_evaluate.json`. The others
take windows over the whole scan, in float32, as they do when nobody tells them otherwise; resampling and what comes
after the network are this project's for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.volume import Volume
from monai_staging.networks.folding import fold_norms
from monai_staging.networks.segmentation import build_segmenter
from monai_staging.networks.weights import load_weights
from monai_staging.transforms.chest_view import Box, ChestViews
from monai_staging.transforms.click import CHANNELS, Clicks, click_map
from monai_staging.transforms.grid import Affine, Grid, plan_grid
from monai_staging.transforms.lesion_parts import LesionParts
from monai_staging.transforms.lung_mask import LungBound
from monai_staging.transforms.resample import Array
from monai_staging.workflows.window_inferer import BoundedWindowInferer

OURS, FITTED, SAME_PRECISION = "ours", "ours, fitted windows", "ours, float32"
MONAI, NNUNET = "MONAI", "nnU-Net"

Way = Callable[[Volume, LungBound, Sequence[tuple[float, float, float]]], list[Part]]
"""A scan, its lungs and the middles of its lesions, to the lesions found."""


class ToldViews(ChestViews):
    """What a network sees that may be told where lesions are, by two more channels, as the shipped one is."""

    told = True
    centers_mm: Sequence[tuple[float, float, float]] = ()

    @property
    def channels(self) -> int:
        """Of a view."""
        return super().channels + CHANNELS * self.told

    def look(self, volume: Array | Tensor, affine: Affine, grid: Grid, lungs_mm: Box) -> Tensor:
        """The view, and where to look."""
        image = super().look(volume, affine, grid, lungs_mm)
        if not self.told:
            return image
        clicks = Clicks.of(self.centers_mm)
        return torch.cat([image, torch.stack([click_map(grid, own) for own in (clicks.inside, clicks.outside)])])


def build_ways(settings: Mapping[str, Any], told: bool) -> dict[str, Way]:
    """Each way by name, from a scan to its lesions.

    Args:
        settings: of the config.
        told: whether the network is told where lesions are.
    """
    names = {"name": settings["network"], "width": settings["width"], "pyramid": settings["pyramid"]}
    views, uncropped = (
        ToldViews(settings["spacing_mm"], settings["windows"], place=settings["place"], crop=crop)
        for crop in (True, False)
    )
    views.told = uncropped.told = told
    network, fast = (
        load_weights(build_segmenter(**names, spatial_dims=3, in_channels=views.channels), settings["weights"]).eval()
        for _ in range(2)
    )
    fast = fold_norms(fast).to(memory_format=torch.channels_last_3d)
    parts = LesionParts(settings["threshold"], settings["smallest_mm3"])
    size, overlap = settings["window"], settings["overlap"]
    # What everybody does with a network unless told otherwise.
    monai = SlidingWindowInferer(size, sw_batch_size=settings["window_batch"], overlap=overlap, mode="gaussian")

    def bounded(own: nn.Module, amp: str, fitted: bool) -> Way:
        inferer = BoundedWindowInferer("cpu", size, overlap, settings["window_batch"], amp=amp, fitted=fitted)
        looking = views if fitted else uncropped

        def way(volume: Volume, lungs: LungBound, centers_mm: Sequence[tuple[float, float, float]]) -> list[Part]:
            looking.centers_mm = centers_mm
            view = looking(volume.array, volume.affine)
            chance = inferer(view.image[None], own, bound=view.bound)
            return parts(chance[0, 0], view.grid, volume.shape, volume.affine, view.bound)

        return way

    def whole(predict: Callable[[Tensor], Tensor]) -> Way:
        def way(volume: Volume, lungs: LungBound, centers_mm: Sequence[tuple[float, float, float]]) -> list[Part]:
            uncropped.centers_mm = centers_mm
            grid = plan_grid(volume.shape, volume.affine, views.spacing_mm)
            logits = predict(uncropped.look(volume.array, volume.affine, grid, lungs.box_mm))
            return parts(logits.float().sigmoid(), grid, volume.shape, volume.affine)

        return way

    ways = {
        OURS: bounded(fast, "auto", False),
        FITTED: bounded(fast, "auto", True),
        SAME_PRECISION: bounded(network, "false", False),
        MONAI: whole(lambda image: monai(image[None], network)[0, 0]),
    }
    if find_spec("nnunetv2") is not None:
        ways[NNUNET] = whole(nnunet_predictor(network, size, overlap))
    return ways


def nnunet_predictor(network: nn.Module, size: list[int], overlap: float) -> Callable[[Tensor], Tensor]:
    """nnU-Net's sliding windows with another network: (C, X, Y, Z) to log-odds (X, Y, Z)."""
    with redirect_stdout(None):  # it says what it does on CPUs
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(
            tile_step_size=1 - overlap, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
        )
    predictor.network = network
    predictor.configuration_manager = SimpleNamespace(patch_size=list(size))
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=1)
    return lambda image: predictor.predict_sliding_window_return_logits(image.contiguous())[0]
