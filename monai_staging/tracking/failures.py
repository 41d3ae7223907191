"""What an error of a delivery means: nobody is there, or somebody is and does not take it."""

from __future__ import annotations

from collections.abc import Iterator

import requests
import sqlalchemy.exc
import urllib3.exceptions

# A database that cannot be opened or is locked counts as a server that does not answer.
_AWAY = (
    ConnectionError,
    TimeoutError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    urllib3.exceptions.HTTPError,
    sqlalchemy.exc.OperationalError,
)


def is_away(error: BaseException) -> bool:
    """Whether ``error`` says that nobody answered: no connection, no answer in time, a gateway without its server."""
    links = list(_chain(error))
    # requests repeats what a server answered with an error; a 500 is the answer of one that is there.
    if any(isinstance(link, urllib3.exceptions.ResponseError) and " 500 " in str(link) for link in links):
        return False
    return any(isinstance(link, _AWAY) for link in links)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those it was made of: MLflow and boto3 raise errors of their own for a failed connection."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def reason(error: BaseException) -> str:
    """The error in one line of at most 300 characters."""
    links = list(_chain(error))
    # Of a failed request: what happened, without the layers that each repeat the address it was made to.
    said = links[-1] if any(isinstance(link, _AWAY) for link in links) else error
    lines = str(said).splitlines() or [type(said).__name__]
    return lines[0][:300]
