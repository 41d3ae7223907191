"""Where a network outlines what is no lesion: training scans are looked at between rounds, and patches drawn there."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.progress import progress
from monai_staging.workflows.chest import ChestScans
from monai_staging.workflows.chest_patches import ChestPatches, lesion_share_of, some_points
from monai_staging.workflows.hard_negatives import round_starts
from monai_staging.workflows.window_inferer import BoundedWindowInferer

logger = logging.getLogger("monai_staging.workflows")

POINTS = 32
"""Of each false part that patches are drawn around."""
AWAY_MM = 6.0
"""From a lesion: what is nearer is a matter of its outline."""

Points = npt.NDArray[np.float32]


class HardPlaces:
    """Before each round of a training but the first looks for false parts in whole training scans.

    Random places seldom show a network what it takes for a tumour: most of a chest is easy. What it outlines in scans
    that it learns from, and is no lesion, is where :class:`~monai_staging.workflows.chest_patches.ChestPatches` draws
    its ``hard_fraction`` from then on; each part is as likely as the others of its scan, however small. It has a state
    for a checkpoint.

    Args:
        patches: of the training.
        network: as it is at the time.
        inferer: as in validation.
        epochs: of the training.
        rounds: of the training, each with as many epochs; 1 never looks.
        scans: looked at before a round, at most, others each time.
        threshold: from here on a voxel is outlined.
        at_once: look before the first round too: the network is no beginner.

    Raises:
        UsageError: rounds that are not 1 to ``epochs``, no scans, or a threshold outside (0, 1).
    """

    def __init__(
        self,
        patches: ChestPatches,
        network: nn.Module,
        inferer: BoundedWindowInferer,
        epochs: int,
        rounds: int = 3,
        scans: int = 40,
        threshold: float = 0.5,
        at_once: bool = False,
    ) -> None:
        if not 1 <= rounds <= epochs or scans < 1 or not 0 < threshold < 1:
            raise UsageError(
                f"HardPlaces: 1 to {epochs} rounds, at least 1 scan and a threshold above 0 and below 1 are needed; "
                f"found {rounds}, {scans} and {threshold}"
            )
        self.patches = patches
        self.network = network
        self.inferer = inferer
        # Nobody looks for what is not drawn from.
        self.starts = round_starts(epochs, rounds) | ({1} if at_once else set()) if patches.hard_fraction else set()
        self.scans = scans
        self.threshold = threshold
        self.views = ChestScans(patches.cases, patches.views)

    def attach(self, engine: Engine) -> None:
        """Registers with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda one: self.mine(one.state.epoch))

    def mine(self, epoch: int) -> None:
        """Before the first epoch of a round (counted from 1) looks at scans; what was found in others stays."""
        if epoch not in self.starts:
            return
        # By the epoch, so that a training that goes on after a kill looks at the same ones.
        chosen = np.random.default_rng(epoch).permutation(len(self.views))[: self.scans]
        training = self.network.training
        self.network.eval()
        found = 0
        for place in progress(sorted(chosen.tolist()), description="looking for false parts", unit="scan"):
            parts = self.false_parts(place)
            self.patches.hard[self.patches.cases[place].name] = parts
            found += len(parts)
        self.network.train(training)
        logger.info("hard places: %d false parts in %d scans", found, len(chosen))

    def false_parts(self, place: int) -> list[Points]:
        """Of a scan, points in each of them (N, 3), RAS mm."""
        from scipy import ndimage

        view = self.views[place]
        device = self.inferer.device
        with torch.no_grad():
            chance = self.inferer(view["image"][None].to(device), self.network, bound=view["bound"].to(device))[
                0, 0
            ].cpu()
        case, grid = self.patches.cases[place], view["grid"]
        lesion = (lesion_share_of(case, grid) > 0)[None, None].float()
        reach = [math.ceil(AWAY_MM / step) for step in grid.spacing_mm]
        near = functional.max_pool3d(lesion, [2 * steps + 1 for steps in reach], 1, reach)[0, 0] > 0
        labels, _ = ndimage.label(((chance >= self.threshold) & view["bound"] & ~near).numpy())
        draw = np.random.default_rng(place)
        parts = []
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            voxels = np.argwhere(labels[box] == number) + [span.start for span in box]
            parts.append(some_points(voxels, POINTS, grid.affine, draw))
        return parts

    def state_dict(self) -> dict[str, Any]:
        """The places."""
        return {name: [torch.from_numpy(points) for points in parts] for name, parts in self.patches.hard.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes back what ``state_dict`` gave."""
        self.patches.hard = {name: [points.numpy() for points in parts] for name, parts in state_dict.items()}
