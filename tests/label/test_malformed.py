"""Hundreds of malformed requests to the running server: each refused with a reason, nothing written, nothing hangs."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import nibabel
import numpy as np
import pytest
from requests import Request

from .conftest import DICOM, Running, label_of

SECONDS = 20.0
"""For one answer; all of them together take about as long."""
Malformed = tuple[str, str, dict[str, Any]]
"""Method, path with query as it is sent, and what `requests` is given beside them."""

NAMES = [
    *("..", ".", "../scan-1", "../../etc/passwd", "/etc/passwd", "a/../scan-1", "scan-1/", "./scan-1", ".lock"),
    *("..\\scan-1", "C:\\scan-1", "\\\\host\\share", "scan-1\0", "\0", "scan\n1", "scan\r\nSet-Cookie: x", "\x1b[2J"),
    *(
        "\u202escan-1",
        "\u2028",
        "\ufeffscan-1",
        "x" * 201,
        "x" * 5000,
        "\U0001f9ff/..",
        ".converted",
        "..%2f",
        "%2e%2e/",
    ),
]
"""Names that are none, whatever asks for them."""
ABSENT = [
    "nothing",
    "scan-1 ",
    "SCAN-1",
    "scan-1.nii",
    "%2e%2e%2fscan-1",
    "‥",
    "scan-1；",
    "＊",
    "scan-1?x",
    "~root",
    "$HOME",
]
"""Names that could be, and are not there."""
TAGS = ["../final", "a/b", ".", "..", "fi nal", "-x", "_x", "é", "x" * 65, "a\0", "final\n", "..\\x", "%2e%2e"]
NAMED = [
    ("GET", "/datastore/image?image={}", "none"),
    ("GET", "/datastore/image/info?image={}", "none"),
    ("GET", "/datastore/label?label={}&tag=final", "none"),
    ("GET", "/datastore/label/info?label={}&tag=final", "none"),
    ("DELETE", "/datastore/label?id={}&tag=final", "none"),
    ("PUT", "/datastore/label?image={}", "label"),
    ("PUT", "/datastore/image/info?image={}", "info"),
    ("POST", "/infer/staging?image={}", "none"),
]


def body(kind: str) -> dict[str, Any]:
    return {
        "none": {},
        "label": {"files": {"label": ("l.json", b'{"markups": []}')}},
        "info": {"data": {"info": "{}"}},
    }[kind]


def names(_: Path) -> Iterator[Malformed]:
    for place, (method, path, kind) in enumerate(NAMED):
        # Each name to every third request: all of them to all would take a minute.
        for name in (*NAMES, *ABSENT)[place % 3 :: 3]:
            yield method, path.format(quote(name, safe="")), body(kind)
        yield method, path.format("%ff%fe"), body(kind)
        yield method, path.format("%c0%ae%c0%ae%c0%af"), body(kind)  # an overlong ../
        yield method, path.format("scan-1&" + path.partition("?")[2].partition("=")[0] + "=nothing"), body(kind)
    for name in ("a/b", "..", ".x", "a\0", "x" * 201, "scan-1"):
        yield "PUT", f"/datastore/image?image={quote(name, safe='')}", {"files": {"file": ("a.nii", b"x")}}


def tags(_: Path) -> Iterator[Malformed]:
    for tag in TAGS:
        sent = quote(tag, safe="")
        yield "GET", f"/datastore/label?label=scan-1&tag={sent}", {}
        yield "DELETE", f"/datastore/label?id=scan-1&tag={sent}", {}
        yield "PUT", f"/datastore/label?image=scan-1&tag={sent}", body("label")
        yield "POST", f"/batch/infer/tumour?label_tag={sent}", {}
    yield "GET", "/datastore/label?label=scan-1&tag=final&tag=original", {}
    params = {"data": {"params": json.dumps({"save_label": True, "label_tag": "../x", "foreground": [[9, 9, 9]]})}}
    yield "POST", "/infer/outline_click?image=scan-1", params


def paths(_: Path) -> Iterator[Malformed]:
    for path in (
        *(
            "/..",
            "/../info/",
            "/%2e%2e/info/",
            "/..%2finfo",
            "/..%5cinfo",
            "/info/../datastore/",
            "/.%00",
            "/%00",
            "/a%0ab",
        ),
        *(
            "/%2e",
            "/info/%2e%2e/%2e%2e/etc/passwd",
            "/%252e%252e/etc/passwd",
            "/datastore/%252e%252e",
            "/%c0%ae%c0%ae/",
            "/%",
        ),
        *(
            "/%zz",
            "/info/x",
            "/infos/",
            "/datastore/labels",
            "/auth/token",
            "/docs",
            "/redoc",
            "/static/../x",
            "/model/tumour",
        ),
        *("/session/", "/logs/", "/wsi/infer/x", "/proxy/dicom/studies", "/train/segmentation/x", "/" + "a" * 20000),
    ):
        yield "GET", path, {}
    for model in ("nothing", "..", "a%2fb", "%00", "tumour%20", "TUMOUR", "x" * 300):
        yield "POST", f"/infer/{model}?image=scan-1", {}
        yield "POST", f"/batch/infer/{model}", {}
        yield "POST", f"/activelearning/{model}", {}


def methods(_: Path) -> Iterator[Malformed]:
    for path in ("/info/", "/datastore/?output=stats", "/datastore/image?image=scan-1", "/activelearning/random"):
        for method in ("PATCH", "TRACE", "PROPFIND", "LOCK"):
            yield method, path, {}
    for method, path in (
        ("POST", "/info/"),
        ("DELETE", "/datastore/"),
        ("DELETE", "/datastore/image?id=scan-1"),
        ("POST", "/datastore/label?image=scan-1"),
        ("GET", "/infer/tumour?image=scan-1"),
        ("PUT", "/infer/tumour?image=scan-1"),
        ("GET", "/activelearning/random"),
    ):
        yield method, path, {}


def truncated(studies: Path) -> Iterator[Malformed]:
    packed = label_of(studies / "scan-1.nii", studies.parent / "whole.nii.gz", count=500)
    plain = label_of(studies / "scan-1.nii", studies.parent / "whole.nii", count=500)
    image = (studies / "scan-1.nii").read_bytes()
    for path, ending in ((packed, ".nii.gz"), (plain, ".nii")):
        content = path.read_bytes()
        path.unlink()
        for part in (0, 1, 2, 10, 18, 100, 347, 348, 351, 352, 353, *(len(content) * own // 8 for own in range(1, 8))):
            cut = content[: min(part, len(content) - 1)]
            yield "PUT", "/datastore/label?image=scan-1", {"files": {"label": (f"l{ending}", cut)}}
        middle = bytearray(content)
        middle[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
        yield "PUT", "/datastore/label?image=scan-1", {"files": {"label": (f"l{ending}", bytes(middle))}}
    for ending, content in ((".nii", image), (".nii.gz", gzip.compress(image, 1))):
        for part in (0, 10, 348, 352, 400, len(content) // 2, len(content) - 9):
            yield "PUT", "/datastore/image?image=cut", {"files": {"file": (f"a{ending}", content[:part])}}
            yield "POST", "/infer/staging?output=json", {"files": {"file": (f"a{ending}", content[:part])}}
    for name in ("l.png", "l.nii.exe", "l", "", ".gz", "l.nrrd", "l.nii.gz/..", "l.zip"):
        yield "PUT", "/datastore/label?image=scan-1", {"files": {"label": (name, plain.name.encode())}}


def headers(studies: Path) -> Iterator[Malformed]:
    """Headers that claim what is not there or makes no sense; a study's own otherwise."""
    image: Any = nibabel.load(studies / "scan-1.nii")
    base = bytearray((studies / "scan-1.nii").read_bytes()[:352])

    def changed(place: int, form: str, *values: Any) -> bytes:
        header = bytearray(base)
        struct.pack_into(form, header, place, *values)
        return bytes(header) + bytes(4096)

    def second(*shape: int) -> bytes:
        header = nibabel.Nifti2Header()
        header.set_data_dtype(np.uint8)
        header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
        header["magic"] = b"n+2"
        header.set_sform(image.affine, code=1)
        return header.binaryblock + bytes(4096)

    nan, infinite = float("nan"), float("inf")
    contents = {
        "32767 voxels along each axis": changed(40, "<4h", 3, 32767, 32767, 32767),
        "a million voxels along each axis": second(10**6, 10**6, 10**6),
        "more voxels than 64 bits count": second(2**62, 2**62, 2**62),
        "negative": changed(40, "<4h", 3, -5, 5, 5),
        "none": changed(40, "<4h", 3, 0, 5, 5),
        "no dimension": changed(40, "<h", 0),
        "two dimensions": changed(40, "<h", 2),
        "dimensions without number": changed(40, "<h", 300),
        "four dimensions": changed(40, "<5h", 4, 5, 5, 5, 5),
        "complex": changed(70, "<2h", 32, 64),
        "colours": changed(70, "<2h", 128, 24),
        "no such type": changed(70, "<2h", 999, 16),
        "an offset without end": changed(108, "<f", 1e30),
        "an offset that is none": changed(108, "<f", nan),
        "a negative offset": changed(108, "<f", -352.0),
        "a slope without end": changed(112, "<2f", infinite, 0.0),
        "an affine that is none": changed(280, "<12f", *[nan] * 12),
        "an affine without end": changed(280, "<12f", *[infinite] * 12),
        "an affine of no volume": changed(280, "<12f", *[0.0] * 12),
        "no place": changed(252, "<2h", 0, 0),
        "metres": changed(123, "<B", 1),
        "another magic": changed(344, "4s", b"ABCD"),
        "voxels elsewhere": changed(344, "4s", b"ni1\0"),
        "another size of header": changed(0, "<i", 12345),
        "nothing": bytes(352),
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(400),
        "DICOM": bytes(128) + b"DICM" + bytes(400),
    }
    for content in contents.values():
        for ending, sent in ((".nii", content), (".nii.gz", gzip.compress(content, 1))):
            yield "PUT", "/datastore/label?image=scan-1", {"files": {"label": (f"l{ending}", sent)}}
            yield "PUT", "/datastore/image?image=claimed", {"files": {"file": (f"a{ending}", sent)}}
        yield "POST", "/infer/detection?output=json", {"files": {"file": (f"a{ending}", sent)}}
    values = np.zeros(image.shape, np.float32)
    for value in (5, 255, -1, 0.5, 1e30, nan, infinite):
        values[0, 0, 0] = value
        content = gzip.compress(nibabel.Nifti1Image(values, image.affine).to_bytes(), 1)
        yield "PUT", "/datastore/label?image=scan-1", {"files": {"label": ("l.nii.gz", content)}}
    yield "PUT", f"/datastore/label?image={DICOM}", {"files": {"label": ("l.nii.gz", content)}}


def params(studies: Path) -> Iterator[Malformed]:
    texts = [
        *(
            "{",
            "[]",
            "7",
            '"x"',
            "null",
            "true",
            "{'a': 1}",
            '{"a": 1,}',
            '{"a"}',
            "[" * 100_000,
            '{"a":' * 100_000,
            "\0",
        ),
        *('{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"a": 1e999}', '{"a": [1, [NaN]]}', '{"a": "\\ud800"}'),
        *(
            '{"\\udfff": 1}',
            '{"a": ' + "[" * 40 + "]" * 40 + "}",
            '{"a": ' + "9" * 5000 + "}",
            json.dumps({"a": "x" * 300_000}),
        ),
        *('{"t": "T5"}', '{"n": "N9"}', '{"m": "M2"}', '{"t": 1}', '{"t": []}', '{"t": {"T1": true}}', '{"t": "M0"}'),
        *(
            '{"t": "T1", "edition": "4"}',
            '{"n": "N2a", "edition": "8"}',
            '{"t": "T1", "prefix": "z"}',
            '{"t": "cT1", "n": "pN1"}',
        ),
        *('{"edition": [8]}', json.dumps({"t": "T1|" * 200}), '{"staging": {}}', '{"strategy": 1}', '{"path": "/x"}'),
        *('{"name": "../x"}', '{"ts": 0}'),
    ]
    for text in texts:
        files = {"label": ("l.json", b'{"markups": []}')}
        yield "PUT", "/datastore/label?image=scan-1", {"data": {"params": text}, "files": files}
        yield "PUT", "/datastore/image/info?image=scan-1", {"data": {"info": text}}
    for text in texts[:22]:
        yield "POST", "/infer/staging?image=scan-1&output=json", {"data": {"params": text}}
    for key in ("image", "study", "model"):
        yield "POST", "/infer/staging?image=scan-1", {"data": {"params": json.dumps({key: "/etc/hostname"})}}
    label = label_of(studies / "scan-1.nii", studies.parent / "named.nii.gz", value=1).read_bytes()
    (studies.parent / "named.nii.gz").unlink()
    for info in (
        7,
        "x",
        [7],
        ["primary"],
        [{"idx": 1}],
        [{"name": "primary"}],
        [{"name": "T1a", "idx": 1}],
        {"name": 1},
    ):
        data = {"params": json.dumps({"label_info": info})}
        yield "PUT", "/datastore/label?image=scan-1", {"data": data, "files": {"label": ("l.nii.gz", label)}}
    for names in (["T1a", "T2a"], ["primary", "T9"], ["primary", "N0 N1"]):
        info = [{"name": name, "idx": number} for number, name in enumerate(names, start=1)]
        data = {"params": json.dumps({"label_info": info})}
        yield "PUT", "/datastore/label?image=scan-1", {"data": data, "files": {"label": ("l.nii.gz", label)}}


def documents(_: Path) -> Iterator[Malformed]:
    roi = {"type": "ROI", "center": [0, 0, 0], "size": [1, 1, 1]}
    broken = [{"size": [1, 1]}, {"size": [1, 1, 0]}, {"size": ["a", 1, 1]}, {"center": None}, {"center": [1e999, 0, 0]}]
    broken += [
        {"coordinateSystem": "XYZ"},
        {"coordinateUnits": "inch"},
        {"roiType": "Sphere"},
        {"orientation": [0] * 9},
    ]
    contents = [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"markups": {}}',
        b'{"markups": null}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"markup": []}',
    ]
    contents += [json.dumps({"markups": own}).encode() for own in ([7], ["x"], [None], [[]])]
    contents += [json.dumps({"markups": [{**roi, **own}]}).encode() for own in broken]
    for content in contents:
        yield "PUT", "/datastore/label?image=scan-1", {"files": {"label": ("l.json", content)}}
    clicks = ["here", 7, {}, [7], [[1, 2]], [[1, 2, 3, 4]], [["1", 2, 3]], [[True, 1, 1]], [[1, 2, 9999]], [[-1, 2, 3]]]
    for points in (*clicks, [[None, 1, 1]], [[1e300, 1, 1]], [[1, 2, 3]] * 1001, [[[1], 2, 3]]):
        for what in ("foreground", "background"):
            text = json.dumps({"foreground": [[9, 9, 9]], what: points})
            yield "POST", "/infer/outline_click?image=scan-1&output=json", {"data": {"params": text}}
    for text in ("{", "7", "[1]", '"x"', "[" * 100_000, '{"client_id": "\\ud800"}', '{"client_id": NaN}', "\0"):
        options = {"data": text, "headers": {"content-type": "application/json"}}
        yield "POST", "/activelearning/random", options
    for query in ("images=some", "max_batch_size=x", "label_tag=../x", "max_batch_size=1e99"):
        yield "POST", f"/batch/infer/tumour?{query}", {}
    for query in ("output=png", "output=image", "output=dicom_seg", "output=", "image=scan-1&output=json&output=png"):
        yield "POST", f"/infer/staging?image=scan-1&{query}", {}


GROUPS: dict[str, Callable[[Path], Iterator[Malformed]]] = {
    own.__name__: own for own in (names, tags, paths, methods, truncated, headers, params, documents)
}


def tree(studies: Path) -> dict[str, str]:
    """Every file below the folder above the studies by its digest, but what is derived of studies."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(studies.parent.rglob("*"))
        if path.is_file() and not {".looks", ".converted"} & set(path.parts)
    }


@pytest.mark.parametrize("group", GROUPS)
def test_it_is_refused_with_a_reason_and_nothing_is_written(server: Running, group: str) -> None:
    requests = list(GROUPS[group](server.studies))
    before, wrong, said = tree(server.studies), [], server.log.stat().st_size
    with server.session() as session:
        for method, path, options in requests:
            told = f"{method} {path} {options}"
            prepared = session.prepare_request(Request(method, server.url, **options))
            prepared.url = server.url + path  # as it is: else `requests` goes up .. itself
            answer = session.send(prepared, timeout=SECONDS)
            try:
                reason = answer.json()["detail"]
            except (ValueError, KeyError, TypeError):
                reason = ""
            if not 400 <= answer.status_code < 500 or not reason or "Traceback" in answer.text:
                wrong.append(f"{answer.status_code} {answer.text[:80]!r} for {told[:160]}")
    assert not wrong, "\n".join(wrong)
    assert tree(server.studies) == before
    assert b"Traceback" not in server.log.read_bytes()[said:]
    assert server.ask("GET", "/info/").status_code == 200


def multipart(content: bytes, boundary: bytes = b"x", length: int | None = None, more: bytes = b"") -> bytes:
    size = len(content) if length is None else length
    head = b"PUT /datastore/label?image=scan-1 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + more
    kind = b"Content-Type: multipart/form-data; boundary=" + boundary
    return head + kind + b"\r\nContent-Length: " + str(size).encode() + b"\r\n\r\n" + content


PART = b'--x\r\nContent-Disposition: form-data; name="label"; filename="l.json"\r\n\r\n{"markups": []}\r\n'
FIELD = b'--x\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n'
GET = b"GET /info/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
RAW = {
    "another boundary": multipart(PART + b"--x--\r\n", b"y"),
    "no boundary": multipart(PART + b"--x--\r\n", b""),
    "a boundary without end": multipart(PART + b"--x--\r\n", b"x" * 5000),
    "no end": multipart(PART),
    "cut in a header": multipart(PART[:40]),
    "a header without colon": multipart(b"--x\r\nContent-Disposition\r\n\r\n1\r\n--x--\r\n"),
    "a header of no name": multipart(b"--x\r\n: form-data\r\n\r\n1\r\n--x--\r\n"),
    "no name": multipart(b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"),
    "no disposition": multipart(b"--x\r\nContent-Type: text/plain\r\n\r\n1\r\n--x--\r\n"),
    "no multipart at all": multipart(b"just text"),
    "nothing": multipart(b""),
    "the label twice": multipart(PART + PART + b"--x--\r\n"),
    "the parameters twice": multipart(PART + FIELD + FIELD + b"--x--\r\n"),
    "a label that is no file": multipart(PART.replace(b'; filename="l.json"', b"") + b"--x--\r\n"),
    "two thousand fields": multipart(PART + FIELD * 2000 + b"--x--\r\n"),
    "two thousand files": multipart(PART * 2000 + b"--x--\r\n"),
    "a field of 2 MiB": multipart(PART + FIELD.replace(b"{}", b"0" * (2 << 20)) + b"--x--\r\n"),
    "a header of 100 KiB": multipart(b"--x\r\nX: " + b"0" * 100_000 + b"\r\n" + PART[5:] + b"--x--\r\n"),
    "other content types": multipart(PART + b"--x--\r\n").replace(b"multipart/form-data", b"multipart/mixed"),
    "a length below zero": multipart(PART, length=-5),
    "a length that is none": multipart(PART).replace(b"Content-Length: ", b"Content-Length: x"),
    "two lengths": multipart(PART + b"--x--\r\n", more=b"Content-Length: 3\r\n"),
    "a length and chunks": multipart(PART, more=b"Transfer-Encoding: chunked\r\n"),
    "a chunk of no size": multipart(b"zz\r\n").replace(b"Content-Length: 4", b"Transfer-Encoding: chunked"),
    "a chunk of more than there is": multipart(b"ffffffffffffffff\r\nx").replace(
        b"Content-Length: 19", b"Transfer-Encoding: chunked"
    ),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    "a request line of three blanks": b"GET  /info/  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "control characters": b"GET /info/\x01\x7f HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "bytes that are no ASCII": b"GET /info/\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "another host": GET.replace(b"127.0.0.1", b"site.example") + b"\r\n",
    "no host": GET.replace(b"Host: 127.0.0.1\r\n", b"") + b"\r\n",
    "a header of no name in the head": GET + b": x\r\n\r\n",
    "a header that is folded": GET + b"X: a\r\n b\r\n\r\n".replace(b"X", b"X Y"),
    "a header of 1 MiB": GET + b"X: " + b"0" * (1 << 20) + b"\r\n\r\n",
    "a name of no method": GET.replace(b"GET", b"G\x00T") + b"\r\n",
}


def answered(server: Running, content: bytes) -> bytes:
    """What comes back for bytes; nothing where the connection is closed without a word."""
    place = urlsplit(server.url)
    received = b""
    with socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=SECONDS) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                received += part
        except OSError:
            pass  # it did not wait for the rest
    return received


@pytest.mark.parametrize("what", RAW)
def test_bytes_that_no_client_sends_are_refused(server: Running, what: str) -> None:
    before = tree(server.studies)
    received = answered(server, RAW[what])
    if received:
        head, _, told = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 4"), received[:200]
        assert told and b"Traceback" not in told
    assert tree(server.studies) == before
    assert server.ask("GET", "/info/").status_code == 200


def test_they_are_many(phantom_studies: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom_studies, tmp_path / "studies")
    distinct = {repr(own) for group in GROUPS.values() for own in group(tmp_path / "studies")}
    assert len(distinct) + len(RAW) >= 500
