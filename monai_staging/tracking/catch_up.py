"""Delivery of a run that was kept locally, after its training."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from monai_staging.tracking.delivery import Delivery
from monai_staging.tracking.journal import Journal, public_uri


@dataclass(frozen=True)
class ReplayReport:
    """What a replay did: facts delivered now, the run they belong to, where, and names of files it could not store."""

    delivered: int
    run_id: str | None
    tracking_uri: str
    missed: tuple[str, ...] = ()


def replay(spool: str | os.PathLike[str], tracking_uri: str | None = None) -> ReplayReport:
    """Delivers what a server does not have yet of a journal, files that it could not take before included.

    Args:
        spool: the journal's file (``tracking-spool.jsonl``).
        tracking_uri: where to; by default ``MLFLOW_TRACKING_URI``, else the run's own. A server that has never seen the
            run gets all of it, as a new run.

    Raises:
        DataError: if ``spool`` is not a journal.
        mlflow.exceptions.MlflowException: if the server cannot be reached.
    """
    journal = Journal(spool)
    with contextlib.closing(journal):
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or journal.header["tracking_uri"]
        delivery = Delivery(journal, uri)
        # In this order: what is missed now is not tried twice.
        delivered = delivery.deliver_missed() + delivery.deliver()
        return ReplayReport(delivered, journal.cursor(uri).run_id, public_uri(uri), tuple(delivery.missed))
