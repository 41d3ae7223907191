"""The folder where downloaded weights stay, and how they get there."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import requests

from monai_staging.errors import DataError
from monai_staging.files import atomic_path, cache_folder, write_text_atomic
from monai_staging.networks.pretrained.published import Published
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.progress import progress

CONNECT_S, READ_S = 10.0, 60.0
MEGABYTE = 1_000_000
_LOG = logging.getLogger("monai_staging.networks")


def cached(name: str, file: Published, cache: str | os.PathLike[str] | None = None) -> tuple[Path, str]:
    """The file, downloaded if it is not there yet, and its SHA-256.

    A file whose digest nobody states has the digest that it came with beside it (``<file>.sha256``), and must keep it.

    Args:
        name: of the weights, the subfolder.
        file: what and from where.
        cache: see :func:`monai_staging.files.cache_folder`.

    Raises:
        DataError: it cannot be downloaded, or its digest is wrong.
    """
    path = cache_folder(cache) / name / file.file
    record = path.with_name(f"{path.name}.sha256")
    known = file.sha256 or (record.read_text(encoding="utf-8").strip() if record.is_file() else None)
    if path.is_file():
        digest = file_sha256(path)
        if known and not digest.startswith(known):
            raise DataError(
                f"Weights {name}: {path} has SHA-256 {digest}, {known} is right; delete the file to download it again"
            )
    else:
        digest = _download(name, file.url, path, known)
    if known is None:
        _LOG.warning("Weights %s: nobody states its SHA-256; %s has %s and must keep it", name, path, digest)
        write_text_atomic(record, f"{digest}\n")
    return path, digest


def _download(name: str, url: str, path: Path, known: str | None) -> str:
    """Writes ``path`` if the whole file came and its digest begins with ``known``; gives the digest."""
    digest = hashlib.sha256()
    try:
        # Identity: a length that can be counted down.
        headers = {"Accept-Encoding": "identity"}
        with requests.get(url, stream=True, timeout=(CONNECT_S, READ_S), headers=headers) as answer:
            answer.raise_for_status()
            length = int(answer.headers.get("Content-Length", 0))
            blocks: Iterator[bytes] = answer.iter_content(MEGABYTE)
            with atomic_path(path) as temporary:
                with open(temporary, "wb") as file:
                    total = -(-length // MEGABYTE) or None
                    for block in progress(blocks, total=total, description=f"Weights {name}", unit="megabyte"):
                        digest.update(block)
                        file.write(block)
                if known and not digest.hexdigest().startswith(known):
                    raise DataError(
                        f"Weights {name}: what came from {url} has SHA-256 {digest.hexdigest()}, {known} is right"
                    )
    except requests.RequestException as error:
        raise DataError(
            f"Weights {name}: cannot be downloaded from {url} ({error}). Without internet, put the file at {path}, or "
            "give a path to it instead of the name."
        ) from error
    return digest.hexdigest()
