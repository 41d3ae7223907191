"""What goes wrong, as types: the command line turns each into an exit code.

A message states the rule, the value found and whose it is.
"""

from __future__ import annotations


class StagingError(Exception):
    """Base of every error this package raises on purpose. ``exit_code`` is what a command ends with."""

    exit_code = 1


class DataError(StagingError):
    """The data or the result is not acceptable (exit code 1)."""


class UsageError(StagingError, ValueError):
    """The caller asked for something that makes no sense (exit code 2)."""

    exit_code = 2
