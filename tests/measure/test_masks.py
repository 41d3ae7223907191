"""Which lesion a mask marks: one label, its largest part, from voxels, a SEG or an RTSTRUCT."""

from __future__ import annotations

from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from monai_staging.cohort.dicom import SeriesRefused
from monai_staging.errors import DataError, UsageError
from monai_staging.measure.images import read_image
from monai_staging.measure.masks import Marked, read_marked

SHAPE = (12, 10, 8)
AFFINE = np.diag([-0.7, -0.8, 3.0, 1.0])


def saved(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def marked(folder: Path, mask: np.ndarray, label: str | None = None, **options: np.ndarray) -> Marked:
    image = read_image(saved(folder / "ct.nii", np.zeros(SHAPE, np.int16)))
    return read_marked(saved(folder / "mask.nii", mask, **options), image, label)


def whole(found: Marked) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[found.part.box] = found.part.mask
    return mask


def boxes(dtype: type = np.uint8) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype)
    mask[2:6, 2:5, 2:4] = 1
    mask[8:10, 7:9, 6:8] = 3
    return mask


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_the_label_named(tmp_path: Path, dtype: type) -> None:
    mask = boxes(dtype)
    for label in ("1", "3", "+3"):
        found = marked(tmp_path, mask, label)
        assert np.array_equal(whole(found), mask == int(label))
        assert found.label == f"label {int(label)}"
        assert found.left_out == ()
        assert np.allclose(found.affine, AFFINE)


def test_the_only_label_needs_no_name(tmp_path: Path) -> None:
    mask = 7 * (boxes() == 3).astype(np.uint8)
    assert np.array_equal(whole(marked(tmp_path, mask)), mask == 7)


def test_of_separate_parts_the_largest(tmp_path: Path) -> None:
    mask = (boxes() > 0).astype(np.uint8)
    mask[0, 0, 0] = 1
    found = marked(tmp_path, mask)
    assert np.array_equal(whole(found), boxes() == 1)
    assert found.left_out == (8, 1)
    # Voxels that touch at a corner are of one part.
    mask[6, 5, 4] = 1
    assert np.count_nonzero(whole(marked(tmp_path, mask))) == 25


@pytest.mark.parametrize(
    ("mask", "label", "kind", "found"),
    [
        (boxes(), None, UsageError, r"of several labels --label names one; found 1 \(24\), 3 \(8\)"),
        (boxes(), "2", DataError, r"no voxel has the label 2; it has 1 \(24\), 3 \(8\)"),
        (boxes(), "0", DataError, "no voxel has the label 0"),
        (boxes(), "tumour", UsageError, "--label is a whole number here; found 'tumour'"),
        (boxes() * np.float32(0.4), None, DataError, "labels are whole numbers; found 0.4"),
        (np.where(boxes() == 1, np.nan, 0), None, DataError, "labels are whole numbers; found nan"),
        (np.zeros(SHAPE, np.uint8), None, DataError, "one voxel at least; all 960 are 0"),
        (boxes()[1:], "1", DataError, "found 11 x 10 x 8 and 12 x 10 x 8 voxels"),
    ],
)
def test_masks_that_are_no_lesion(tmp_path: Path, mask: np.ndarray, label: str, kind: type, found: str) -> None:
    with pytest.raises(kind, match=f"^Mask mask.nii.*{found}"):
        marked(tmp_path, mask, label)


def test_many_labels_are_not_all_listed(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.int16)
    mask[:, 0, 0] = np.arange(1, 13)
    with pytest.raises(UsageError, match=r"10 \(1\) and 2 more"):
        marked(tmp_path, mask)


def test_other_grids_and_folders_are_refused(tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 0.7
    with pytest.raises(DataError, match=r"mask.nii and image ct.nii: they must share one grid"):
        marked(tmp_path, boxes(), "1", affine=moved)
    with pytest.raises(DataError, match="a mask is one file; found a folder"):
        read_marked(tmp_path, read_image(tmp_path / "ct.nii"))
    with pytest.raises(OSError, match="No such file"):
        read_marked(tmp_path / "none.nii", read_image(tmp_path / "ct.nii"))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A CT series of the shape and spacing above, its first voxel at the origin of patient coordinates."""
    folder = tmp_path / "series"
    folder.mkdir()
    for k in range(SHAPE[2]):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
        ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "P", "1.1", "1.2", "1.3"
        ds.Modality, ds.ImageType, ds.SeriesNumber, ds.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], 1, k
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"):
            setattr(ds, keyword, "")
        ds.AccessionNumber = ds.ReferringPhysicianName = ds.Manufacturer = ""
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [0.8, 0.7], 3, SHAPE[1], SHAPE[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.PixelData = np.full(SHAPE[1::-1], 1000, "<u2").tobytes()
        ds.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return folder


def write_seg(path: Path, series: Path, *masks: np.ndarray, frame_of_reference: str = "1.3") -> Path:
    images = sorted(map(dcmread, series.iterdir()), key=lambda ds: ds.InstanceNumber)
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"lesion {number}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type="MANUAL",
        )
        for number in range(1, len(masks) + 1)
    ]
    seg = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=np.stack(masks, axis=-1).transpose(2, 1, 0, 3).astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="-",
        manufacturer_model_name="-",
        software_versions="-",
        device_serial_number="-",
    )
    seg.FrameOfReferenceUID = frame_of_reference
    seg.save_as(path)
    return path


def test_segments_of_a_seg(tmp_path: Path, series: Path) -> None:
    image = read_image(series)
    first, second = boxes() == 1, boxes() > 0
    two = write_seg(tmp_path / "two.dcm", series, first, second)
    with pytest.raises(
        UsageError, match=r"of several segments --label names one; found 1 \(lesion 1\), 2 \(lesion 2\)"
    ):
        read_marked(two, image)
    assert np.array_equal(whole(read_marked(two, image, "1")), first)
    found = read_marked(two, image, "2")
    assert np.array_equal(whole(found), first)
    assert (found.label, found.left_out) == ("segment 2 (lesion 2)", (8,))
    with pytest.raises(SeriesRefused, match="no segment 3; it has 1, 2"):
        read_marked(two, image, "3")
    with pytest.raises(UsageError, match="number of a segment here; found 'lesion 1'"):
        read_marked(two, image, "lesion 1")
    # On the same grid as NIfTI, which has no frame of reference to compare.
    plain = read_image(saved(tmp_path / "ct.nii", np.zeros(SHAPE, np.int16)))
    assert np.array_equal(whole(read_marked(write_seg(tmp_path / "one.dcm", series, first), plain)), first)


def test_a_seg_in_another_frame_of_reference_is_refused(tmp_path: Path, series: Path) -> None:
    path = write_seg(tmp_path / "seg.dcm", series, boxes() == 1, frame_of_reference="1.9")
    with pytest.raises(SeriesRefused, match=r"in the frame of reference 1\.9, the images are in 1\.3"):
        read_marked(path, read_image(series))


def test_structures_of_an_rtstruct(tmp_path: Path, series: Path) -> None:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = RTStructureSetStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.Modality, ds.PatientID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "RTSTRUCT", "P", "1.5", "1.3"
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, name in enumerate(("GTV-1", "isocentre"), start=1):
        item, roi = Dataset(), Dataset()
        item.ROIName, item.ROINumber, roi.ReferencedROINumber, roi.ContourSequence = name, number, number, []
        for k in (2, 3) if number == 1 else ():
            corners = [(1.5, 1.5), (5.5, 1.5), (5.5, 4.5), (1.5, 4.5)]
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
            contour.ContourData = [f"{v:.6g}" for x, y in corners for v in (0.7 * x, 0.8 * y, 3 * k)]
            roi.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(item)
        ds.ROIContourSequence.append(roi)
    ds.save_as(tmp_path / "rt.dcm", enforce_file_format=True)
    image = read_image(series)
    found = read_marked(tmp_path / "rt.dcm", image)
    assert np.array_equal(whole(found), boxes() == 1)
    assert found.label == "structure GTV-1"
    assert np.array_equal(whole(read_marked(tmp_path / "rt.dcm", image, "GTV-1")), boxes() == 1)
    with pytest.raises(SeriesRefused, match="structure 'isocentre': no closed planar contour; it has GTV-1"):
        read_marked(tmp_path / "rt.dcm", image, "isocentre")
    ds.ROIContourSequence = []
    ds.save_as(tmp_path / "points.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match=r"Mask points.dcm: .* it has no structures"):
        read_marked(tmp_path / "points.dcm", image)


def test_other_dicom_is_no_mask(series: Path) -> None:
    with pytest.raises(SeriesRefused, match="found CT Image Storage"):
        read_marked(series / "0.dcm", read_image(series))


def test_an_empty_segment_is_refused(tmp_path: Path, series: Path) -> None:
    path = write_seg(tmp_path / "seg.dcm", series, boxes() == 1, boxes() == 9)
    with pytest.raises(DataError, match=r"Mask seg.dcm: .* segment 2 \(lesion 2\) has none"):
        read_marked(path, read_image(series), "2")
