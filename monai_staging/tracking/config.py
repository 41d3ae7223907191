"""A bundle's config as MLflow parameters."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Instructions and documentation, not settings.
_SKIPPED = {"_meta_", "imports", "initialize", "run", "finalize", "_desc_", "_requires_", "$schema"}
_NOT_ALLOWED = re.compile(r"[^\w\-. :/]")
KEY_LIMIT = 250
VALUE_LIMIT = 500


def calling_parser() -> Any | None:
    """The ``ConfigParser`` that is making the caller's object out of a config, or None where there is none.

    MONAI hands a component its arguments and nothing else. The parser, however, is what instantiates the component: it
    is on the call stack by construction, with the files merged and the command line's overrides applied.
    """
    from monai.bundle import ConfigParser

    frame = sys._getframe(1)
    while frame is not None:
        # Read by name: f_locals of every frame would copy every local variable of every caller.
        if frame.f_code.co_argcount and frame.f_code.co_varnames[0] == "self":
            candidate = frame.f_locals.get("self")
            if isinstance(candidate, ConfigParser):
                return candidate
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _leaves(value: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _SKIPPED:
                yield from _leaves(item, (*name, str(key)))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if all(item is None or isinstance(item, str | int | float) for item in value):
            yield name, list(value)
        else:
            for index, item in enumerate(value):
                yield from _leaves(item, (*name, str(index)))
    else:
        yield name, value


def _plain(value: Any) -> str | None:
    """``value`` as text if it is a setting (scalar, list of scalars, path, device, dtype), else None."""
    if value is None or isinstance(value, str | bool | int | float | Path):
        return str(value)
    if type(value).__module__ in ("torch", "numpy") and type(value).__name__ in ("device", "dtype"):
        return str(value)
    if isinstance(value, list | tuple) and all(_plain(item) is not None for item in value):
        return json.dumps(value, default=str)
    return None


def shorten(text: str, limit: int = VALUE_LIMIT) -> str:
    """``text`` cut to ``limit`` characters, with an ellipsis where something is missing."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def parameters(config: Any, resolved: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Flattens a config to parameters: ``train.trainer.max_epochs`` -> ``"50"``.

    Args:
        config: the config's content (nested dicts and lists).
        resolved: what references (``@``) and expressions (``$``) have come to, by MONAI's id (``a::b``). One that came
            to a setting is logged as its value; an expression that did not, as its text; a reference to an object not
            at all.

    Returns:
        Names of at most 250 characters that MLflow accepts, and values of at most 500 characters.
    """
    resolved = resolved or {}
    found: dict[str, str] = {}
    for name, value in _leaves(config):
        if isinstance(value, str) and value[:1] in ("@", "$"):
            text = _plain(resolved.get("::".join(name), resolved.get(value[1:].replace("#", "::"), value)))
            if value.startswith("@") and (text is None or text == value):
                continue
            text = value if text is None else text
        else:
            text = _plain(value)
            if text is None:
                continue
        key = _NOT_ALLOWED.sub("_", ".".join(name))[:KEY_LIMIT]
        if key:
            found[key] = shorten(text)
    return found


def document(config: Any) -> str:
    """The config as indented JSON; what JSON has no form for is written as its text."""
    return json.dumps(config, indent=2, default=str, ensure_ascii=False) + "\n"
