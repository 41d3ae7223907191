"""What an image set is, the digits inside scikit-learn, and the file of nodule slices."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from monai_staging.cohort.image_sets import ImageSet, nodules, read_public_set
from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.errors import DataError

HEADER = "nodule_index,patient_id,npz_first_slice,npz_n_slices\n"


def test_the_digits_are_parted_by_class_and_always_alike(tmp_path: Path) -> None:
    training, test = read_public_set("digits", tmp_path / "not looked at")
    assert len(training) + len(test) == len(load_digits().target) and len(test) == 360
    assert training.images.shape[1:] == (1, 8, 8) and training.images.max() == 255
    assert test.labels is not None
    assert np.bincount(test.labels).min() >= 34
    both = {image.tobytes() for image in training.images} & {image.tobytes() for image in test.images}
    assert not both
    assert read_public_set("digits", ".")[1].digest == test.digest


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"images": np.zeros((2, 1, 4, 4))}, "uint8"),
        ({"images": np.zeros((0, 1, 4, 4), np.uint8)}, "N above 0"),
        ({"images": np.zeros((2, 4), np.uint8)}, "shape"),
        ({"patients": ("a",)}, "one of patients an image, found 1 for 2"),
        ({"labels": np.zeros(3, np.int64)}, "one of labels an image, found 3 for 2"),
        ({"labels": np.array([0, 2]), "classes": ("a", "b")}, r"labels lie in 0\.\.1, found 0\.\.2"),
    ],
)
def test_a_set_that_does_not_go_together_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        ImageSet(**{"name": "set", "images": np.zeros((2, 1, 4, 4), np.uint8), **settings})  # type: ignore[arg-type]


def test_every_nodule_slice_has_its_patient(tmp_path: Path) -> None:
    write_phantom_nodules(tmp_path, 6, seed=1, patients=3)
    found = nodules.read_nodules(tmp_path)
    with open(tmp_path / "nodules.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [row["patient_id"] for row in rows for _ in range(int(row["npz_n_slices"]))]
    assert found.patients == tuple(expected) and found.labels is None
    with np.load(tmp_path / nodules.FILE) as archive:
        np.testing.assert_array_equal(found.images[:, 0], archive["images"])
    assert found.take(np.array([5, 0])).patients == (expected[5], expected[0])


def test_a_slice_without_a_patient_is_refused(tmp_path: Path) -> None:
    write_phantom_nodules(tmp_path, 3, seed=1)
    table = tmp_path / "nodules.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:2], lines[3]]) + "\n")
    with pytest.raises(DataError, match=r"slice \d+ of \d+ has no row"):
        nodules.read_nodules(tmp_path)
