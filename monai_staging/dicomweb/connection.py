"""A connection to a DICOMweb server: asked again where that may help, its failures put into words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from monai_staging.dicomweb.address import PASSWORD, TOKEN, USER, Archive, Credentials, StudyAddress
from monai_staging.errors import DataError
from monai_staging.version import __version__

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

T = TypeVar("T")
C = TypeVar("C", bound="ArchiveConnection")
TIMEOUTS_S = 10.0, 120.0
"""Until a connection stands, and between two pieces of an answer."""
WAITS_S = 0.5, 1.0, 2.0
"""Before the second, third, ... attempt."""
_TRY_AGAIN = frozenset((408, 429, 500, 502, 503, 504))
_JSON = ("application/dicom+json", "application/json")


class NotFound(DataError):
    """The server does not have it, or is no DICOMweb server (404)."""


class Unavailable(DataError):
    """The server cannot be reached, refuses, fails, or is no DICOMweb server: nothing is said of what was asked."""


class CutOff(requests.ConnectionError):
    """An answer ends before its end."""


class ArchiveConnection:
    """Speaks to an archive. Use it in a ``with`` block, and in one thread.

    Attributes:
        client: dicomweb-client's, for searching and storing. It makes each request once: `ask` repeats.
        session: what it sends requests with.
        whose: the server, for messages.
    """

    def __init__(self, archive: Archive, whose: str = "") -> None:
        from dicomweb_client import DICOMwebClient

        self.archive = archive
        self.whose = whose or f"The archive at {archive.service}"
        self.session = requests.Session()
        self.session.auth = _Identity(archive.credentials)
        self.session.headers.update({"Accept": _JSON[0], "User-Agent": f"monai_staging/{__version__}"})
        self.client: DICOMwebClient = DICOMwebClient(
            archive.service,
            session=self.session,
            callback=_plain,
            # Of one piece whatever its size: servers behind a WSGI gateway do not read chunked requests.
            chunk_size=2**62,
            timeout=TIMEOUTS_S,
        )
        self.client.set_http_retry_params(retry=False)

    def __enter__(self: C) -> C:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def get(self, url: str, accept: str) -> requests.Response:
        """GETs ``url``; use it within `ask`."""
        # Uncompressed: a server that has to gzip pixels first takes ten times as long (Orthanc, 512 x 512 slices).
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        response = self.session.get(url, headers=headers, timeout=TIMEOUTS_S)
        response.raise_for_status()
        return response

    def ask(self, question: Callable[[], T]) -> T:
        """What ``question`` gives; asked again, later each time, where the connection or the server (5xx) failed.

        Raises:
            NotFound: 404.
            Unavailable: the server cannot be reached, refuses, fails, or is no DICOMweb server.
        """
        for wait_s in WAITS_S:
            try:
                return question()
            except requests.RequestException as error:
                if not _may_pass(error):
                    raise self._in_words(error, 1) from error
            time.sleep(wait_s)
        try:
            return question()
        except requests.RequestException as error:
            raise self._in_words(error, len(WAITS_S) + 1) from error

    def fail(self, rule: str) -> DataError:
        """An error about what is asked of this server."""
        return DataError(f"{self.whose}: {rule}")

    def _in_words(self, error: requests.RequestException, attempts: int) -> DataError:
        after = f" after {attempts} attempts" if attempts > 1 else ""
        if isinstance(error, requests.HTTPError) and error.response is not None:
            status = error.response.status_code
            if status in (401, 403) and self.archive.credentials is None:
                how = f"user:password@ in the URL, {USER} and {PASSWORD}, or {TOKEN}"
                return self._unavailable(f"the server asks for credentials ({status}); give them as {how}.")
            if status in (401, 403):
                return self._unavailable(f"the server does not let these credentials in ({status}).")
            if status == 404:
                return NotFound(f"{self.whose}: not found (404).")
            return self._unavailable(f"the server answers {status}{after}.")
        if isinstance(error, requests.exceptions.SSLError):
            return self._unavailable(
                "its certificate or TLS is not accepted; REQUESTS_CA_BUNDLE names a file of authorities."
            )
        # Neither JSON that is none nor an endless redirect is a DICOMweb server's; no answer at all is a server's.
        if isinstance(error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)):
            return self._unavailable(f"the server cannot be reached{after} ({_reason(error)}).")
        return self._unavailable(f"no DICOMweb server answers there ({type(error).__name__}).")

    def _unavailable(self, rule: str) -> Unavailable:
        return Unavailable(f"{self.whose}: {rule}")


class Connection(ArchiveConnection):
    """Speaks to the server of a study.

    Attributes:
        address: of the study.
    """

    def __init__(self, address: StudyAddress) -> None:
        super().__init__(address.archive, f"Study {address.study} at {address.service}")
        self.address = address


class _Identity(AuthBase):
    """Puts the credentials into each request."""

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # dicomweb-client sets a Host without the port, which the URLs of a server's answers then lack, too.
        request.headers.pop("Host", None)
        own = self._credentials
        if own is None:
            return request
        if own.token:
            request.headers["Authorization"] = f"Bearer {own.token}"
            return request
        return HTTPBasicAuth(own.user.encode(), own.password.encode())(request)  # UTF-8, by RFC 7617


def _plain(response: requests.Response, *_: Any, **__: Any) -> None:
    """Makes an answer one that dicomweb-client reads, and logs nothing of."""
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if kind in _JSON:
        # It knows this type without parameters only, and passes over the answer to a STOW-RS otherwise.
        response.headers["Content-Type"] = kind
    # It logs the server's words as they are; that there are more results is found out by asking for them.
    response.headers.pop("Warning", None)


def _may_pass(error: requests.RequestException) -> bool:
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code in _TRY_AGAIN
    if isinstance(error, requests.exceptions.SSLError):
        return False
    return isinstance(error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError))


def _reason(error: BaseException) -> str:
    """What the operating system said, which requests wraps several times; else the kind of failure."""
    seen: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        one = todo.pop(0)
        if not isinstance(one, BaseException) or one in seen:
            continue
        if isinstance(one, OSError) and isinstance(one.strerror, str):
            return one.strerror
        seen.append(one)
        todo += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    if isinstance(error, CutOff):
        return "the answer is cut off"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return "the connection broke off"
