"""What an image set is, the digits inside scikit-learn, and the file of nodule slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from monai_staging.cohort.image_sets import ImageSet, nodules, read_public_set
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
    images = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
    np.savez(tmp_path / nodules.FILE, images=images)
    (tmp_path / nodules.TABLE).write_text(HEADER + "1,B,2,4\n2,A,0,2\n")
    found = nodules.read_nodules(tmp_path)
    np.testing.assert_array_equal(found.images[:, 0], images)
    assert found.patients == ("A", "A", "B", "B", "B", "B") and found.labels is None
    assert found.take(np.array([5, 0])).patients == ("B", "A")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (HEADER + "1,A,0,5\n", "slice 5 of 6 has no row"),
        (HEADER + "1,A,0,6\n2,B,5,1\n", "line 3: slice 5 of 6 is not this row's alone"),
        (HEADER + "1,A,0,7\n", "line 2: slice 6 of 6"),
        (HEADER + "1,A,zero,6\n", "cannot be read"),
        ("patient\nA\n", "npz_first_slice"),
        (None, "cannot be read"),
    ],
)
def test_a_slice_without_a_patient_is_refused(table: str | None, said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / nodules.FILE, images=np.zeros((6, 4, 4), np.uint8))
    if table is not None:
        (tmp_path / nodules.TABLE).write_text(table)
    with pytest.raises(DataError, match=said):
        nodules.read_nodules(tmp_path)


def test_an_archive_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / nodules.FILE, images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="images cannot be read"):
        nodules.read_nodules(tmp_path)
    (tmp_path / nodules.FILE).write_bytes(b"no archive")
    with pytest.raises(DataError, match="images cannot be read"):
        nodules.read_nodules(tmp_path)
