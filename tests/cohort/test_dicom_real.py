"""Real scans: voxels as pydicom gives them, affine as ITK gives it, and the whole collection of difficult files."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from monai_staging.cohort.dicom import SeriesRefused, load_series, read_series, scan, series_positions
from monai_staging.cohort.volume import read_volume, write_volume

LIDC = "lidc_idri_0314/LIDC-IDRI-0314_CT_275slices.tar.xz"
LUNG = "lung_pet_ct_dx/A0001_s2_lungwin_CT64_and_all_XML.tar.xz"


def by_pydicom(folder) -> tuple[np.ndarray, dict[str, int]]:
    """HU (slice, row, column) by pydicom alone, sorted by z, and the slice of each SOPInstanceUID."""
    slices = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    planes = [pydicom.pixels.apply_rescale(ds.pixel_array, ds).astype(np.float32) for ds in slices]  # exact for HU
    hu = np.stack(planes)
    return hu, {str(ds.SOPInstanceUID): k for k, ds in enumerate(slices)}


def by_itk(files) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (slices, rows, columns) and RAS affine as ITK, through SimpleITK, reads the series."""
    folder = str(files[0].parent)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder), sitk.sitkInt16)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


@pytest.mark.parametrize(
    ("archive", "patient", "shape"),
    [(LIDC, "LIDC-IDRI-0314", (512, 512, 275)), (LUNG, "Lung_Dx-A0001", (512, 512, 64))],
)
def test_a_real_scan_equals_pydicom_and_itk(unpacked, tmp_path, archive, patient, shape):
    folder = unpacked(archive)
    found = scan(folder)
    (series,) = found
    assert (series.patient, found.rejections) == (patient, ())
    volume = read_series(series)
    assert volume.shape == shape
    hu, positions = by_pydicom(folder)
    np.testing.assert_array_equal(volume.array.T, hu)
    assert series_positions(series) == positions
    voxels, affine = by_itk(series.files)
    np.testing.assert_array_equal(volume.array.T, voxels)
    np.testing.assert_allclose(volume.affine, affine, rtol=0, atol=1e-9)

    write_volume(tmp_path / "volume.nii", volume)
    again = read_volume(tmp_path / "volume.nii")
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(again.affine, affine, rtol=0, atol=1e-4)
    image = sitk.ReadImage(str(tmp_path / "volume.nii"))
    np.testing.assert_allclose(image.GetOrigin(), affine[:3, 3] * (-1, -1, 1), atol=1e-4)


def test_a_real_scan_with_a_slice_taken_out_is_refused(unpacked):
    (series,) = scan(unpacked(LUNG))
    middle = sorted(series_positions(series).items(), key=lambda item: item[1])[30][0]
    files = [header.path for header in series.headers if header.sop_uid != middle]
    with pytest.raises(SeriesRefused, match="1 slice missing between") as caught:
        load_series(files)
    assert str(caught.value).startswith("Case Lung_Dx-A0001: ")


def test_a_real_compressed_scan_without_identity(unpacked):
    # 20 slices in JPEG 2000, PatientID and all UIDs emptied.
    folder = unpacked("totalsegmentator_examples/reference_files.tar.gz") / "example_ct_dicom"
    assert [rejection.rule for rejection in scan(folder).rejections] == ["missing-identity"]
    volume = load_series(folder)
    assert volume.spacing_mm == (0.9765625, 0.9765625, 2.0)
    images = sorted((sitk.ReadImage(str(path)) for path in folder.iterdir()), key=lambda image: image.GetOrigin()[2])
    np.testing.assert_array_equal(volume.array.T, np.concatenate([sitk.GetArrayFromImage(image) for image in images]))
