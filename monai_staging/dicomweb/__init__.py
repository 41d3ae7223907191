"""Studies in from, and results back to, a DICOMweb server.

>>> address = StudyAddress.parse("https://pacs.example/dicom-web/studies/1.2.3")
>>> retrieve_study(address, "study")                                                  # doctest: +SKIP
>>> store(address, ["out/seg.dcm", "out/sr.dcm"])                                     # doctest: +SKIP
"""

from __future__ import annotations

from monai_staging.dicomweb.address import StudyAddress
from monai_staging.dicomweb.qido import RemoteObject, RemoteSeries, find_objects, find_series
from monai_staging.dicomweb.stow import store
from monai_staging.dicomweb.wado import retrieve_object, retrieve_study

__all__ = [
    "RemoteObject",
    "RemoteSeries",
    "StudyAddress",
    "find_objects",
    "find_series",
    "retrieve_object",
    "retrieve_study",
    "store",
]
