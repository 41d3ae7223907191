"""A detector as a bundle's configs describe it, for whoever needs its detections: described once, used elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from monai_staging.detection.detector import Detector
from monai_staging.errors import DataError, UsageError
from monai_staging.networks.pretrained.source import file_sha256

TWO_STAGE = ("bundles/detection/evaluate.json", "bundles/detection/two_stage.json")
"""The two-stage detector, with the weights that its bundle ships."""
SCANNER = "scanner"
_KEPT = ("windows", "region", "iou")
"""Keys of the first config that a detector depends on; of the later ones it does on all."""
_PLACES = ("bundle_root", "weights", "run_name", "device", "amp")
"""Keys that say where something lies or runs, not what it is."""


class ConfiguredDetector:
    """The detector that configs call ``scanner``: known by a digest at once, built when it is asked for.

    Args:
        configs: of the bundle, the later ones over the first; a config is as trusted as a program.
        weights: of its network; those that the configs name where it is ``None``.
        keys: of the configs, with other values.
        device: where it runs.

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
        files = [str(path) for path in configs]
        for path in files:
            if not Path(path).is_file():
                raise DataError(
                    f"Detector: config {path} is not there. The paths of bundles are relative to the project's folder."
                )
        documents = [ConfigParser.load_config_file(path) for path in files]
        config: dict[str, Any] = ConfigParser.load_config_files(files)
        self._parser = ConfigParser(config)
        for key, value in (keys or {}).items():
            if key not in config:
                raise UsageError(f"Detector: a key of {' and '.join(files)} is needed, found {key!r}")
            self._parser[key] = value
        if weights is not None:
            self._parser["weights"] = str(weights)
        self._parser["device"] = torch.device(device)
        used = {*_KEPT, *(key for document in documents[1:] for key in document)} - set(_PLACES)
        self.settings = {key: self._parser[key] for key in sorted(used)}
        self.weights = Path(str(self._parser.get_parsed_content("weights")))
        if not self.weights.is_file():
            raise DataError(f"Detector: its weights {self.weights} are not there; name them, or train it first.")

    @property
    def digest(self) -> str:
        """Of what it is: its settings and the content of its weights."""
        text = json.dumps([self.settings, file_sha256(self.weights)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def build(self) -> Detector:
        """The detector, with its weights loaded.

        Raises:
            DataError: the weights do not fit the settings.
            UsageError: what the configs call ``scanner`` is no detector.
        """
        found = self._parser.get_parsed_content(SCANNER)
        if not isinstance(found, Detector):
            raise UsageError(f"Detector: {SCANNER} of the configs is a {type(found).__name__}, which detects nothing")
        return found
