"""What a malignancy training leaves for others: weights, a backbone to start from, and the course of the training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from monai_staging.files import write_json_atomic
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.tracking.identity import run_identity
from monai_staging.workflows.history import History
from monai_staging.workflows.nodule_data import NoduleData
from monai_staging.workflows.rank import main_process_only
from monai_staging.workflows.saved_state import bare, write_tensors

WEIGHTS, BACKBONE, HISTORY = "model.pt", "backbone.pt", "history.json"


@main_process_only
def save_result(
    output_dir: str | os.PathLike[str],
    network: nn.Module,
    data: NoduleData,
    settings: Mapping[str, Any],
    history: History,
    tracker: Any,
) -> Path:
    """Writes ``model.pt`` (all weights), ``backbone.pt`` (to start others from) and ``history.json``.

    The network is that of the last epoch: the schedule ends at a rate of 0, and choosing an epoch by a few validation
    patients would add noise to what is compared.

    Args:
        output_dir: folder of the training.
        network: a :class:`~monai_staging.networks.nodule.NoduleNetwork`; of several branches the first is the backbone.
        data: what it was trained on.
        settings: plain values that say what the backbone is and how it was trained.
        history: of the epochs.
        tracker: the run's tracking handler.
    """
    folder = Path(output_dir)
    trained = bare(network)
    assert isinstance(trained, NoduleNetwork)
    write_tensors({name: value.cpu() for name, value in trained.state_dict().items()}, folder / WEIGHTS)
    run = run_identity(folder, tracker.tracking_uri) if tracker.active else {"run_id": None, "run_key": None}
    facts = {"task": "malignancy", "data": data.nodules.title, "data_digest": data.nodules.digest}
    path = folder / BACKBONE
    write_checkpoint(path, trained.backbones[0], {**settings, **facts, **run})
    write_json_atomic(folder / HISTORY, history.epochs)
    tracker.log_artifact(path)
    return path
