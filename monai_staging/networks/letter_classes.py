"""The classes that a staging network has an output for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monai_staging.errors import UsageError
from monai_staging.tnm.categories import LETTERS


def letter_classes(classes: Mapping[str, Sequence[str]], network: str) -> dict[str, tuple[str, ...]]:
    """Categories per letter, in the order T, N, M.

    Args:
        classes: letter to categories.
        network: for the message.

    Raises:
        UsageError: a letter without categories.
    """
    missing = [letter for letter in LETTERS if not classes.get(letter)]
    if missing:
        raise UsageError(f"{network}: classes are needed for t, n and m; found none for {missing}")
    return {letter: tuple(classes[letter]) for letter in LETTERS}
