"""Rated nodules cut out of a cohort's volumes: where they are, how they are turned, whose they are."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.cohort import Cohort
from monai_staging.cohort.nodules import NoduleSet, load_nodules
from monai_staging.cohort.nodules.rated import load_rated
from monai_staging.cohort.nodules.split import NoduleSplit, split_nodules
from monai_staging.cohort.volume import Volume, write_mask, write_volume
from monai_staging.errors import DataError
from monai_staging.tnm.categories import LETTERS, categories
from monai_staging.transforms.nodule_features import ruler_area_mm2

SLOPE_HU_PER_MM = np.array([3.0, -2.0, 1.0])
CENTER_MM = (20.0, -15.0, 40.0)
SHAPE = (110, 100, 60)
# Columns to the patient's left, rows to the back, slices upwards: as CT is stored.
USUAL = np.array([[-0.8, 0, 0, 0], [0, -0.8, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]])
LETTER_SETS = [categories(letter, "8") for letter in LETTERS]


def placed(axes: np.ndarray) -> np.ndarray:
    """The affine with the volume's middle at the nodule's centre."""
    affine = axes.copy()
    affine[:3, 3] = np.array(CENTER_MM) - axes[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def world_mm(affine: np.ndarray, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def case(name: str = "1", patient: str = "LIDC-IDRI-0001", **more: Any) -> Case:
    lesions = more.pop("lesions", (lesion(),))
    paths = {"image": f"volumes/{name}.nii", "mask": f"masks/{name}.nii"} | more
    return Case(patient, f"1.2.{name}", f"1.2.{name}.1", t=LETTER_SETS[0], n=LETTER_SETS[1], m=LETTER_SETS[2],
                edition="8", lesions=lesions, **paths)  # fmt: skip


def lesion(**settings: Any) -> Lesion:
    known: dict[str, Any] = {"center_mm": CENTER_MM, "size_mm": (10.0, 10.0, 10.0), "malignancy": (4, 5), "label": 2}
    return Lesion(kind="nodule", **(known | settings))


def write(root: Path, name: str = "1", affine: np.ndarray | None = None, radius_mm: float = 5.0) -> None:
    """A volume whose HU rise along each axis of the world, and a ball of label 2 with one of label 1 beside it."""
    own = placed(USUAL) if affine is None else affine
    points = world_mm(own) - CENTER_MM
    hu = np.rint(points @ SLOPE_HU_PER_MM * 4).astype(np.int16)
    write_volume(root / f"volumes/{name}.nii", Volume(hu, own))
    mask = 2 * (np.linalg.norm(points, axis=-1) <= radius_mm).astype(np.uint8)
    mask[np.linalg.norm(points - [12, 0, 0], axis=-1) <= 4] = 1
    write_mask(root / f"masks/{name}.nii", mask, own)


def one(root: Path, **settings: Any) -> NoduleSet:
    """The nodules of a cohort with one case."""
    Cohort(root, "lidc", "lidc-idri", None, (case(**settings),)).save()
    return load_rated(root)


# As CT is stored; RAS; slices from above; sagittal slices; slices of 3 mm; a little oblique.
AXES = {
    "usual": USUAL,
    "ras": np.diag([0.8, 0.8, 1.5, 1.0]),
    "from above": np.diag([-0.8, -0.8, -1.5, 1.0]),
    "sagittal": np.array([[0, 0, 0.9, 0], [-0.7, 0, 0, 0], [0, -1.6, 0, 0], [0, 0, 0, 1.0]]),
    "thick": np.diag([-0.6, 0.6, 3.0, 1.0]),
    "oblique": np.array([[-0.798, 0.05, 0, 0], [-0.05, -0.798, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("name", list(AXES))
def test_axes_are_slices_from_below_rows_to_the_back_columns_to_the_left(name: str, tmp_path: Path) -> None:
    affine = placed(AXES[name])
    write(tmp_path, affine=affine)
    nodules = one(tmp_path)
    volume, spacing = nodules.read(0), nodules.records[0].spacing_mm
    assert spacing is not None and volume.image.dtype == np.int16
    image = volume.image[0].astype(float)
    if name != "oblique":
        # The slope along each array axis is that along the world's: up, back, left.
        steps = [np.diff(image, axis=axis).mean() / 4 / mm for axis, mm in enumerate(spacing)]
        assert steps == pytest.approx([1.0, 2.0, -3.0], abs=0.02)
    columns = np.linalg.norm(AXES[name][:3, :3], axis=0)
    order = [np.abs(AXES[name][world, :3]).argmax() for world in (2, 1, 0)]
    assert spacing == pytest.approx(columns[order])
    # The outline is where the labelled ball is: about its centre HU is 0 by construction.
    outline = volume.outlines[0]
    assert outline.shape == image.shape and len(volume.outlines) == 1
    assert abs(image[outline].mean()) < 3
    assert outline.sum() * np.prod(spacing) == pytest.approx(np.pi / 6 * 10**3, rel=0.1)
    assert ruler_area_mm2(volume.outlines, spacing) == pytest.approx(np.pi * 25, rel=0.12)
    # 64 mm in all, but for what the volume does not have; nothing is read from it any more.
    extent = [n * mm for n, mm in zip(outline.shape, spacing, strict=True)]
    covered = [n * mm for n, mm in zip(np.array(SHAPE)[order], columns[order], strict=True)]
    for have, there, mm in zip(extent, covered, spacing, strict=True):
        assert min(64, there) - 2 * mm < have < min(64, there) + 3 * mm
    assert volume.image.flags.c_contiguous and not isinstance(volume.image, np.memmap)


def test_a_large_nodule_is_cut_out_whole(tmp_path: Path) -> None:
    write(tmp_path)
    small = one(tmp_path).read(0).image.shape
    large = one(tmp_path, lesions=(lesion(size_mm=(50.0, 10.0, 10.0)),)).read(0).image.shape
    # 50 mm and 16 on either side, 82 mm, but the volume ends after 80 (rows) or 88 (columns).
    assert large[3] == pytest.approx(82 / 0.8, abs=2) and large[2] == 100
    assert small[2:] == (pytest.approx(80, abs=2), pytest.approx(80, abs=2))


@pytest.mark.parametrize(
    ("shift", "voxels"),
    [
        # The volume reaches 44, 40 and 45 mm from its middle, the box 32 mm.
        ((-40.0, 0.0, 0.0), (64 / 1.5, 64 / 0.8, 36 / 0.8)),
        ((0.0, 35.0, -40.0), (37 / 1.5, 37 / 0.8, 64 / 0.8)),
    ],
)
def test_a_box_ends_where_the_scan_does(
    shift: tuple[float, float, float], voxels: tuple[float, float, float], tmp_path: Path
) -> None:
    write(tmp_path)
    center = tuple(c + s for c, s in zip(CENTER_MM, shift, strict=True))
    volume = one(tmp_path, mask=None, lesions=(lesion(label=None, diameter_mm=6.0, center_mm=center),)).read(0)
    assert volume.image.shape[1:] == pytest.approx(voxels, abs=2)
    image, outline = volume.image[0], volume.outlines[0]
    assert image[outline].mean() == pytest.approx(4 * np.dot(SLOPE_HU_PER_MM, shift), abs=8)


@pytest.mark.parametrize("diameter_mm", [0.5, 4.0, 9.0, 21.0])
def test_without_a_mask_the_outline_is_a_ball(diameter_mm: float, tmp_path: Path) -> None:
    write(tmp_path)
    nodules = one(tmp_path, mask=None, lesions=(lesion(label=None, diameter_mm=diameter_mm),))
    (outline,), spacing = nodules.read(0).outlines, nodules.records[0].spacing_mm
    assert spacing is not None
    if diameter_mm < 1:  # between the voxels' centres
        assert 1 <= outline.sum() <= 8
        return
    assert outline.sum() * np.prod(spacing) == pytest.approx(np.pi / 6 * diameter_mm**3, rel=0.15)
    extent = [np.ptp(index) * mm for index, mm in zip(np.nonzero(outline), spacing, strict=True)]
    assert all(diameter_mm - 2 * mm <= own <= diameter_mm for own, mm in zip(extent, spacing, strict=True))


def test_ratings_are_labels_and_attributes(tmp_path: Path) -> None:
    write(tmp_path)
    rated = {"texture": (5, 4), "calcification": (6, 3), "internalStructure": (1, 1)}
    lesions = (
        lesion(ratings=rated),
        lesion(malignancy=(3, 3)),
        lesion(malignancy=()),
        replace(lesion(), kind="primary"),
        lesion(malignancy=(1, 2, 2, 1)),
    )
    nodules = one(tmp_path, lesions=lesions)
    assert [record.label for record in nodules.records] == [(1,), None, (0,)]
    assert nodules.records[0].ratings == (4, 5)
    assert nodules.records[0].attributes == {"texture": 4.5, "calcification": 4.5}
    assert [record.name.rpartition("-nodule-")[2] for record in nodules.records] == ["1", "2", "5"]
    assert nodules.value_range == (-1000, 400) and nodules.classes == ("benign", "malignant")
    assert (nodules.title, nodules.synthetic) == ("lidc nodules", False)


def three(root: Path, **parts: list[Case]) -> NoduleSet:
    for number in "1234":
        write(root, number)
    Cohort(root, "lidc", "lidc-idri", None, **{part: tuple(cases) for part, cases in parts.items()}).save()
    return load_rated(root)


def test_nothing_says_who_a_patient_is(tmp_path: Path) -> None:
    cases = [case("1"), case("2", "Jane Doe"), case("3", " jane doe"), case("4")]
    nodules = three(tmp_path, training=cases)
    patients = [record.patient for record in nodules.records]
    # One spelling or another, one patient; two studies of a patient are told apart.
    assert patients[0] == patients[3] and patients[1] == patients[2] and len(set(patients)) == 2
    assert len({record.name for record in nodules.records}) == 4
    told = json.dumps([[record.name, record.patient] for record in nodules.records])
    for secret in ("LIDC", "0001", "jane", "Jane", "1.2.1"):
        assert secret not in told
    # The order of the cohort changes no name.
    again = three(tmp_path, training=cases[:2], validation=cases[2:])
    assert {record.name for record in again.records} == {record.name for record in nodules.records}


def test_parts_are_the_cohort_s_only_with_a_test_part(tmp_path: Path) -> None:
    others = [case("1", "A"), case("2", "B"), case("3", "C")]
    nodules = three(tmp_path, training=others[:2], validation=others[2:], test=[case("4", "D")])
    assert [record.part for record in nodules.records] == ["training", "training", "validation", "test"]
    assert split_nodules(nodules, NoduleSplit())["test"].tolist() == [3]
    folded = three(tmp_path, training=others[:2], validation=others[2:])
    assert {record.part for record in folded.records} == {None}
    assert len(split_nodules(folded, NoduleSplit(folds=3))["test"]) == 1


def test_a_patient_in_two_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="case-[0-9a-f]{10} is in training and in test; one is allowed") as caught:
        three(tmp_path, training=[case("1", "Doe")], test=[case("2", "doe ")])
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lesions": ()}, "at least one nodule rated for malignancy is needed; found none"),
        ({"mask": None}, "nodule-1: its label 2 needs a mask, found none"),
        ({"lesions": (lesion(label=None),)}, "nodule-1: a label in a mask or a diameter above 0 mm is needed"),
        ({"image": "volumes/none.nii"}, "Nodules of case-[0-9a-f]{10}: Volume none.nii: cannot be read"),
        ({"mask": "masks/none.nii"}, "masks/none.nii cannot be read"),
    ],
)
def test_a_cohort_without_what_is_needed_is_refused(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=said):
        one(tmp_path, **settings)


def test_a_nodule_that_is_not_where_it_should_be_is_refused_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path)
    lesions = (lesion(center_mm=(500.0, 0.0, 0.0)), lesion(label=7), lesion())
    nodules = one(tmp_path, lesions=lesions)
    with pytest.raises(DataError, match=r"nodule-1: its centre, voxel .* lies outside \[110, 100, 60\]"):
        nodules.read(0)
    with pytest.raises(DataError, match="nodule-2: the mask has no voxel of its label 7"):
        nodules.read(1)
    assert nodules.read(2).outlines.any()
    moved = placed(USUAL)
    moved[0, 3] += 1
    write_mask(tmp_path / "masks/1.nii", np.zeros(SHAPE, np.uint8), moved)
    with pytest.raises(DataError, match="its mask must lie on the volume's grid"):
        nodules.read(2)


def test_a_mask_that_was_corrected_is_noticed(tmp_path: Path) -> None:
    write(tmp_path)
    before = one(tmp_path)
    voxels = before.read(0).outlines.sum()
    assert load_rated(tmp_path).state == before.state
    write(tmp_path, radius_mm=7.0)
    os.utime(tmp_path / "masks/1.nii", ns=(1, 1))
    after = load_rated(tmp_path)
    assert after.digest == before.digest and after.state != before.state
    assert after.read(0).outlines.sum() > 2 * voxels


def test_a_volume_larger_than_memory_costs_a_box(tmp_path: Path) -> None:
    """A sparse volume of 6.75 GB with its mask: only the box is read."""
    affine = np.diag([-0.5, -0.5, 0.5, 1.0])
    for path, write_small in (("volumes/1.nii", False), ("masks/1.nii", True)):
        if write_small:
            write_mask(tmp_path / path, np.zeros((2, 2, 2), np.uint8), affine)
        else:
            write_volume(tmp_path / path, Volume(np.zeros((2, 2, 2), np.int16), affine))
        with open(tmp_path / path, "r+b") as file:
            file.seek(42)
            file.write(np.array([1500, 1500, 1500], "<i2").tobytes())
            file.truncate(352 + 1500**3 * (1 if write_small else 2))
    center = 500 + 1500 * (500 + 1500 * 500)
    with open(tmp_path / "masks/1.nii", "r+b") as file:
        file.seek(352 + center)
        file.write(b"\2")
    with open(tmp_path / "volumes/1.nii", "r+b") as file:
        file.seek(352 + 2 * center)
        file.write(np.array([321], "<i2").tobytes())
    place = (-250.0, -250.0, 250.0)
    volume = one(tmp_path, lesions=(lesion(center_mm=place, size_mm=(0.0, 0.0, 0.0)),)).read(0)
    assert volume.outlines.sum() == 1 and volume.image[0][volume.outlines[0]].tolist() == [321]
    assert max(volume.image.shape) < 135


def test_load_nodules_takes_a_cohort(tmp_path: Path) -> None:
    write(tmp_path)
    one(tmp_path)
    nodules = load_nodules(tmp_path)
    assert nodules.source == "cohort" and len(nodules) == 1
