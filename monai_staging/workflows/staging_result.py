"""What a staging training leaves for others, beside its best weights: a backbone to start from, and its course."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from monai_staging.cohort import load_cohort
from monai_staging.files import write_json_atomic
from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.tracking.identity import run_identity
from monai_staging.workflows.history import History
from monai_staging.workflows.rank import main_process_only
from monai_staging.workflows.saved_state import bare
from monai_staging.workflows.staging_data import cohort_title

BACKBONE, HISTORY = "backbone.pt", "history.json"


@main_process_only
def save_result(
    output_dir: str | os.PathLike[str],
    network: nn.Module,
    dataset_dir: str | os.PathLike[str],
    settings: Mapping[str, Any],
    history: History,
    tracker: Any,
) -> Path:
    """Writes ``backbone.pt`` (to start others from) and ``history.json``.

    The network is that of the best validation score, whose epoch ``best.json`` names.

    Args:
        output_dir: folder of the training.
        network: with a ``backbone``.
        dataset_dir: the cohort it was trained on.
        settings: plain values that say what the backbone is and how it was trained.
        history: of the epochs.
        tracker: the run's tracking handler.

    Returns:
        The backbone's file.
    """
    folder = Path(output_dir)
    best = json.loads((folder / "best.json").read_text(encoding="utf-8"))
    facts = {"task": "staging", "data": cohort_title(dataset_dir), "data_digest": load_cohort(dataset_dir).digest}
    facts |= {"best_epoch": best["epoch"], "score": best["value"]}
    run = run_identity(folder, tracker.tracking_uri) if tracker.active else {"run_id": None, "run_key": None}
    backbone = bare(network).backbone
    assert isinstance(backbone, nn.Module)
    path = folder / BACKBONE
    write_checkpoint(path, backbone, {**settings, **facts, **run})
    write_json_atomic(folder / HISTORY, history.epochs)
    tracker.log_artifact(path)
    return path
