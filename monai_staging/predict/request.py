"""What is asked of ``monai-staging predict``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_staging.errors import UsageError
from monai_staging.predict.results import is_url

Point = tuple[float, float, float]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is asked for; each field is the command's argument of that name."""

    study: str
    out: str
    series: str | None = None
    point: str = "8 fp/scan"
    at_mm: tuple[Point, ...] = ()
    rtstruct: bool = False
    store: bool = False
    batch: bool = False
    overwrite: bool = False
    weights: Mapping[str, str | Sequence[str] | None] = field(default_factory=dict)
    passes: int = 0
    device: str = "auto"
    json: bool = False

    def __post_init__(self) -> None:
        if self.batch and (self.series or self.at_mm or self.store):
            raise UsageError("--series, --at and --store are of one study; with --batch there are several.")
        if is_url(self.out) and not self.batch:
            raise UsageError(f"{self.out}: one study goes into a folder of this machine; --batch takes a URL.")

    @property
    def folder(self) -> Path:
        """``out`` as a path of this machine."""
        return Path(self.out)


def tell(line: str) -> None:
    """Says a line on stderr."""
    print(line, file=sys.stderr, flush=True)
