"""A bundle as its configs describe it, for whoever needs its parts outside of a run: described once, used elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from monai_staging.errors import DataError, StagingError, UsageError
from monai_staging.networks.pretrained.source import file_sha256

_PLACES = ("bundle_root", "weights", "run_name", "device", "amp")
"""Keys that say where something lies or runs, not what it is."""


class ConfiguredBundle:
    """Configs and weights of a bundle: known by a digest at once, its parts built when they are asked for.

    Args:
        configs: of the bundle, the later ones over the first; a config is as trusted as a program.
        weights: of its network, or of several as an ensemble; those that the configs name where it is ``None``.
        keys: of the configs, with other values.
        device: where it runs.
        kept: keys of the first config that the parts depend on; of the later ones they do on all.
        name: what it is, for messages.

    Raises:
        DataError: a config or the weights are not there.
        UsageError: a key that the configs do not have.
    """

    def __init__(
        self,
        configs: Sequence[str | os.PathLike[str]],
        weights: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        keys: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
        kept: Iterable[str] = (),
        name: str = "Bundle",
    ) -> None:
        self.name = name
        files = [str(path) for path in configs]
        for path in files:
            if not Path(path).is_file():
                raise DataError(
                    f"{name}: config {path} is not there. The paths of bundles are relative to the project's folder."
                )
        documents = [ConfigParser.load_config_file(path) for path in files]
        config: dict[str, Any] = ConfigParser.load_config_files(files)
        self._parser = ConfigParser(config)
        for key, value in (keys or {}).items():
            if key not in config:
                raise UsageError(f"{name}: a key of {' and '.join(files)} is needed, found {key!r}")
            self._parser[key] = value
        if weights is not None:
            if isinstance(weights, str | os.PathLike):
                self._parser["weights"] = str(weights)
            else:
                self._parser["weights"] = [str(path) for path in weights]
        self._parser["device"] = torch.device(device)
        used = {*kept, *(key for document in documents[1:] for key in document)} - set(_PLACES)
        self.settings = {key: self._parser[key] for key in sorted(used)}
        found = self._parser.get_parsed_content("weights")
        self.members = tuple(Path(str(path)) for path in (found if isinstance(found, list) else [found]))
        for member in self.members:
            if not member.is_file():
                raise DataError(f"{name}: its weights {member} are not there; name them, or train it first.")

    @property
    def weights(self) -> Path:
        """Its weights, or the first of an ensemble's."""
        return self.members[0]

    @property
    def weights_sha256(self) -> str:
        """Of its weights' file, in hexadecimal; of several, of their digests."""
        digests = [file_sha256(path) for path in self.members]
        return digests[0] if len(digests) == 1 else hashlib.sha256(json.dumps(digests).encode()).hexdigest()

    @property
    def digest(self) -> str:
        """Of what it is: its settings and the content of its weights."""
        text = json.dumps([self.settings, self.weights_sha256], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def replace(self, key: str, value: Any) -> None:
        """Puts something else, an object for instance, in the place of an entry that no run is made of."""
        self._parser[key] = value

    def part(self, name: str) -> Any:
        """What the configs call by this name, built with all that it refers to; the same each time.

        Raises:
            DataError: the weights do not fit the settings.
        """
        try:
            return self._parser.get_parsed_content(name)
        except RuntimeError as error:
            # What an expression of a config raises, the parser hides behind an error of its own.
            cause = error.__cause__
            while cause is not None and not isinstance(cause, StagingError):
                cause = cause.__cause__
            if cause is None:
                raise
            raise cause from None
