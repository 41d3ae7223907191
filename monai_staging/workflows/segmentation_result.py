"""What a segmentation training leaves for others: weights, what they are, and the course of the training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from monai_staging.files import write_json_atomic
from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.networks.pretrained.source import Fact
from monai_staging.workflows.history import History
from monai_staging.workflows.nodule_result import HISTORY, WEIGHTS
from monai_staging.workflows.rank import main_process_only
from monai_staging.workflows.saved_state import bare


@main_process_only
def save_result(
    output_dir: str | os.PathLike[str], network: nn.Module, settings: Mapping[str, Fact], history: History
) -> Path:
    """Writes ``model.pt``, all weights and what they are, and ``history.json``.

    The network is that of the last epoch, see :func:`monai_staging.workflows.nodule_result.save_result`.

    Args:
        output_dir: folder of the training.
        network: what was trained.
        settings: plain values that say what the network is and what it was trained on.
        history: of the epochs.
    """
    folder = Path(output_dir)
    path = folder / WEIGHTS
    write_checkpoint(path, bare(network), settings)
    write_json_atomic(folder / HISTORY, history.epochs)
    return path
