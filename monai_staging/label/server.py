"""The web application: our requests, and of MONAI Label's those that only read, or that we have nothing to add to."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from monai_staging.cohort.dicom import SeriesRefused
from monai_staging.dicomweb import Archive, Unavailable
from monai_staging.errors import StagingError, UsageError
from monai_staging.label.accounts import LOOPBACK, Accounts
from monai_staging.label.endpoints import router
from monai_staging.label.guard import Application, Guard, failure
from monai_staging.label.learning import router as learning_router
from monai_staging.label.login import Login, current_user, login_router
from monai_staging.label.ohif import ohif_router
from monai_staging.label.reading import router as reading
from monai_staging.label.upstream import (
    MONAILabelError,
    MONAILabelException,
    batch_router,
    get_current_user,
    settings,
)
from monai_staging.version import __version__

KEPT = frozenset(
    (
        ("GET", "/batch/infer"),
        ("DELETE", "/batch/infer"),
    )
)
"""Requests of MONAI Label that are served as they are. Not among them: deleted studies, uploaded weights, sessions
(their archives are unpacked wherever they say), logs, pathology, and proxies that lead anywhere."""


def build(host: str, limit_bytes: int, accounts: Accounts | None = None) -> Guard:
    """The whole application.

    Scripts of other web sites are answered only where ``MONAI_LABEL_CORS_ORIGINS`` names the site; upstream answers
    all of them by default.

    Args:
        host: that it is served on. On loopback only requests that say so are answered: a web site whose name leads to
            127.0.0.1 is not.
        limit_bytes: of a request's body.
        accounts: those who may use it; ``None`` for everybody who reaches it.
    """
    app = FastAPI(title="monai-staging label", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(router)
    app.include_router(reading)
    app.include_router(learning_router)
    app.include_router(login_router(accounts))
    app.include_router(_kept(batch_router))
    archive = Archive.parse(settings.MONAI_LABEL_STUDIES)
    if archive is not None:
        app.include_router(ohif_router(archive))
    app.add_exception_handler(StagingError, _told)
    app.add_exception_handler(MONAILabelException, _told)
    app.add_exception_handler(Exception, _failed)
    if settings.MONAI_LABEL_CORS_ORIGINS:
        origins = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    guarded: Application = app
    if accounts is not None:
        app.dependency_overrides[get_current_user] = current_user
        guarded = Login(app, accounts)
    return Guard(guarded, limit_bytes)


def _kept(upstream: Any) -> APIRouter:
    kept = APIRouter()
    kept.routes = [
        route for route in upstream.routes if any((method, route.path) in KEPT for method in route.methods or ())
    ]
    return kept


async def _failed(request: Request, error: Exception) -> JSONResponse:
    """What nobody foresaw. The traceback is for the log, which stays on this machine; a client is not told paths."""
    return JSONResponse({"detail": failure(error)}, 500)


async def _told(request: Request, error: Exception) -> JSONResponse:
    """The reason, with the status that says whose fault it is: never 500, which is for what nobody foresaw."""
    if isinstance(error, MONAILabelException):
        return JSONResponse({"detail": error.msg}, 400 if error.error is MONAILabelError.INVALID_INPUT else 404)
    if isinstance(error, SeriesRefused):
        # Without the patient, whom its own message names.
        return JSONResponse({"detail": f"The series cannot be used ({error.rule.value}): {error.found}"}, 422)
    if isinstance(error, Unavailable):
        return JSONResponse({"detail": str(error)}, 502)
    return JSONResponse({"detail": str(error)}, 400 if isinstance(error, UsageError) else 422)
