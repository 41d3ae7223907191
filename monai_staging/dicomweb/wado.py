"""Instances from a DICOMweb server (WADO-RS), as the server has them, byte for byte.

Each is asked for by itself: what a broken connection costs is one instance, and what is held in memory is one a thread.
dicomweb-client would parse and encode each instance anew, and takes an answer that was cut off for a whole one.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from monai_staging.dicomweb.address import StudyAddress
from monai_staging.dicomweb.connection import Connection, CutOff
from monai_staging.dicomweb.qido import RemoteObject, RemoteSeries, chosen, instances_of, series_of
from monai_staging.errors import DataError
from monai_staging.files import atomic_path
from monai_staging.progress import progress

if TYPE_CHECKING:
    import requests
    from pydicom import Dataset

# The transfer syntax that the server has it in.
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def retrieve_study(
    address: StudyAddress,
    folder: str | os.PathLike[str],
    *,
    modalities: Collection[str] = ("CT",),
    series: str | None = None,
    workers: int = 4,
) -> Path:
    """Retrieves the series of the study that are of ``modalities``, and nothing else.

    An instance becomes ``folder/<SeriesInstanceUID>/<SOPInstanceUID>.dcm``, whole or not at all. One that is there
    already is kept, so that a retrieval that failed goes on where it was. `monai_staging.cohort.dicom.scan` reads them.

    Args:
        address: the study, or one series of it.
        folder: where to; made if need be.
        modalities: which series to take, by Modality.
        series: SeriesInstanceUID of the only series to take; the address's own by default.
        workers: instances that are asked for at a time.

    Returns:
        ``folder``.

    Raises:
        DataError: no such study or series, or none of these modalities; fewer instances than the server says it has;
            the server cannot be reached, refuses, fails, or is no DICOMweb server.
    """
    folder = Path(folder)
    modalities = [modalities] if isinstance(modalities, str) else modalities
    with Connection(address) as connection:
        found = chosen(connection, series_of(connection), series or address.series)
        taken = [one for one in found if one.modality in modalities]
        if not taken:
            held = ", ".join(f"{n} {modality}" for modality, n in sorted(Counter(s.modality for s in found).items()))
            raise connection.fail(f"no series of {' or '.join(modalities)}; found {held}.")
        objects = [instance for one in taken for instance in _all_instances(connection, one)]
    missing = [one for one in objects if not _path(folder, one).exists()]
    with ExitStack() as connections, ThreadPoolExecutor(max(1, workers)) as pool:
        own = threading.local()

        def fetch(instance: RemoteObject) -> None:
            if not hasattr(own, "connection"):
                own.connection = connections.enter_context(Connection(address))
            _write(own.connection, instance, _path(folder, instance))

        # When one fails, those not yet begun are cancelled.
        for _ in progress(pool.map(fetch, missing), total=len(missing), description="retrieve", unit="instance"):
            pass
    return folder


def retrieve_object(address: StudyAddress, instance: RemoteObject) -> Dataset:
    """An instance that `monai_staging.dicomweb.find_objects` found.

    Raises:
        DataError: the server does not have it; what it gives is not that instance; or as `retrieve_study`.
    """
    with Connection(address) as connection:
        return _checked(connection, instance, BytesIO(_fetch(connection, instance)))


def _all_instances(connection: Connection, series: RemoteSeries) -> tuple[RemoteObject, ...]:
    instances = instances_of(connection, series.series)
    if not instances or series.instances not in (None, len(instances)):
        stated = "some" if series.instances is None else series.instances
        raise connection.fail(f"series {series.series} has {stated} instances; found {len(instances)}.")
    return instances


def _path(folder: Path, instance: RemoteObject) -> Path:
    return folder / instance.series / f"{instance.instance}.dcm"


def _write(connection: Connection, instance: RemoteObject, path: Path) -> None:
    content = _fetch(connection, instance)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
        _checked(connection, instance, temporary, identity_only=True)


def _fetch(connection: Connection, instance: RemoteObject) -> memoryview:
    where = connection.address
    url = f"{where.service}/studies/{where.study}/series/{instance.series}/instances/{instance.instance}"
    try:
        return connection.ask(lambda: only_part(connection.get(url, _ACCEPT)))
    except DataError as error:
        raise DataError(f"{error} Asked for instance {instance.instance}.") from error


def _checked(
    connection: Connection, instance: RemoteObject, source: Path | BytesIO, *, identity_only: bool = False
) -> Dataset:
    from pydicom import dcmread

    tags = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    try:
        dataset = dcmread(source, stop_before_pixels=identity_only, specific_tags=tags if identity_only else None)
        found = [str(dataset.get(tag, "")) for tag in tags]
    except Exception as error:  # pydicom fails on a damaged file in many ways; its words may quote the file
        name = type(error).__name__
        raise connection.fail(f"instance {instance.instance} cannot be parsed as DICOM ({name}).") from None
    if found != [connection.address.study, instance.series, instance.instance]:
        raise connection.fail(f"asked for instance {instance.instance} of series {instance.series}, got another.")
    return dataset


def only_part(response: requests.Response) -> memoryview:
    """The content of a multipart answer with one part (RFC 2046), or of an answer that is that part itself.

    Raises:
        CutOff: it ends before its end.
        requests.exceptions.ContentDecodingError: it is something else.
    """
    from requests.exceptions import ContentDecodingError

    header = Message()
    header["Content-Type"] = response.headers.get("Content-Type", "")
    body, kind = response.content, header.get_content_type()
    if kind == "application/dicom":
        return memoryview(body)  # not by the standard, but servers do
    boundary = header.get_param("boundary")
    if kind != "multipart/related" or not isinstance(boundary, str):
        raise ContentDecodingError(f"expected multipart/related; found {kind}")
    mark = b"--" + boundary.encode("latin-1")
    start = body.find(b"\r\n\r\n", max(0, body.find(mark))) + 4
    end = body.find(b"\r\n" + mark, start)
    if start < 4 or end < 0:
        raise CutOff("the answer has no end")
    if body[end + 2 + len(mark) :][:2] != b"--":
        raise ContentDecodingError("expected one part; found several")
    return memoryview(body)[start:end]
