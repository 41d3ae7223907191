"""The configs of a package: those of the bundle, with every path right for where they now lie."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_staging.errors import DataError, UsageError
from monai_staging.packaging.networks import Packaged
from monai_staging.packaging.source import METADATA, Source, find_bundle, read_json

CONFIGS, LENT, LOGGING = "configs", "bundles", "logging.conf"
_OTHER = re.compile(r"bundles/([\w-]+)/([\w./-]+)")
# Key that lists another bundle's configs -> key of that bundle's weights, which the configs name where it is null.
_LENT_WEIGHTS = {"detector_configs": "detector_weights"}
_OF_SHIPPED = "shipped_from"
"""Key that says what the shipped weights have learned from: others have not."""


def write_configs(source: Source, out: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Writes ``configs``, and under ``bundles`` what they need of other bundles.

    The package's own folder becomes the working directory (`bundle_root` is ``.``), as in the Model Zoo; elsewhere
    ``--bundle_root`` says where it is. Data and results stay paths of the working directory.

    Args:
        source: the bundle.
        out: the package's folder.
        settings: keys with other values than the bundle's, for the network whose weights are packaged.

    Returns:
        The written files.

    Raises:
        UsageError: a setting is no key of the network's configs.
        DataError: a config cannot be read, or refers to something that is not there.
    """
    documents = {path.stem: read_json(path) for path in source.configs if path.name != METADATA}
    if not documents:
        raise DataError(f"Bundle {source.name}: configs are needed, found none in {source.folder}")
    _set(documents, settings, source)
    written = []
    for name, document in documents.items():
        if "bundle_root" in document:
            document["bundle_root"] = "."
        _weights(document, name, source)
        for other in _lend(document, name, source.name, out):
            written += _copy_bundle(other, out)
        written.append(_write(out / CONFIGS / f"{name}.json", document))
    if (source.folder / LOGGING).is_file():
        written.append(Path(shutil.copyfile(source.folder / LOGGING, out / CONFIGS / LOGGING)))
    return list(dict.fromkeys(written))


def target(source: Source) -> Packaged:
    """The network that settings are of: the one whose weights are of a training, else the first."""
    own = [one.network for one in source.chosen if one.own]
    return own[0] if own else source.chosen[0].network


def _set(documents: Mapping[str, dict[str, Any]], settings: Mapping[str, Any], source: Source) -> None:
    network = target(source)
    names = {*network.configs, *network.training, *(name for run in network.runs for name in run)}
    for key, value in settings.items():
        having = [documents[name] for name in sorted(names) if key in documents.get(name, {})]
        if not having:
            listed = ", ".join(f"{name}.json" for name in sorted(names & set(documents)))
            raise UsageError(f"Bundle {source.name}: a setting is a key of {listed}; found {key!r}")
        for document in having:
            document[key] = value


def _weights(document: dict[str, Any], name: str, source: Source) -> None:
    """A config that names weights elsewhere than in the bundle gets the package's."""
    for one in source.chosen:
        used = any(name == run[0] for run in one.network.runs)
        if used and isinstance(document.get("weights"), str) and "runs/" in document["weights"]:
            document["weights"] = f"$@bundle_root + '/{one.network.weights}'"
        if used and one.own and _OF_SHIPPED in document:
            document[_OF_SHIPPED] = None


def _lend(document: dict[str, Any], name: str, own: str, out: Path) -> list[Path]:
    """Turns paths of other bundles into paths of the package; gives the folders of these bundles."""
    folders: list[Path] = []

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(one) for key, one in value.items()}
        if isinstance(value, list):
            return [moved(one) for one in value]
        found = _OTHER.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            return value
        if found[1] == own:
            return f"$@bundle_root + '/{CONFIGS}/{found[2]}'"
        folder = find_bundle(found[1])
        if not (folder / found[2]).is_file():
            raise DataError(f"Config {name}.json of bundle {own}: refers to {value}, which is not there")
        folders.append(folder)
        return f"$@bundle_root + '/{LENT}/{found[1]}/{found[2]}'"

    for listing, key in _LENT_WEIGHTS.items():
        files = document.get(listing)
        if isinstance(files, list) and document.get(key, "") is None:
            document[key] = _lent_weights(files)
    for key in list(document):
        document[key] = moved(document[key])
    return list(dict.fromkeys(folders))


def _lent_weights(files: Sequence[str]) -> str | None:
    """The weights that another bundle's configs name, as a path of the package."""
    from monai.bundle import ConfigParser

    names = [_OTHER.fullmatch(file) for file in files]
    if not all(names):
        return None
    bundle = [found[1] for found in names if found][0]
    folder = find_bundle(bundle)
    parser = ConfigParser(ConfigParser.load_config_files([str(folder / found[2]) for found in names if found]))
    parser["bundle_root"] = "."
    weights = str(parser.get_parsed_content("weights")).removeprefix("./")
    return f"$@bundle_root + '/{LENT}/{bundle}/{weights}'"


def _copy_bundle(folder: Path, out: Path) -> list[Path]:
    """Copies another bundle's configs and weights, as they are: whoever refers to them names the weights."""
    target_folder = out / LENT / folder.resolve().name
    files = [*folder.glob("*.json"), *(path for path in folder.glob("models/**/*") if path.is_file())]
    copied = []
    for path in sorted(files):
        place = target_folder / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        copied.append(place)
    return copied


def _write(path: Path, document: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
