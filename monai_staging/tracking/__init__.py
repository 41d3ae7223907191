"""MLflow tracking that never stops a training: one handler for every bundle, a local journal, and its replay.

Names are resolved on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_staging.tracking.catch_up import ReplayReport, replay
    from monai_staging.tracking.handler import TrackingHandler

__all__ = ["ReplayReport", "TrackingHandler", "replay"]

_HOMES = {
    "TrackingHandler": "monai_staging.tracking.handler",
    "ReplayReport": "monai_staging.tracking.catch_up",
    "replay": "monai_staging.tracking.catch_up",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
