"""What a package says of itself: ``docs/README.md`` for people, ``configs/metadata.json`` for machines."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from monai_staging.errors import UsageError
from monai_staging.packaging.configs import CONFIGS, LENT
from monai_staging.packaging.networks import FORMAT
from monai_staging.packaging.source import CARD, ROOT, Source
from monai_staging.packaging.weights import metrics_of

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_PACKAGES = {"monai_version": "monai", "pytorch_version": "torch", "numpy_version": "numpy"}
NOT_A_DEVICE = "Not a medical device: for research only, not for diagnosis or treatment."


def new_metadata(source: Source, version: str | None, change: str | None) -> dict[str, Any]:
    """The bundle's metadata with the versions that it is packaged, and checked, with.

    Args:
        source: the bundle.
        version: of the package; the bundle's where it is ``None``.
        change: what is new in it, for the changelog.

    Raises:
        UsageError: not a version, or one without a word on what is new.
    """
    document = source.metadata
    own = [one.network.name for one in source.chosen if one.own]
    if version is not None:
        if not _VERSION.fullmatch(version):
            raise UsageError(f"A package's version is three numbers with points between them, found {version!r}")
        if change is None and version not in document.get("changelog", {}):
            raise UsageError(f"Version {version} is new: say what has changed with --change")
        document["version"] = version
    if change is None and own:
        change = f"weights of a training of one's own: {', '.join(own)}"
    if change is not None:
        document["changelog"] = {**document.get("changelog", {}), document["version"]: change}
    document |= {key: _installed(package) for key, package in _PACKAGES.items()}
    required = document.get("required_packages_version", {})
    document["required_packages_version"] = {name: _installed(name, known) for name, known in required.items()}
    # MONAI's tools read this key: it is of the network that the package has.
    first = source.chosen[0].network.parts[0].format
    if first != FORMAT and first in document:
        document[FORMAT] = document[first]
    return document


def _installed(package: str, known: str = "") -> str:
    try:
        # A local build's suffix (2.7.0+cpu) is no version that an index knows.
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return known


def model_card(source: Source, described: Mapping[str, Any], out: Path) -> str:
    """The bundle's own model card, its commands as they are in the package, and what is in the package.

    Args:
        source: the bundle.
        described: the package's metadata.
        out: the package's folder, with weights and exported networks.
    """
    path = source.folder / CARD
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {described.get('name', source.name)}\n"
    parts = [_moved(text, source.name).rstrip(), _package(source, described, out), _data(described)]
    for one in source.chosen:
        if found := metrics_of((out / one.network.weights).parent):
            parts.append(_metrics(one.network.name, found, one.own))
        elif one.own:
            parts.append(f"### Metrics of the packaged weights: {one.network.name}\n\nThey were not tested.")
    if "not a medical device" not in text.lower():
        parts.append(NOT_A_DEVICE)
    return "\n\n".join(parts) + "\n"


def _moved(text: str, name: str) -> str:
    """Paths of the bundle in the repository as paths of the package."""
    text = text.replace(f"bundles/{name}/models/", "models/")
    text = re.sub(rf"bundles/{re.escape(name)}/([\w-]+\.json)", rf"{CONFIGS}/\1", text)
    text = re.sub(r"`(docs|scripts)/([\w./-]+)`", r"`\1/\2` of the repository", text)
    return re.sub(r"`compare\.yaml`", "`compare.yaml` of the repository", text)


def _package(source: Source, described: Mapping[str, Any], out: Path) -> str:
    run = source.chosen[0].network.runs[0]
    files = [f"{CONFIGS}/{name}.json" for name in run]
    config = files[0] if len(files) == 1 else '"[' + ",".join(f"'{file}'" for file in files) + ']"'
    rows = [
        f"- `{path.relative_to(out).as_posix()}`: {_what(path)}"
        for path in sorted((out / "models").rglob("model*.*")) + sorted((out / "models").rglob("classifier*.*"))
        if path.suffix in (".pt", ".ts", ".onnx")
    ]
    lines = [
        "## This package",
        "",
        f"Version {described['version']}, for `monai-staging` {_installed('monai-staging')}, whose Python code the "
        f"configs use, MONAI {described['monai_version']}, PyTorch {described['pytorch_version']} and NumPy "
        f"{described['numpy_version']}. Run it in this folder; elsewhere, give `--bundle_root` its path.",
        "",
        "```bash",
        f"python -m monai.bundle run --config_file {config} --dataset_dir DATA --output_dir OUT",
        "```",
        "",
        *rows,
    ]
    if any(one.own for one in source.chosen):
        named = ", ".join(one.network.name for one in source.chosen if one.own)
        lines += [
            "",
            f"Weights of a training of one's own: {named}. What is said above of shipped weights is not of them.",
        ]
    for network in source.left_out:
        lines += [
            "",
            f"Without weights: `{network.weights}`, which {_listed(network.runs)} need. Train them: "
            f"`{network.command(CONFIGS)}`.",
        ]
    for other in sorted(path.name for path in (out / LENT).glob("*")):
        lines += ["", f"`{LENT}/{other}` has what configs here need of the bundle {other}."]
    return "\n".join(lines)


def _listed(runs: tuple[tuple[str, ...], ...]) -> str:
    return " and ".join(" with ".join(f"`{name}.json`" for name in run) for run in runs)


def _what(path: Path) -> str:
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    if path.stem.endswith("_int8"):
        return f"ONNX with 8-bit convolutions, {size}; see `{path.stem}.json`"
    return {".pt": "weights", ".ts": "TorchScript", ".onnx": "ONNX"}[path.suffix] + f", {size}"


def _data(described: Mapping[str, Any]) -> str:
    rows = {
        "data": described.get("data_source"),
        "images": described.get("image_classes"),
        "labels": described.get("label_classes"),
        "output": described.get("pred_classes"),
        "use": described.get("intended_use"),
        "license": described.get("license"),
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value]
    return "\n".join(["### Data and use", "", "| | |", "| --- | --- |", *lines])


def _metrics(name: str, metrics: Mapping[str, Mapping[str, float | None]], own: bool) -> str:
    lines = [f"| {metric} | {_figure(one)} | {_number(one.get('n'), 0)} |" for metric, one in metrics.items()]
    whose = "of the training that they are of" if own else "from `model.json`"
    return "\n".join(
        [
            f"### Metrics of the packaged weights: {name}",
            "",
            f"With 95 % intervals by resampling patients, {whose}.",
            "",
            "| metric | value | patients |",
            "| --- | --- | --- |",
            *lines,
        ]
    )


def _figure(one: Mapping[str, float | None]) -> str:
    text = _number(one.get("value"), 3)
    if one.get("low") is None or one.get("high") is None:
        return text
    return f"{text} [{_number(one['low'], 3)}, {_number(one['high'], 3)}]"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def license_text(source: Source) -> str:
    """The license, from beside the bundles or from the installed package.

    Raises:
        UsageError: neither has one.
    """
    for folder in (source.folder.resolve().parents[1], ROOT):
        if (folder / "LICENSE").is_file():
            return (folder / "LICENSE").read_text(encoding="utf-8")
    for file in metadata.files("monai-staging") or ():
        if file.name == "LICENSE":
            return file.read_text(encoding="utf-8")
    raise UsageError(f"Bundle {source.name}: its LICENSE is needed two folders above it, found none")
