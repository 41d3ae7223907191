"""Published weights: from a server of this machine's own into the cache."""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.backbones import NETWORKS, build_backbone
from monai_staging.networks.pretrained import PUBLISHED, load_pretrained
from monai_staging.networks.pretrained.cache import cache_folder
from monai_staging.networks.pretrained.published import Published


class Site:
    """What is served, and how often it was asked for."""

    def __init__(self, content: bytes) -> None:
        self.content, self.asked, self.status, self.cut = content, 0, 200, 0
        site = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked += 1
                self.send_response(site.status)
                self.send_header("Content-Length", str(len(site.content)))
                self.end_headers()
                self.wfile.write(site.content[: len(site.content) - site.cut])

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/models/resnet10.pth?download=1"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Serves weights for ``resnet10``, one eighth wide, as ``imagenet``, and states their digest."""
    torch.manual_seed(5)
    stream = io.BytesIO()
    torch.save(build_backbone("resnet10", width=0.125).state_dict(), stream)
    site = Site(stream.getvalue())
    threading.Thread(target=site.server.serve_forever, daemon=True).start()
    monkeypatch.setitem(PUBLISHED, "imagenet", {"resnet10": Published(site.url, digest(site)[:8], (2,))})
    yield site
    site.server.shutdown()
    site.server.server_close()


def digest(site: Site) -> str:
    return hashlib.sha256(site.content).hexdigest()


def test_a_name_is_downloaded_once_checked_and_loaded(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = build_backbone("resnet10", width=0.125)
    report = load_pretrained(backbone, "imagenet")
    assert report.share == 1.0
    assert (report.source.sha256, report.source.url, report.source.file) == (digest(site), site.url, "resnet10.pth")
    assert "1/1 megabyte" in capsys.readouterr().err
    assert (tmp_path / "cache" / "imagenet" / "resnet10.pth").read_bytes() == site.content
    again = build_backbone("resnet10", width=0.125, weights="imagenet")
    assert site.asked == 1
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in backbone.state_dict().items())


def test_another_folder_can_be_named(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_pretrained(build_backbone("resnet10", width=0.125), "imagenet", cache=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine" / "imagenet").iterdir()] == ["resnet10.pth"]
    monkeypatch.delenv("MONAI_STAGING_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "monai_staging"


def test_a_wrong_digest_is_refused_and_nothing_kept(site: Site, tmp_path: Path) -> None:
    site.content += b"more"
    with pytest.raises(DataError, match=rf"what came from .* has SHA-256 {digest(site)}, [0-9a-f]{{8}} is right"):
        load_pretrained(build_backbone("resnet10", width=0.125), "imagenet")
    assert list((tmp_path / "cache").rglob("*.*")) == []


def test_a_file_changed_in_the_cache_is_refused(site: Site, tmp_path: Path) -> None:
    load_pretrained(build_backbone("resnet10", width=0.125), "imagenet")
    file = tmp_path / "cache" / "imagenet" / "resnet10.pth"
    file.write_bytes(b"other")
    with pytest.raises(DataError, match="delete the file to download it again"):
        load_pretrained(build_backbone("resnet10", width=0.125), "imagenet")
    file.unlink()
    assert load_pretrained(build_backbone("resnet10", width=0.125), "imagenet").share == 1.0


def test_half_a_download_is_none(site: Site, tmp_path: Path) -> None:
    site.cut = 1000
    with pytest.raises(DataError, match="cannot be downloaded from"):
        load_pretrained(build_backbone("resnet10", width=0.125), "imagenet")
    assert list((tmp_path / "cache").rglob("*.*")) == []


def test_a_digest_that_nobody_states_is_said_recorded_and_kept(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(PUBLISHED, "ct-fm", {"resnet10": Published(site.url, None, (2,))})
    with caplog.at_level(logging.INFO, logger="monai_staging.networks"):
        report = load_pretrained(build_backbone("resnet10", width=0.125), "ct-fm")
    assert report.source.sha256 == digest(site)
    assert any("nobody states its SHA-256" in message and digest(site) in message for message in caplog.messages)
    folder = tmp_path / "cache" / "ct-fm"
    assert (folder / "resnet10.pth.sha256").read_text() == f"{digest(site)}\n"
    # Gone from the cache, and another file where it was: the record stands.
    (folder / "resnet10.pth").unlink()
    site.content += b"more"
    with pytest.raises(DataError, match="is right"):
        load_pretrained(build_backbone("resnet10", width=0.125), "ct-fm")


def test_without_internet_the_error_says_where_the_file_goes(site: Site, tmp_path: Path) -> None:
    site.status = 404
    with pytest.raises(DataError) as caught:
        load_pretrained(build_backbone("resnet10", width=0.125), "imagenet")
    place = tmp_path / "cache" / "imagenet" / "resnet10.pth"
    assert site.url in str(caught.value) and str(place) in str(caught.value)
    assert "a path to it instead of the name" in str(caught.value)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(site.content)
    assert load_pretrained(build_backbone("resnet10", width=0.125), "imagenet").share == 1.0


def test_weights_that_do_not_exist_for_a_network_are_refused_before_anything_is_downloaded(site: Site) -> None:
    with pytest.raises(UsageError, match="exist for resnet10, resnet18, resnet34, resnet50; found network 'alexnet'"):
        build_backbone("alexnet", weights="medicalnet")
    with pytest.raises(UsageError, match="Weights medicalnet: are for spatial_dims 3, found 2"):
        build_backbone("resnet18", weights="medicalnet")
    with pytest.raises(UsageError, match="found network 'vgg11'"):
        load_pretrained(build_backbone("resnet10", width=0.125), "imagenet", network="vgg11")
    assert site.asked == 0


def test_every_published_file_is_for_a_network_that_there_is_and_has_a_name_of_its_own() -> None:
    for files in PUBLISHED.values():
        assert set(files) <= set(NETWORKS)
        assert len({file.file for file in files.values()}) == len(files)
        assert all(file.url.startswith("https://") for file in files.values())
    assert PUBLISHED["imagenet"]["resnet18"].file == "resnet18-f37072fd.pth"
    assert PUBLISHED["imagenet"]["resnet18"].sha256 == "f37072fd"
    assert PUBLISHED["fmcib"]["resnet50x2"].file == "model_weights.torch"
