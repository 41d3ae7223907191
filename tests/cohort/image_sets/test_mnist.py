"""MNIST's four files: read as published, refused otherwise."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.image_sets import read_public_set
from monai_staging.cohort.image_sets.mnist import IMAGES, read_idx
from monai_staging.errors import DataError, UsageError


def test_both_parts_are_read_plain_and_gzipped(mnist_folder: Path, mnist_arrays: dict[str, np.ndarray]) -> None:
    training, test = read_public_set("mnist", mnist_folder)
    np.testing.assert_array_equal(training.images[:, 0], mnist_arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(test.images[:, 0], mnist_arrays["t10k-images-idx3-ubyte"])
    assert training.labels is not None and training.labels.dtype == np.int64
    np.testing.assert_array_equal(training.labels, mnist_arrays["train-labels-idx1-ubyte"])
    assert len(training) == 40 and len(test) == 20 and training.classes == tuple("0123456789")
    assert training.digest != test.digest == read_public_set("mnist", mnist_folder)[1].digest


def test_the_folder_of_other_programs_is_found(mnist_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "MNIST").mkdir(parents=True)
    mnist_folder.rename(tmp_path / "other" / "MNIST" / "raw")
    assert len(read_public_set("mnist", tmp_path / "other")[0]) == 40


HEAD = struct.pack(">IIII", IMAGES, 2, 3, 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (struct.pack(">IIII", 2049, 2, 3, 3) + bytes(18), "magic number must be 2051 .* found 2049"),
        (HEAD + bytes(17), "make 18 bytes of values, found 17"),
        (HEAD + bytes(19), "make 18 bytes of values, found more"),
        (HEAD[:10], "header of 16 bytes is needed, found 10"),
        (struct.pack(">IIII", IMAGES, 2**31, 2**31, 2**31), "bytes; 1 to 2147483648 are read"),
        (struct.pack(">IIII", IMAGES, 0, 28, 28), "make 0 bytes"),
    ],
)
def test_a_damaged_file_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_idx(tmp_path / "file", IMAGES)
    (tmp_path / "file.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=said):
        read_idx(tmp_path / "file.gz", IMAGES)


def test_what_is_no_gzip_or_torn_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"no gzip at all")
    (tmp_path / "b.gz").write_bytes(gzip.compress(HEAD + bytes(18))[:-12])
    for name in ("a.gz", "b.gz"):
        with pytest.raises(DataError, match="cannot be read"):
            read_idx(tmp_path / name, IMAGES)


def test_a_missing_file_is_named(mnist_folder: Path) -> None:
    (mnist_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz is needed"):
        read_public_set("mnist", mnist_folder)


def test_images_and_labels_must_be_as_many(mnist_folder: Path, idx_bytes: Callable[[np.ndarray], bytes]) -> None:
    (mnist_folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(19, np.uint8)))
    with pytest.raises(DataError, match="20 images but 19 labels in the test part"):
        read_public_set("mnist", mnist_folder)
    (mnist_folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(20, 10, np.uint8)))
    with pytest.raises(DataError, match=r"labels lie in 0\.\.9, found 10\.\.10"):
        read_public_set("mnist", mnist_folder)


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(UsageError, match="one of digits, mnist, cifar10 is needed, found 'svhn'"):
        read_public_set("svhn", ".")
