"""What is packaged: a bundle's folder, its metadata, and the weights, shipped with it or of a training of one's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_staging.errors import DataError, UsageError
from monai_staging.packaging.networks import Packaged, networks_of

ROOT = Path(__file__).resolve().parents[2]
METADATA, SCHEMA, CARD = "metadata.json", "metadata.schema.json", "README.md"


@dataclass(frozen=True)
class Chosen:
    """A network with the weights that are packaged.

    Attributes:
        network: what the bundle has.
        file: its weights.
        own: whether they are of a training, not those that the bundle ships.
    """

    network: Packaged
    file: Path
    own: bool


@dataclass(frozen=True)
class Source:
    """A bundle and its weights.

    Attributes:
        folder: with configs, metadata and model card.
        name: of the bundle.
        chosen: networks with weights, the one that the bundle is about first.
        left_out: networks of which there are no weights.
    """

    folder: Path
    name: str
    chosen: tuple[Chosen, ...]
    left_out: tuple[Packaged, ...]

    @property
    def configs(self) -> list[Path]:
        """Its config files, metadata included."""
        return sorted(self.folder.glob("*.json"))

    @property
    def metadata(self) -> dict[str, Any]:
        """What it says of itself."""
        return read_json(self.folder / METADATA)


def find_bundle(bundle: str) -> Path:
    """The folder of a bundle: the folder itself, or by its name under ``bundles`` here or beside the package.

    Raises:
        UsageError: there is none.
    """
    places = [Path(bundle)] if "/" in bundle else []
    places += [Path("bundles") / bundle, ROOT / "bundles" / bundle, Path(bundle)]
    for place in places:
        if (place / METADATA).is_file():
            return place
    known = sorted(path.parent.name for path in (ROOT / "bundles").glob(f"*/{METADATA}"))
    raise UsageError(
        f"A bundle is {', '.join(known) or 'a folder of bundles'}, or a folder with {METADATA} and configs; "
        f"found {bundle!r}"
    )


def read_source(bundle: str, weights: Sequence[str] = (), over: Sequence[str] = ()) -> Source:
    """A bundle with the weights that are to be packaged.

    Args:
        bundle: a name or a folder.
        weights: ``FILE`` for the bundle's first network, or ``NAME=FILE``.
        over: configs that are laid over those of the first network, without their ending.

    Raises:
        UsageError: no such bundle, network or config.
        DataError: no weights at all, or a named file is not there.
    """
    folder = find_bundle(bundle)
    name = folder.resolve().name
    networks = list(networks_of(name))
    for config in over:
        if not (folder / f"{config}.json").is_file():
            raise UsageError(f"Bundle {name}: a config to lay over is needed, found no {config}.json in {folder}")
    first = networks[0]
    networks[0] = replace(
        first,
        configs=(*first.configs, *over),
        runs=tuple((*run, *over) for run in first.runs),
        training=(*first.training, *over),
    )
    own = dict(_named(text, name, networks) for text in weights)
    chosen, left_out = [], []
    for network in networks:
        shipped = folder / network.weights
        if network.name in own:
            chosen.append(Chosen(network, own[network.name], True))
        elif shipped.is_file() and not (over and network is networks[0]):
            chosen.append(Chosen(network, shipped, False))
        else:
            left_out.append(network)
    if not chosen:
        found = "none for these configs" if over else f"none in {folder / 'models'}"
        raise DataError(
            f"Bundle {name}: weights are needed, found {found}. Train some: {networks[0].command(str(folder))}, then "
            "give --weights with the file that the training leaves (best.pt or model.pt)."
        )
    missing = [f"{config}.json" for one in chosen for config in one.network.configs if not _config(folder, config)]
    if missing:
        raise DataError(f"Bundle {name}: configs that define its network are needed in {folder}, found no {missing[0]}")
    return Source(folder, name, tuple(chosen), tuple(left_out))


def _config(folder: Path, name: str) -> bool:
    return (folder / f"{name}.json").is_file()


def _named(text: str, bundle: str, networks: Sequence[Packaged]) -> tuple[str, Path]:
    names = [network.name for network in networks]
    name, equals, file = text.partition("=")
    if not equals or (name not in names and Path(text).is_file()):
        name, file = names[0], text
    if name not in names:
        raise UsageError(f"Bundle {bundle}: weights are of {', '.join(names)}; found {name!r} in --weights {text}")
    path = Path(file)
    if path.is_dir():
        raise UsageError(f"Bundle {bundle}: --weights takes a file, found the folder {path}; give its best.pt")
    if not path.is_file():
        raise DataError(f"Bundle {bundle}: weights {path} are not there")
    return name, path


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: a JSON object is needed, but it cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: a JSON object is needed, found {type(document).__name__}")
    return document


def find_schema(folder: Path) -> Path:
    """The rules for metadata, which lie beside the bundles.

    Raises:
        DataError: they are not there.
    """
    for place in (folder.resolve().parent, Path("bundles"), ROOT / "bundles"):
        if (place / SCHEMA).is_file():
            return (place / SCHEMA).resolve()
    raise DataError(f"Bundle {folder}: {SCHEMA} is needed beside it or in bundles, found none")
