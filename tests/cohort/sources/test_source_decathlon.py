from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from monai_staging.cli.main import main
from monai_staging.cohort import Case, load_cohort
from monai_staging.cohort.audit import audit_cohort
from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.sources import make_plan
from monai_staging.cohort.sources.base import SourceOptions
from monai_staging.cohort.splits import SplitOptions
from monai_staging.cohort.volume import read_mask, read_volume
from monai_staging.errors import DataError

AFFINE = np.array([[-0.75, 0, 0, 180.0], [0, 0.75, 0, -190], [0, 0, 1.25, -400], [0, 0, 0, 1]])
SHAPE = (14, 12, 8)
TUMOUR = (slice(3, 7), slice(2, 6), slice(2, 5))
SATELLITE = (slice(10, 11), slice(9, 11), slice(6, 7))
ONE = IngestOptions(split=SplitOptions(test=0), workers=1)


def chest(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(-1000, 400, SHAPE).astype(np.int16)


def tumour(*places: tuple[slice, ...]) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    for place in places or (TUMOUR,):
        label[place] = 1
    return label


def write(path: Path, array: np.ndarray, affine: Any = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def listing(root: Path, outlined: Sequence[int], others: Sequence[int], **changes: Any) -> None:
    document = {
        "name": "Lung",
        "description": "Lung and cancer segmentation",
        "reference": "The Cancer Imaging Archive",
        "licence": "CC-BY-SA 4.0",
        "relase": "1.0 04/05/2018",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "cancer"},
        "numTraining": len(outlined),
        "numTest": len(others),
        "training": [
            {"image": f"./imagesTr/lung_{n:03}.nii.gz", "label": f"./labelsTr/lung_{n:03}.nii.gz"} for n in outlined
        ],
        "test": [f"./imagesTs/lung_{n:03}.nii.gz" for n in others],
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(document | changes))


def task(root: Path, outlined: Sequence[int] = (1, 3), others: Sequence[int] = (2,)) -> Path:
    """The task's folder as its archive unpacks, hidden files beside the others."""
    listing(root, outlined, others)
    for number in outlined:
        write(root / "imagesTr" / f"lung_{number:03}.nii.gz", chest(number))
        write(root / "labelsTr" / f"lung_{number:03}.nii.gz", tumour())
    for number in others:
        write(root / "imagesTs" / f"lung_{number:03}.nii.gz", chest(number))
    for path in [root / "dataset.json", *root.rglob("*.nii.gz")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(140))
    return root


def by_name(cases: Sequence[Case]) -> dict[str, Case]:
    return {case.series: case for case in cases}


def test_public_layout(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = task(raw / "Task06_Lung")
    write(root / "labelsTr" / "lung_003.nii.gz", tumour(TUMOUR, SATELLITE))
    out = tmp_path / "out"
    arguments = ["ingest", "decathlon", str(root), str(out), "--test", "0", "--workers", "1"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "3 cases of 3 patients, 3 lesions, 2 masks" in told
    assert "1 images of imagesTs have no label: nothing is known of what is in them." in told
    assert json.loads((out / "rejected.json").read_text()) == []
    cohort = load_cohort(out)
    cases = by_name(cohort.cases)
    assert sorted(cases) == ["lung_001", "lung_002", "lung_003"]
    assert (cases["lung_002"].lesions, cases["lung_002"].mask) == ((), None)
    for number in (1, 2, 3):
        case = cases[f"lung_{number:03}"]
        assert case.patient == case.study == case.series
        volume = read_volume(cohort.image_path(case))
        assert (volume.array == chest(number)).all()
        assert np.allclose(volume.affine, AFFINE)
    (first,) = cases["lung_001"].lesions
    assert (first.kind, first.label) == ("primary", 1)
    # Voxels 3 to 6, 2 to 5 and 2 to 4, edges included.
    assert first.center_mm == pytest.approx((180 - 4.5 * 0.75, -190 + 3.5 * 0.75, -400 + 3 * 1.25), abs=1e-3)
    assert first.size_mm == pytest.approx((3.0, 3.0, 3.75))
    assert [(lesion.kind, lesion.label) for lesion in cases["lung_003"].lesions] == [("primary", 1), ("nodule", 2)]
    path = cohort.mask_path(cases["lung_003"])
    assert path is not None
    expected = tumour(TUMOUR)
    expected[SATELLITE] = 2
    assert (read_mask(path)[0] == expected).all()
    assert audit_cohort(cohort).acceptable
    assert main(["audit", str(out)]) == 0


def test_images_that_are_no_ct_in_hu_are_refused_and_the_rest_goes_on(raw: Path, tmp_path: Path) -> None:
    root = task(raw, range(1, 9), (9,))
    images = root / "imagesTr"
    write(images / "lung_002.nii.gz", chest(2) / np.float32(3071))
    write(images / "lung_003.nii.gz", chest(3).astype(np.int32) * 100)
    write(images / "lung_004.nii.gz", chest(4), None)
    write(images / "lung_005.nii.gz", (chest(5) % 256).astype(np.uint8))
    (images / "lung_006.nii.gz").write_bytes((images / "lung_001.nii.gz").read_bytes()[:-100])
    (images / "lung_007.nii.gz").unlink()
    # As floats, and yet whole Hounsfield units: nothing is lost.
    write(images / "lung_008.nii.gz", chest(8).astype(np.float32))
    result = ingest("decathlon", raw, tmp_path / "out", ONE)
    cases = by_name(result.cohort.cases)
    assert sorted(cases) == ["lung_001", "lung_008", "lung_009"]
    assert (read_volume(result.cohort.image_path(cases["lung_008"])).array == chest(8)).all()
    found = {rejection.patient: rejection for rejection in result.rejections}
    assert {name: rejection.rule for name, rejection in found.items()} == {
        "lung_002": "fractional-hu",
        "lung_003": "out-of-range",
        "lung_004": "missing-geometry",
        "lung_005": "not-hounsfield",
        "lung_006": "truncated",
        "lung_007": "unreadable",
    }
    assert "values from 0 to 255; in HU the air of a chest CT is below -500" in found["lung_005"].found
    assert found["lung_007"].found == "dataset.json lists lung_007.nii.gz, and there is no such file."
    assert all(r.files == (f"imagesTr/{name}.nii.gz",) for name, r in found.items())


def test_labels_that_do_not_fit_are_refused_alone(raw: Path, tmp_path: Path) -> None:
    root = task(raw, range(1, 8), ())
    labels = root / "labelsTr"
    write(labels / "lung_002.nii.gz", tumour() * np.uint8(2))
    moved = AFFINE.copy()
    moved[2, 3] += 1.25
    write(labels / "lung_003.nii.gz", tumour(), moved)
    write(labels / "lung_004.nii.gz", np.zeros(SHAPE, np.uint8))
    (labels / "lung_005.nii.gz").unlink()
    write(labels / "lung_006.nii.gz", tumour() * np.float32(0.5))
    training = json.loads((root / "dataset.json").read_text())["training"]
    training[6]["label"] = "./labelsTr/lung_001.nii.gz"
    listing(root, range(1, 8), (), training=training)
    result = ingest("decathlon", raw, tmp_path / "out", ONE)
    cases = by_name(result.cohort.cases)
    assert len(cases) == 7
    assert [name for name, case in sorted(cases.items()) if case.mask is not None] == ["lung_001"]
    assert [name for name, case in sorted(cases.items()) if case.lesions] == ["lung_001"]
    found = {rejection.patient: rejection for rejection in result.rejections}
    assert {name: rejection.rule for name, rejection in found.items()} == {
        "lung_002": "not-a-mask",
        "lung_003": "mask-off-grid",
        "lung_004": "no-lesion-region",
        "lung_005": "unreadable",
        "lung_006": "not-a-mask",
        "lung_007": "annotation-of-another-patient",
    }
    assert "must hold 0 and 1; found values from 0 to 2" in found["lung_002"].found
    assert "1.25 mm apart" in found["lung_003"].found
    assert found["lung_003"].files == ("labelsTr/lung_003.nii.gz",)


def test_the_folder_that_the_archive_was_unpacked_in_will_do(raw: Path) -> None:
    task(raw / "Task06_Lung")
    made = make_plan("decathlon", raw, SourceOptions())
    assert [job.series.series for job in made.jobs] == ["lung_001", "lung_002", "lung_003"]


def test_what_the_listing_does_not_settle_is_refused(raw: Path) -> None:
    root = task(raw, (1, 2), (3,))
    listing(root, (1, 2), (2,))
    write(root / "imagesTs" / "lung_002.nii.gz", chest(2))
    made = make_plan("decathlon", raw, SourceOptions())
    assert [job.series.series for job in made.jobs] == ["lung_001"]
    assert {(rejection.patient, rejection.rule, rejection.files) for rejection in made.rejections} == {
        (
            "lung_002",
            "ambiguous-identity",
            (str(root / "imagesTr" / "lung_002.nii.gz"), str(root / "imagesTs" / "lung_002.nii.gz")),
        ),
        ("lung_003", "unlisted-image", (str(root / "imagesTs" / "lung_003.nii.gz"),)),
    }


def test_hidden_images_that_are_listed_are_left_out(raw: Path) -> None:
    root = task(raw)
    training = json.loads((root / "dataset.json").read_text())["training"]
    hidden = [{key: value.replace("lung", "._lung") for key, value in item.items()} for item in training]
    listing(root, (1, 3), (2,), training=training + hidden)
    made = make_plan("decathlon", raw, SourceOptions())
    assert (len(made.jobs), made.rejections) == (3, ())


@pytest.mark.parametrize(
    ("break_it", "found"),
    [
        (lambda root: (root / "dataset.json").unlink(), "dataset.json: no such file"),
        (lambda root: (root / "dataset.json").write_text("{"), "dataset.json: cannot be read"),
        (lambda root: (root / "dataset.json").write_text("[]"), "found None"),
        (lambda root: listing(root, (1,), (), modality={"0": "MRI"}), "found .*MRI"),
        (lambda root: listing(root, (1,), (), labels={"0": "background", "1": "liver", "2": "cancer"}), "liver"),
        (lambda root: listing(root, (1,), (), training=[{"image": "./imagesTr/a.nii.gz"}]), "KeyError..label"),
        (lambda root: listing(root, (1,), (), training=None), "not a listing"),
        (lambda root: listing(root, (1,), (), test=["../imagesTs/a.nii.gz"]), "is ./imagesTs/NAME.nii.gz; found"),
        (lambda root: listing(root, (1,), (), test=["/imagesTs/a.nii.gz"]), "found '/imagesTs"),
        (lambda root: listing(root, (1,), (), test=["imagesTs/a.png"]), "found 'imagesTs/a.png'"),
        (lambda root: listing(root, (1,), (), test=[7]), "found 7"),
    ],
)
def test_refuses_a_listing(raw: Path, break_it: Callable[[Path], Any], found: str) -> None:
    break_it(task(raw))
    with pytest.raises(DataError, match=found):
        make_plan("decathlon", raw, SourceOptions())


def test_an_ingest_goes_on_where_only_one_label_changed(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = task(raw)
    ingest("decathlon", raw, tmp_path / "out", ONE)
    capsys.readouterr()
    write(root / "labelsTr" / "lung_003.nii.gz", tumour(TUMOUR, SATELLITE))
    result = ingest("decathlon", raw, tmp_path / "out", ONE)
    assert "2 of 3 series were done before" in capsys.readouterr().err
    assert len(by_name(result.cohort.cases)["lung_003"].lesions) == 2


def test_a_real_ct_and_lobe(unpacked: Callable[[str], Path], raw: Path, tmp_path: Path) -> None:
    """A CT as NIfTI that another program wrote, one of its lobes in the place of a tumour."""
    examples = unpacked("totalsegmentator_examples/reference_files.tar.gz")
    lobe = nibabel.load(examples / "example_seg_fast" / "lung_upper_lobe_left.nii.gz")
    listing(raw, (1, 2), ())
    for number in (1, 2):
        (raw / "imagesTr").mkdir(exist_ok=True)
        shutil.copy(examples / "example_ct.nii.gz", raw / "imagesTr" / f"lung_{number:03}.nii.gz")
    image: Any = nibabel.load(examples / "example_ct.nii.gz")
    marked = np.zeros(image.shape, np.uint8)
    marked[:, :, : lobe.shape[2]] = np.asarray(lobe.dataobj)
    write(raw / "labelsTr" / "lung_001.nii.gz", marked, image.affine)
    shutil.copy(examples / "example_seg_fast" / "lung_upper_lobe_left.nii.gz", raw / "labelsTr" / "lung_002.nii.gz")
    result = ingest("decathlon", raw, tmp_path / "out", ONE)
    case, other = by_name(result.cohort.cases).values()
    volume = read_volume(result.cohort.image_path(case))
    assert (volume.array == np.asarray(image.dataobj)).all()
    path = result.cohort.mask_path(case)
    assert path is not None
    mask, _ = read_mask(path)
    labelled, count = ndimage.label(marked, np.ones((3, 3, 3)))
    assert len(case.lesions) == count
    assert (mask == 1).sum() == np.bincount(labelled[labelled > 0]).max()
    # The label of the first 30 slices alone is of another grid.
    assert (other.mask, [r.rule for r in result.rejections]) == (None, ["mask-off-grid"])
    assert "found 122 x 101 x 30 and 122 x 101 x 112 voxels" in result.rejections[0].found
