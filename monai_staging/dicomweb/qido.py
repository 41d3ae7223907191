"""What a DICOMweb server has, of a study or at all (QIDO-RS)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from monai_staging.dicomweb.address import Archive, StudyAddress, is_uid
from monai_staging.dicomweb.connection import ArchiveConnection, Connection, NotFound, Unavailable
from monai_staging.errors import UsageError

_SOP_CLASS, _INSTANCE, _SERIES = "00080016", "00080018", "0020000E"
_MODALITY, _COUNT, _STUDY, _DESCRIPTION = "00080060", "00201209", "0020000D", "0008103E"
_Item = dict[str, Any]


@dataclass(frozen=True)
class RemoteSeries:
    """A series: SeriesInstanceUID, modality, NumberOfSeriesRelatedInstances (None where the server does not say)."""

    series: str
    modality: str
    instances: int | None


@dataclass(frozen=True)
class RemoteObject:
    """An instance: SeriesInstanceUID, SOPInstanceUID, SOPClassUID (empty where the server does not say)."""

    series: str
    instance: str
    sop_class: str


@dataclass(frozen=True)
class ArchivedSeries:
    """A series of an archive: its study's UID and its own, its number of instances, and what it is called.

    ``instances`` is None, and ``description`` empty, where the server does not say.
    """

    study: str
    series: str
    instances: int | None
    description: str


def find_archived(archive: Archive, modality: str) -> tuple[ArchivedSeries, ...]:
    """Every series of a modality in an archive, by UID.

    Raises:
        Unavailable: the server cannot be reached, refuses, or is no DICOMweb server.
        DataError: its answer makes no sense.
    """
    fields = [
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
    ]
    filters = {"Modality": modality}
    with ArchiveConnection(archive) as connection:

        def search(offset: int) -> Any:
            return connection.client.search_for_series(fields=fields, search_filters=filters, offset=offset)

        try:
            items = _pages(connection, _SERIES, search)
        except NotFound as error:
            raise Unavailable(f"{connection.whose}: no DICOMweb server answers there (404).") from error
    found = []
    for uid, item in sorted(items.items()):
        # A server may pass over a filter it does not know.
        if _value(item, _MODALITY) not in (None, modality):
            continue
        study = _value(item, _STUDY)
        if not is_uid(study):
            raise connection.fail(f"series {uid} is of a study with a UID; found {study!r}.")
        found.append(ArchivedSeries(str(study), uid, _count(item), str(_value(item, _DESCRIPTION) or "")))
    return tuple(found)


def find_series(address: StudyAddress) -> tuple[RemoteSeries, ...]:
    """The study's series, by UID; only the one that the address names, if it names one.

    Raises:
        DataError: no such study or series; the server cannot be reached, refuses, or is no DICOMweb server.
    """
    with Connection(address) as connection:
        return chosen(connection, series_of(connection), address.series)


def find_objects(address: StudyAddress, modality: str) -> tuple[RemoteObject, ...]:
    """The instances of the study's series of a modality, ``SEG`` or ``SR`` say; empty where there are none.

    A series that the address names is no matter here: results are in series of their own.

    Raises:
        DataError: as `find_series`.
    """
    with Connection(address) as connection:
        found = [series for series in series_of(connection) if series.modality == modality]
        return tuple(one for series in found for one in instances_of(connection, series.series))


def find_instances(address: StudyAddress) -> tuple[RemoteObject, ...]:
    """The instances of the series that the address names, by UID.

    Raises:
        UsageError: it names none.
        DataError: as `find_series`.
    """
    if address.series is None:
        raise UsageError(f"The instances of a series are asked for; {address} names none.")
    with Connection(address) as connection:
        return instances_of(connection, address.series)


def series_of(connection: Connection) -> tuple[RemoteSeries, ...]:
    """Every series of the study, by UID."""
    study = connection.address.study
    fields = ["SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances"]
    try:
        items = _pages(
            connection, _SERIES, lambda offset: connection.client.search_for_series(study, fields=fields, offset=offset)
        )
    except NotFound:
        # Some servers say so of a study they do not have, all of them of what lies beside their DICOMweb root.
        _check_service(connection)
        items = {}
    if not items:
        raise connection.fail("the server has no such study.")
    return tuple(
        RemoteSeries(uid, str(_value(item, _MODALITY) or ""), _count(item)) for uid, item in sorted(items.items())
    )


def chosen(connection: Connection, found: tuple[RemoteSeries, ...], wanted: str | None) -> tuple[RemoteSeries, ...]:
    """The series ``wanted`` of those found; all of them for None."""
    if wanted is None:
        return found
    own = tuple(series for series in found if series.series == wanted)
    if not own:
        raise connection.fail(f"no series {wanted} among the study's {len(found)}.")
    return own


def instances_of(connection: Connection, series: str) -> tuple[RemoteObject, ...]:
    """The instances of a series, by UID."""
    study = connection.address.study
    fields = ["SOPClassUID", "SOPInstanceUID"]
    items = _pages(
        connection,
        _INSTANCE,
        lambda offset: connection.client.search_for_instances(study, series, fields=fields, offset=offset),
    )
    return tuple(RemoteObject(series, uid, str(_value(item, _SOP_CLASS) or "")) for uid, item in sorted(items.items()))


def has_instance(connection: Connection, instance: str) -> bool:
    """Whether the server finds an instance in the study."""
    study, filters = connection.address.study, {"SOPInstanceUID": instance}
    found = connection.ask(lambda: connection.client.search_for_instances(study, search_filters=filters))
    # A server may pass over a filter it does not know.
    return any(_value(item, _INSTANCE) == instance for item in _items(connection, found))


def _pages(connection: ArchiveConnection, tag: str, search: Callable[[int], Any]) -> dict[str, _Item]:
    """All results by their UID. A server may give them in pages of its own size, or the first for ever."""
    found: dict[str, _Item] = {}
    while True:
        offset = len(found)
        page = _items(connection, connection.ask(lambda: search(offset)))  # noqa: B023  # called at once
        new = {str(_value(item, tag)): item for item in page}
        for uid in new:
            if not is_uid(uid):
                # It becomes a file's name.
                raise connection.fail(f"a result of a search has a UID; found {uid!r}.")
        if not new.keys() - found.keys():
            return found
        found |= new


def _items(connection: ArchiveConnection, answer: object) -> list[_Item]:
    if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
        raise connection.fail("no DICOMweb server answers there: the results of a search are no list of data sets.")
    return answer


def _check_service(connection: Connection) -> None:
    """Raises unless a search for studies is answered."""
    filters = {"StudyInstanceUID": connection.address.study}
    try:
        connection.ask(lambda: connection.client.search_for_studies(search_filters=filters, limit=1))
    except NotFound as error:
        service = connection.address.service
        raise connection.fail(f"no DICOMweb server answers there: {service}/studies is not found (404).") from error


def _value(item: _Item, tag: str) -> object:
    """The first value of an element of a data set in DICOM JSON (PS3.18 F.2); None where there is none."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _count(item: _Item) -> int | None:
    value = _value(item, _COUNT)
    # PS3.18 lets an IS be a number or a string.
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.strip().isdecimal()) else None
