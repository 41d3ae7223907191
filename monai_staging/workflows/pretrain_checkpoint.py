"""The file that a pretraining is for: the backbone, and what it was trained on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.tracking.identity import run_identity
from monai_staging.workflows.pretrain_data import PretrainData
from monai_staging.workflows.rank import main_process_only
from monai_staging.workflows.saved_state import bare

FILE_NAME = "backbone.pt"


@main_process_only
def save_backbone(
    output_dir: str | os.PathLike[str],
    network: nn.Module,
    data: PretrainData,
    settings: Mapping[str, Any],
    tracker: Any,
) -> Path:
    """Writes ``backbone.pt``, logs it as an artifact of the run, and tags the run with what it was trained on.

    Args:
        output_dir: folder of the training; its ``best.json`` says which epoch the network is of.
        network: with a ``backbone``.
        data: what it was trained on.
        settings: plain values that say what the backbone is and how it was trained.
        tracker: the run's tracking handler.
    """
    folder = Path(output_dir)
    best = json.loads((folder / "best.json").read_text(encoding="utf-8"))
    facts = {**data.facts, "best_epoch": best["epoch"], "score": best["value"]}
    run = run_identity(folder, tracker.tracking_uri) if tracker.active else {"run_id": None, "run_key": None}
    path = folder / FILE_NAME
    backbone = bare(network).backbone
    assert isinstance(backbone, nn.Module)
    write_checkpoint(path, backbone, {**settings, **facts, **run})
    tracker.log_tags({f"pretrain.{name}": value for name, value in facts.items()})
    tracker.log_artifact(path)
    return path
