"""Numbers as MLflow takes them."""

from __future__ import annotations

from typing import Any


def number(value: Any) -> float | None:
    """``value`` as a number; None for what is none (a text, a tensor of several elements)."""
    if isinstance(value, str) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
