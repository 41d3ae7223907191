"""Networks out of a package's configs and weights, and as TorchScript that says the same."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from monai_staging.errors import DataError
from monai_staging.networks.weights import load_weights
from monai_staging.packaging.configs import CONFIGS
from monai_staging.packaging.networks import Packaged, Part

TOLERANCE = 1e-4
"""How far an exported network's output may be from PyTorch's, of the largest output where that is above 1."""
Inputs = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Built:
    """A network with the package's weights, in evaluation on the CPU.

    Attributes:
        net: the network.
        part: what it is of the package.
        shapes: of its inputs without the batch, by name, the image's first.
        configs: that define it, laid over each other.
    """

    net: nn.Module
    part: Part
    shapes: Mapping[str, tuple[int, ...]]
    configs: Mapping[str, Any]

    def inputs(self, batch: int, seed: int, optional: bool = False) -> Inputs:
        """Random inputs of its shapes, the image's values in 0 to 1; ``optional`` adds those that may be left out."""
        generator = torch.Generator().manual_seed(seed)
        made: Inputs = {"image": torch.rand(batch, *self.shapes["image"], generator=generator)}
        for one in (*self.part.needed, *(self.part.optional if optional else ())):
            values = torch.randn(batch, *self.shapes[one.name], generator=generator)
            # A mask without anything in it is no patient.
            made[one.name] = torch.ones_like(values, dtype=torch.bool) if one.dtype == "bool" else values
        return made

    @torch.no_grad()
    def output(self, inputs: Inputs) -> Tensor:
        """What the network says."""
        found: Tensor = self.net(*inputs.values())
        return found


def parser_of(folder: Path, configs: Sequence[str], **keys: Any) -> ConfigParser:
    """Configs of the package in ``folder``, on the CPU, with other values of some keys."""
    files = [str(folder / CONFIGS / f"{name}.json") for name in configs]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    for key, value in {"bundle_root": str(folder), "device": torch.device("cpu"), **keys}.items():
        parser[key] = value
    return parser


def build(folder: Path, network: Packaged, part: Part, described: Mapping[str, Any], dataset_dir: Path) -> Built:
    """A network of the package in ``folder``.

    Args:
        folder: of the package, with configs and weights.
        network: whose weights they are.
        part: what of it.
        described: the package's metadata.
        dataset_dir: data of the kind that the configs read: some networks are made for what it has.

    Raises:
        DataError: the weights are of another network, or the metadata do not describe it.
    """
    parser = parser_of(folder, network.configs, dataset_dir=str(dataset_dir), **part.keys)
    parser["exported"] = f"${part.net.removeprefix('$')}"
    if not isinstance(described.get(part.format), dict):
        raise DataError(f"Metadata: {part.format} of the network {network.name} is needed, found none")
    try:
        net = parser.get_parsed_content("network_def")
        exported = parser.get_parsed_content("exported")
    except Exception as error:  # whatever the code in a config raises
        raise DataError(
            f"Config {network.configs[0]}.json: a network is needed, but it cannot be made: {first_line(error)}"
        ) from error
    load_weights(net, folder / network.weights)
    exported.eval()
    image = described[part.format]["inputs"]["image"]
    shapes = {"image": (image["num_channels"], *image["spatial_shape"])}
    shapes |= {one.name: one.shape for one in (*part.needed, *part.optional)}
    return Built(exported, part, shapes, parser.get())


def sides_of(folder: Path, network: Packaged, part: Part) -> list[int] | None:
    """Sides of the image as the package's configs make it; ``None`` where they are always as described."""
    if part.sides is None:
        return None
    parser = parser_of(folder, network.configs)
    parser["sides"] = part.sides
    return [int(side) for side in parser.get_parsed_content("sides")]


def difference(one: Tensor, other: Tensor) -> float:
    """Largest distance of two outputs, as a share of the largest value where that is above 1."""
    if one.shape != other.shape:
        raise DataError(
            f"Exported network: an output of shape {tuple(one.shape)} is needed, found {tuple(other.shape)}"
        )
    return float((one - other).abs().max() / one.abs().max().clamp(min=1))


def write_torchscript(built: Built, path: Path, described: Mapping[str, Any], config: str) -> float:
    """Traces the network to ``path``, config and metadata inside as MONAI does it; gives the largest difference.

    The sides of the image stay those of the metadata, the batch may be of any size.

    Args:
        built: the network.
        path: of the file, ending in ``.ts``.
        described: the package's metadata.
        config: name of the config inside, without its ending.

    Raises:
        DataError: it cannot be traced, or what it says differs from the network.
    """
    from monai.data import save_net_with_metadata

    with quiet():
        try:
            with torch.no_grad():
                traced = torch.jit.trace(built.net, tuple(built.inputs(2, 0).values()), check_trace=False)
        except RuntimeError as error:
            raise DataError(f"{path.name}: the network cannot be traced: {error}") from error
        save_net_with_metadata(
            traced,
            str(path),
            include_config_vals=False,
            meta_values=dict(described),
            more_extra_files={f"{config}.json": json.dumps(built.configs, default=str).encode()},
        )
        loaded = torch.jit.load(str(path))
    return compared(built, lambda inputs: loaded(*inputs.values()), path)


def compared(built: Built, say: Callable[[Inputs], Tensor], path: Path, optional: bool = False) -> float:
    """Largest difference of what ``say`` gives from the network's output, on batches of other sizes.

    Raises:
        DataError: it is above `TOLERANCE`.
    """
    found = []
    for seed, batch in ((1, 1), (2, 3)):
        inputs = built.inputs(batch, seed, optional)
        with torch.no_grad():
            found.append(difference(built.output(inputs), say(inputs)))
    if not max(found) <= TOLERANCE:
        raise DataError(f"{path.name}: outputs as PyTorch's are needed, to {TOLERANCE:g}; found {max(found):.2g} apart")
    return max(found)


def first_line(error: BaseException) -> str:
    """What went wrong in the first place, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters and MONAI's commands have to say to those who write exporters and bundles."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


@contextmanager
def inside(folder: Path, **environment: str) -> Iterator[None]:
    """The folder as working directory, and variables of the environment, for a while."""
    before = Path.cwd(), {name: os.environ.get(name) for name in environment}
    os.chdir(folder)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.chdir(before[0])
        for name, value in before[1].items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
