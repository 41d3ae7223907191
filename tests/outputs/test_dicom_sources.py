"""Images in the order of the volume, and what follows from them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from monai_staging.cohort.dicom import Rule, SeriesRefused, read_series, scan
from monai_staging.cohort.dicom.scan import group
from monai_staging.outputs.dicom_sources import content_uid, lesion_uid, mask_digest, read_sources
from monai_staging.outputs.findings import Algorithm


def one_series(folder):
    (series,) = scan(folder)
    return series


# Head first supine, feet first, head first prone, coronal from behind, and an oblique one.
ORIENTATIONS = {
    "axial": [1, 0, 0, 0, 1, 0],
    "turned": [-1, 0, 0, 0, 1, 0],
    "prone": [-1, 0, 0, 0, -1, 0],
    "coronal": [1, 0, 0, 0, 0, -1],
    "oblique": [0.8, 0.6, 0, -0.6, 0.8, 0],
}


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("step", [3.0, -3.0])
def test_images_are_in_the_order_of_the_slices(write_ct, orientation, step):
    normal = np.cross(orientation[:3], orientation[3:])

    def edit(k, ds):
        ds.ImageOrientationPatient = orientation
        ds.ImagePositionPatient = [f"{value:.6f}" for value in normal * k * step + (5, 6, 7)]

    series = one_series(write_ct(edit).folder)
    volume, sources = read_series(series), read_sources(series)
    assert sources.shape == volume.shape
    assert sources.spacing_mm == pytest.approx(3)
    points = np.array([[0.0, 0.0], [6.5, -0.5], [2.0, 5.0]])
    for k, dataset in enumerate(sources.datasets):
        assert sources.images[k] == (dataset.SOPClassUID, dataset.SOPInstanceUID)
        index = np.column_stack([points, np.full(3, k), np.ones(3)])
        ras = (index @ volume.affine.T)[:, :3]
        np.testing.assert_allclose(sources.to_lps(k, points), ras * (-1, -1, 1), atol=1e-5)
        assert sources.frame_number(k) is None


@pytest.mark.parametrize(
    ("keyword", "rule"),
    [("PatientID", Rule.MISSING_IDENTITY), ("FrameOfReferenceUID", Rule.MISSING_GEOMETRY)],
)
def test_images_that_nothing_could_belong_to_are_refused(write_ct, keyword, rule):
    written = write_ct(lambda _, ds: delattr(ds, keyword))
    (series,) = group(written.files, anonymous=True)
    with pytest.raises(SeriesRefused, match=f"no {keyword}: nothing that an output could belong to") as caught:
        read_sources(series)
    assert caught.value.rule is rule


def test_several_multi_frame_images_are_refused(write_ct):
    series = one_series(write_ct(count=4).folder)
    first, second, *others = series.headers
    planes = tuple(replace(header.planes[0], frame=n) for n, header in enumerate((first, *others)))
    doubled = replace(first, frames=3, planes=planes)
    with pytest.raises(SeriesRefused, match="2 multi-frame images; a SEG refers to the frames of one"):
        read_sources(replace(series, headers=(doubled, second)))


def test_uids_follow_from_series_findings_and_content(study, write_ct):
    uid = content_uid("seg", study.sources, study.findings, "a")
    assert uid == content_uid("seg", read_sources(study.series), study.findings, "a")
    other = read_sources(one_series(write_ct(folder="other", uid="1.2.3").folder))
    others = {
        content_uid("sr", study.sources, study.findings, "a"),
        content_uid("seg", other, study.findings, "a"),
        content_uid("seg", study.sources, study.without_lesions(), "a"),
        content_uid("seg", study.sources, study.findings, "b"),
    }
    assert len(others | {uid}) == 5
    uids = {
        lesion_uid(own, Algorithm("a", version), label)
        for own in (study.sources, other)
        for version in "12"
        for label in (1, 2)
    }
    assert len(uids) == 8


def test_uids_are_the_same_in_another_process(study):
    code = (
        "import sys; from monai_staging.cohort.dicom import scan; from monai_staging.outputs.dicom_sources import *;"
        "from monai_staging.outputs.findings import Algorithm;"
        "print(lesion_uid(read_sources(scan(sys.argv[1])[0]), Algorithm('a', '1'), 7))"
    )
    folder = study.series.files[0].parent
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == lesion_uid(study.sources, Algorithm("a", "1"), 7)


def test_the_digest_of_a_mask_is_of_its_labels(study):
    mask = study.mask
    assert mask_digest(mask) == mask_digest(np.asfortranarray(mask.astype(np.int32)))
    moved = np.roll(mask, 1, axis=0)
    assert len({mask_digest(own) for own in (mask, mask * 2, moved, mask[:, :, :-1], mask[:, :-1], mask * 0)}) == 6
