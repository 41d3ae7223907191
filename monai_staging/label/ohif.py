"""OHIF in a browser, on the archive that is served: its files as MONAI Label brings them, and a way to the archive.

The way leads to nothing but the archive's DICOMweb root, and only reads: searches (QIDO-RS) and retrievals (WADO-RS)
with paths that the standard has. OHIF asks no other site: its pages are given with a policy that keeps the browser from
it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from monai_staging.dicomweb import Archive, Unavailable
from monai_staging.dicomweb.connection import TIMEOUTS_S, ArchiveConnection
from monai_staging.label.endpoints import Reader

PROXY = "/proxy/dicom"
"""Where OHIF finds the archive."""
_UID = r"[0-9]+(?:\.[0-9]+)*"
_RENDERED = r"(?:/(?:metadata|rendered|thumbnail))?"
READABLE = re.compile(
    rf"studies|series|instances|studies/{_UID}{_RENDERED}|studies/{_UID}/(?:series|instances)"
    rf"|studies/{_UID}/series/{_UID}{_RENDERED}|studies/{_UID}/series/{_UID}/instances"
    rf"|studies/{_UID}/series/{_UID}/instances/{_UID}{_RENDERED}"
    rf"|studies/{_UID}/series/{_UID}/instances/{_UID}/frames/[0-9]+(?:,[0-9]+)*{_RENDERED}"
    rf"|studies/{_UID}/series/{_UID}/instances/{_UID}/bulk(?:data)?(?:/[0-9A-Za-z]+)+"
)
"""Paths below the DICOMweb root that are asked for (PS3.18 chapter 10)."""
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; connect-src 'self' blob: data:; "
    "frame-ancestors 'self'; form-action 'self'"
)
"""Content security policy: nothing but this server, whatever a page of OHIF's names (fonts, service workers)."""
_COOKIE = "MONAILABEL_SERVER_URL"
_PASSED_ON = ("content-type", "content-length")


def ohif_router(archive: Archive) -> APIRouter:
    """The requests of OHIF.

    Args:
        archive: what it shows.
    """
    router = APIRouter()
    connection = ArchiveConnection(archive)

    @router.get("/ohif/{path:path}", include_in_schema=False)
    def page(user: Reader, request: Request, path: str) -> Response:
        """A file of OHIF's, or its page: what is no file is an address within it."""
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        if path == "app-config.js":
            return Response(_config(), media_type="text/javascript", headers=headers)
        file = (ohif_folder() / path).resolve()
        if file.is_file() and file.is_relative_to(ohif_folder()):
            return FileResponse(file, headers=headers)
        answer = FileResponse(ohif_folder() / "index.html", media_type="text/html", headers=headers)
        if _COOKIE not in request.cookies:
            # Its panel looks for the server on port 8000 unless told otherwise.
            answer.set_cookie(_COOKIE, quote(str(request.base_url), safe=""), samesite="strict", path="/ohif")
        return answer

    @router.get(PROXY + "/{path:path}", include_in_schema=False)
    def proxy(user: Reader, request: Request, path: str) -> Response:
        """What the archive answers."""
        if not READABLE.fullmatch(path):
            raise HTTPException(404, "Of the archive only what DICOMweb searches for and retrieves is given.")
        query = f"?{request.url.query}" if request.url.query else ""
        headers = {"Accept": request.headers.get("accept", "*/*"), "Accept-Encoding": "identity"}
        try:
            # A redirect could lead anywhere.
            given = connection.session.get(
                f"{archive.service}/{path}{query}",
                headers=headers,
                timeout=TIMEOUTS_S,
                stream=True,
                allow_redirects=False,
            )
            if given.is_redirect or given.status_code in (401, 403):
                given.close()
                raise Unavailable(f"The archive at {archive}: answers {given.status_code}.")
            return _answer(given, archive, request)
        except requests.RequestException as error:
            raise Unavailable(f"The archive at {archive}: cannot be reached ({type(error).__name__}).") from error

    return router


@cache
def ohif_folder() -> Path:
    """Where MONAI Label has OHIF's files."""
    found = find_spec("monailabel")
    assert found is not None and found.submodule_search_locations is not None
    return (Path(found.submodule_search_locations[0]) / "endpoints" / "static" / "ohif").resolve()


def _config() -> str:
    source: dict[str, Any] = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "dicomweb",
        "configuration": {
            "friendlyName": "Archive",
            "name": "archive",
            "wadoUriRoot": PROXY,
            "qidoRoot": PROXY,
            "wadoRoot": PROXY,
            "qidoSupportsIncludeField": True,
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "enableStudyLazyLoad": True,
            "supportsFuzzyMatching": False,
            "supportsWildcard": True,
            "dicomUploadEnabled": False,
            "bulkDataURI": {"enabled": True},
        },
    }
    config = {
        "routerBasename": "/ohif/",
        "showStudyList": True,
        "extensions": [],
        "modes": [],
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": True,
        "showLoadingIndicator": True,
        "strictZSpacingForVolumeViewport": True,
        "defaultDataSourceName": "dicomweb",
        "useSharedArrayBuffer": "FALSE",
        "dataSources": [source],
        "investigationalUseDialog": {"option": "never"},
    }
    return f"window.config = {json.dumps(config, indent=2)};\n"


def _answer(given: requests.Response, archive: Archive, request: Request) -> Response:
    headers = {name: given.headers[name] for name in _PASSED_ON if name in given.headers}
    if "json" in headers.get("content-type", ""):
        # Addresses of bulk data are the archive's own, which the browser does not reach.
        own = f"{str(request.base_url).rstrip('/')}{PROXY}"
        content = given.content.replace(archive.service.encode(), own.encode())
        return Response(content, given.status_code, {"content-type": headers["content-type"]})

    def pieces() -> Iterator[bytes]:
        with given:
            yield from given.iter_content(1 << 16)

    return StreamingResponse(pieces(), given.status_code, headers)
