"""Deliver a run that was kept locally: ``python -m monai_staging.tracking.sync SPOOL [--tracking-uri URI]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from monai_staging.errors import StagingError


def main(argv: Sequence[str] | None = None) -> int:
    """Replays the journal; returns 0 when the server has all of it, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m monai_staging.tracking.sync",
        description="Deliver to MLflow what a tracking server missed of a run.",
    )
    parser.add_argument("spool", help="tracking-spool.jsonl, or the output folder that it and others lie in")
    parser.add_argument("--tracking-uri", help="where to; default: MLFLOW_TRACKING_URI, else the run's own")
    args = parser.parse_args(argv)

    from mlflow.exceptions import MlflowException

    from monai_staging.tracking.catch_up import replay
    from monai_staging.tracking.journal import journals

    complete = True
    try:
        found = journals(args.spool)
    except StagingError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    for journal in found:
        try:
            report = replay(journal, args.tracking_uri)
        except (StagingError, OSError, MlflowException) as error:
            # One run's server may be away and another's not.
            complete = False
            print(f"{parser.prog}: {journal}: {error}", file=sys.stderr)
            continue
        print(f"{journal}: {report.delivered} records delivered to {report.tracking_uri}, run {report.run_id}")
        if report.missed:
            complete = False
            what = ", ".join(report.missed)
            print(f"{parser.prog}: {report.tracking_uri} still lacks of {journal}: {what}", file=sys.stderr)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
