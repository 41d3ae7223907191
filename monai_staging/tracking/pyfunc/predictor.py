"""Predictions of a packaged nodule classifier, from views or from a data set."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_staging.errors import DataError
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.networks.weights import load_weights
from monai_staging.tracking.pyfunc.settings import NoduleModelSettings, read_settings
from monai_staging.workflows.malignancy import TurningInferer, probabilities
from monai_staging.workflows.nodule_data import NoduleData

logger = logging.getLogger("monai_staging.tracking")

BATCH = 64


@dataclass(frozen=True, eq=False)
class NodulePrediction:
    """What a model says of a data set's nodules.

    Attributes:
        names: (N) of the nodules, as the data set has them; no patient is named.
        probabilities: (N, K).
    """

    names: tuple[str, ...]
    probabilities: NDArray[np.float64]


class NodulePredictor:
    """A nodule classifier of one or several networks, whose probabilities are averaged.

    It computes in single precision on every device, so that a probability does not depend on the hardware.

    Args:
        settings: what the networks are and see.
        networks: with their weights.
        device: a GPU where there is one, by default.
    """

    def __init__(
        self,
        settings: NoduleModelSettings,
        networks: Sequence[NoduleNetwork],
        device: str | torch.device | None = None,
    ) -> None:
        if not networks:
            raise DataError("Nodule model: at least 1 network is needed, found 0")
        self.settings = settings
        self.device = torch.device(device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
        self.networks = [network.eval().to(self.device) for network in networks]
        self._inferer = TurningInferer(self.device, amp=False, turns=settings.turns)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str | torch.device | None = None) -> NodulePredictor:
        """From a folder with ``settings.json`` and weights. Nothing in it is executed.

        Raises:
            DataError: a file is missing, damaged or of another network; its rule and name are told.
        """
        root = Path(folder)
        settings = read_settings(root)
        networks = []
        for member in settings.members:
            path = root / member.file
            found = sha256(path) if path.is_file() else "no such file"
            if found != member.sha256:
                raise DataError(f"{path}: SHA-256 {member.sha256} is needed, found {found}")
            networks.append(load_weights(settings.make_network(), path))
        return cls(settings, networks, device)

    def predict(self, views: ArrayLike | Tensor, features: ArrayLike | Tensor | None = None) -> NDArray[np.float64]:
        """Probabilities (B, K) of views.

        Args:
            views: (B, V, C, \\*spatial), image and outline in 0 to 1, as
                :class:`~monai_staging.transforms.nodule_views.NoduleViews` makes them, divided by 255.
            features: (B, F) what :class:`~monai_staging.transforms.nodule_features.NoduleFeatures` measured, NaN where
                one is missing; needed where the networks were trained with them, and only there.

        Raises:
            DataError: another shape, or values out of range.
        """
        seen = _tensor(views, "views")
        shape = self.settings.input_shape
        if seen.shape[1:] != shape or not len(seen):
            raise DataError(f"Nodule model: views must be (B, {_text(shape)}), found ({_text(seen.shape)})")
        # Not clipped: 0 to 255, or Hounsfield units, would give a probability of nothing.
        if not bool(((seen >= 0) & (seen <= 1)).all()):
            raise DataError(
                f"Nodule model: views must lie in 0 to 1; found {float(seen.min()):g} to {float(seen.max()):g}"
            )
        return self._run(seen, self._measured(features, len(seen)))

    def predict_path(self, path: str | os.PathLike[str]) -> NodulePrediction:
        """Probabilities of every nodule of a data set, labelled or not.

        Args:
            path: see :func:`monai_staging.cohort.nodules.load_nodules`.

        Raises:
            DataError: it is no data set of nodules, or its pictures have other channels.
        """
        data = NoduleData(path, self.settings.make_views())
        wanted = self.settings.network["in_channels"]
        if data.in_channels != wanted:
            raise DataError(f"Nodules {path}: views of {wanted} channels are needed, found {data.in_channels}")
        if data.nodules.digest == self.settings.data_digest:
            logger.warning("These are the nodules that the model was trained on: its predictions say how well it fits.")
        part = data.part("test")
        views = part.values("views")
        measured = part.values("features").float() if self.settings.features else None
        found = [
            self._run(
                views[start : start + BATCH].float() / 255, None if measured is None else measured[start:][:BATCH]
            )
            for start in range(0, len(part), BATCH)
        ]
        names = tuple(str(name) for name in data.arrays["name"])
        return NodulePrediction(names, np.concatenate(found))

    def _measured(self, features: ArrayLike | Tensor | None, count: int) -> Tensor | None:
        wanted = self.settings.features
        if features is None:
            if wanted:
                raise DataError(f"Nodule model: {wanted} measured features a nodule are needed, found none")
            return None
        measured = _tensor(features, "features")
        if measured.shape != (count, wanted):
            needed = f"({count}, {wanted})" if wanted else "left out: these networks take none"
            raise DataError(f"Nodule model: features must be {needed}, found ({_text(measured.shape)})")
        return measured

    def _run(self, views: Tensor, features: Tensor | None) -> NDArray[np.float64]:
        """The members' mean probability, (B, K)."""
        rows = []
        with torch.inference_mode():
            for start in range(0, len(views), BATCH):
                batch = views[start : start + BATCH].to(self.device)
                measured = None if features is None else features[start : start + BATCH].to(self.device)
                total = torch.zeros(())
                for network in self.networks:
                    output = self._inferer(batch, network, features=measured, details=True)
                    total = total + probabilities(output.logits, self.settings.task).double().cpu()
                rows.append((total / len(self.networks)).numpy())
        found: NDArray[np.float64] = np.concatenate(rows)
        return found


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _tensor(values: ArrayLike | Tensor, name: str) -> Tensor:
    try:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        return torch.from_numpy(np.array(array, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise DataError(f"Nodule model: {name} must be an array of numbers: {error}") from error


def _text(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
