"""Logging in: whoever sends no token of an account is answered with 401, whatever they ask.

A token is sent as ``Authorization: Bearer TOKEN``, or, by browsers and ``curl --user``, as the password of basic
authentication. Clients of MONAI Label, 3D Slicer among them, ask ``/auth/`` whether they have to log in and send name
and password to ``/auth/token``, which answers with the token.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse

from monai_staging.label.accounts import Account, Accounts
from monai_staging.label.guard import Application, Message, Receive, Send
from monai_staging.label.upstream import User, settings

OPEN = ("/auth/", "/auth/token")
"""Paths that are answered without a token: they say how to log in."""
LONGEST_FORM = 4096
"""Bytes of a form with name and password: nobody need be known to send one."""
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="monai-staging", Basic realm="monai-staging", charset="UTF-8"'}
_ACCOUNT = "monai_staging.account"
_NAMES = {
    "reader": settings.MONAI_LABEL_AUTH_ROLE_USER,
    "annotator": settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR,
    "admin": settings.MONAI_LABEL_AUTH_ROLE_ADMIN,
}


class Login:
    """An ASGI application around another, which sees only requests of somebody who may use it.

    Args:
        app: that is guarded.
        accounts: those who may.
    """

    def __init__(self, app: Application, accounts: Accounts) -> None:
        self.app = app
        self.accounts = accounts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        # A browser asks what it may send without any credentials; it is told, and learns nothing else.
        if scope["type"] != "http" or scope["path"] in OPEN or scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)
            return
        account = self._account(Request(scope))
        if account is None:
            detail = "Login: a token of an account is needed, as Authorization: Bearer TOKEN; found none."
            await JSONResponse({"detail": detail}, 401, CHALLENGE)(scope, receive, send)
            return
        scope[_ACCOUNT] = account
        await self.app(scope, receive, send)

    def _account(self, request: Request) -> Account | None:
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.accounts.find(sent.strip())
        # Browsers send a password again with whatever any site has them ask: not where another site is behind it.
        origin = request.headers.get("origin")
        if scheme.lower() != "basic" or (origin and urlsplit(origin).netloc != request.headers.get("host")):
            return None
        try:
            name, _, token = base64.b64decode(sent.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        return self.accounts.find(token, name)


def current_user(request: Request) -> User:
    """Who sent a request, in the place of upstream's, which asks a server elsewhere."""
    account: Account = request.scope[_ACCOUNT]
    return User(username=account.name, name=account.name, roles=[_NAMES[role] for role in account.roles])


def login_router(accounts: Accounts | None) -> APIRouter:
    """``/auth/``, as clients of MONAI Label ask it.

    Args:
        accounts: those who may log in; ``None`` where nobody has to.
    """
    router = APIRouter()

    @router.get("/auth/")
    def enabled() -> dict[str, Any]:
        """Whether one has to log in."""
        return {"enabled": accounts is not None, "client_id": "monai-staging", "realm": ""}

    if accounts is None:
        return router

    @router.post("/auth/token")
    async def token(request: Request) -> dict[str, str]:
        """The token, for a name and a password that is the token."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_FORM:
                raise HTTPException(413, f"Login: a form of at most {LONGEST_FORM} bytes is taken.")
        try:
            form = parse_qs(body.decode("ascii"), strict_parsing=True, errors="strict", max_num_fields=8)
            name, password = form["username"][0], form["password"][0]
        except (ValueError, KeyError):
            raise HTTPException(400, "Login: a form with username and password is needed.") from None
        if accounts.find(password, name) is None:
            raise HTTPException(401, "Login: no account has this name and token.", CHALLENGE)
        return {"access_token": password, "token_type": "bearer"}

    @router.get("/auth/token/valid")
    def valid(request: Request) -> dict[str, Any]:
        """Who one is."""
        return dict(current_user(request).model_dump())

    return router
