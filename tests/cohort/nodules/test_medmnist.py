"""MedMNIST's files in their published form, made here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.nodules.medmnist import find_medmnist, load_medmnist
from monai_staging.cohort.nodules.split import NoduleSplit, split_nodules
from monai_staging.errors import DataError

Make = Callable[..., dict[str, np.ndarray]]


@pytest.mark.parametrize(
    ("name", "shape", "classes", "findings", "task", "stored"),
    [
        ("breastmnist", (28, 28), 2, 1, "binary", (1, 1, 28, 28)),
        ("pathmnist", (14, 14, 3), 5, 1, "multi-class", (3, 1, 14, 14)),
        ("nodulemnist3d_64", (16, 16, 16), 2, 1, "binary", (1, 16, 16, 16)),
        ("chestmnist", (28, 28), 2, 14, "multi-label", (1, 1, 28, 28)),
    ],
)
def test_images_and_labels_are_the_file_s(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    findings: int,
    task: str,
    stored: tuple[int, ...],
    medmnist_arrays: Make,
    tmp_path: Path,
) -> None:
    arrays = medmnist_arrays(shape, classes, findings)
    np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
    nodules = load_medmnist(tmp_path / f"{name}.npz")
    assert (nodules.name, nodules.task, len(nodules)) == (name.split("_")[0], task, 18)
    assert len(nodules.classes) == max(classes, findings) and nodules.value_range == (0, 255)
    parts = split_nodules(nodules, NoduleSplit())
    assert {part: len(indices) for part, indices in parts.items()} == {"training": 8, "validation": 4, "test": 6}
    for part, prefix in (("training", "train"), ("validation", "val"), ("test", "test")):
        for place, index in enumerate(parts[part]):
            volume, record = nodules.read(int(index)), nodules.records[index]
            assert volume.image.shape == stored and volume.outlines.shape == (0, *stored[1:])
            written = arrays[f"{prefix}_images"][place]
            expected = np.stack([written[..., c] for c in range(3)])[:, None] if shape[-1] == 3 else written
            np.testing.assert_array_equal(volume.image, expected.reshape(stored))
            assert record.label == tuple(arrays[f"{prefix}_labels"][place])
            assert record.name == record.patient == f"{prefix}-{place}" and record.spacing_mm is None


def test_malignancy_has_its_names(medmnist_arrays: Make, tmp_path: Path) -> None:
    np.savez(tmp_path / "nodulemnist3d.npz", **medmnist_arrays((9, 9, 9)))
    np.savez(tmp_path / "bloodmnist.npz", **medmnist_arrays((9, 9), classes=3))
    assert load_medmnist(tmp_path / "nodulemnist3d.npz").classes == ("benign", "malignant")
    assert load_medmnist(tmp_path / "bloodmnist.npz").classes == ("0", "1", "2")


def test_a_folder_with_one_file_is_that_file(medmnist_arrays: Make, tmp_path: Path) -> None:
    assert find_medmnist(tmp_path) is None and find_medmnist(tmp_path / "none") is None
    np.savez(tmp_path / "other.npz", values=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    assert find_medmnist(tmp_path) is None and find_medmnist(tmp_path / "text.npz") is None
    np.savez(tmp_path / "octmnist.npz", **medmnist_arrays((8, 8)))
    assert find_medmnist(tmp_path) == find_medmnist(tmp_path / "octmnist.npz") == tmp_path / "octmnist.npz"
    np.savez(tmp_path / "bloodmnist.npz", **medmnist_arrays((8, 8)))
    with pytest.raises(
        DataError, match="several MedMNIST files .bloodmnist.npz, octmnist.npz.; name one: --dataset_dir"
    ):
        find_medmnist(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("val_images", None, "not a MedMNIST file"),
        ("val_images", np.zeros((4, 8, 8)), r"val_images must be .* uint8; found \(4, 8, 8\) float64"),
        ("val_images", np.zeros((0, 8, 8), np.uint8), "val_images must be"),
        ("val_images", np.zeros((4, 9, 9), np.uint8), r"images of all parts .* train \(8, 8\), val \(9, 9\)"),
        ("test_labels", np.zeros((5, 1), np.uint8), r"test_labels must be \(6, 1\).*found \(5, 1\)"),
        ("test_labels", np.zeros(6, np.uint8), "test_labels must be"),
        ("test_labels", np.zeros((6, 0), np.uint8), "test_labels must be"),
        ("test_labels", np.zeros((6, 1)), "whole numbers; found .* float64"),
        ("test_labels", np.full((6, 1), -1), "test_labels must be 0 or more; found -1"),
        ("test_labels", np.zeros((6, 2), np.uint8), r"labels of all parts .* train \(1,\), val \(1,\), test \(2,\)"),
    ],
)
def test_files_of_another_form_are_refused(
    name: str, array: np.ndarray | None, said: str, medmnist_arrays: Make, tmp_path: Path
) -> None:
    arrays = medmnist_arrays((8, 8))
    if array is None:
        del arrays[name]
    else:
        arrays[name] = array
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=said):
        load_medmnist(tmp_path / "set.npz")


def test_findings_are_there_or_not(medmnist_arrays: Make, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **medmnist_arrays((8, 8), classes=3, findings=4))
    with pytest.raises(DataError, match="labels of several findings must be 0 or 1; found 2"):
        load_medmnist(tmp_path / "set.npz")
    with pytest.raises(DataError, match="cannot be read"):
        load_medmnist(tmp_path / "none.npz")
