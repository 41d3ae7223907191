"""Which weights of a file fit a backbone, under which name, and how much of it they fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.pretrained.adapt import adapted, changes
from monai_staging.networks.pretrained.checkpoint import listed
from monai_staging.networks.pretrained.source import Source

# What trainers and compilers put before the names of the network proper.
PREFIXES = frozenset({"module", "_orig_mod", "backbone", "net", "network", "model", "encoder", "trunk"})
# Parts of classifiers and segmenters that a backbone does not have: torchvision's, MedicalNet's, SegResNet's.
HEADS = ("classifier.", "fc.", "conv_seg.", "up_layers.", "head.", "heads.")
# Files from before batch norm counted its batches lack the counter; it starts at 0, which changes no output.
COUNTER = "num_batches_tracked"
BUFFERS = ("running_mean", "running_var", COUNTER)


@dataclass(frozen=True)
class MatchReport:
    """What became of the weights of a file; names are the backbone's, or the file's without its prefix.

    Attributes:
        network: what they were loaded into.
        source: where they came from.
        matched: loaded as they are.
        adapted: loaded after a change, with what was done: ``("conv1.weight", "3 to 1 channels")``.
        missing: in the backbone, not in the file; these stay as they were initialised.
        unexpected: in the file, with no place in the backbone.
        other_shape: in both, but of shapes that no change reconciles, with both.
        left_out: names of the file that belong to a head or to another part of a larger network.
        parameters: how many numbers the backbone's parameters have.
        loaded: how many of them came from the file.
        homeless: how many numbers of the file, heads and other parts apart, have no place in the backbone.
    """

    network: str
    source: Source
    matched: tuple[str, ...]
    adapted: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    parameters: int
    loaded: int
    homeless: int

    @property
    def share(self) -> float:
        """Part of the backbone's parameters that came from the file, 0 to 1."""
        return self.loaded / self.parameters

    @property
    def used(self) -> float:
        """Part of the file's weights that have a place in the backbone, 0 to 1; low for another, larger network."""
        total = self.loaded + self.homeless
        return self.loaded / total if total else 0.0

    def differences(self) -> str:
        """Everything that did not fit, in one line; empty where all did."""
        groups = (
            ("missing", list(self.missing)),
            ("not in the network", list(self.unexpected)),
            ("other shape", [f"{name} ({shapes})" for name, shapes in self.other_shape]),
        )
        return "; ".join(f"{what}: {listed(names)}" for what, names in groups if names)

    def text(self) -> str:
        """What was loaded and what was not, for people."""
        lines = [
            f"Weights {self.source.text()}",
            f"  {self.share:.1%} of the {self.parameters:,} parameters of {self.network}, {len(self.matched)} tensors "
            f"as they are, {len(self.adapted)} adapted",
        ]
        by_change: dict[str, list[str]] = {}
        for name, change in self.adapted:
            by_change.setdefault(change, []).append(name)
        lines += [f"  {change}: {listed(names)}" for change, names in by_change.items()]
        if self.left_out:
            lines.append(f"  left out: {listed(list(self.left_out))}")
        if self.differences():
            lines.append(f"  {self.differences()}")
        return "\n".join(lines)


def match(
    network: nn.Module, name: str, state: Mapping[str, Tensor], source: Source, minimum: float
) -> tuple[MatchReport, dict[str, Tensor]]:
    """What of ``state`` fits ``network``: the report, and the tensors to load.

    Args:
        network: where to; only looked at.
        name: what messages call it.
        state: names and tensors of the file.
        source: where they came from.
        minimum: the smallest `MatchReport.share` and `MatchReport.used` that are acceptable.

    Raises:
        UsageError: ``minimum`` is not above 0 and up to 1.
        DataError: too little fits, or a weight is not a finite number.
    """
    if not 0 < minimum <= 1:
        raise UsageError(f"Weights {source.where}: minimum must be above 0 and up to 1, found {minimum}")
    expected = {key: value.shape for key, value in network.state_dict().items()}
    parameters = {key: value.numel() for key, value in network.named_parameters()}
    first = _first_convolution(network)
    prefix = _best_prefix(state, expected, parameters, first)
    given = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    heads = [key for key in given if key.startswith(HEADS) and key not in expected]
    outside = [key for key in state if not key.startswith(prefix)]
    for key in heads:
        del given[key]
    matched, changed, missing, other, tensors = [], [], [], [], {}
    for key, shape in expected.items():
        if key not in given:
            missing += [] if key.endswith(COUNTER) else [key]
            continue
        steps = changes(given[key].shape, shape, key == first)
        if steps is None:
            other.append((key, f"file {tuple(given[key].shape)}, network {tuple(shape)}"))
            continue
        tensors[key] = adapted(given[key], shape)
        if steps:
            changed.append((key, ", ".join(steps)))
        else:
            matched.append(key)
    unexpected = [key for key in given if key not in expected]
    homeless = [*unexpected, *(key for key, _ in other)]
    report = MatchReport(
        network=name,
        source=source,
        matched=tuple(matched),
        adapted=tuple(changed),
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        other_shape=tuple(other),
        left_out=tuple(outside + heads),
        parameters=sum(parameters.values()),
        loaded=sum(parameters.get(key, 0) for key in tensors),
        homeless=sum(given[key].numel() for key in homeless if not key.endswith(BUFFERS)),
    )
    _check(report, tensors, minimum)
    return report, tensors


def without_prefix(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """``state`` by ``network``'s names: what trainers put before them is taken off if they then match."""
    expected = {key: value.shape for key, value in network.state_dict().items()}
    sizes = {key: shape.numel() for key, shape in expected.items()}
    prefix = _best_prefix(state, expected, sizes, None)
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def _first_convolution(network: nn.Module) -> str | None:
    """Name of the weight whose input channels are the image's."""
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            return f"{name}.weight"
    return None


def _best_prefix(
    state: Mapping[str, Tensor], expected: Mapping[str, torch.Size], sizes: Mapping[str, int], first: str | None
) -> str:
    """What to take off the file's names, of `PREFIXES`, so that most parameters fit; nothing where that is as good."""
    prefixes = {""}
    for name in state:
        prefix = ""
        for part in name.split(".")[:-1]:
            if part not in PREFIXES:
                break
            prefix += f"{part}."
            prefixes.add(prefix)

    def fitting(prefix: str) -> int:
        return sum(
            size
            for key, size in sizes.items()
            if (found := state.get(prefix + key)) is not None
            and changes(found.shape, expected[key], key == first) is not None
        )

    return max(sorted(prefixes, key=len), key=fitting)


def _check(report: MatchReport, tensors: Mapping[str, Tensor], minimum: float) -> None:
    where, name = f"Weights {report.source.text()}", report.network
    if report.share < minimum:
        raise DataError(
            f"{where}: fit {report.share:.1%} of the parameters of {name}, {minimum:.0%} are needed; "
            f"{report.differences()}"
        )
    if report.used < minimum:
        raise DataError(
            f"{where}: are of another network; {report.used:.1%} of them have a place in {name}, {minimum:.0%} are "
            f"needed; {report.differences()}"
        )
    wrong = [key for key, value in tensors.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if wrong:
        raise DataError(f"{where}: weights are finite numbers, others are found in {listed(wrong)}")
