"""Where the trainings of a data store are kept, and what is known of each."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_staging.cohort.privacy import KEY_FILE, KEY_VARIABLE, case_name, load_key
from monai_staging.files import write_json_atomic
from monai_staging.label.orders import NETWORK
from monai_staging.packaging.networks import MODEL

if TYPE_CHECKING:
    from monai_staging.tracking.registry_weights import WeightsRegistry

RUNS = "runs"
"""Folder in the current one, as of every bundle's training."""
STATE = "state.json"
RUNNING, DONE, ERROR, STOPPED = "RUNNING", "DONE", "ERROR", "STOPPED"
"""States of a training, in MONAI Label's words as far as it has any."""


@dataclass(frozen=True)
class Trainings:
    """The trainings of one data store.

    Attributes:
        studies: the data store's folder.
        runs: the folder that this data store's own is made in.
    """

    studies: Path
    runs: Path

    @property
    def begun(self) -> bool:
        """Whether there may have been one; nothing is written to find out."""
        known = (self.studies / KEY_FILE).is_file() or bool(os.environ.get(KEY_VARIABLE))
        return known and self.root.is_dir()

    @cached_property
    def key(self) -> bytes:
        """By which patients are named; made where there is none.

        Raises:
            DataError: it cannot be made.
        """
        return load_key(self.studies)

    @cached_property
    def name(self) -> str:
        """Of the data store, without what its folder is called."""
        return case_name(f"data store {self.studies.name}", self.key).removeprefix("case-")

    @property
    def root(self) -> Path:
        """The data store's own folder."""
        return self.runs / f"label-{self.name}"

    @property
    def cohort(self) -> Path:
        """Folder of the cohort that labels become."""
        return self.root / "cohort"

    @cached_property
    def registry(self) -> WeightsRegistry:
        """The registered model, whose versions are trained on this data store's labels."""
        # Late: MLflow takes seconds to import, and a server that never trains does without.
        from monai_staging.tracking.registry_weights import WeightsRegistry

        return WeightsRegistry(f"{NETWORK}-{self.name}")

    def served(self) -> Path | None:
        """The weights that the alias points to; ``None`` where there is none.

        Raises:
            DataError: MLflow is away; the message says how to do without it.
        """
        if not self.begun:
            return None
        version = self.registry.current()
        return None if version is None else self.version(version)

    def version(self, version: int) -> Path:
        """The weights of a version, brought here if need be."""
        return self.registry.fetch(version, self.root / "served" / f"v{version}" / MODEL)

    def new(self) -> Path:
        """A folder for one more training."""
        name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        for number in range(1, 100):
            folder = self.root / "trainings" / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            return folder
        raise AssertionError("a hundred trainings in one second")

    def states(self) -> list[dict[str, Any]]:
        """What is known of every training, the last one last."""
        found = []
        for path in sorted(self.root.glob(f"trainings/*/{STATE}")) if self.begun else []:
            try:
                found.append(json.loads(path.read_text(encoding="utf-8")))
            except ValueError:
                continue
        return found

    def save(self, state: dict[str, Any]) -> None:
        """Writes down what is known of a training."""
        write_json_atomic(self.root / "trainings" / state["id"] / STATE, state)
