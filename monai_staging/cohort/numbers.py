"""Whether a value of a JSON document is a number: in Python a truth value is one, too."""

from __future__ import annotations

import math


def is_number(value: object) -> bool:
    """Whether a value is a finite number, as a float holds it."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def is_integer(value: object) -> bool:
    """Whether a value is a whole number, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)
