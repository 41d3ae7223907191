"""The second of two stages: what a first network took for mitoses is looked at again, each point by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.engines import PrepareBatch
from torch import Tensor, nn
from torch.utils.data import Dataset

from monai_staging.errors import DataError, UsageError
from monai_staging.histology.regions import SlideRegions
from monai_staging.histology.slides import Slide
from monai_staging.metrics.points import RADIUS_UM, match_points
from monai_staging.progress import progress
from monai_staging.transforms.rand_tiles import RandTiles
from monai_staging.transforms.stain import StainChannels
from monai_staging.workflows.inferers import AutocastInferer
from monai_staging.workflows.mitosis import SlideInferer

Array = npt.NDArray[np.float64]
_SURE = 1e-4
"""Probabilities within this of 0 and 1 are no surer: half precision rounds them to these."""


class Verifier:
    """Scores points of a slide by a classifier that sees a tile around each, and by what the first stage said.

    The score is the probability whose log-odds are the weighted mean of both.

    Args:
        judge: tiles ``(B, C, size, size)`` to log-odds ``(B, 1)``.
        regions: gives pixels.
        channels: what the classifier sees of them.
        device: where it runs.
        size: pixels of a tile.
        weight: of the classifier, 0 to 1.
        batch_size: tiles at a time.
        amp: see :class:`~monai_staging.workflows.inferers.AutocastInferer`.

    Raises:
        UsageError: a setting out of range.
    """

    def __init__(
        self,
        judge: nn.Module,
        regions: SlideRegions,
        channels: StainChannels,
        device: str | torch.device = "cpu",
        size: int = 64,
        weight: float = 0.7,
        batch_size: int = 64,
        amp: bool | str = "auto",
    ) -> None:
        if min(size, batch_size) < 1 or not 0 <= weight <= 1:
            raise UsageError(
                "Verifier: a size and batches of at least 1 and a weight of 0 to 1 are needed; found "
                f"{size}, {batch_size} and {weight}"
            )
        self.judge = judge
        self.regions = regions
        self.channels = channels
        self.size = size
        self.weight = weight
        self.batch_size = batch_size
        self.inferer = AutocastInferer(device, amp)

    def tiles(self, slide: Slide, places_um: Array) -> Tensor:
        """(N, 3, size, size) uint8 around points (x, y) in um of a slide."""
        if not len(places_um):
            return torch.zeros(0, 3, self.size, self.size, dtype=torch.uint8)
        # Of 0 um is the middle of the slide's first pixel.
        corners = (places_um + slide.microns_per_pixel / 2) / self.regions.microns_per_pixel - self.size / 2
        return torch.stack([self.regions.read(slide, x, y, self.size, self.size) for x, y in corners.tolist()])

    def log_odds(self, tiles: Tensor) -> Array:
        """(N) of the classifier."""
        training = self.judge.training
        self.judge.eval()
        found = [np.zeros(0)]
        with torch.inference_mode():
            for batch in tiles.split(self.batch_size) if len(tiles) else ():
                seen = torch.stack([self.channels(tile) for tile in batch.to(self.inferer.device)])
                found.append(self.inferer(seen, self.judge).double().flatten().cpu().numpy())
        self.judge.train(training)
        return np.concatenate(found)

    def __call__(self, slide: Slide, places_um: Array, scores: Array) -> Array:
        """(N) new scores."""
        first = np.clip(scores, _SURE, 1 - _SURE)
        mixed = self.weight * self.log_odds(self.tiles(slide, places_um)) + (1 - self.weight) * np.log(
            first / (1 - first)
        )
        verified: Array = 1 / (1 + np.exp(-mixed))
        return verified


class CandidateTiles(Dataset[dict[str, Any]]):
    """Tiles around points, and whether each is a mitosis.

    Attributes:
        images: (N, 3, size, size) uint8.
        labels: (N) float32.
        slides: (N) names.
    """

    def __init__(self, images: Tensor, labels: Tensor, slides: Sequence[str]) -> None:
        self.images, self.labels, self.slides = images, labels, list(slides)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index], "label": self.labels[index], "case": self.slides[index]}


def mine_candidates(
    inferer: SlideInferer,
    slides: Sequence[Slide],
    verifier: Verifier,
    copies: int = 4,
    jitter_um: float = 1.5,
    seed: int = 0,
) -> CandidateTiles:
    """Tiles of what the first stage finds on training slides, of all mitoses in copies, and of what readers doubted.

    Args:
        inferer: the first stage alone.
        slides: of the training.
        verifier: cuts tiles.
        copies: of each mitosis.
        jitter_um: standard deviation of their places.
        seed: of that.

    Raises:
        DataError: there is no mitosis, or nothing that is none.
    """
    draw = np.random.default_rng(seed)
    images, labels, names = [], [], []
    for slide in progress(slides, description="candidates, training part", unit="slide"):
        found = inferer(slide, inferer.slide_pass.network)
        truth, alike = (
            np.array(points).reshape(-1, 2) * slide.microns_per_pixel for points in (slide.mitoses, slide.lookalikes)
        )
        right = match_points(truth, found["xy_um"], found["scores"], RADIUS_UM)
        again = np.repeat(truth, copies, axis=0) + draw.normal(0, jitter_um, (copies * len(truth), 2))
        places = np.concatenate([found["xy_um"], again, alike])
        own = np.concatenate([right, np.ones(len(again), dtype=bool), np.zeros(len(alike), dtype=bool)])
        # A point that lost a mitosis to a nearer one is no example of anything.
        near = np.zeros(len(places), dtype=bool)
        if len(truth):
            near = np.linalg.norm(places[:, None] - truth, axis=2).min(axis=1) <= RADIUS_UM
        kept = own | ~near
        images.append(verifier.tiles(slide, places[kept]))
        labels.append(own[kept])
        names += [slide.name] * int(kept.sum())
    label = torch.from_numpy(np.concatenate(labels).astype(np.float32))
    if not 0 < int(label.sum()) < len(label):
        raise DataError(
            "Candidates: mitoses and points that are none are needed in the training part; found "
            f"{int(label.sum())} and {len(label) - int(label.sum())}. A lower --floor gives more points."
        )
    return CandidateTiles(torch.cat(images), label, names)


class CandidatePrepareBatch(PrepareBatch):
    """Batch of candidates to what the classifier sees and whether each is a mitosis.

    Args:
        channels: what it sees.
        augment: of the tiles; for training.
    """

    def __init__(self, channels: StainChannels, augment: RandTiles | None = None) -> None:
        self.channels = channels
        self.augment = augment

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) and (B, 1)."""
        image, label = (batchdata[name].to(device=device, non_blocking=non_blocking) for name in ("image", "label"))
        if self.augment is not None:
            image, _ = self.augment(image, label[:, None, None, None])
        seen = torch.stack([self.channels(tile) for tile in image])
        return seen.contiguous(memory_format=torch.channels_last), label[:, None]
