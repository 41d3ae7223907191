"""What a client may ask of a training: which model, from which weights, and the bundle's keys within bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monai_staging.errors import UsageError
from monai_staging.packaging.source import find_bundle, read_json

STEP, NETWORK = "segmentation", "outline"
"""The bundle that is trained, and which of its networks: the one that outlines what is clicked at."""
CONFIGS = ("chest", "outline", "outline_labels")
EVALUATION = ("chest_evaluate", "outline_evaluate")
MODELS = ("outline_click", "tumour")
"""Models whose outlines are this network's."""
REFUSED = {
    "detection": "the detector learns from whole scans of which every nodule is known, and its operating points are "
    "chosen on scans held out for that; train it with bundles/detection on such a cohort",
    "staging": "T, N and M are learned from hundreds of staged patients, not from outlines; train it with "
    "bundles/staging",
    "malignancy": "whether a nodule is malignant is learned from ratings or pathology, not from outlines; train it "
    "with bundles/malignancy",
}
"""Why a model cannot be trained from a data store's labels."""
STARTS = ("served", "shipped", "scratch")
ACCEPTS = ("interval", "mean")
PATCH_STEP = 8
"""The network halves a patch three times."""
_BY_CLIENT = ("client_id", "model", "device", "name")
"""Keys that viewers add to every request; nothing here depends on them."""


@dataclass(frozen=True)
class Bound:
    """What a key may be: a number of a kind from ``low`` to ``high``, or three of them, each a multiple of ``step``."""

    kind: type
    low: float
    high: float
    step: int = 0

    def check(self, name: str, value: Any) -> Any:
        """The value as a config takes it.

        Raises:
            UsageError: it is none.
        """
        if not self.step:
            return self._number(name, value)
        if not isinstance(value, list) or len(value) != 3:
            raise self._error(name, value)
        numbers = [self._number(name, own) for own in value]
        if any(own % self.step for own in numbers):
            raise self._error(name, value)
        return numbers

    def _number(self, name: str, value: Any) -> Any:
        kinds = (int, float) if self.kind is float else (int,)
        if type(value) not in kinds or not math.isfinite(value) or not self.low <= value <= self.high:
            raise self._error(name, value)
        return self.kind(value)

    def _error(self, name: str, value: Any) -> UsageError:
        kind = "a number" if self.kind is float else "a whole number"
        needed = f"three multiples of {self.step}, each" if self.step else kind
        return UsageError(f"Train: {name} is {needed} from {self.low:g} to {self.high:g}; found {str(value)[:60]}.")


BOUNDS = {
    "epochs": Bound(int, 1, 500),
    "learning_rate": Bound(float, 1e-7, 0.1),
    "batch_size": Bound(int, 1, 32),
    "patches": Bound(int, 1, 32),
    "patch": Bound(int, 16, 160, PATCH_STEP),
    "seed": Bound(int, 0, 2**31 - 1),
}
"""Keys of the bundle that a request may set."""


@dataclass(frozen=True)
class Order:
    """A training that is asked for.

    Attributes:
        model: as the client calls it, of :data:`MODELS`.
        start: of :data:`STARTS`: from the weights that are served, those that the bundle ships, or random ones.
        accept: of :data:`ACCEPTS`: the trained network is better if the whole interval of the paired difference is
            above 0, or its mean is.
        keys: of the bundle, with other values than its configs'.
    """

    model: str
    start: str = STARTS[0]
    accept: str = ACCEPTS[0]
    keys: Mapping[str, Any] = field(default_factory=dict)


def read_order(model: str, params: Mapping[str, Any]) -> Order:
    """The training that a request asks for.

    Args:
        model: of the request's path, one that this project serves.
        params: of its body.

    Raises:
        UsageError: the model is not trained here, a key is not known, or a value is out of bounds.
    """
    if model not in MODELS:
        raise UsageError(f"Train: {model} is not trained here: {REFUSED.get(model, 'it is not known')}.")
    asked = {key: value for key, value in params.items() if key not in _BY_CLIENT}
    chosen = {}
    for key, choices in (("start", STARTS), ("accept", ACCEPTS)):
        chosen[key] = asked.pop(key, choices[0])
        if chosen[key] not in choices:
            raise UsageError(f"Train: {key} is one of {', '.join(choices)}; found {str(chosen[key])[:60]}.")
    unknown = sorted(set(asked) - set(BOUNDS))
    if unknown:
        raise UsageError(f"Train: keys are start, accept, {', '.join(BOUNDS)}; found {unknown[0][:60]!r}.")
    return Order(model, **chosen, keys={key: BOUNDS[key].check(key, value) for key, value in asked.items()})


def defaults() -> dict[str, Any]:
    """What the configs say of the keys of :data:`BOUNDS`, and the choices of the others, the default first."""
    configs: dict[str, Any] = {}
    for name in CONFIGS:
        configs |= read_json(find_bundle(STEP) / f"{name}.json")
    return {"start": list(STARTS), "accept": list(ACCEPTS), **{key: configs[key] for key in BOUNDS}}
