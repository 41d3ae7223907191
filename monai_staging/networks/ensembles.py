"""Several staging networks as one: the mean of what networks of other seeds say, or of passes with dropout.

Deep ensembles (Lakshminarayanan et al., 2017, arXiv:1612.01474) and Monte-Carlo dropout (Gal and Ghahramani, 2016,
arXiv:1506.02142): probabilities are averaged, not logits.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from monai_staging.errors import UsageError
from monai_staging.networks.staging import LETTERS, StagingOutput
from monai_staging.networks.weights import load_weights

WeightFiles = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class StagingEnsemble(nn.Module):
    """Mean of staging networks with the same classes and lesion groups, each with passes of dropout if so wished.

    Args:
        members: the networks.
        passes: forward passes of each with dropout active, 2 or more; 0 for one without.

    Raises:
        UsageError: no member, 1 pass, or passes of a network that has no dropout.
    """

    def __init__(self, members: Sequence[nn.Module], passes: int = 0) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.passes = check_passes(passes)
        if not len(self.members):
            raise UsageError("An ensemble has 1 network or more, found 0.")
        for member in self.members:
            if passes and not _dropouts(member):
                raise UsageError(
                    f"--passes {passes} asks for dropout, of which {type(member).__name__} has none: every pass would "
                    "be the same. Give --passes 0, or a network with dropout."
                )

    def details(self, image: Tensor, clinical: Tensor | None = None) -> StagingOutput:
        """The mean of all: logits are the logarithms of mean probabilities, a lesion's presence likewise."""
        every = []
        for member in self.members:
            for number in range(max(self.passes, 1)):
                with dropout_active(member, number, image.device) if self.passes else contextlib.nullcontext():
                    every.append(member(image, clinical, details=True))
        classes = self.members[0].classes
        widths = [len(classes[letter]) for letter in LETTERS]  # type: ignore[index]
        letters = zip(*(output.logits.double().split(widths, dim=1) for output in every), strict=True)
        logits = [torch.stack([one.softmax(dim=1) for one in letter]).mean(dim=0).log() for letter in letters]
        presence = torch.stack([output.presence.sigmoid() for output in every]).mean(dim=0)
        return StagingOutput(
            torch.cat(logits, dim=1).float(),
            torch.stack([output.attention for output in every]).mean(dim=0),
            presence.logit(eps=1e-6),
            torch.stack([output.diameter_mm for output in every]).mean(dim=0),
            torch.stack([output.side for output in every]).mean(dim=0),
        )

    def forward(self, image: Tensor, clinical: Tensor | None = None, details: bool = False) -> Tensor | StagingOutput:
        """As one staging network: logits (B, classes of T + N + M), or everything where ``details`` is set."""
        output = self.details(image, clinical)
        return output if details else output.logits


def load_model(network: nn.Module, weights: WeightFiles, passes: int = 0) -> nn.Module:
    """The network with its weights; of several files, or with passes of dropout, an ensemble of such.

    Args:
        network: as described in the config; gets the first file's weights.
        weights: a file, or several: one network each.
        passes: see :class:`StagingEnsemble`.

    Raises:
        DataError: a file is not there, or of another network.
        UsageError: no file, the same twice, or see :class:`StagingEnsemble`.
    """
    files = weight_files(weights)
    others = [load_weights(copy.deepcopy(network), file) for file in files[1:]]
    first = load_weights(network, files[0])
    return first if not others and not check_passes(passes) else StagingEnsemble([first, *others], passes)


def weight_files(weights: WeightFiles) -> tuple[Path, ...]:
    """One file or several as a tuple.

    Raises:
        UsageError: there is none, or one is named twice.
    """
    given = (weights,) if isinstance(weights, (str, os.PathLike)) else tuple(weights)
    files = tuple(map(Path, given))
    if not files or len(set(files)) < len(files):
        raise UsageError(f"Weights are one file or several different ones, got {list(map(str, files))}.")
    return files


def check_passes(passes: int) -> int:
    """``passes`` if it is 0, or 2 or more; raises UsageError for anything else."""
    if isinstance(passes, bool) or not isinstance(passes, int) or passes < 0 or passes == 1:
        raise UsageError(f"Passes with dropout are 2 or more, or 0 for one pass without dropout; got {passes!r}.")
    return passes


def first_member(network: nn.Module) -> nn.Module:
    """Of an ensemble the first network, of another network itself: what a map of activation can be made of."""
    return network.members[0] if isinstance(network, StagingEnsemble) else network


def _dropouts(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, _DropoutNd) and module.p > 0]


@contextlib.contextmanager
def dropout_active(network: nn.Module, number: int, device: torch.device) -> Iterator[None]:
    """Dropout layers drop within, by a random stream that the pass's number alone decides; nothing else changes.

    Args:
        network: in evaluation mode.
        number: of the pass.
        device: that it runs on.
    """
    layers = _dropouts(network)
    before = [layer.training for layer in layers]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(number)
        try:
            for layer in layers:
                layer.train()
            yield
        finally:
            for layer, mode in zip(layers, before, strict=True):
                layer.train(mode)
