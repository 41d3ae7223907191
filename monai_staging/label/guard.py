"""What stands before every request: names that lead nowhere, bounded bodies, and one answer to every failure."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from monai_staging.errors import UsageError
from monai_staging.label.names import check_name, check_tag

NAMES = {"image": "Image", "id": "Image", "label": "Label"}
"""Parameters that name something in the data store, and what."""
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
logger = logging.getLogger("monai_staging.label")


class Guard:
    """An ASGI application around another.

    Args:
        app: that is guarded.
        limit_bytes: of a request's body; one that is larger is answered with 413 as soon as that is known.
    """

    def __init__(self, app: Application, limit_bytes: int) -> None:
        self.app = app
        self.limit_bytes = limit_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            check_request(scope["path"], scope.get("query_string", b""))
            body = _Bounded(receive, self.limit_bytes)
            body.check(_length(scope))
            await self.app(scope, body, _unless_too_large(answer, body))
        except _TooLarge as error:
            await answer.fail(413, str(error))
        except UsageError as error:
            await answer.fail(400, str(error))
        except Exception as error:
            # FastAPI has answered already, where it was FastAPI's.
            logger.exception("a request failed")
            await answer.fail(500, failure(error))


def check_request(path: str, query: bytes) -> None:
    """Whether a request's path and the names in its query can be those of something in the data store.

    Raises:
        UsageError: one could lead out of it, or is no text.
    """
    if any(part in (".", "..") for part in path.replace("\\", "/").split("/")) or not path.isprintable():
        raise UsageError(f"Path: no . or .. in it, and no control character; found {path[:60]!r}.")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise UsageError("Query: it must be percent-encoded UTF-8.") from None
    named = [key for key, _ in pairs if key in NAMES or key == "tag"]
    if len(set(named)) < len(named):
        raise UsageError(f"Query: each name once; found {max(named, key=named.count)} {len(named)} times.")
    for key, value in pairs:
        if key in NAMES and value:
            check_name(value, NAMES[key])
        elif key == "tag" and value:
            check_tag(value)


def failure(error: Exception) -> str:
    """What a client is told of an error that nobody foresaw."""
    return f"The server failed ({type(error).__name__}); its log says more."


class _TooLarge(Exception):
    """A request's body is larger than allowed."""


class _Bounded:
    """A request's body, up to a number of bytes."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._seen_bytes = 0
        self.too_large: _TooLarge | None = None

    def check(self, length_bytes: int) -> None:
        """Raises where so many bytes are too many."""
        if length_bytes > self._limit_bytes:
            self.too_large = _TooLarge(
                f"Body: at most {self._limit_bytes} bytes are taken; found {length_bytes} or more."
            )
            raise self.too_large

    async def __call__(self) -> Message:
        message = await self._receive()
        self._seen_bytes += len(message.get("body", b""))
        self.check(self._seen_bytes)
        return message


class _Answer:
    """What is sent back; a failure is told only while nothing has been."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False

    async def __call__(self, message: Message) -> None:
        self._begun = True
        await self._send(message)

    async def fail(self, status: int, reason: str) -> None:
        if self._begun:
            return
        body = json.dumps({"detail": reason}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _unless_too_large(answer: _Answer, body: _Bounded) -> Send:
    """FastAPI answers any failure of reading a body with 400: ours says that it was too large."""

    async def send(message: Message) -> None:
        if body.too_large is not None:
            raise body.too_large
        await answer(message)

    return send


def _length(scope: Message) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
