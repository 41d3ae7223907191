"""Objects to a DICOMweb server (STOW-RS)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from monai_staging.dicomweb.address import StudyAddress
from monai_staging.dicomweb.connection import Connection
from monai_staging.dicomweb.qido import has_instance
from monai_staging.errors import DataError
from monai_staging.progress import progress

if TYPE_CHECKING:
    from pydicom import Dataset

# It is there already: 0111 by PS3.4, B00E as Azure has it.
_DUPLICATE = (0x0111, 0xB00E)
# The server made the identity its own (PS3.18 I.2.2), as archives are set up to; nothing is lost.
_COERCED = 0xB000
# PS3.18 table I.2-2 and PS3.7 annex C, by the code or its first digits.
_REASONS = {
    "0110": "processing failure",
    "0117": "invalid object instance",
    "0118": "no such SOP class",
    "0122": "SOP class not supported",
    "0124": "not authorized",
    "A7": "out of resources",
    "A9": "does not match its SOP class",
    "B006": "stored without some of its elements",
    "B007": "stored though it does not match its SOP class",
    "C122": "transfer syntax not supported",
    "C": "cannot be understood",
}


def store(address: StudyAddress, paths: Iterable[str | os.PathLike[str]]) -> None:
    """Stores DICOM files in the study that they belong to. What the server has already is no error.

    Every file is tried, one a request.

    Args:
        address: the study.
        paths: the files.

    Raises:
        DataError: a file that is not DICOM, or of another study (nothing is stored then); instances that were not
            stored, or not as they are, with SOP class and reason of each; the server cannot be reached, refuses, fails,
            or is no DICOMweb server.
    """
    files = [Path(path) for path in paths]
    for path in files:
        _read(path, address.study, pixels=False)
    problems: list[str] = []
    with Connection(address) as connection:
        for path in progress(files, description="store", unit="file"):
            problems += _store(connection, _read(path, address.study))
        if problems:
            count = f"{len(problems)} of {len(files)}"
            raise connection.fail(f"{count} files not stored as they are: {'; '.join(problems)}.")


def _read(path: Path, study: str, *, pixels: bool = True) -> Dataset:
    from pydicom import dcmread

    try:
        dataset = dcmread(path, stop_before_pixels=not pixels)
        found = str(dataset.get("StudyInstanceUID", ""))
        whole = all(dataset.get(keyword) for keyword in ("SOPClassUID", "SOPInstanceUID"))
    except Exception as error:  # pydicom fails on a damaged file in many ways; its words may quote the file
        raise DataError(f"{path.name}: cannot be read as DICOM ({type(error).__name__}).") from None
    if found != study:
        raise DataError(f"{path.name}: is of study {found or 'not given'}, to be stored in study {study}.")
    if not whole:
        raise DataError(f"{path.name}: has no SOPClassUID or SOPInstanceUID; no server could store it.")
    return dataset


def _store(connection: Connection, dataset: Dataset) -> list[str]:
    """Stores an instance, and says what is wrong with it then: nothing, or one text."""
    uid = str(dataset.SOPInstanceUID)
    answer = connection.ask(lambda: _send(connection, dataset))
    failed = _entry(answer, "FailedSOPSequence", uid)
    if failed is not None:
        reason = failed.get("FailureReason")
        return [] if reason in _DUPLICATE else [f"{_name(dataset)}: {_words(reason)}"]
    stored = _entry(answer, "ReferencedSOPSequence", uid)
    if stored is not None:
        warning = stored.get("WarningReason")
        return [] if warning in (None, _COERCED) else [f"{_name(dataset)}: {_words(warning)}"]
    # A server whose answer does not say so is asked.
    return [] if has_instance(connection, uid) else [f"{_name(dataset)}: the server does not have it afterwards"]


def _send(connection: Connection, dataset: Dataset) -> Dataset:
    """The server's answer: a data set with the instances stored and those that failed."""
    from pydicom import Dataset

    try:
        answer: Dataset = connection.client.store_instances([dataset], connection.address.study)
        return answer
    except requests.HTTPError as error:
        # 409 where every instance failed: why is in the answer all the same, which dicomweb-client leaves unread.
        if error.response is None or error.response.status_code != 409:
            raise
        answer = _read_answer(error.response)
        if _entry(answer, "FailedSOPSequence", str(dataset.SOPInstanceUID)) is None:
            raise
        return answer
    except requests.RequestException:
        raise
    except (AttributeError, KeyError, SyntaxError, TypeError, ValueError):
        return Dataset()  # stored, says the status, and the rest is no data set


def _read_answer(response: requests.Response) -> Dataset:
    from pydicom import Dataset

    try:
        return Dataset.from_json(response.json())
    except Exception:  # whatever a server may send there
        return Dataset()


def _entry(answer: Dataset, sequence: str, uid: str) -> Any:
    items = answer.get(sequence) or []
    return next((item for item in items if str(item.get("ReferencedSOPInstanceUID", "")) == uid), None)


def _name(dataset: Dataset) -> str:
    return f"{dataset.SOPClassUID.name} {dataset.SOPInstanceUID}"


def _words(reason: int | None) -> str:
    if reason is None:
        return "no reason given"
    code = f"{reason:04X}"
    words = next((_REASONS[code[:n]] for n in (4, 2, 1) if code[:n] in _REASONS), "a reason of the server's own")
    return f"{words} ({code})"
