"""What MONAI Label 0.8.5 needs to run beside current pydicom and without the packages it imports and we never call.

:func:`install` is to be called before anything of ``monailabel`` is imported: by the server, and by the app, which is
what the processes of batch inference load. Each workaround names what is broken and how to know that it is not any
more; ``tests/label/test_compat.py`` fails on the day that one is not needed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Mapping
from typing import Any, NoReturn

NEVER_CALLED: dict[str, str] = {
    "pydicom_seg": "reads DICOM SEG, and imports pydicom._storage_sopclass_uids, which pydicom 3 has no more; "
    "not maintained (pydicom issue 1841)",
    "girder_client": "talks to a Digital Slide Archive, for pathology",
    "itk": "writes the images of stock inference tasks; 300 MB, and ours are written by our own code",
}
"""Modules that ``monailabel.interfaces.app`` imports at once, and what they are for. We call none."""


def install() -> None:
    """Does all that must be done before ``monailabel`` is imported; again, it changes nothing."""
    for name, purpose in NEVER_CALLED.items():
        stand_in(name, purpose)


def stand_in(name: str, purpose: str) -> None:
    """Lets ``import name`` succeed where the module is missing or cannot be imported.

    Broken: MONAI Label imports its optional back ends when it starts, not when it uses them, so one that is missing
    (``girder_client``, ``itk``) or does not import (``pydicom_seg`` beside pydicom 3) keeps the server from starting.
    Not needed any more when ``import monailabel.interfaces.app`` succeeds without the module.

    Args:
        name: of the module; one that is there and imports is left alone.
        purpose: told when somebody calls it all the same.
    """
    if name in sys.modules:
        return
    if importlib.util.find_spec(name) is not None:
        try:
            importlib.import_module(name)
        except ImportError:
            pass
        else:
            return
    sys.modules[name] = _Missing(name, purpose)


class _Missing(types.ModuleType):
    """A module that can be imported, and of which nothing can be used."""

    def __init__(self, name: str, purpose: str) -> None:
        super().__init__(name)
        self._purpose = purpose

    def __getattr__(self, attribute: str) -> NoReturn:
        # What the import system asks for must be absent, not broken.
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise ImportError(f"{self.__name__}.{attribute}: {self.__name__} is not installed ({self._purpose}).")


def without_absent_gpus(request: Mapping[str, Any], gpus: int) -> dict[str, Any]:
    """A request of batch inference that does not ask for GPUs that are not there.

    Broken: ``BatchInferTask`` deals its images out to the GPUs, by default to all of them, and divides by zero where
    there is none. Not needed any more when ``POST /batch/infer/MODEL`` without parameters ends with ``DONE`` on a
    machine without a GPU.

    Args:
        request: as it came.
        gpus: how many there are.
    """
    return {**request} if gpus else {**request, "multi_gpu": False, "device": "cpu"}


def python_path(before: str | None, app: str) -> str:
    """``PYTHONPATH`` for the server: it must be there.

    Broken: ``monailabel.utils.async_tasks.utils`` looks ``PYTHONPATH`` up in the environment of the processes it starts
    and raises ``KeyError`` in a thread where it is not set, so a batch waits for ever. Not needed any more when a batch
    starts without it.

    Args:
        before: what it is; ``None`` where it is not set.
        app: folder of the app.
    """
    return app if not before else f"{before}{os.pathsep}{app}"
