"""The Model Zoo's layout of a bundle, written whole and verified, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_staging.errors import UsageError
from monai_staging.files import write_json_atomic, write_text_atomic
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.packaging.card import license_text, model_card, new_metadata
from monai_staging.packaging.configs import CONFIGS, target, write_configs
from monai_staging.packaging.export import build, sides_of, write_torchscript
from monai_staging.packaging.int8 import CALIBRATION, CHECKED, Int8, batches_of, beside_original, write_int8
from monai_staging.packaging.networks import Packaged, Part
from monai_staging.packaging.onnx_model import check_extra, write_onnx
from monai_staging.packaging.place import check_place, new_package
from monai_staging.packaging.sample import MORE, PATIENTS, dataset_dir, make_sample
from monai_staging.packaging.source import CARD, METADATA, Source, find_schema, read_source
from monai_staging.packaging.verify import verify_package
from monai_staging.packaging.weights import write_weights

Say = Callable[[str], None]


@dataclass(frozen=True)
class PackageOptions:
    """What is asked of a package.

    Attributes:
        weights: ``FILE`` or ``NAME=FILE``, of trainings.
        settings: keys with other values than the bundle's, as those weights were trained with.
        over: configs that they were trained with, laid over the bundle's.
        dataset_dir: data that it is checked, and 8 bits are calibrated, with; small phantoms where it is ``None``.
        onnx: whether networks are exported to ONNX too.
        int8: whether there is an 8-bit model; implies ``onnx``.
        version: of the package.
        change: what is new in it.
    """

    weights: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    over: tuple[str, ...] = ()
    dataset_dir: Path | None = None
    onnx: bool = False
    int8: bool = False
    version: str | None = None
    change: str | None = None


@dataclass(frozen=True)
class Exported:
    """A network in a package.

    Attributes:
        weights: name of the weights it is of.
        torchscript: its file.
        torchscript_difference: largest, of the outputs from PyTorch's, as a share of the largest output above 1.
        onnx: its file, if any.
        onnx_difference: likewise.
        int8: the 8-bit model, if any.
    """

    weights: str
    torchscript: str
    torchscript_difference: float
    onnx: str | None = None
    onnx_difference: float | None = None
    int8: Int8 | None = None


@dataclass(frozen=True)
class Package:
    """What was written.

    Attributes:
        out: its place.
        bundle: its name.
        version: of it.
        networks: that are in it.
        checks: what was verified.
        left_out: networks without weights by name, and the command that trains each.
        files: SHA-256 of each, by path.
        bytes: of all files.
    """

    out: Path
    bundle: str
    version: str
    networks: tuple[Exported, ...]
    checks: tuple[str, ...]
    left_out: Mapping[str, str]
    files: Mapping[str, str]
    bytes: int


def package_bundle(
    bundle: str, out: Path, options: PackageOptions | None = None, say: Say = lambda line: None
) -> Package:
    """Writes a bundle in the Model Zoo's layout: ``configs``, ``models``, ``docs``, ``LICENSE``.

    Args:
        bundle: its name, or its folder.
        out: a folder, or a file ending in ``.zip``; must not exist, or be an empty folder.
        options: see `PackageOptions`.
        say: is told of each step that is done.

    Raises:
        UsageError: no such bundle or setting, something is at ``out``, or packages are missing.
        DataError: no weights, or the package does not pass a check; nothing is written.
    """
    options = options or PackageOptions()
    check_place(out)
    source = read_source(bundle, options.weights, options.over)
    if options.onnx or options.int8:
        check_extra("--int8" if options.int8 else "--onnx")
    if options.int8 and all(one.network.calibration is None for one in source.chosen):
        raise UsageError(f"--int8 needs a network that sees whole cases; {source.name} has none with weights")
    described = new_metadata(source, options.version, options.change)
    schema = find_schema(source.folder)
    checks: list[str] = []
    with tempfile.TemporaryDirectory(prefix="monai-staging-") as scratch, new_package(out) as folder:
        work = Path(scratch)
        written = write_configs(source, folder, options.settings)
        weights = [write_weights(one, folder) for one in source.chosen]
        write_text_atomic(folder / "LICENSE", license_text(source))
        say(f"{len(written)} configs and {len(weights)} files of weights")
        samples = _samples(source, options.dataset_dir, options.int8, work, say)
        described = _sized(source, folder, described)
        write_json_atomic(folder / CONFIGS / METADATA, described)
        networks = tuple(
            _export(folder, one.network, part, described, samples, work, options, say)
            for one in source.chosen
            for part in one.network.parts
        )
        write_text_atomic(folder / "docs" / CARD, model_card(source, described, folder))
        for check in verify_package(
            folder, tuple(one.network for one in source.chosen), described, schema, samples, work
        ):
            say(check)
            checks.append(check)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}
        size = sum(path.stat().st_size for path in paths)
    left_out = {network.name: network.command(str(source.folder)) for network in source.left_out}
    return Package(out, source.name, described["version"], networks, tuple(checks), left_out, files, size)


def _samples(source: Source, given: Path | None, more: bool, work: Path, say: Say) -> dict[str, Path]:
    """Data of each kind that is needed; the given one is of the kind that the settings' network reads."""
    samples = {} if given is None else {target(source).sample: given.resolve()}
    for one in source.chosen:
        kind = one.network.sample
        if kind not in samples:
            samples[kind] = make_sample(kind, work / kind, MORE if more else PATIENTS)
            if kind != "none":
                say(f"phantoms to check it with: {kind}")
    return samples


def _sized(source: Source, folder: Path, described: dict[str, Any]) -> dict[str, Any]:
    """The metadata with the sides that the settings give the image."""
    for one in source.chosen:
        for part in one.network.parts:
            sides = sides_of(folder, one.network, part)
            if sides is not None:
                described[part.format]["inputs"]["image"]["spatial_shape"] = sides
    return described


def _export(
    folder: Path,
    network: Packaged,
    part: Part,
    described: Mapping[str, Any],
    samples: Mapping[str, Path],
    work: Path,
    options: PackageOptions,
    say: Say,
) -> Exported:
    data = dataset_dir(network.sample, samples[network.sample], network.configs)
    built = build(folder, network, part, described, data)
    place = (folder / network.weights).parent
    script = place / f"{part.name}.ts"
    apart = write_torchscript(built, script, described, network.configs[0])
    name = script.relative_to(folder).as_posix()
    say(f"{name}: outputs as PyTorch's, largest difference {apart:.2g}")
    if not (options.onnx or options.int8):
        return Exported(network.name, name, apart)
    model = script.with_suffix(".onnx")
    onnx_apart = write_onnx(built, model)
    onnx_name = model.relative_to(folder).as_posix()
    say(f"{onnx_name}: outputs as PyTorch's, largest difference {onnx_apart:.2g}")
    if not options.int8 or network.calibration is None:
        return Exported(network.name, name, apart, onnx_name, onnx_apart)
    cases = batches_of(folder, network, built, data, work, CALIBRATION + CHECKED)
    count = max(1, len(cases) - min(CHECKED, len(cases) // 3))
    small = model.with_name(f"{part.name}_int8.onnx")
    write_int8(model, small, cases[:count])
    int8 = beside_original(model, small, cases[count:] or cases, count)
    say(
        f"{small.relative_to(folder).as_posix()}: {int8.int8_bytes / 1e6:.2f} MB of {int8.original_bytes / 1e6:.2f}, "
        f"{int8.int8_ms:.0f} ms of {int8.original_ms:.0f}, largest difference {int8.largest_difference:.2g}"
    )
    return Exported(network.name, name, apart, onnx_name, onnx_apart, int8)
