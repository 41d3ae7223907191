"""A start for the lesion map: what the granulometry alone can tell, learned in a minute before the first epoch."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor
from torch.nn import functional

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.staging import StagingNetwork
from monai_staging.progress import progress
from monai_staging.workflows.staging import cell_losses, lesion_cells

# How many different choices of cells are kept of a study and pass: fewer, and the same false alarms go unseen.
_SHARES = 4
_WARM_UP = 0.1
_LARGEST_NORM = 5.0


@dataclass(frozen=True)
class _Cells:
    """What a step sees of a study: all cells with a lesion, and some of the others.

    ``bands`` (cells, count), half precision; ``truth_mm`` and ``weight`` (cells, groups).
    """

    bands: Tensor
    truth_mm: Tensor
    weight: Tensor


class MapStart:
    """Fits the part of a staging network's lesion map that reads the granulometry, before the first epoch.

    The granulometry's openings are not learned, so that they are the same in every epoch: computed once, the small
    perceptron behind them sees many patients in each of its steps, in a fraction of the time that an epoch of the whole
    network takes. Training then goes on from a map that knows what tumours, nodes and effusions look like by their
    thickness, and the backbone adds what that does not tell. What was fitted stays as it is from then on: trained
    further with one patient a step, it would soon be worse.

    A training that is resumed has its start in its checkpoint. There is none where the network has no granulometry, or
    where no lesion is annotated. With the same seed the start is the same. It takes about 2 MB of memory a study.

    Args:
        network: the network that is trained.
        dataset: the training's, with its augmentation: each pass shows other mirrorings and shifts.
        inferer: decides on the precision, as in the training.
        device: where the network is.
        steps: of the optimizer; 0 for no start.
        passes: how often the openings are computed for every study.
        studies: in each step.
        cells: without a lesion that a step sees of each study.
        learning_rate: highest, of AdamW with warm-up and cosine (Smith and Topin, 2017).
        weight_decay: of AdamW.
        seed: of the order and the choice of cells.

    Raises:
        UsageError: a negative number of steps, or less than one pass, study or cell.
    """

    def __init__(
        self,
        network: StagingNetwork,
        dataset: Sequence[dict[str, Any]],
        inferer: Callable[..., Any],
        device: str | torch.device = "cpu",
        steps: int = 1600,
        passes: int = 4,
        studies: int = 8,
        cells: int = 512,
        learning_rate: float = 0.01,
        weight_decay: float = 0.02,
        seed: int = 0,
    ) -> None:
        if steps < 0 or min(passes, studies, cells) < 1:
            raise UsageError(
                f"MapStart: steps ({steps}) must be at least 0; passes ({passes}), studies ({studies}) and cells "
                f"({cells}) at least 1"
            )
        self.network = network
        self.dataset = dataset
        self.inferer = inferer
        self.device = torch.device(device)
        self.steps, self.passes, self.studies, self.cells = steps, passes, studies, cells
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Attaches to the trainer; after the checkpoint, which knows whether the training is resumed."""
        engine.add_event_handler(Events.STARTED, self._started)

    def _started(self, engine: Engine) -> None:
        if not self.steps or self.network.granulometry is None or not self._annotated():
            return
        if engine.state.epoch == 0:
            self.fit()
        self.network.granulometry.settled = True
        for parameter in self._parameters():
            parameter.requires_grad_(False)

    def _annotated(self) -> bool:
        """Whether a study has lesions; asked of the data list, which needs no volume to be read."""
        data = getattr(self.dataset, "data", self.dataset)
        return any(bool(torch.as_tensor(item["lesion_known"]).any()) for item in data)

    def fit(self) -> float:
        """Fits the map; gives the mean loss of the last tenth of the steps.

        Raises:
            DataError: no study has a lesion that is annotated.
        """
        if not self._annotated():
            raise DataError("MapStart: the start needs a study with annotated lesions; found none")
        started = time.monotonic()
        rng = random.Random(self.seed)
        generator = torch.Generator().manual_seed(self.seed)
        known = list(self._collect(generator))
        parameters = self._parameters()
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.steps + 1, pct_start=_WARM_UP, cycle_momentum=False
        )
        self.network.train()
        losses, order = [], list[int]()
        for _ in progress(range(self.steps), description="map start", unit="step"):
            while len(order) < self.studies:
                order = rng.sample(range(len(known)), len(known)) + order
            shown = [known[order.pop()] for _ in range(self.studies)]
            presence, diameter = self.inferer(torch.cat([s.bands for s in shown]), self.network.map_of_bands)
            loss = cell_losses(presence, diameter, torch.cat([s.truth_mm for s in shown]))
            total = (loss * torch.cat([s.weight for s in shown])).sum(dim=0).mean() / self.studies
            optimizer.zero_grad()
            total.backward()
            torch.nn.utils.clip_grad_norm_(parameters, _LARGEST_NORM)
            optimizer.step()
            schedule.step()
            losses.append(total.detach())
        optimizer.zero_grad()
        last = float(torch.stack(losses[-math.ceil(self.steps / 10) :]).mean())
        seconds = time.monotonic() - started
        studies = len(self.dataset)
        print(f"map start: {self.steps} steps over {studies} studies, loss {last:.3f}, {seconds:.0f} s", flush=True)
        return last

    def _parameters(self) -> list[torch.nn.Parameter]:
        granulometry = self.network.granulometry
        assert granulometry is not None
        return [*granulometry.mix.parameters(), *self.network.direct.parameters(), self.network.lesions.bias]

    @torch.no_grad()
    def _collect(self, generator: torch.Generator) -> Iterator[_Cells]:
        """Cells of every study, in every pass."""
        granulometry = self.network.granulometry
        assert granulometry is not None
        grid: tuple[int, ...] | None = None
        every = (item for _ in range(self.passes) for item in self.dataset)
        total = self.passes * len(self.dataset)
        for item in progress(every, total=total, description="map start: openings", unit="case"):
            known = torch.as_tensor(item["lesion_known"]).float()
            if not known.any():
                continue
            image = torch.as_tensor(item["image"])[None].to(self.device)
            if grid is None:
                training = self.network.training
                grid = tuple(self.network.eval().slice_maps(image).shape[1:4])
                self.network.train(training)
            bands = granulometry.bands(image, grid)[0]
            granulometry.observe(bands)
            slices, columns, rows = grid
            truth = torch.as_tensor(item["lesion_mm"]).float()
            truth = functional.adaptive_max_pool3d(truth, (columns, rows, slices)).permute(3, 1, 2, 0)
            yield from self._chosen(bands.flatten(0, 2), truth.flatten(0, 2), known, generator)

    def _chosen(self, bands: Tensor, truth_mm: Tensor, known: Tensor, generator: torch.Generator) -> Iterator[_Cells]:
        """All cells with a lesion and, a few times, some of the others, which count for those left out."""
        held = (truth_mm > 0).any(dim=1)
        others = (~held).nonzero()[:, 0]
        order = others[torch.randperm(len(others), generator=generator)]
        for kept in order.split(self.cells)[:_SHARES]:
            index = torch.cat([held.nonzero()[:, 0], kept])
            weight = torch.ones(len(index))
            weight[len(index) - len(kept) :] = len(others) / max(1, len(kept))
            yield _Cells(
                bands[index.to(bands.device)].half(),
                truth_mm[index].to(self.device),
                (weight[:, None] * known / lesion_cells(truth_mm, 0)).to(self.device),
            )
