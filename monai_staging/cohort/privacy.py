"""Names for cases that do not identify the patient.

A keyed hash (HMAC-SHA256): without the key nobody can find a name by trying patient identifiers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from monai_staging.errors import DataError
from monai_staging.files import temporary_path

if TYPE_CHECKING:
    from monai_staging.cohort.case import Case

KEY_VARIABLE = "MONAI_STAGING_CASE_KEY"
KEY_FILE = ".case_key"


def case_name(patient: str, key: bytes) -> str:
    """``case-`` and ten hexadecimal digits; the same for the same patient and key."""
    return "case-" + hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:10]


def study_names(cases: Sequence[Case], key: bytes) -> list[str]:
    """Each case's name, numbered (``case-0123456789-2``) where the patient has more than one."""
    # By identifiers, so that another split changes no name; by place where those do not tell cases apart.
    order = sorted(range(len(cases)), key=lambda place: (cases[place].study, cases[place].series, place))
    names = number_repeats([case_name(cases[place].patient, key) for place in order])
    return [name for _, name in sorted(zip(order, names, strict=True))]


def number_repeats(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those that occur more than once with their number among themselves: ``a-1``, ``b``, ``a-2``."""
    total, seen = Counter(names), Counter[str]()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name}-{seen[name]}" if total[name] > 1 else name)
    return tuple(numbered)


def load_key(cohort_root: str | os.PathLike[str]) -> bytes:
    """The key that names a cohort's cases.

    The environment variable ``MONAI_STAGING_CASE_KEY`` wins, so that several cohorts can share their names; else it is
    the file ``.case_key`` in the cohort's folder, made (random, readable by its owner alone) when there is none.

    Raises:
        DataError: the key's file is empty, or can neither be read nor made.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return given.encode()
    path = Path(cohort_root) / KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise DataError(
            f"Cohort {cohort_root}: {KEY_FILE} can be neither read nor made ({error.strerror});"
            f" set {KEY_VARIABLE} instead"
        ) from None
    if not key:
        raise DataError(f"Cohort {cohort_root}: {KEY_FILE} is empty; remove it to have a new key made")
    return key


def _make_key(path: Path) -> None:
    temporary = temporary_path(path.with_name(f"{secrets.token_hex(4)}{path.name}"))
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: of two processes that make a key at the same time the first one wins for both.
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        # A file system without hard links.
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
