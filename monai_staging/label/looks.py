"""What the staging network sees in a study, for choosing the next one: its features, and how unsure it is."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.label.uncertainty import mutual_information
from monai_staging.metrics.intervals import FloatArray
from monai_staging.networks.ensembles import dropout_active, first_member
from monai_staging.networks.staging import LETTERS, StagingOutput
from monai_staging.predict.models import LoadedModel
from monai_staging.predict.stager import Stager, one_case_cohort
from monai_staging.predict.study import Study

PASSES = 8
"""Of the network with dropout; the standard error of a mutual information is then a third of its spread."""


@dataclass(frozen=True, eq=False)
class Look:
    """What one study looks like to the network.

    Attributes:
        features: (D), what the letters are read from: the backbone's tokens, pooled over the slices for T, N and M.
        disagreement: mutual information of T, N and M with the network's weights, by letter, nats.
    """

    features: FloatArray
    disagreement: dict[str, float]

    @property
    def score(self) -> float:
        """Of all letters, nats."""
        return sum(self.disagreement.values())


class Looker:
    """Looks at studies; what it saw is kept beside them.

    Args:
        model: the staging bundle, for this alone: its network is replaced by one that is watched.
        folder: that looks are kept in; derived, and may be deleted at any time.
    """

    def __init__(self, model: LoadedModel, folder: Path) -> None:
        self.folder = folder
        self.digest = model.bundle.weights_sha256
        self._stager = Stager(model.bundle)
        self._watched = _Watched(model.bundle.part("net"))
        model.bundle.replace("net", self._watched)

    def known(self, name: str, path: Path) -> Look | None:
        """The look at a study that was kept, unless the study or the weights have changed since."""
        try:
            kept = json.loads(self._file(name).read_text(encoding="utf-8"))
            if kept["of"] != self._of(path):
                return None
            return Look(np.asarray(kept["features"], dtype=np.float64), dict(kept["disagreement"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def look(self, name: str, path: Path, study: Study) -> Look:
        """Looks at a study, and keeps what was seen.

        Args:
            name: its image id.
            path: of the study.
            study: as it was read.

        Raises:
            DataError: the network saw something that is no number.
        """
        with tempfile.TemporaryDirectory(prefix="monai-staging-") as folder:
            self._stager(one_case_cohort(Path(folder), study.volume, study.name, self._stager.edition))
        seen = Look(self._watched.features, self._watched.disagreement)
        if not np.isfinite([*seen.features, seen.score]).all():
            raise DataError(f"{study.name}: the staging network gives values that are no numbers.")
        document = {"of": self._of(path), "features": seen.features.tolist(), "disagreement": seen.disagreement}
        write_json_atomic(self._file(name), document)
        return seen

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _of(self, path: Path) -> list[Any]:
        return [path.stat().st_mtime_ns, self.digest, PASSES]


class _Watched(nn.Module):
    """A staging network, and what it did with the last study: one pass as ever, then some with dropout."""

    features: FloatArray
    disagreement: dict[str, float]

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        first_member(network).pool.register_forward_hook(self._pooled)  # type: ignore[union-attr]
        self._tokens: list[Tensor] = []

    def _pooled(self, module: nn.Module, given: Any, output: tuple[Tensor, Tensor]) -> None:
        self._tokens.append(output[0])

    def forward(self, image: Tensor, clinical: Tensor | None = None, details: bool = True) -> StagingOutput:
        """What the network says without dropout."""
        self._tokens.clear()
        output: StagingOutput = self.network(image, clinical, details=True)
        self.features = self._tokens[0][0].flatten().double().cpu().numpy()
        passes = []
        for number in range(PASSES):
            with dropout_active(self.network, number, image.device):
                passes.append(self.network(image, clinical, details=True).logits[0].double().cpu())
        self._tokens.clear()
        classes: Any = first_member(self.network).classes
        widths = [len(classes[letter]) for letter in LETTERS]
        parts = torch.stack(passes).split(widths, dim=1)
        self.disagreement = {
            letter: mutual_information(part.softmax(dim=1).numpy()) for letter, part in zip(LETTERS, parts, strict=True)
        }
        return output
