"""Who may use the server: names with tokens and roles, from a file or the environment."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monai_staging.errors import DataError, UsageError

VARIABLE = "MONAI_STAGING_LABEL_TOKENS"
"""Environment variable that holds what a file of tokens does."""
ROLES = ("reader", "annotator", "admin")
"""Each may do what those before it may: look and infer; save labels; delete labels and run batches."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")
_HEX = re.compile(r"[0-9a-fA-F]+")
_BITS = 128
_MADE_BY = "`openssl rand -hex 32` makes one"


@dataclass(frozen=True)
class Account:
    """Somebody who may use the server.

    Attributes:
        name: kept with the labels that they save.
        role: one of :data:`ROLES`.
        digest: SHA-256 of the token, which itself is not kept.
    """

    name: str
    role: str
    digest: bytes = field(repr=False)

    @property
    def roles(self) -> tuple[str, ...]:
        """All that they may act as."""
        return ROLES[: ROLES.index(self.role) + 1]


@dataclass(frozen=True)
class Accounts:
    """All who may use the server."""

    members: tuple[Account, ...]

    def find(self, token: str, name: str | None = None) -> Account | None:
        """Whose token it is; of ``name`` alone where that is given. It takes as long whether somebody's or nobody's."""
        digest = _digest(token)
        found = None
        for own in self.members:
            if hmac.compare_digest(own.digest, digest) and name in (None, own.name):
                found = own
        return found


def read_accounts(path: Path | None, environment: Mapping[str, str]) -> Accounts | None:
    """The accounts of a file, else those of the environment variable :data:`VARIABLE`; ``None`` without either.

    Args:
        path: a text with a line ``NAME TOKEN [ROLE]`` for everybody, ``annotator`` without a role; ``#`` begins a
            comment.
        environment: of this process.

    Raises:
        UsageError: there is no such file, or others than its owner can read it.
        DataError: a line is none of an account, a token is guessed too easily, or a name or token is there twice. A
            message names the line, never the token.
    """
    if path is None:
        text = environment.get(VARIABLE)
        return None if not text else parse_accounts(text.splitlines(), VARIABLE)
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"--token-file {path}: cannot be read ({reason})") from None
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH):
        raise UsageError(
            f"--token-file {path}: only its owner may read it (mode 600); found mode {stat.S_IMODE(mode):o}"
        )
    return parse_accounts(text.splitlines(), path.name)


def parse_accounts(lines: Iterable[str], whose: str) -> Accounts:
    """The accounts of some lines.

    Args:
        lines: see :func:`read_accounts`.
        whose: they are, for messages.

    Raises:
        DataError: see :func:`read_accounts`.
    """
    members: list[Account] = []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"{whose}, line {number}"
        if len(words) not in (2, 3):
            raise DataError(f"{where}: an account is NAME TOKEN [ROLE]; found {len(words)} words.")
        name, token, role = (*words, "annotator")[:3]
        if not _NAME.fullmatch(name):
            raise DataError(f"{where}: a name has 1 to 64 letters, digits, and . _ @ - after the first.")
        if role not in ROLES:
            raise DataError(f"{where}: a role is one of {', '.join(ROLES)}; found another word.")
        _check_token(token, where)
        account = Account(name, role, _digest(token))
        if any(own.name == name or own.digest == account.digest for own in members):
            raise DataError(f"{where}: a name and a token are one person's; found one of them in a line before.")
        members.append(account)
    if not members:
        raise DataError(f"{whose}: a line NAME TOKEN [ROLE] is needed for everybody who may log in; found none.")
    return Accounts(tuple(members))


def _check_token(token: str, where: str) -> None:
    """Refuses a token that cannot hold 128 bits: 32 hexadecimal digits, or 22 letters and digits, can."""
    if not _TOKEN.fullmatch(token):
        raise DataError(f"{where}: a token has at most 512 letters, digits, and . _ ~ + / = -.")
    bits = len(token.rstrip("=")) * (4 if _HEX.fullmatch(token) else 6)
    if bits < _BITS or len(set(token)) < 8:
        raise DataError(
            f"{where}: a token of {_BITS} random bits is needed, found room for {bits} or few characters; {_MADE_BY}."
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
