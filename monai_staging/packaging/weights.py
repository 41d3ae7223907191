"""The weights of a package: a plain state dict each, what belongs to them, and a record of digest and metrics."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from monai_staging.errors import DataError
from monai_staging.files import atomic_path, write_json_atomic
from monai_staging.networks.pretrained import read_state_dict
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.packaging.source import Chosen, read_json

RECORD = "model.json"
_TORCH = (".pt", ".pth")


def write_weights(one: Chosen, out: Path) -> Path:
    """Writes ``model.pt``, its ``model.json`` and what lies beside it to the place that the configs look at.

    Weights are copied, so that they keep their digest; those of another format are written as torch does it. The record
    of weights that the bundle ships is copied, that of a training's is made: what file they are of and, from
    ``metrics.json`` beside it, how good.

    Raises:
        DataError: the file is no state dict, or not the one that its record is of.
    """
    place = out / one.network.weights
    place.parent.mkdir(parents=True, exist_ok=True)
    if one.own:
        state = read_state_dict(one.file)
    if one.own and one.file.suffix not in _TORCH:
        # Through memory: torch.save writes the name of its file into the archive.
        archive = io.BytesIO()
        torch.save(state, archive)
        with atomic_path(place) as temporary:
            temporary.write_bytes(archive.getvalue())
    else:
        shutil.copyfile(one.file, place)
    record = _record(one.file, place) if one.own else _shipped(one.file, place)
    write_json_atomic(place.with_name(RECORD), record)
    for name in one.network.beside:
        if (one.file.parent / name).is_file():
            shutil.copyfile(one.file.parent / name, place.with_name(name))
    return place


def _record(file: Path, place: Path) -> dict[str, Any]:
    record: dict[str, Any] = {
        "sha256": file_sha256(place),
        "bytes": place.stat().st_size,
        "trained_here": {"file": file.name, "sha256": file_sha256(file)},
    }
    for name in ("best", "metrics"):
        beside = file.with_name(f"{name}.json")
        if beside.is_file():
            record[name] = read_json(beside)
    return record


def _shipped(file: Path, place: Path) -> dict[str, Any]:
    path = file.with_name(RECORD)
    digest = file_sha256(place)
    record = read_json(path) if path.is_file() else {}
    if record.get("sha256", digest) != digest:
        raise DataError(f"Weights {file}: {path.name} is of SHA-256 {record['sha256']}, the file has {digest}")
    return {**record, "sha256": digest, "bytes": place.stat().st_size}


def metrics_of(folder: Path) -> dict[str, dict[str, float | None]]:
    """Metrics in the record of a folder's weights, by name; empty where it has none."""
    path = folder / RECORD
    metrics = json.loads(path.read_text(encoding="utf-8")).get("metrics") if path.is_file() else None
    found = metrics if isinstance(metrics, dict) else {}
    return {name: one for name, one in found.items() if isinstance(one, dict) and "value" in one}
