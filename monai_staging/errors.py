"""What goes wrong, as types: the command line turns each into an exit code.

A message states the rule, the value found and whose it is.
"""

from __future__ import annotations

LONGEST = 4000
"""Characters of a message."""


class StagingError(Exception):
    """Base of every error this package raises on purpose. ``exit_code`` is what a command ends with."""

    exit_code = 1

    def __str__(self) -> str:
        """The message, which may repeat values of a file, of any length."""
        return clipped(super().__str__(), LONGEST)


class DataError(StagingError):
    """The data or the result is not acceptable (exit code 1)."""


class UsageError(StagingError, ValueError):
    """The caller asked for something that makes no sense (exit code 2)."""

    exit_code = 2


def clipped(text: str, most: int = 1000) -> str:
    """A text of someone else's, cut to what a message has room for; where, and from how much, stands there."""
    return text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 4 :]} ({len(text)} characters)"
