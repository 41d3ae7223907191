"""That a package works, by MONAI's own checks, from within its folder as whoever unpacks it meets it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai_staging.errors import DataError
from monai_staging.packaging.configs import CONFIGS
from monai_staging.packaging.export import first_line, inside, quiet
from monai_staging.packaging.networks import FORMAT, Packaged, Part
from monai_staging.packaging.sample import dataset_dir
from monai_staging.packaging.source import METADATA

_FEW = 2
"""Cases that are looked at."""


def verify_package(
    folder: Path,
    networks: tuple[Packaged, ...],
    described: Mapping[str, Any],
    schema: Path,
    samples: Mapping[str, Path],
    work: Path,
) -> Iterator[str]:
    """Checks a package and says after each check what it was.

    The metadata against the rules; of each network what goes in and comes out; of each config that uses its weights
    the properties that MONAI asks of a bundle, with everything in it made; and an inference is run.

    Args:
        folder: of the package; made the working directory while a check runs.
        networks: with weights.
        described: the package's metadata.
        schema: rules for them.
        samples: data by kind.
        work: folder for what the runs leave; may be thrown away.

    Raises:
        DataError: a check failed; which one, and what it found.
    """
    folder, schema, work = folder.resolve(), schema.resolve(), work.resolve()
    with _checked("metadata", folder, work):
        _metadata(schema)
    yield f"{CONFIGS}/{METADATA}: of the schema"
    for network in networks:
        sample = samples[network.sample].resolve()
        for part in network.parts:
            name = f"{network.name} ({part.format})" if len(network.parts) > 1 else network.name
            with _checked(f"network {name}", folder, work):
                _in_and_out(network, part, described, dataset_dir(network.sample, sample, network.configs))
            yield f"network {name}: takes and gives what the metadata say"
        for run in network.runs:
            files = [f"{CONFIGS}/{config}.json" for config in run]
            label = " with ".join(files)
            if not all((folder / file).is_file() for file in files):
                continue
            with _checked(label, folder, work):
                ran = _run(files, network, dataset_dir(network.sample, sample, run), work)
            yield f"{label}: all properties of a bundle, {'run' if ran else 'made'} with the weights"


@contextmanager
def _checked(what: str, folder: Path, work: Path) -> Iterator[None]:
    """Within the package's folder and without a word; what is raised becomes an error that says which check failed."""
    unheard = io.StringIO()
    try:
        with (
            inside(folder, MLFLOW_TRACKING_URI=f"sqlite:///{work}/mlruns.db"),
            quiet(),
            contextlib.redirect_stdout(unheard),
            contextlib.redirect_stderr(unheard),
        ):
            yield
    except Exception as error:
        raise DataError(f"Package: {what} does not pass MONAI's check: {first_line(error)}") from error


def _metadata(schema: Path) -> None:
    from monai.bundle import verify_metadata

    verify_metadata(meta_file=f"{CONFIGS}/{METADATA}", filepath=str(schema))


def _in_and_out(network: Packaged, part: Part, described: Mapping[str, Any], data: Path) -> None:
    import torch
    from monai.bundle import verify_net_in_out

    kinds = {"float32": torch.float32, "bool": torch.bool}
    more = {one.name: torch.ones(1, *one.shape, dtype=kinds[one.dtype]) for one in part.needed}
    verify_net_in_out(
        net_id="exported",
        exported=f"${part.net.removeprefix('$')}",
        meta_file=f"{CONFIGS}/{METADATA}",
        config_file=[f"{CONFIGS}/{config}.json" for config in network.configs],
        dataset_dir=str(data),
        device="cpu",
        extra_forward_args=more,
        **{f"_meta_#{FORMAT}": described[part.format]},
        **part.keys,
    )


def _run(files: list[str], network: Packaged, data: Path, work: Path) -> bool:
    """Whether the configs were run, too: those that only infer are, others would write to MLflow."""
    from monai.bundle import ConfigParser, ConfigWorkflow

    config = ConfigParser.load_config_files(files)
    keys: dict[str, Any] = {"dataset_dir": str(data), "output_dir": str(work / "run"), "device": "cpu"}
    keys |= {"limit": _FEW} if "limit" in config else {}
    keys |= {"cache_dir": str(work / "cache")} if "cache_dir" in config else {}
    if network.folder and f"'{network.folder}'" not in str(config["weights"]):
        keys["weights"] = network.weights
    runs = "inference" in files[0]
    if not runs:
        keys |= {"initialize": [], "finalize": []}
    workflow = ConfigWorkflow(
        files, meta_file=f"{CONFIGS}/{METADATA}", workflow_type="infer", logging_file=False, **keys
    )
    workflow.initialize()
    if missing := workflow.check_properties():
        raise DataError(f"properties of a bundle are missing: {', '.join(map(str, missing))}")
    if runs:
        workflow.run()
    else:
        workflow.parser.get_parsed_content("evaluator")
    workflow.finalize()
    return runs
