"""Studies in from, and results back to, a DICOMweb server.

>>> address = StudyAddress.parse("https://pacs.example/dicom-web/studies/1.2.3")
>>> retrieve_study(address, "study")                                                  # doctest: +SKIP
>>> store(address, ["out/seg.dcm", "out/sr.dcm"])                                     # doctest: +SKIP
"""

from __future__ import annotations

from monai_staging.dicomweb.address import Archive, StudyAddress
from monai_staging.dicomweb.connection import Unavailable
from monai_staging.dicomweb.qido import (
    ArchivedSeries,
    RemoteObject,
    RemoteSeries,
    find_archived,
    find_instances,
    find_objects,
    find_series,
)
from monai_staging.dicomweb.stow import store
from monai_staging.dicomweb.wado import retrieve_object, retrieve_study

__all__ = [
    "Archive",
    "ArchivedSeries",
    "RemoteObject",
    "RemoteSeries",
    "StudyAddress",
    "Unavailable",
    "find_archived",
    "find_instances",
    "find_objects",
    "find_series",
    "retrieve_object",
    "retrieve_study",
    "store",
]
