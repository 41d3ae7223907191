"""A tree of files to series: by the headers, whatever folders and names say."""

from __future__ import annotations

import multiprocessing
import re
import shutil
from concurrent.futures import ProcessPoolExecutor

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, MediaStorageDirectoryStorage, RTStructureSetStorage

from monai_staging.cohort.dicom import load_series, read_series, scan, with_progress
from monai_staging.errors import UsageError


def count_series(folder: str) -> int:
    return len(scan(folder, watch=with_progress))


def test_series_are_told_apart_by_their_headers(write_ct, tmp_path):
    first = write_ct(folder="mixed/a", count=3, uid="1.2.3.1")

    def other(k, ds):
        ds.PatientID = "LUNG1-002"

    second = write_ct(other, folder="mixed/b", count=4, uid="1.2.3.2")
    everything = tmp_path / "flat"
    everything.mkdir()
    for n, file in enumerate([*first.files, *second.files]):
        shutil.copy(file, everything / f"{(n * 5) % 7}.{n}")
    found = scan(everything)
    assert [(s.patient, s.study, s.series, s.modality, len(s.files)) for s in found] == [
        ("LUNG1-001", "1.2.3.1.1", "1.2.3.1", "CT", 3),
        ("LUNG1-002", "1.2.3.2.1", "1.2.3.2", "CT", 4),
    ]
    assert (found.skipped, found.rejections) == (0, ())
    assert (second.hu == read_series(found[1]).array.T).all()
    assert found[0].attributes["PatientSex"] == "F"
    assert found[0].frame_of_reference == "1.2.3.1.2"


def test_other_files_are_skipped_and_counted(write_ct):
    written = write_ct(count=2)
    (written.folder / "clinical.csv").write_text("patient,t\n")
    (written.folder / "box.xml").write_text("<annotation/>")
    (written.folder / "empty").touch()
    (written.folder / "image.bin").write_bytes(b"\x08\x00" * 400)  # starts like a data set, and is none
    directory = pydicom.dcmread(written.files[0])
    directory.SOPClassUID = MediaStorageDirectoryStorage
    directory.save_as(written.folder / "DICOMDIR")
    found = scan(written.folder)
    assert (len(found), len(found[0].files), found.skipped, found.rejections) == (1, 2, 5, ())


@pytest.mark.parametrize(("name", "content"), [("x.dcm", b"nothing"), ("x", b"\0" * 128 + b"DICM" + b"\xff" * 50)])
def test_a_file_that_says_it_is_dicom_and_is_not_is_reported(write_ct, name, content):
    written = write_ct(count=2)
    (written.folder / name).write_bytes(content)
    found = scan(written.folder)
    assert len(found) == 1
    (rejection,) = found.rejections
    assert (rejection.rule, rejection.files) == ("unreadable", (str(written.folder / name),))
    assert name in rejection.found


def test_a_file_that_cannot_be_opened_is_reported(write_ct):
    written = write_ct(count=2)
    (written.folder / "gone.dcm").symlink_to(written.folder / "nowhere")
    (rejection,) = scan(written.folder).rejections
    assert rejection.rule == "unreadable"
    assert "gone.dcm" in rejection.found


def test_a_data_set_without_preamble_is_dicom(write_ct):
    written = write_ct(count=3)
    for file in written.files:
        ds = pydicom.dcmread(file)
        del ds.file_meta
        ds.preamble = None
        pydicom.dcmwrite(file, ds, implicit_vr=True, little_endian=True)
        assert file.read_bytes()[:4] == b"\x08\x00\x08\x00"
    found = scan(written.folder)
    assert found[0].headers[0].syntax == ImplicitVRLittleEndian
    assert (written.hu == read_series(found[0]).array.T).all()


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_series_without_identity_is_refused(write_ct, keyword):
    def anonymous(k, ds):
        ds[keyword].value = ""

    found = scan(write_ct(anonymous, count=2).folder)
    (rejection,) = found.rejections
    assert len(found) == 0
    assert (rejection.rule, rejection.found, len(rejection.files)) == ("missing-identity", f"no {keyword}.", 2)


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_a_series_of_two_patients_or_studies_is_refused_whole(write_ct, keyword):
    # Every other slice under another name would otherwise read as two even series of twice the spacing.
    def alternate(k, ds):
        if k % 2:
            ds[keyword].value = "9.9"

    found = scan(write_ct(alternate).folder)
    assert len(found) == 0
    assert [rejection.rule for rejection in found.rejections] == ["ambiguous-identity"] * 2


def test_a_name_in_another_character_set(write_ct):
    def russian(k, ds):
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientID = "Иванов"

    assert scan(write_ct(russian).folder)[0].patient == "Иванов"


def test_a_structure_set_names_the_series_it_was_drawn_on(write_ct):
    written = write_ct(count=2, uid="1.2.3")

    def structure(k, ds):
        ds.SOPClassUID, ds.Modality, ds.SeriesInstanceUID = RTStructureSetStorage, "RTSTRUCT", "1.2.4"
        del ds.FrameOfReferenceUID, ds.Rows, ds.PixelData
        series, study, frame = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        series.SeriesInstanceUID = "1.2.3"
        study.RTReferencedSeriesSequence = [series]
        frame.RTReferencedStudySequence = [study]
        frame.FrameOfReferenceUID = "1.2.3.2"
        ds.ReferencedFrameOfReferenceSequence = [frame]

    write_ct(structure, folder="series/rt", count=1, uid="1.2.3")
    ct, rt = scan(written.folder)
    assert (rt.modality, rt.references, rt.frame_of_reference) == ("RTSTRUCT", ("1.2.3",), ct.frame_of_reference)


def test_a_segmentation_names_the_series_it_was_drawn_on(write_ct):
    def segmentation(k, ds):
        ds.Modality = "SEG"
        reference = pydicom.Dataset()
        reference.SeriesInstanceUID = "1.2.3"
        ds.ReferencedSeriesSequence = [reference]

    (seg,) = scan(write_ct(segmentation, count=1, uid="1.2.4").folder)
    assert (seg.modality, seg.references) == ("SEG", ("1.2.3",))


def test_no_folder(tmp_path):
    with pytest.raises(UsageError, match="not a folder"):
        scan(tmp_path / "none")
    with pytest.raises(UsageError, match="not a folder"):
        load_series(tmp_path / "none")


def test_progress_of_the_reader_has_a_rate(write_ct, capsys):
    assert len(scan(write_ct(count=4).folder, watch=with_progress)) == 1
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r"headers: 4/4 files, [\d.]+ files/s", lines[-1])
    assert not told.out


def test_a_worker_process_leaves_the_progress_to_its_parent(write_ct, capfd):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(count_series, str(write_ct(count=4).folder)).result() == 1
    assert "headers" not in capfd.readouterr().err


def test_the_reader_can_be_watched(write_ct):
    written = write_ct(count=5)
    seen = []

    def watch(paths):
        assert len(paths) == 5
        for path in paths:
            seen.append(path)
            yield path

    assert len(scan(written.folder, watch=watch)) == 1
    assert sorted(seen) == sorted(written.files)
