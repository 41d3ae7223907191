"""Nothing here reads the user's cache, nor reaches the internet."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, and no other host than this one."""
    monkeypatch.setenv("MONAI_STAGING_CACHE", str(tmp_path / "cache"))
    send = requests.Session.send

    def local(self: requests.Session, request: requests.PreparedRequest, **kwargs: object) -> requests.Response:
        if not str(request.url).startswith("http://127.0.0.1:"):
            raise requests.ConnectionError(f"no internet in tests: {request.url}")
        return send(self, request, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.Session, "send", local)
