"""Versions, devices and extras present: what a report of a problem needs."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
from typing import Any

from monai_staging.version import __version__

# What the results depend on most, in the order they are shown.
PACKAGES = (
    "torch",
    "monai",
    "pytorch-ignite",
    "mlflow",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "pandas",
    "nibabel",
    "pydicom",
    "highdicom",
)
# DICOM transfer syntax family -> the module that decodes it.
DECODERS = {
    "JPEG": "libjpeg",
    "JPEG-LS": "jpeg_ls",
    "JPEG 2000": "openjpeg",
    "RLE": "rle",
}
# extra -> (distribution, what it is for)
EXTRAS = {
    "gpu": ("nvidia-ml-py", "GPU use in MLflow's system metrics"),
    "export": ("onnxruntime", "ONNX and int8 in packages"),
    "ray": ("ray", "work on the nodes of a cluster"),
}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[dict[str, Any]]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices: list[dict[str, Any]] = [{"device": "cpu", "name": platform.machine(), "cores": cores}]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory_gib = round(properties.total_memory / 2**30, 1)
        devices.append({"device": f"cuda:{index}", "name": properties.name, "memory_gib": memory_gib})
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": platform.processor() or platform.machine()})
    return devices


def describe() -> dict[str, Any]:
    """What is installed here and what it runs on.

    Returns:
        ``monai_staging``, ``python``, ``platform``: versions; ``packages``: name to version, ``None`` where missing;
        ``decoders``: DICOM compression to whether its decoder is there; ``extras``: extra to whether it is installed;
        ``devices``: what torch can compute on.
    """
    return {
        "monai_staging": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "decoders": {name: importlib.util.find_spec(module) is not None for name, module in DECODERS.items()},
        "extras": {name: _version(distribution) is not None for name, (distribution, _) in EXTRAS.items()},
        "devices": _devices(),
    }


def _rows(info: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("monai-staging", info["monai_staging"]),
        ("Python", f"{info['python']} on {info['platform']}"),
    ]
    rows += [(name, version or "missing") for name, version in info["packages"].items()]
    missing = [name for name, present in info["decoders"].items() if not present]
    rows.append(("DICOM decoders", ", ".join(name for name, present in info["decoders"].items() if present) or "none"))
    if missing:
        rows.append(("", "missing: " + ", ".join(missing)))
    for name, present in info["extras"].items():
        hint = "installed" if present else f"not installed (pip install 'monai-staging[{name}]')"
        rows.append((f"[{name}]", f"{hint}: {EXTRAS[name][1]}"))
    for device in info["devices"]:
        sizes = [f"{device[key]} {unit}" for key, unit in (("cores", "cores"), ("memory_gib", "GiB")) if key in device]
        rows.append((device["device"], ", ".join([device["name"], *sizes])))
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments to ``parser``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Prints what is installed; returns 0."""
    info = describe()
    if args.json:
        print(json.dumps(info, indent=2))
    else:
        rows = _rows(info)
        width = max(len(name) for name, _ in rows)
        print("\n".join(f"{name:<{width}}  {value}" for name, value in rows))
    return 0
