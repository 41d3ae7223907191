"""The weights in an exported program, read without running anything in it."""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch

# torch.export's numbers of element types (ScalarType in torch/_export/serde/schema.py), as far as weights have them.
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_CONFIG = "_weights_config.json"


def exported_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a PT2 archive, what ``torch.export.save`` and MLflow's ``pt2`` models are.

    ``torch.export.load`` unpickles parts of the archive and so runs what they say; this reads only the weights, which
    lie there as plain numbers beside a JSON index (PT2 archive specification,
    https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/export/pt2_archive.html), and with
    ``weights_only=True`` where an archive has them pickled.

    Raises:
        ValueError: not such an archive, or of a layout that is not known.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        indices = [name for name in names if PurePosixPath(name).match(f"data/weights/*{_CONFIG}")]
        if len(indices) == 1:
            folder = PurePosixPath(indices[0]).parent
            entries = json.loads(archive.read(indices[0]))["config"]
            return {
                name: _tensor(entry, archive.read(str(folder / entry["path_name"]))) for name, entry in entries.items()
            }
        # Older torch wrote the weights as one file, in that folder or, still earlier, at the top.
        older = [n for n in names if PurePosixPath(n).match("data/weights/*.pt") or n == "serialized_state_dict.pt"]
        if len(older) == 1:
            state = torch.load(io.BytesIO(archive.read(older[0])), map_location="cpu", weights_only=True)
            return dict(state)
    raise ValueError(f"an exported program with one set of weights is needed, found {len(indices) or len(older)}")


def _tensor(entry: dict[str, Any], content: bytes) -> torch.Tensor:
    if entry["use_pickle"]:
        loaded: torch.Tensor = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return loaded.detach()
    meta = entry["tensor_meta"]
    if meta["dtype"] not in _DTYPES:
        raise ValueError(f"element type {meta['dtype']} is not known")
    size = [axis["as_int"] for axis in meta["sizes"]]
    if math.prod(size) == 0:
        return torch.empty(size, dtype=_DTYPES[meta["dtype"]])
    flat = torch.frombuffer(bytearray(content), dtype=_DTYPES[meta["dtype"]])
    stride = [axis["as_int"] for axis in meta["strides"]]
    return torch.as_strided(flat, size, stride, meta["storage_offset"]["as_int"])
