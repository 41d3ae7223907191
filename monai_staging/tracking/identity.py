"""What MLflow calls a run that is still open."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from monai_staging.tracking.journal import JOURNAL_NAME, public_uri


def run_identity(output_dir: str | os.PathLike[str], tracking_uri: str, wait_s: float = 10.0) -> dict[str, str | None]:
    """What MLflow, and the local journal, call the training's run.

    Args:
        output_dir: of the run that is open there.
        tracking_uri: server or database.
        wait_s: how long to wait for a server that has not answered yet.

    Returns:
        ``run_id``, ``None`` where the server has not made the run, and ``run_key``: the tag
        ``monai_staging.run_key`` by which the run is found once it has.
    """
    journal, uri = Path(output_dir) / JOURNAL_NAME, public_uri(tracking_uri)
    end = time.monotonic() + wait_s
    key: str | None = None
    while journal.is_file():
        # Read, not opened as a journal: its writer is at work, and only whole lines count.
        whole = journal.read_bytes().rpartition(b"\n")[0]
        records = [json.loads(line) for line in whole.splitlines()]
        key = records[0]["key"] if records else None
        found = [record["run_id"] for record in records if record["op"] == "run_id" and record["uri"] == uri]
        if found or time.monotonic() >= end:
            return {"run_id": found[-1] if found else None, "run_key": key}
        time.sleep(0.1)
    return {"run_id": None, "run_key": key}
