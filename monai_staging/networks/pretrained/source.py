"""Where a state dict came from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

Fact = str | int | float | None
"""What a checkpoint may say of itself: plain values, which load without running code."""


@dataclass(frozen=True)
class Source:
    """Where weights came from.

    Attributes:
        where: as it was asked for: a path, a name or an MLflow URI.
        file: name of the file that was read.
        sha256: of that file, 64 hexadecimal digits.
        url: what the file is downloaded from; None for a local one.
        run_id: the MLflow run that trained the weights, if known.
        facts: what the file says of itself, see `monai_staging.networks.pretrained.checkpoint.Checkpoint`.
    """

    where: str
    file: str
    sha256: str
    url: str | None = None
    run_id: str | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def text(self) -> str:
        """One line for people."""
        known = [f"{key} {value}" for key, value in self.facts.items() if value is not None and key != "run_id"]
        if self.run_id:
            known.append(f"run {self.run_id}")
        name = self.where if self.where.endswith(self.file) else f"{self.where} ({self.file})"
        return f"{name}, sha256 {self.sha256[:12]}" + (f", {', '.join(known)}" if known else "")


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
