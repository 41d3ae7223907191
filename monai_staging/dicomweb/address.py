"""Where an archive is, and a study in it: URLs of DICOMweb, and as whom the server is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from monai_staging.errors import UsageError

USER, PASSWORD, TOKEN = (f"MONAI_STAGING_DICOMWEB_{name}" for name in ("USER", "PASSWORD", "TOKEN"))
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_PATH = re.compile(r"(?P<root>.*)/studies/(?P<study>[^/]+)(?:/series/(?P<series>[^/]+))?/?")
_ROOT = re.compile(r"(?P<root>(?:(?!/studies(?:/|$)).)*?)/?")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class Credentials:
    """User and password, or a bearer token. Nothing of them stands in ``repr()``."""

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Archive:
    """A DICOMweb server; ``str()`` is the URL of its root, without credentials.

    Attributes:
        service: URL of its DICOMweb root.
        credentials: None where it is asked without any.
    """

    service: str
    credentials: Credentials | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, *, environment: Mapping[str, str] | None = None) -> Archive | None:
        """Reads ``https://host[:port]/dicom-web``, whatever the root is called; credentials as `StudyAddress.parse`.

        Args:
            text: what may be such a URL.
            environment: variables to read instead of the process's.

        Returns:
            None where ``text`` is no http(s) URL at all, but, say, a folder.

        Raises:
            UsageError: an http(s) URL that is no root, or incomplete credentials.
        """
        parts = _parts(text, _ROOT, "An archive is https://HOST/ROOT, without studies and query", environment)
        return None if parts is None else cls(parts.service, parts.credentials)

    def study(self, study: str, series: str | None = None) -> StudyAddress:
        """A study in it, or one series of that."""
        return StudyAddress(self.service, study, series, self.credentials)

    def __str__(self) -> str:
        return self.service


@dataclass(frozen=True)
class StudyAddress:
    """A study, or one series of it, on a DICOMweb server; ``str()`` is its URL, without credentials.

    Attributes:
        service: URL of the server's DICOMweb root.
        study: StudyInstanceUID.
        series: SeriesInstanceUID; None for the whole study.
        credentials: None where the server is asked without any.
    """

    service: str
    study: str
    series: str | None = None
    credentials: Credentials | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, *, environment: Mapping[str, str] | None = None) -> StudyAddress | None:
        """Reads ``https://host[:port]/dicom-web/studies/<uid>[/series/<uid>]``, whatever the root is called.

        Credentials are the URL's own (``https://user:password@host/...``), else those of the environment: the bearer
        token ``MONAI_STAGING_DICOMWEB_TOKEN``, else ``MONAI_STAGING_DICOMWEB_USER`` and ``..._PASSWORD``.

        Args:
            text: what may be such a URL.
            environment: variables to read instead of the process's.

        Returns:
            None where ``text`` is no http(s) URL at all, but, say, a folder.

        Raises:
            UsageError: an http(s) URL that names no study, or incomplete credentials.
        """
        rule = "A study is https://HOST/ROOT/studies/UID[/series/UID], no query"
        parts = _parts(text, _PATH, rule, environment)
        if parts is None:
            return None
        study, series = parts.path["study"], parts.path["series"]
        for uid in (study, series):
            if uid is not None and not is_uid(uid):
                shown = _without_secrets(text)
                raise UsageError(f"A UID is numbers and dots, at most 64 characters; found {uid} in {shown}.")
        return cls(parts.service, study, series, parts.credentials)

    @property
    def archive(self) -> Archive:
        """The server that it is on."""
        return Archive(self.service, self.credentials)

    def __str__(self) -> str:
        series = "" if self.series is None else f"/series/{self.series}"
        return f"{self.service}/studies/{self.study}{series}"


def is_uid(text: object) -> bool:
    """Whether ``text`` is a UID by DICOM PS3.5 9.1, leading zeros (which scanners write) aside."""
    return isinstance(text, str) and len(text) <= 64 and _UID.fullmatch(text) is not None


class _Parts(NamedTuple):
    """What a URL says."""

    service: str
    path: re.Match[str]
    credentials: Credentials | None


def _parts(text: str, pattern: re.Pattern[str], rule: str, environment: Mapping[str, str] | None) -> _Parts | None:
    """A URL whose path is ``pattern``, which has a group ``root``; None where it is no http(s) URL."""
    if not _SCHEME.match(text):
        return None
    shown = _without_secrets(text)
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise UsageError(f"{shown} is not a URL.") from None  # its message may quote the password
    path = pattern.fullmatch(url.path)
    if path is None or url.query or url.fragment or not host or re.search(r"[\s\\@]", url.path + host):
        raise UsageError(f"{rule}; found {shown}.")
    name = f"[{host}]" if ":" in host else host
    service = f"{url.scheme}://{name}{'' if port is None else f':{port}'}{path['root']}"
    variables = os.environ if environment is None else environment
    return _Parts(service, path, _credentials(url, variables))


def _credentials(url: SplitResult, environment: Mapping[str, str]) -> Credentials | None:
    if url.username:
        return Credentials(unquote(url.username), unquote(url.password or ""))
    if environment.get(TOKEN):
        # What no header can hold would end in an error of http.client's that quotes it.
        if not re.fullmatch(r"[!-~]+", environment[TOKEN]):
            raise UsageError(
                f"A bearer token is ASCII without blanks; {TOKEN} has other characters, or ends with some."
            )
        return Credentials(token=environment[TOKEN])
    if environment.get(USER):
        return Credentials(environment[USER], environment.get(PASSWORD, ""))
    if environment.get(PASSWORD):
        raise UsageError(f"A password needs a user: {PASSWORD} is set and {USER} is not.")
    return None


def _without_secrets(text: str) -> str:
    """A URL, however broken, without what stands before its last ``@`` or after its first ``?`` or ``#``."""
    shown = re.sub(r"//.*@", "//", text, flags=re.DOTALL)
    return re.split(r"[?#]", shown, maxsplit=1)[0]
