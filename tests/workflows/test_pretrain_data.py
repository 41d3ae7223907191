"""The images of a pretraining: sizes, channels, parts, and who is never seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import Cohort
from monai_staging.cohort.nodules.patches import PatchTable, write_patches
from monai_staging.cohort.volume import Volume, write_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.tnm.categories import LETTERS, categories
from monai_staging.workflows import pretrain_data
from monai_staging.workflows.pretrain_data import ImageBatches, PretrainData, even_batches, load_data
from monai_staging.workflows.pretrain_patches import PatchSettings

SMALL = PatchSettings(size=16, count=4, spacing_mm=2.0)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Six patients, each with a level of intensity; the fifth is in the validation part, the sixth in the test part."""
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    letters = [categories(letter, "8") for letter in LETTERS]
    cases = []
    for number in range(6):
        blocks = np.kron(rng.integers(0, 2, (10, 10)), np.ones((4, 4)))
        array = np.repeat((blocks * 400 + number * 100 - 500)[..., None], 12, axis=2).astype(np.int16)
        array[:, :, :6] = -1000  # half of it is air
        write_volume(tmp_path / f"volumes/{number}.nii", Volume(array, affine))
        cases.append(Case(f"P{number}", f"study {number}", f"{number}", f"volumes/{number}.nii", *letters, "8"))
    Cohort(tmp_path, "six", "made", None, tuple(cases[:4]), (cases[4],), (cases[5],)).save()
    return tmp_path


@pytest.fixture
def nodules(tmp_path: Path) -> Path:
    # Five patients of two nodules of two slices.
    rows = [{"patient_id": f"N{n // 2}", "slice_thickness_mm": 2.0, "pixel_spacing_mm": 0.7} for n in range(10)]
    images = [np.stack([np.full((64, 64), 2 * n + k, np.uint8) for k in range(2)]) for n in range(10)]
    outlines = [np.zeros((4, 2, 64, 64), bool)] * 10
    return write_patches(tmp_path / "nodules", PatchTable(rows, images, outlines))


def load(
    task: str, folder: Path, *, channels: int = 1, patches: PatchSettings = SMALL, **settings: object
) -> PretrainData:
    return load_data(task, folder, in_channels=channels, patches=patches, **settings)  # type: ignore[arg-type]


def test_public_images_are_resized_and_parted_by_class() -> None:
    data = load("digits", Path("nowhere"))
    assert (len(data.training), len(data.validation), len(data.test)) == (1293, 144, 360)
    assert data.training.images.shape[1:] == (1, 16, 16) and data.training.images.dtype == torch.uint8
    assert torch.bincount(data.validation.labels).min() >= 13
    assert not set(data.training.groups.tolist()) & set(data.validation.groups.tolist())
    assert data.unit == "image" and data.classes == tuple("0123456789") and data.facts["data"] == "digits"


def test_colours_are_kept_or_averaged(cifar10: Path) -> None:
    kept = load("cifar10", cifar10, channels=3, patches=PatchSettings(size=32), validation_share=0.2)
    grey = load("cifar10", cifar10, channels=1, patches=PatchSettings(size=32), validation_share=0.2)
    assert kept.test.images.shape[1:] == (3, 32, 32) and grey.test.images.shape[1:] == (1, 32, 32)
    mean = kept.test.images.float().mean(dim=1, keepdim=True)
    assert (grey.test.images.float() - mean).abs().max() <= 0.5
    with pytest.raises(UsageError, match="3 channels are kept, or averaged to 1; found in_channels=2"):
        load("cifar10", cifar10, channels=2, validation_share=0.2)
    with pytest.raises(UsageError, match="leaves 5 of 50 images to validate 10 classes"):
        load("cifar10", cifar10, channels=3)


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    import pickle

    rng = np.random.default_rng(1)
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        content = {b"labels": list(range(10)), b"data": rng.integers(0, 256, (10, 3072), dtype=np.uint8)}
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=3))
    return tmp_path


def test_a_cohort_gives_its_training_part_alone(cohort: Path) -> None:
    data = load("restoration", cohort, validation_share=0.25)
    assert len(data.training) == 12 and len(data.validation) == 4
    assert data.test is data.validation and data.unit == "patient" and data.ras
    assert not set(data.training.groups.tolist()) & set(data.validation.groups.tolist())
    assert set(data.training.labels.tolist()) == {-1}
    # Level and texture of the patients of the training part: 0 to 3, in a window of -1000 to 1000 HU; their air is not.
    seen = torch.cat([data.training.images, data.validation.images]).float() / 255 * 2000 - 1000
    assert 180 < seen.amax() < 300 - 500 + 400 + 10
    again = load("restoration", cohort, validation_share=0.25)
    assert torch.equal(again.training.images, data.training.images)


def test_patches_in_which_nothing_is_to_be_seen_are_drawn_anew(cohort: Path) -> None:
    data = load("restoration", cohort, validation_share=0.25, patches=PatchSettings(size=16, count=16, spacing_mm=2.0))
    images = torch.cat([data.training.images, data.validation.images]).float() / 255
    assert (images.flatten(1).std(dim=1) > 0.04).float().mean() > 0.8  # half of every volume is air


def test_what_is_left_out_is_never_seen(cohort: Path) -> None:
    data = load("restoration", cohort, validation_share=0.25, exclude_patients=["p3", "P5"])
    assert len(data.training) + len(data.validation) == 12
    assert data.facts["excluded_patients"] == 2 and len(str(data.facts["excluded_digest"])) == 64
    assert not any("P3" in str(value) for value in data.facts.values())
    # The highest level is gone with its patient.
    images = torch.cat([data.training.images, data.validation.images]).float() / 255 * 2000 - 1000
    assert images.max() < 200 - 500 + 400 + 10
    with pytest.raises(DataError, match="none of the 1 patients"):
        load("restoration", cohort, exclude_patients=["Q"])
    with pytest.raises(DataError, match="has no case that may be seen"):
        load("restoration", cohort, exclude_patients=["P0", "P1", "P2", "P3"])


def test_other_parts_must_be_asked_for(cohort: Path) -> None:
    data = load("restoration", cohort, parts=("training", "validation"), validation_share=0.2)
    assert len(data.training) + len(data.validation) == 20 and "training + validation" in data.title
    with pytest.raises(UsageError, match="parts must be some of training, validation, test"):
        load("restoration", cohort, parts=("train",))


def test_a_cohort_that_leaks_is_refused(cohort: Path) -> None:
    document = json.loads((cohort / "cohort.json").read_text())
    document["test"][0]["patient"] = "p1"
    (cohort / "cohort.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="leaks"):
        load("restoration", cohort)


def test_cubes_and_windows(cohort: Path) -> None:
    settings = PatchSettings(size=8, spatial_dims=3, count=2, windows=("lung", "mediastinum"))
    data = load("contrastive", cohort, channels=2, patches=settings, limit=3)
    assert data.training.images.shape == (3, 2, 8, 8, 8)
    with pytest.raises(UsageError, match="2 channels are kept, or averaged to 1"):
        load("contrastive", cohort, channels=3, patches=settings)


def test_nodule_slices_are_parted_by_patient(nodules: Path) -> None:
    data = load("contrastive", nodules, validation_share=0.4, patches=PatchSettings(size=8))
    assert len(data.training) == 12 and len(data.validation) == 8 and not data.ras
    # A slice's grey is its number: four to a patient, all on one side.
    sides = [{int(image.max()) // 4 for image in part.images} for part in (data.training, data.validation)]
    assert not sides[0] & sides[1]
    less = load("contrastive", nodules, exclude_patients=["N4"], patches=PatchSettings(size=8))
    assert len(less.training) + len(less.validation) == 16
    assert max(int(less.training.images.max()), int(less.validation.images.max())) == 15
    with pytest.raises(DataError, match="every patient is left out"):
        load("contrastive", nodules, exclude_patients=[f"N{n}" for n in range(5)])


def test_settings_that_do_not_fit_are_refused(nodules: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its images have 2 axes, found spatial_dims=3"):
        load("contrastive", nodules, patches=PatchSettings(spatial_dims=3))
    with pytest.raises(UsageError, match="task digits: its images have 2 axes"):
        load("digits", tmp_path, patches=PatchSettings(spatial_dims=3))
    with pytest.raises(UsageError, match="the images of digits are of no patients"):
        load("digits", tmp_path, exclude_patients=["A"])
    with pytest.raises(UsageError, match="validation_share"):
        load("digits", tmp_path, validation_share=1.0)
    with pytest.raises(DataError, match="no cohort.json in it"):
        load("restoration", tmp_path / "nowhere")
    for wrong in ({"size": 0}, {"count": 0}, {"spatial_dims": 1}, {"spacing_mm": 0.0}):
        with pytest.raises(UsageError, match="Patches"):
            PatchSettings(**wrong)  # type: ignore[arg-type]


def test_a_run_is_tracked_with_its_cohort(nodules: Path, cohort: Path) -> None:
    assert pretrain_data.cohort_of("restoration", cohort) == str(cohort)
    assert pretrain_data.cohort_of("restoration", nodules) is None
    assert pretrain_data.cohort_of("mnist", cohort) is None


def test_batches_are_taken_as_a_whole() -> None:
    part = load("digits", Path(), limit=10).training
    batch = ImageBatches(part)[[3, 1]]
    assert torch.equal(batch["image"], part.images[[3, 1]]) and batch["index"].tolist() == [3, 1]
    assert torch.equal(batch["label"], part.labels[[3, 1]]) and len(ImageBatches(part)) == 10


@pytest.mark.parametrize(("count", "size"), [(7, 3), (3, 8), (16, 4), (5, 4)])
def test_even_batches_hold_everything_and_are_never_small(count: int, size: int) -> None:
    batches = even_batches(count, size)
    assert [index for batch in batches for index in batch] == list(range(count))
    assert min(map(len, batches)) >= min(count, size)
