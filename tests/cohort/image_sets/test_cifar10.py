"""CIFAR-10's pickles: read as Python 2 wrote them, and never run."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_staging.cohort.image_sets import read_public_set
from monai_staging.cohort.image_sets.numpy_pickle import read_numpy_pickle
from monai_staging.errors import DataError


def pack(folder: Path, target: Path) -> None:
    with tarfile.open(target, "w:gz") as archive:
        archive.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")


def test_folder_and_archive_give_the_same_images(cifar10_folder: Path, tmp_path: Path) -> None:
    training, test = read_public_set("cifar10", cifar10_folder)
    assert training.images.shape == (50, 3, 32, 32) and test.images.shape == (10, 3, 32, 32)
    assert training.labels is not None
    assert training.labels.tolist() == [(batch + i) % 10 for batch in range(5) for i in range(10)]
    with open(cifar10_folder / "cifar-10-batches-py" / "data_batch_1", "rb") as file:
        first = read_numpy_pickle(file, "first")[b"data"][0]
    # Red, then green, then blue, each row by row.
    assert training.images[0, 1, 2, 3] == first[1024 + 2 * 32 + 3]
    assert training.classes[training.labels[0]] == "airplane"
    pack(cifar10_folder, tmp_path / "cifar-10-python.tar.gz")
    inner = cifar10_folder / "cifar-10-batches-py"
    for place in (tmp_path, tmp_path / "cifar-10-python.tar.gz", inner):
        again, _ = read_public_set("cifar10", place)
        assert again.digest == training.digest


class Command:
    """What a malicious pickle does."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("content", [Command(), {b"data": Command()}, np.dtype, np.array([Command()], dtype=object)])
def test_a_pickle_that_names_anything_else_is_not_run(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = pickle.dumps(content, protocol=3)
    if content is np.dtype:
        assert read_numpy_pickle(io.BytesIO(written), "it") is np.dtype
        return
    with pytest.raises(DataError, match=r"it: only plain values and NumPy arrays .* it asks for posix.mkdir"):
        read_numpy_pickle(io.BytesIO(written), "it")
    assert not (tmp_path / "executed").exists()


def replace(folder: Path, content: Any, name: str = "data_batch_3") -> None:
    (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content, protocol=3))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "a dictionary with data and labels is needed, found list"),
        ({b"data": np.zeros((2, 3072), np.uint8)}, "a dictionary with data and labels"),
        (
            {b"data": np.zeros((2, 3071), np.uint8), b"labels": [0, 1]},
            r"\(N, 3072\) of uint8, found uint8 of \(2, 3071",
        ),
        ({b"data": np.zeros((2, 3072)), b"labels": [0, 1]}, "found float64"),
        ({b"data": [1], b"labels": [0]}, "found list"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "labels must be a list of 2 whole numbers"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1.5]}, "labels must be a list of 2 whole numbers"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 11]}, r"labels lie in 0\.\.9"),
    ],
)
def test_a_batch_of_another_shape_is_refused(content: Any, said: str, cifar10_folder: Path) -> None:
    replace(cifar10_folder, content)
    with pytest.raises(DataError, match=said):
        read_public_set("cifar10", cifar10_folder)


def test_missing_and_damaged_files_are_refused(cifar10_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="test_batch, cifar-10-batches-py or cifar-10-python.tar.gz is needed"):
        read_public_set("cifar10", tmp_path / "nowhere")
    batch = cifar10_folder / "cifar-10-batches-py" / "data_batch_2"
    content = batch.read_bytes()
    batch.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="data_batch_2: only plain values"):
        read_public_set("cifar10", cifar10_folder)
    batch.unlink()
    with pytest.raises(DataError, match="data_batch_2 cannot be read"):
        read_public_set("cifar10", cifar10_folder)
    pack(cifar10_folder, tmp_path / "cifar-10-python.tar.gz")
    with pytest.raises(DataError, match="data_batch_2 missing from the archive"):
        read_public_set("cifar10", tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read as an archive"):
        read_public_set("cifar10", tmp_path)
