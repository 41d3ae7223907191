"""A detector as a bundle's configs describe it, for whoever needs its detections."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from monai_staging.detection.detector import Detector
from monai_staging.errors import UsageError
from monai_staging.workflows.configured import ConfiguredBundle

TWO_STAGE = ("bundles/detection/evaluate.json", "bundles/detection/two_stage.json")
"""The two-stage detector, with the weights that its bundle ships."""
SCANNER = "scanner"
_KEPT = ("windows", "region", "iou")
"""Keys of the first config that a detector depends on."""


class ConfiguredDetector(ConfiguredBundle):
    """The detector that configs call ``scanner``: known by a digest at once, built when it is asked for.

    Args:
        configs, weights, keys, device: see :class:`monai_staging.workflows.configured.ConfiguredBundle`.

    Raises:
        DataError: a config or the weights are not there.
        UsageError: a key that the configs do not have.
    """

    def __init__(
        self,
        configs: Sequence[str | os.PathLike[str]] = TWO_STAGE,
        weights: str | os.PathLike[str] | None = None,
        keys: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(configs, weights, keys, device, kept=_KEPT, name="Detector")

    def build(self) -> Detector:
        """The detector, with its weights loaded.

        Raises:
            DataError: the weights do not fit the settings.
            UsageError: what the configs call ``scanner`` is no detector.
        """
        found = self.part(SCANNER)
        if not isinstance(found, Detector):
            raise UsageError(f"Detector: {SCANNER} of the configs is a {type(found).__name__}, which detects nothing")
        return found
