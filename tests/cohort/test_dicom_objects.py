"""UIDs that follow from content, and files of ours."""

from __future__ import annotations

import io

import pydicom
from pydicom.uid import UID, RTStructureSetStorage

from monai_staging.cohort.dicom.objects import code_item, encode, make_uid, new_file, reference_item


def test_uids_follow_from_their_parts():
    assert make_uid("a", 1) == make_uid("a", 1)
    assert len({make_uid("a", 1), make_uid("a", 2), make_uid("b", 1), make_uid("a")}) == 4
    for number in range(200):
        uid = UID(make_uid(number))
        assert uid.is_valid and len(uid) == 44 and uid.startswith("2.25.")
        assert int(uid.rsplit(".", 1)[1]) < 2**128  # what a UUID can be


def test_files_are_files():
    dataset = new_file(RTStructureSetStorage, "1.2.3")
    dataset.PatientID = "somebody"
    back = pydicom.dcmread(io.BytesIO(encode(dataset)))
    assert (back.SOPClassUID, back.SOPInstanceUID) == (RTStructureSetStorage, "1.2.3")
    assert back.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert back.PatientID == "somebody"


def test_items():
    code = code_item("59441001", "SCT", "Lymph Node")
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("59441001", "SCT", "Lymph Node")
    image, frame = reference_item("1.2", "3.4"), reference_item("1.2", "3.4", 5)
    assert (image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID) == ("1.2", "3.4")
    assert "ReferencedFrameNumber" not in image and frame.ReferencedFrameNumber == 5
