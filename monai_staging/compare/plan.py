"""What a comparison runs: its settings, and the arms they come to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_staging.errors import UsageError

SCRATCH = "scratch"
BASELINE = "baseline"
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Initialisation:
    """Where an arm's backbone starts.

    Attributes:
        name: as readers know it.
        weights: a file, a published name or an MLflow URI, with ``{network}`` for the backbone's name; ``None`` for
            random weights, or where ``pretrain`` makes them.
        pretrain: settings of a training that makes the weights, once for each network: ``bundle``, ``config`` (files
            laid over its ``train.json``) and that bundle's keys, in which ``{dataset_dir}`` is the comparison's data
            and ``{network}`` the backbone's name; with ``per_fold`` one a fold, which is told the fold so that it can
            leave its test patients out.
        per_fold: see there.
    """

    name: str
    weights: str | None = None
    pretrain: Settings | None = None
    per_fold: bool = False

    @classmethod
    def of(cls, name: str, value: Any) -> Initialisation:
        """From a comparison's YAML: null, a text, or ``{pretrain: {...}, per_fold: ...}``.

        Raises:
            UsageError: anything else.
        """
        if value is None or isinstance(value, str):
            return cls(name, weights=value)
        known = {"pretrain", "per_fold", "weights"}
        if isinstance(value, Mapping) and not set(value) - known and ("pretrain" in value) != ("weights" in value):
            return cls(name, value.get("weights"), value.get("pretrain"), bool(value.get("per_fold", False)))
        raise UsageError(
            f"Initialisation {name}: nothing, a place of weights, or a mapping with either 'weights' or 'pretrain' "
            f"is needed; found {value!r}"
        )


@dataclass(frozen=True)
class Arm:
    """One training of a comparison.

    Attributes:
        network: as readers know it.
        init: name of the initialisation; :data:`BASELINE` for one that is no network.
        fraction: of the training patients' labels.
        seed: of the repetition.
        fold: of the cross-validation; ``None`` where the data's own test part is used.
    """

    network: str
    init: str
    fraction: float
    seed: int
    fold: int | None

    @property
    def name(self) -> str:
        """Unique in its comparison, and a good name for a folder."""
        fold = "" if self.fold is None else f"-fold{self.fold}"
        return f"{slug(self.network)}-{slug(self.init)}-{100 * self.fraction:g}pct-seed{self.seed}{fold}"


@dataclass(frozen=True)
class Comparison:
    """A comparison's settings.

    Attributes:
        name: of the comparison, its parent run and its folder.
        bundle: folder of the bundle's configs.
        dataset_dir: what it trains and tests on.
        networks: name to the bundle's keys that make it.
        initialisations: where the backbones start.
        fractions: of the labels, to the keys that go with each (more epochs for fewer labels, say).
        seeds: repetitions.
        folds: of the cross-validation; ``None`` where the data has a test part of its own.
        baselines: names that the bundle's ``run_baseline`` knows.
        settings: the bundle's keys of every arm.
        config: more of the bundle's config files, laid over ``train.json``.
        reference: the initialisation that the others are compared with.
    """

    name: str
    bundle: str
    dataset_dir: str
    networks: Mapping[str, Settings]
    initialisations: Sequence[Initialisation]
    fractions: Mapping[float, Settings] = field(default_factory=lambda: {1.0: {}})
    seeds: Sequence[int] = (0,)
    folds: int | None = None
    baselines: Sequence[str] = ()
    settings: Settings = field(default_factory=dict)
    config: Sequence[str] = ()
    reference: str = SCRATCH

    def __post_init__(self) -> None:
        names = [one.name for one in self.initialisations]
        for what, values in (("network", list(self.networks)), ("initialisation", names), ("seed", list(self.seeds))):
            if not values or len(set(values)) < len(values):
                raise UsageError(f"Comparison: at least one {what} is needed, each once; found {values}")
        slugs = [slug(name) for name in [*self.networks, *self.baselines]]
        if len(set(slugs)) < len(slugs):
            raise UsageError(f"Comparison: names of networks must differ in letters and digits; found {slugs}")
        if len(names) > 1 and self.reference not in names:
            raise UsageError(
                f"Comparison: the reference must be an initialisation ({', '.join(names)}); found {self.reference!r}"
            )
        wrong = [fraction for fraction in self.fractions if not 0 < fraction <= 1]
        if wrong or not self.fractions:
            raise UsageError(f"Comparison: label fractions lie above 0 and up to 1; found {wrong or 'none'}")
        if self.folds is not None and self.folds < 2:
            raise UsageError(f"Comparison: at least 2 folds, or none; found {self.folds}")

    @property
    def arms(self) -> list[Arm]:
        """Every training, in an order that finishes whole comparisons early: fold by fold, fraction by fraction."""
        folds: list[int | None] = [None] if self.folds is None else list(range(self.folds))
        return [
            Arm(network, init, fraction, seed, fold)
            for seed in self.seeds
            for fraction in sorted(self.fractions)
            for fold in folds
            for network, init in self.pairs
        ]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Network and initialisation of every kind of arm, baselines first."""
        inits = [one.name for one in self.initialisations]
        return [(name, BASELINE) for name in self.baselines] + [
            (network, init) for network in self.networks for init in inits
        ]

    def init(self, name: str) -> Initialisation:
        """An initialisation by its name."""
        return next(one for one in self.initialisations if one.name == name)

    def overrides(self, arm: Arm) -> dict[str, Any]:
        """The bundle's keys of an arm, all but where its weights come from and where it writes.

        Of the same key, the fraction's setting wins over the network's and that over all arms'.
        """
        found = {**self.settings, **self.networks.get(arm.network, {}), **self.fractions[arm.fraction]}
        found |= {"dataset_dir": self.dataset_dir, "seed": arm.seed, "label_fraction": arm.fraction}
        if arm.fold is not None:
            found |= {"folds": self.folds, "fold": arm.fold}
        if arm.init == BASELINE:
            found["baseline"] = arm.network
        return found


def comparison_of(document: Mapping[str, Any]) -> Comparison:
    """A comparison from a YAML's content.

    Raises:
        UsageError: a key that is not known or missing, or a value that is not of its kind.
    """
    known = {*Comparison.__dataclass_fields__}
    unknown = sorted(set(document) - known)
    missing = [name for name in ("name", "bundle", "dataset_dir", "networks") if name not in document]
    if unknown or missing:
        raise UsageError(
            f"Comparison: keys are {', '.join(sorted(known))}; unknown: {', '.join(unknown) or 'none'}, "
            f"missing: {', '.join(missing) or 'none'}"
        )
    networks, fractions = document["networks"], document.get("fractions", {1.0: {}})
    inits = document.get("initialisations", {SCRATCH: None})
    if not isinstance(networks, Mapping):
        networks = {name: {"network": name} for name in networks}
    if not isinstance(fractions, Mapping):
        fractions = {fraction: {} for fraction in fractions}
    if not isinstance(inits, Mapping):
        raise UsageError(f"Comparison: initialisations map a name to where weights come from; found {inits!r}")
    seeds = document.get("seeds", (0,))
    return Comparison(
        **{
            **document,
            "networks": {str(name): dict(settings or {}) for name, settings in networks.items()},
            "initialisations": tuple(Initialisation.of(str(name), value) for name, value in inits.items()),
            "fractions": {_fraction(fraction): dict(settings or {}) for fraction, settings in fractions.items()},
            "seeds": tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
            "baselines": tuple(document.get("baselines", ())),
            "config": tuple(document.get("config", ())),
        }
    )


def read_comparison(path: Path) -> dict[str, Any]:
    """The content of a comparison's YAML.

    Raises:
        UsageError: no such file, or one that is no YAML mapping.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: a comparison's YAML is needed: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path}: a comparison is a YAML mapping; found {type(document).__name__}")
    return document


def digest(document: Any) -> str:
    """SHA-256 of plain values, the same whatever the order of keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def slug(name: str) -> str:
    """A name as part of a folder's: letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x"


def _fraction(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"Comparison: a label fraction is a number; found {value!r}") from None
