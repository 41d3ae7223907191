"""What the engines of the mitosis bundle need beyond MONAI's: batches of tiles, losses, and whole slides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from monai.losses import FocalLoss
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from monai_staging.errors import UsageError
from monai_staging.histology.slide_pass import SlidePass, find_peaks
from monai_staging.histology.slides import Slide
from monai_staging.losses.counts import of_all
from monai_staging.losses.rare import RareHingeLoss
from monai_staging.networks.mitosis import TileMap
from monai_staging.progress import progress
from monai_staging.transforms.rand_tiles import RandTiles
from monai_staging.transforms.stain import StainChannels
from monai_staging.workflows.inferers import AutocastInferer

LOSSES = ("bce", "hinge", "rare_hinge", "focal", "peak_focal")


class TilePrepareBatch(PrepareBatch):
    """Batch of tiles to what the network sees and the map it learns.

    Args:
        channels: what the network sees.
        network: of which cells: each learns the highest the map is on its tile.
        augment: of all tiles; for training.
        augment_fed: of those that a :class:`~monai_staging.workflows.negative_feed.NegativeFeed` fed back.
        threshold: from here on of the map a cell is a mitosis, to be learned as 1, all else as 0; without, the map
            itself is learned.
    """

    def __init__(
        self,
        channels: StainChannels,
        network: TileMap,
        augment: RandTiles | None = None,
        augment_fed: RandTiles | None = None,
        threshold: float | None = None,
    ) -> None:
        self.channels = channels
        self.tile, self.stride = network.tile, network.stride
        self.augment = augment
        self.augment_fed = augment_fed
        self.threshold = threshold

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) and (B, 1, H', W')."""
        image, target = (batchdata[name].to(device=device, non_blocking=non_blocking) for name in ("image", "map"))
        if self.augment is not None:
            image, target = self.augment(image, target)
        fed = batchdata.get("fed")
        if self.augment_fed is not None and fed is not None and bool(fed.any()):
            image, target = image.clone(), target.clone()
            image[fed], target[fed] = self.augment_fed(image[fed], target[fed])
        cells = functional.max_pool2d(target, self.tile, self.stride)
        if self.threshold is not None:
            cells = (cells >= self.threshold).to(cells.dtype)
        seen = torch.stack([self.channels(tile) for tile in image])
        return seen.contiguous(memory_format=torch.channels_last), cells


class MitosisLoss(nn.Module):
    """Loss of a map of log-odds.

    Args:
        loss: ``bce``; ``hinge``, the SVM's; ``rare_hinge``, see :class:`~monai_staging.losses.rare.RareHingeLoss`;
            ``focal``, MONAI's (Lin et al. 2017, arXiv:1708.02002); ``peak_focal``, for maps that fall off around
            their points: only peaks are positive, and a cell counts the less as a negative the nearer it is to one
            (Law and Deng 2018, arXiv:1808.01244), over the number of peaks.
        rare_weight: of ``rare_hinge``.
        gamma: of both focal losses.
        peak: of ``peak_focal``: from here on of the map a cell is a peak.

    Raises:
        UsageError: no such loss.
    """

    def __init__(self, loss: str = "bce", rare_weight: float = 2.0, gamma: float = 2.0, peak: float = 0.8) -> None:
        super().__init__()
        if loss not in LOSSES or not 0 < peak < 1:
            raise UsageError(
                f"MitosisLoss: one of {', '.join(LOSSES)}, and a peak between 0 and 1; found {loss!r}, {peak}"
            )
        self.name, self.gamma, self.peak = loss, gamma, peak
        self.loss: nn.Module = nn.BCEWithLogitsLoss()
        if loss in ("hinge", "rare_hinge"):
            self.loss = RareHingeLoss(0.0 if loss == "hinge" else rare_weight)
        elif loss == "focal":
            self.loss = FocalLoss(gamma=gamma)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of (B, 1, H, W) each."""
        if self.name == "peak_focal":
            return self._peak_focal(logits.float(), target)
        loss: Tensor = self.loss(logits.float(), target)
        return loss

    def _peak_focal(self, logits: Tensor, target: Tensor) -> Tensor:
        peaks = (target >= self.peak).to(target.dtype)
        chance = logits.sigmoid()
        hit = peaks * (1 - chance) ** self.gamma * functional.logsigmoid(logits)
        miss = (1 - peaks) * (1 - target) ** 4 * chance**self.gamma * functional.logsigmoid(-logits)
        total = -(hit + miss).sum()
        return total / of_all(peaks.sum(), total, least=1)


class TileScorer:
    """The network's probability for tiles of a data set, as a negative feed asks for.

    Args:
        dataset: of tiles.
        network: gives a cell a tile; of more the highest counts.
        prepare_batch: as in validation.
        inferer: runs the network.
        batch_size: tiles at a time.
    """

    def __init__(
        self,
        dataset: Dataset[dict[str, Any]],
        network: TileMap,
        prepare_batch: TilePrepareBatch,
        inferer: AutocastInferer,
        batch_size: int = 256,
    ) -> None:
        self.dataset = dataset
        self.network = network
        self.prepare_batch = prepare_batch
        self.inferer = inferer
        self.batch_size = batch_size

    def __call__(self, places: Tensor) -> npt.NDArray[np.floating[Any]]:
        """(N) probabilities."""
        training = self.network.training
        self.network.eval()
        batches = [places[start : start + self.batch_size].tolist() for start in range(0, len(places), self.batch_size)]
        found = []
        with torch.no_grad():
            for batch in progress(batches, description="looking at all tiles", unit="step", lines=1):
                items = [self.dataset[place] for place in batch]
                columns = {name: torch.stack([item[name] for item in items]) for name in ("image", "map")}
                seen, _ = self.prepare_batch(columns, self.inferer.device)
                found.append(self.inferer(seen, self.network).float().flatten(1).amax(dim=1).sigmoid().cpu())
        self.network.train(training)
        return torch.cat(found).numpy()


def one_slide(items: Sequence[Slide]) -> dict[str, Any]:
    """Collates the one slide of a batch."""
    (slide,) = items
    return {"slide": slide}


class SlidePrepareBatch(PrepareBatch):
    """Batch of :func:`one_slide` to the slide; there is no target."""

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Slide, None]:
        """Nothing is read yet."""
        return batchdata["slide"], None


class SlideInferer(Inferer):
    """Lets an evaluator run a network on whole slides: its predictions are points with scores, and the map.

    Args:
        slide_pass: goes over a slide with the network.
        smooth_um: see :func:`~monai_staging.histology.slide_pass.find_peaks`.
        floor: likewise.
        verify: gives points, of a slide, new scores; the second of two stages.
    """

    def __init__(
        self,
        slide_pass: SlidePass,
        smooth_um: float = 0.0,
        floor: float = 0.02,
        verify: Callable[[Slide, npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.float64]]
        | None = None,
    ) -> None:
        super().__init__()
        self.slide_pass = slide_pass
        self.smooth_um = smooth_um
        self.floor = floor
        self.verify = verify

    def __call__(  # type: ignore[override]
        self, inputs: Slide, network: nn.Module, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """``xy_um`` (N, 2), ``scores`` (N) and the ``map``; ``network`` is the pass's own."""
        found = self.slide_pass(inputs)
        places, scores = find_peaks(found, smooth_um=self.smooth_um, floor=self.floor)
        if self.verify is not None:
            scores = self.verify(inputs, places, scores)
        return {"xy_um": places, "scores": scores, "map": found}
