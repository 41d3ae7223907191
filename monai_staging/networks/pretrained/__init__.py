"""Initial weights: from a file, a name or an MLflow model into the backbone at hand."""

from monai_staging.networks.pretrained.checkpoint import (
    Checkpoint,
    read_checkpoint,
    read_state_dict,
    write_checkpoint,
)
from monai_staging.networks.pretrained.loading import load_pretrained
from monai_staging.networks.pretrained.matching import MatchReport, without_prefix
from monai_staging.networks.pretrained.published import PUBLISHED
from monai_staging.networks.pretrained.source import Source

__all__ = [
    "PUBLISHED",
    "Checkpoint",
    "MatchReport",
    "Source",
    "load_pretrained",
    "read_checkpoint",
    "read_state_dict",
    "without_prefix",
    "write_checkpoint",
]
