"""Values of a data set as plain text and numbers, taken from the raw bytes where pydicom has not converted them yet."""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

Floats = tuple[float, ...]


def join(value: Any) -> str:
    """A value of pydicom's as text, multiple values separated by backslashes; empty for ``None``."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str) or not hasattr(value, "__iter__") else "\\".join(map(str, value))


def text(ds: Dataset, tag: int) -> str:
    """A value as text, several separated by backslashes. Raw bytes are decoded here: pydicom's way costs more."""
    element = ds.get_item(tag) if tag in ds else None
    if element is None or element.value is None:
        return ""
    if isinstance(element.value, bytes):
        return sys.intern(element.value.decode("latin-1").strip(" \0"))
    return sys.intern(str(join(element.value)).strip(" \0"))


def label(ds: Dataset, tag: int) -> str:
    """Like `text` for free text, whose characters may be in any of DICOM's sets."""
    plain = text(ds, tag)
    return plain if plain.isascii() else join(ds[tag].value).strip(" \0")


def integer(ds: Dataset, tag: int, default: int = 0) -> int:
    """A 16-bit whole number, or ``default`` where there is none."""
    element = ds.get_item(tag) if tag in ds else None
    if element is None or element.value is None or element.value == b"":
        return default
    if isinstance(element.value, bytes):
        little = bool(getattr(element, "is_little_endian", True))
        return int.from_bytes(element.value[:2], "little" if little else "big")
    return int(element.value)


@lru_cache(maxsize=4096)
def numbers(parts: str, count: int) -> Floats | None:
    """Exactly ``count`` finite numbers, or ``None``. Slices of a series share most of theirs, hence the cache."""
    try:
        values = tuple(float(part) for part in parts.split("\\"))
    except ValueError:
        return None
    return values if len(values) == count and all(math.isfinite(value) for value in values) else None


@lru_cache(maxsize=4096)
def words(parts: str) -> tuple[str, ...]:
    """The values of a text, without the blanks around them."""
    return tuple(part.strip() for part in parts.split("\\"))
