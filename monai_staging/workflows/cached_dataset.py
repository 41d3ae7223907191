"""Preprocessed cases on disk: what is damaged there is made again, and a full disk costs time, not the training."""

from __future__ import annotations

import logging
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from monai.data import PersistentDataset
from monai.utils import convert_to_tensor

from monai_staging.errors import DataError
from monai_staging.files import write_archive
from monai_staging.workflows.saved_state import read_tensors

logger = logging.getLogger("monai_staging.workflows")


class CachedDataset(PersistentDataset):
    """MONAI's ``PersistentDataset`` for a disk that is not always well.

    Checksums are verified when a process first reads a file; one that is truncated or has other bytes is made again,
    and that is said. MONAI makes again only what cannot be unpickled, ends with an error of torch at a truncated
    archive and takes changed voxels for the case's. Files are written beside their place and renamed, not moved from
    another file system, so that a kill or a full disk leaves none half written; where one cannot be written, the case
    is made anew in each epoch, and that is said once.

    Args:
        data: see ``PersistentDataset``, as are the others.
    """

    def __init__(self, data: Any, transform: Any, cache_dir: str | os.PathLike[str] | None, **arguments: Any) -> None:
        super().__init__(data, transform, None if cache_dir is None else Path(cache_dir), **arguments)
        self._verified: set[Path] = set()
        self._full = False

    def _cachecheck(self, item_transformed: Any) -> Any:
        if self.cache_dir is None:
            return self._pre_transform(deepcopy(item_transformed))  # type: ignore[no-untyped-call]
        path = self.cache_dir / f"{self.hash_func(item_transformed).decode()}{self.transform_hash}.pt"
        if path.is_file():
            try:
                if path in self._verified:
                    return torch.load(path, map_location="cpu", weights_only=True)
                found = read_tensors(path)
            except Exception as error:  # a file that was whole before may be gone by now
                logger.warning("Cache: %s Made again.", error if isinstance(error, DataError) else f"{path}: {error}.")
            else:
                self._verified.add(path)
                return found
        made = self._pre_transform(deepcopy(item_transformed))  # type: ignore[no-untyped-call]
        self._write(path, made)
        return made

    def _write(self, path: Path, made: Any) -> None:
        try:
            content = convert_to_tensor(made, convert_numeric=False, track_meta=self.track_meta)
            write_archive(path, content, pickle_protocol=self.pickle_protocol)
        except OSError as error:
            if not self._full:
                logger.warning(
                    "Cache: %s cannot be written (%s); cases are made anew in each epoch.",
                    *(self.cache_dir, error.strerror or error),
                )
            self._full = True
