"""A real archive: studies in, results back, and what may go wrong on the way."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import requests
from pydicom.uid import RLELossless

from monai_staging.cohort.dicom import read_series, scan
from monai_staging.cohort.masks import mask_from_seg
from monai_staging.dicomweb import (
    Archive,
    StudyAddress,
    Unavailable,
    find_archived,
    find_instances,
    find_objects,
    find_series,
    retrieve_object,
    retrieve_study,
    store,
)
from monai_staging.errors import DataError, UsageError
from monai_staging.measure import measure_lesion
from monai_staging.outputs.dicom_seg import write_seg
from monai_staging.outputs.dicom_sources import lesion_uid, read_sources
from monai_staging.outputs.dicom_sr import read_sr, write_sr
from monai_staging.outputs.findings import Algorithm, Category, Findings, LesionFinding, Site, StagingFinding
from monai_staging.tnm import TNM, categories

NAME, PATIENT = "Geheim^Vorname", "ID-4711-GEHEIM"  # as in conftest.py
SECONDS = 30.0  # for the real CT on a busy machine; on a quiet one it takes six
ALGORITHM = Algorithm("predict", "0.1.0")


def by_instance(paths):
    return {str(dataset.SOPInstanceUID): dataset for dataset in map(pydicom.dcmread, paths)}


def same_datasets(ours, theirs):
    assert ours.keys() == theirs.keys()
    for uid, dataset in ours.items():
        assert theirs[uid] == dataset  # file meta information (group 2) aside
        assert theirs[uid].file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
        np.testing.assert_array_equal(theirs[uid].pixel_array, dataset.pixel_array)


def results(folder, out):
    """A SEG and a report of one lesion in the CT series of a folder, with what is in them."""
    (series,) = scan(folder)
    volume, sources = read_series(series), read_sources(series)
    mask = np.zeros(volume.shape, np.uint8)
    mask[2:5, 2:4, 1:4] = 1
    measured = measure_lesion(mask == 1, volume.affine, volume.array, edition="8")
    lesion = LesionFinding(
        1,
        "Lesion 1",
        lesion_uid(sources, ALGORITHM, 1),
        Category.PRIMARY,
        Site.RIGHT_UPPER_LOBE,
        measured,
        0.75,
        0.5,
    )
    tnm = TNM(measured.size_t.members, frozenset(categories("n", "8")), {"M0"}, "8")
    findings = Findings((lesion,), StagingFinding(tnm, tnm.groups, reasons=("Größe",)), ALGORITHM)
    seg = write_seg(out / "seg.dcm", mask, findings, sources)
    return seg, write_sr(out / "sr.dcm", findings, pydicom.dcmread(seg), sources), mask, findings, volume


def test_a_series_comes_back_as_it_was_stored(stored, tmp_path):
    address, sent = stored
    folder = retrieve_study(address, tmp_path / "back")
    files = sorted(folder.rglob("*.dcm"))
    assert len(files) == len(sent.files) == len([path for path in folder.rglob("*") if path.is_file()])
    same_datasets(by_instance(sent.files), by_instance(files))
    assert sorted(path.read_bytes() for path in files) == sorted(path.read_bytes() for path in sent.files)
    (ours,), (theirs,) = scan(sent.folder), scan(folder)
    assert files[0].parent.name == theirs.series
    np.testing.assert_array_equal(read_series(theirs).array, read_series(ours).array)
    np.testing.assert_array_equal(read_series(theirs).affine, read_series(ours).affine)


def test_results_go_back_and_storing_again_is_no_error(stored, tmp_path):
    address, sent = stored
    seg, report, mask, findings, volume = results(sent.folder, tmp_path)
    for _ in range(2):
        store(address, [seg, report])
    assert sorted(series.modality for series in find_series(address)) == ["CT", "SEG", "SR"]
    (found_seg,), (found_report,) = find_objects(address, "SEG"), find_objects(address, "SR")
    back_seg, back_report = retrieve_object(address, found_seg), retrieve_object(address, found_report)
    assert back_seg == pydicom.dcmread(seg)
    assert back_report == pydicom.dcmread(report)
    assert (found_seg.sop_class, found_seg.instance) == (back_seg.SOPClassUID, back_seg.SOPInstanceUID)
    assert read_sr(back_report) == findings
    path = tmp_path / "back.dcm"
    back_seg.save_as(path, enforce_file_format=True)
    (segment,) = mask_from_seg(path, volume)
    np.testing.assert_array_equal(segment.mask, mask == 1)
    assert find_objects(address, "RTSTRUCT") == ()
    # Only what is asked for comes.
    assert len(list(retrieve_study(address, tmp_path / "ct").rglob("*.dcm"))) == len(sent.files)
    assert len(list(retrieve_study(address, tmp_path / "sr", modalities="SR").rglob("*.dcm"))) == 1


def test_compressed_pixels_stay_compressed(orthanc, small, tmp_path):
    sent = small()
    for path in sent.files:
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    address = orthanc.address(sent.study)
    store(address, sent.files)
    files = list(retrieve_study(address, tmp_path / "back").rglob("*.dcm"))
    same_datasets(by_instance(sent.files), by_instance(files))
    assert {pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in files} == {RLELossless}


def test_one_series_of_several(orthanc, small, tmp_path):
    first = small(folder="one")
    second = small(folder="two", count=4, uid="1.2.826.0.1.3680043.10.2")
    for path in second.files:  # of the same study
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = first.study
        dataset.save_as(path)
    address = orthanc.address(first.study)
    store(address, [*first.files, *second.files])
    assert len(list(retrieve_study(address, tmp_path / "all").rglob("*.dcm"))) == 10
    by_argument = retrieve_study(address, tmp_path / "argument", series="1.2.826.0.1.3680043.10.2")
    by_url = retrieve_study(
        StudyAddress.parse(f"{address}/series/1.2.826.0.1.3680043.10.2"), tmp_path / "url", workers=1
    )
    for folder in (by_argument, by_url):
        same_datasets(by_instance(second.files), by_instance(folder.rglob("*.dcm")))
    with pytest.raises(DataError, match=r"no series 1\.9 among the study's 2"):
        retrieve_study(address, tmp_path / "none", series="1.9")
    with pytest.raises(DataError, match=r"no series of MR or PT; found 2 CT"):
        retrieve_study(address, tmp_path / "none", modalities=("MR", "PT"))
    assert not (tmp_path / "none").exists()


def test_unknown_study_and_wrong_path(orthanc, tmp_path):
    with pytest.raises(DataError) as caught:
        retrieve_study(orthanc.address("1.2.3"), tmp_path / "none")
    assert str(caught.value) == f"Study 1.2.3 at {orthanc.service}: the server has no such study."
    wrong = StudyAddress.parse(f"http://127.0.0.1:{orthanc.port}/wrong/studies/1.2.3")
    with pytest.raises(DataError, match="no DICOMweb server answers there"):
        retrieve_study(wrong, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_unreachable(orthanc, small, tmp_path):
    sent = small()
    address = orthanc.address(sent.study)
    orthanc.kill()
    for action in (lambda: retrieve_study(address, tmp_path / "none"), lambda: store(address, sent.files)):
        with pytest.raises(DataError, match=r"cannot be reached after 4 attempts \(Connection refused\)"):
            action()


def test_credentials(start_orthanc, small, tmp_path, monkeypatch):
    archive = start_orthanc(users={"alice": "geheim/ß"})
    sent = small()
    address = archive.address(sent.study)
    for action in (lambda: retrieve_study(address, tmp_path / "none"), lambda: store(address, sent.files)):
        with pytest.raises(DataError, match=r"asks for credentials \(401\)"):
            action()
    url = str(address).replace("//", "//alice:wrong@")
    with pytest.raises(DataError, match=r"does not let these credentials in \(401\)"):
        store(StudyAddress.parse(url), sent.files)
    store(StudyAddress.parse(str(address).replace("//", "//alice:geheim%2F%C3%9F@")), sent.files)
    monkeypatch.setenv("MONAI_STAGING_DICOMWEB_USER", "alice")
    monkeypatch.setenv("MONAI_STAGING_DICOMWEB_PASSWORD", "geheim/ß")
    folder = retrieve_study(archive.address(sent.study), tmp_path / "back")
    assert len(list(folder.rglob("*.dcm"))) == 6


def test_a_server_killed_in_the_middle_leaves_whole_files_and_the_rest_can_follow(start_orthanc, small, tmp_path):
    archive = start_orthanc()
    sent = small(count=60, shape=(64, 64))
    address = archive.address(sent.study)
    store(address, sent.files)
    folder = tmp_path / "back"

    def kill_after_the_first() -> None:
        while not list(folder.rglob("[!.]*.dcm")):
            time.sleep(0.001)
        archive.kill()

    killer = threading.Thread(target=kill_after_the_first)
    killer.start()
    with pytest.raises(DataError, match=r"cannot be reached after 4 attempts .* Asked for instance") as caught:
        retrieve_study(address, folder, workers=2)
    killer.join()
    assert str(caught.value).count("\n") == 0
    whole = by_instance(path for path in folder.rglob("*") if path.is_file())  # no temporary ones either
    ours = by_instance(sent.files)
    assert 0 < len(whole) < 60
    same_datasets({uid: ours[uid] for uid in whole}, whole)
    # The retrieval goes on where it was, wherever the study is now.
    other = start_orthanc()
    address = replace(address, service=other.service)
    store(address, sent.files)
    retrieve_study(address, folder)
    same_datasets(ours, by_instance(folder.rglob("*.dcm")))


def test_what_orthanc_refuses_is_told_without_the_patient(orthanc, small, monkeypatch):
    sent = small()
    monkeypatch.setattr("monai_staging.dicomweb.stow._read", lambda path, study, pixels=True: pydicom.dcmread(path))
    with pytest.raises(DataError) as caught:
        store(orthanc.address("1.2.3.4"), sent.files[:1])
    uid = pydicom.dcmread(sent.files[0]).SOPInstanceUID
    assert str(caught.value) == (
        f"Study 1.2.3.4 at {orthanc.service}: 1 of 1 files not stored as they are:"
        f" CT Image Storage {uid}: processing failure (0110)."
    )


def test_nothing_tells_who_the_patient_is(orthanc, small, tmp_path, caplog, capfd, recwarn):
    caplog.set_level(logging.DEBUG)
    sent = small()
    address = orthanc.address(sent.study)
    store(address, sent.files)
    seg, report, *_ = results(sent.folder, tmp_path)
    store(address, [seg, report])
    retrieve_study(address, tmp_path / "back")
    for instance in find_objects(address, "SEG"):
        retrieve_object(address, instance)
    told = caplog.text + "".join(capfd.readouterr()) + "".join(str(warning.message) for warning in recwarn)
    assert "retrieve: 6/6 instances" in told and "/series" in told
    for secret in (*NAME.split("^"), PATIENT):
        assert secret not in told


def test_nobody_but_this_machine_reaches_the_archive(orthanc):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("no address but loopback here")
        own = probe.getsockname()[0]
    if orthanc.bound:
        with socket.socket() as client:
            assert client.connect_ex((own, orthanc.port)) != 0
    else:
        answer = requests.get(f"http://{own}:{orthanc.port}/dicom-web/studies", timeout=10)
        assert answer.status_code in (401, 403)
    assert requests.get(f"{orthanc.service}/studies", timeout=10).status_code == 200


def test_a_real_study(orthanc, lidc_series, tmp_path):
    """LIDC-IDRI-0314, 275 slices, 145 MB: there and back within ``SECONDS``."""
    (series,) = scan(lidc_series)
    address = orthanc.address(series.study)
    start = time.perf_counter()
    store(address, series.files)
    folder = retrieve_study(address, tmp_path / "back")
    assert time.perf_counter() - start < SECONDS
    (back,) = scan(folder)
    assert {header.sop_uid for header in back.headers} == {header.sop_uid for header in series.headers}
    assert read_series(back).array.tobytes() == read_series(series).array.tobytes()


def test_the_address_alone_imports_nothing_heavy():
    heavy = {"torch", "pydicom", "dicomweb_client", "numpy"}
    code = f"import sys, monai_staging.dicomweb; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


def test_an_archives_series_of_a_modality(orthanc, small):
    sent = [small(folder=name, uid=f"1.2.826.0.1.3680043.10.{n}") for n, name in enumerate(("one", "two"), start=1)]
    archive = Archive(orthanc.service)
    assert find_archived(archive, "CT") == ()
    for own in sent:
        store(orthanc.address(own.study), own.files)
    found = find_archived(archive, "CT")
    assert [(own.study, own.instances) for own in found] == [(own.study, len(own.files)) for own in sent]
    assert find_archived(archive, "SR") == ()
    (first, _) = found
    instances = find_instances(archive.study(first.study, first.series))
    assert {own.instance for own in instances} == {pydicom.dcmread(path).SOPInstanceUID for path in sent[0].files}
    with pytest.raises(UsageError, match="names none"):
        find_instances(archive.study(first.study))
    with pytest.raises(Unavailable, match=r"The archive at .*: no DICOMweb server answers there"):
        find_archived(Archive(f"{orthanc.service}/nothing"), "CT")
    orthanc.kill()
    with pytest.raises(Unavailable, match=r"The archive at .*: the server cannot be reached"):
        find_archived(archive, "CT")
