"""Files that clients send: to disk within a bound, and looked at before they are taken."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from monai_staging.errors import DataError, UsageError
from monai_staging.label.kinds import KINDS, write_labels
from monai_staging.label.markups import read_roi
from monai_staging.measure.images import check_same_grid, read_image

LARGEST_PARAMS = 1 << 18
"""Characters of a request's parameters: they are kept in the index, which is written as a whole."""
DEEPEST = 16
"""Lists and objects within each other in parameters."""


@contextlib.contextmanager
def received(file: BinaryIO, filename: str | None, endings: tuple[str, ...]) -> Iterator[Path]:
    """What was sent as a file of this process, gone afterwards. Of the client's name only the ending is used.

    Raises:
        UsageError: the name ends in none of ``endings``.
    """
    name = (filename or "").lower()
    ending = next((own for own in endings if name.endswith(own)), None)
    if ending is None:
        raise UsageError(f"File: its name must end in {', '.join(endings)}; found {name[-40:]!r}.")
    with tempfile.TemporaryDirectory(prefix="monai-staging-") as folder:
        path = Path(folder, f"sent{ending}")
        with open(path, "wb") as target:
            shutil.copyfileobj(file, target, 1 << 20)
        yield path


def check_packed(path: Path) -> None:
    """Whether a ``.nii.gz`` is whole; of other files nothing.

    Readers go no further than the last voxel. Only at its end does gzip say whether the voxels are what was written,
    and a file that goes on after them unpacks to as much as its sender likes.

    Raises:
        DataError: it ends too early or too late, or its content is not what was packed.
    """
    if not path.name.endswith(".gz"):
        return
    read_image(path)
    import nibabel

    loaded: Any = nibabel.load(path)
    left = int(loaded.dataobj.offset) + math.prod(map(int, loaded.shape)) * loaded.get_data_dtype().itemsize
    try:
        with gzip.open(path) as file:
            while left > 0 and (content := file.read(min(left, 1 << 20))):
                left -= len(content)
            more = file.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: its content is not what was packed ({error}).") from None
    if left or more:
        raise DataError(f"{path.name}: it must end with its last voxel; found {'an earlier end' if left else 'more'}.")


def read_params(text: str) -> dict[str, Any]:
    """The parameters of a request.

    Raises:
        UsageError: they are no JSON object, or one that could not be kept and given back.
    """
    if len(text) > LARGEST_PARAMS:
        raise UsageError(f"params: at most {LARGEST_PARAMS} characters are taken; found {len(text)}.")
    try:
        params = json.loads(text or "{}")
    except (ValueError, RecursionError):
        params = None
    if not isinstance(params, dict):
        raise UsageError(f"params: a JSON object is needed; found {text[:60]!r}.")
    check_json(params)
    return params


def check_json(value: Any, depth: int = 0) -> None:
    """Whether parsed JSON can be written again: Python reads more than JSON has.

    Raises:
        UsageError: it has a number that is none (``NaN``, 1e999), half a character, or too many levels.
    """
    if depth > DEEPEST:
        raise UsageError(f"params: at most {DEEPEST} levels of lists and objects are taken; found more.")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"params: a number is finite; found {value}.")
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise UsageError("params: a text is of whole characters; found half of a surrogate pair.")
    if isinstance(value, dict):
        value = [*value, *value.values()]
    for own in value if isinstance(value, list) else ():
        check_json(own, depth + 1)


def take_label(path: Path, study: Path, params: Mapping[str, Any]) -> None:
    """Whether a file is a label of a study: markups, or a label map on its voxels, whose values become :data:`KINDS`.

    3D Slicer numbers the segments of a label map in the order they have there, and sends their names as ``label_info``:
    then the file is written again, so that a number means the same in every label of a data store.

    Args:
        path: as it was sent.
        study: its image.
        params: of the request.

    Raises:
        DataError: it is damaged, on another grid, or has values that are none of a label's.
    """
    if path.suffix == ".json":
        try:
            markups = json.loads(path.read_text(encoding="utf-8"))["markups"]
        except (ValueError, RecursionError, KeyError, TypeError):
            markups = None
        if not isinstance(markups, list):
            raise DataError("Label: a JSON file has a list of markups; found none.")
        for node in markups:
            if not isinstance(node, dict):
                raise DataError(f"Label: a markup is an object; found {str(node)[:60]!r}.")
            if node.get("type") == "ROI":
                read_roi(node)
        return
    check_packed(path)
    label = read_image(path)
    check_same_grid(read_image(study), label)
    values = label.read(label.whole)
    found = np.unique(values)
    meaning = value_kinds(found.tolist(), params.get("label_info"))
    if any(value != KINDS[kind] for value, kind in meaning.items()):
        labels: npt.NDArray[np.uint8] = np.zeros(values.shape, dtype=np.uint8, order="F")
        for value, kind in meaning.items():
            labels[values == value] = KINDS[kind]
        write_labels(path, labels, label.affine)


def value_kinds(values: Sequence[float], label_info: Any = None) -> dict[float, str]:
    """What each value of a label map but 0 stands for.

    Args:
        values: those that are in it.
        label_info: ``[{"name": "nodule", "idx": 1}, ...]`` as viewers send it; without it values are :data:`KINDS`.

    Raises:
        DataError: a value has no name, or a name is no kind of lesion.
    """
    named: dict[float, str] = {number: kind for kind, number in KINDS.items()}
    wanted = [value for value in values if value != 0]
    if label_info:
        try:
            names = [str(own["name"]).strip().lower() for own in label_info]
            named = {own["idx"]: name for own, name in zip(label_info, names, strict=True)}
        except (KeyError, TypeError):
            raise DataError('Label: label_info is a list of {"name": ..., "idx": ...}; found something else.') from None
        if not set(wanted) <= set(named):
            # Slicer's idx counts segments that it leaves out of the file; the file's numbers do not.
            named = {float(number): name for number, name in enumerate(names, start=1)}
    unnamed = [value for value in wanted if value not in named]
    if unnamed:
        known = ", ".join(f"{number} {name}" for number, name in named.items())
        raise DataError(f"Label: values are 0 and {known}; found {unnamed[0]:g}.")
    strange = [named[value] for value in wanted if named[value] not in KINDS]
    if strange:
        raise DataError(f"Label: segments are named {', '.join(KINDS)}; found {strange[0][:40]!r}.")
    return {value: named[value] for value in wanted}
