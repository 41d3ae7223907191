"""What a phantom cohort is asked to be, and where its random numbers come from.

Every phantom depends on ``(seed, index, config)`` alone. Each of its parts (labels, anatomy, scanner, ...) draws from
a stream of its own, so that nothing about the scanner can depend on anything about the disease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import MappingProxyType

import numpy as np

from monai_staging.errors import UsageError

EDITION = "8"
PREFIX = "c"


class Resolution(str, Enum):
    """How fine the scans are: ``tiny`` for tests, ``default`` for training, ``full`` as scanners deliver them."""

    TINY = "tiny"
    DEFAULT = "default"
    FULL = "full"


class Disease(str, Enum):
    """What the phantoms have.

    ``CANCER``: a lung cancer with its spread. ``NODULES``: nodules that nobody has staged, or none. ``SCREENING``:
    rated nodules, of which in every second patient one is a cancer.
    """

    CANCER = "cancer"
    NODULES = "nodules"
    SCREENING = "screening"

    @property
    def lungs_alone(self) -> bool:
        """Whether scans show the lungs alone, in thin slices, with all that is easily taken for a nodule."""
        return self is not Disease.CANCER


class Stream(IntEnum):
    """The independent random streams of one phantom; the values are part of what a seed means."""

    LABELS = 0
    PLACEMENT = 1
    ANATOMY = 2
    SCANNER = 3
    DISTRACTORS = 4
    NOISE = 5
    CLINICAL = 6
    DISTRACTORS_PLACEMENT = 7
    TEXTURE = 8
    SUBTYPE = 9
    VESSELS = 10
    SCREENING = 11


def _weights(**weights: float) -> Mapping[str, float]:
    return MappingProxyType(weights)


@dataclass(frozen=True)
class PhantomConfig:
    """Settings of a phantom cohort.

    Args:
        resolution: matrix size and slice spacing (see `Resolution`).
        t_weights: how often each main T category is asked for.
        n_weights: how often each N category is asked for.
        m_weights: how often each M category is asked for.
        descriptor_fraction: part of the T2 to T4 cases in which a descriptor, not the size, makes the category.
        unknown_fraction: part of the letters written X in the clinical table.
        main_only_fraction: part of the letters written without their sub-category (``T2`` for T2a) or without the
        letter.
        disease: what they have (see `Disease`).
        subtypes: whether each cancer has a histological subtype, which its texture and its place follow.

    Raises:
        UsageError: where a weight or fraction is negative or a fraction is above one, or nodules are to have subtypes.
    """

    resolution: Resolution = Resolution.DEFAULT
    t_weights: Mapping[str, float] = field(default_factory=lambda: _weights(T1=0.32, T2=0.26, T3=0.22, T4=0.20))
    n_weights: Mapping[str, float] = field(default_factory=lambda: _weights(N0=0.40, N1=0.18, N2=0.25, N3=0.17))
    m_weights: Mapping[str, float] = field(default_factory=lambda: _weights(M0=0.62, M1a=0.14, M1b=0.11, M1c=0.13))
    descriptor_fraction: float = 0.18
    unknown_fraction: float = 0.06
    main_only_fraction: float = 0.05
    disease: Disease = Disease.CANCER
    subtypes: bool = False

    def __post_init__(self) -> None:
        """Checks the settings; mappings become plain dictionaries so that the configuration travels to workers."""
        object.__setattr__(self, "resolution", Resolution(self.resolution))
        object.__setattr__(self, "disease", Disease(self.disease))
        if self.subtypes and self.disease is not Disease.CANCER:
            raise UsageError(f"PhantomConfig: subtypes are those of cancers, found disease {self.disease.value}.")
        for name in ("t_weights", "n_weights", "m_weights"):
            weights = dict(getattr(self, name))
            object.__setattr__(self, name, weights)
            if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
                raise UsageError(f"PhantomConfig: {name} must be non-negative with a positive sum, found {weights}.")
        for name in ("descriptor_fraction", "unknown_fraction", "main_only_fraction"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"PhantomConfig: {name} must lie in 0..1, found {value}.")


def random_stream(seed: int, index: int, stream: Stream) -> np.random.Generator:
    """The random generator of one part of phantom ``index`` of cohort ``seed`` (Philox: the same on every machine)."""
    if seed < 0 or index < 0:
        raise UsageError(f"Phantom: seed and index must not be negative, found seed {seed}, index {index}.")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy=seed, spawn_key=(index, int(stream)))))


def choose(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """Draws one key of ``weights`` with a probability proportional to its value."""
    names = list(weights)
    values = np.cumsum([weights[name] for name in names])
    return names[int(np.searchsorted(values, rng.random() * values[-1], side="right").clip(0, len(names) - 1))]


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draws a number between ``low`` and ``high``, evenly on the logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
