"""One function for initial weights, whatever they come from."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from monai_staging.errors import DataError
from monai_staging.networks.pretrained.cache import cached
from monai_staging.networks.pretrained.checkpoint import Checkpoint, read_checkpoint
from monai_staging.networks.pretrained.logged import SCHEMES, download_logged, find_weights
from monai_staging.networks.pretrained.matching import MatchReport, match
from monai_staging.networks.pretrained.published import PUBLISHED, published
from monai_staging.networks.pretrained.source import Source, file_sha256

if TYPE_CHECKING:
    from monai_staging.networks.backbones import Backbone

_LOG = logging.getLogger("monai_staging.networks")


def load_pretrained(
    backbone: Backbone,
    where: str | os.PathLike[str],
    *,
    network: str | None = None,
    minimum: float = 0.9,
    cache: str | os.PathLike[str] | None = None,
) -> MatchReport:
    """Loads initial weights into a backbone, adapted to its channels and dimensions, and logs what became of them.

    Args:
        backbone: gets the weights, in its own precision and on its own device.
        where: a local file (or folder with one), one of `PUBLISHED`, or an MLflow URI (``models:/...``, ``runs:/...``).
        network: name of the backbone; by default what `build_backbone` was asked for.
        minimum: smallest acceptable part of the backbone's parameters that the file has, and of the file's weights,
            heads apart, that the backbone has.
        cache: folder of downloaded files; by default ``$MONAI_STAGING_CACHE``, else ``~/.cache/monai_staging``.

    Returns:
        What was matched, adapted and left, and where it came from.

    Raises:
        UsageError: weights of this name do not exist for this network, or ``minimum`` is out of range.
        DataError: the weights are not there, cannot be read, or do not fit: the differences are listed. The backbone is
            then as it was.
    """
    network = network or backbone.network or None
    checkpoint, source = _read(str(where), network, _spatial_dims(backbone), cache)
    name = network or type(backbone).__name__
    report, tensors = match(backbone, name, checkpoint.state, source, minimum)
    backbone.load_state_dict(tensors, strict=False)
    _LOG.info("%s", report.text())
    return report


def _read(
    where: str, network: str | None, spatial_dims: int, cache: str | os.PathLike[str] | None
) -> tuple[Checkpoint, Source]:
    if where in PUBLISHED:
        file = published(where, network, spatial_dims)
        path, sha256 = cached(where, file, cache)
        checkpoint = read_checkpoint(path)
        return checkpoint, Source(where, path.name, sha256, file.url, facts=checkpoint.source)
    if where.startswith(SCHEMES):
        with tempfile.TemporaryDirectory(prefix="monai_staging_") as folder:
            path, run_id = download_logged(where, Path(folder))
            checkpoint = read_checkpoint(path)
            return checkpoint, _source(where, path, checkpoint, run_id)
    path = find_weights(Path(where).expanduser(), where)
    if not path.is_file():
        raise DataError(
            f"Weights {where}: no such file. A local file is needed, one of the names {', '.join(PUBLISHED)}, or an "
            f"MLflow URI ({', '.join(f'{scheme}...' for scheme in SCHEMES)})"
        )
    checkpoint = read_checkpoint(path)
    return checkpoint, _source(where, path, checkpoint, None)


def _source(where: str, path: Path, checkpoint: Checkpoint, run_id: str | None) -> Source:
    trained_by = checkpoint.source.get("run_id")
    run_id = run_id or (str(trained_by) if trained_by else None)
    return Source(where, path.name, file_sha256(path), run_id=run_id, facts=checkpoint.source)


def _spatial_dims(backbone: nn.Module) -> int:
    return 3 if any(isinstance(module, nn.Conv3d) for module in backbone.modules()) else 2
