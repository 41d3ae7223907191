from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from monai_staging.errors import DataError, UsageError
from monai_staging.label.kinds import KINDS, write_labels
from monai_staging.label.uploads import check_packed, read_params, received, take_label, value_kinds
from monai_staging.measure.images import read_image

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def written(path: Path, values: list[int], affine: np.ndarray = AFFINE) -> Path:
    write_labels(path, np.resize(np.array(values, dtype=np.uint8), (4, 3, 2)), affine)
    return path


def test_only_the_ending_of_a_clients_name_is_used() -> None:
    with received(io.BytesIO(b"content"), "../../etc/x.NII.GZ", (".nii.gz",)) as path:
        assert path.name == "sent.nii.gz" and path.read_bytes() == b"content"
    assert not path.exists()
    for name in (None, "", "x.sh", "nii.gz.exe"):
        with pytest.raises(UsageError, match="File: its name must end in"), received(io.BytesIO(), name, (".nii.gz",)):
            pass


@pytest.mark.parametrize("text", ["{", "[]", "7", '"x"', "null", "[" * 100_000])
def test_parameters_are_an_object(text: str) -> None:
    with pytest.raises(UsageError, match="params: a JSON object is needed"):
        read_params(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": NaN}', "found nan"),
        ('{"a": [{"b": -1e999}]}', "found -inf"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ('{"a": ' + "[" * 17 + "]" * 17 + "}", "at most 16 levels"),
        ('{"a": "' + "x" * (1 << 18) + '"}', "at most 262144 characters"),
    ],
)
def test_parameters_can_be_written_again(text: str, found: str) -> None:
    with pytest.raises(UsageError, match=found):
        read_params(text)
    assert read_params('{"a": "\\ud83e\\uddff", "b": [[1.5, null]]}') == {"a": "\U0001f9ff", "b": [[1.5, None]]}


def test_a_packed_file_ends_with_its_last_voxel(tmp_path: Path) -> None:
    path = written(tmp_path / "sent.nii.gz", [0, 1])
    check_packed(path)
    content = path.read_bytes()
    changed = bytearray(content)
    changed[-6] ^= 1
    for damaged, found in (
        (content[:-1], r"^sent\.nii\.gz: (not read as NIfTI|its content is not what was packed)"),
        (bytes(changed), r"not read as NIfTI|not what was packed"),
        (content + gzip.compress(bytes(1 << 20)), "found more"),
        (gzip.compress(gzip.decompress(content)[:-1]), "found an earlier end"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=found):
            check_packed(path)


def test_values_are_kinds_or_have_names() -> None:
    assert value_kinds([0, 1, 4]) == {1: "primary", 4: "nodule"}
    assert value_kinds([0, 3], [{"name": "Nodule ", "idx": 3}]) == {3: "nodule"}
    # A viewer that leaves a segment out of the file counts it in idx all the same.
    left_out = [{"name": "node", "idx": 2}, {"name": "nodule", "idx": 3}]
    assert value_kinds([0, 1, 2], left_out) == {1: "node", 2: "nodule"}
    # A name that no voxel has does not matter.
    assert value_kinds([0, 1], [{"name": "primary", "idx": 1}, {"name": "Segment_2", "idx": 2}]) == {1: "primary"}


@pytest.mark.parametrize(
    ("values", "info", "found"),
    [
        ([0, 5], None, "found 5"),
        ([0, 0.5], None, r"found 0\.5"),
        ([1], [{"name": "Segment_1", "idx": 1}], "found 'segment_1'"),
        ([9], [{"name": "nodule", "idx": 1}], "found 9"),
        ([1], ["nodule"], "found something else"),
        ([1], [{"name": "nodule"}], "found something else"),
    ],
)
def test_values_without_a_meaning_are_refused(values: list[float], info: object, found: str) -> None:
    with pytest.raises(DataError, match=found):
        value_kinds(values, info)


def test_a_label_is_written_again_with_our_numbers(tmp_path: Path) -> None:
    study, sent = written(tmp_path / "study.nii", [0]), written(tmp_path / "sent.nii.gz", [0, 1, 2])
    take_label(sent, study, {"label_info": [{"name": "nodule", "idx": 1}, {"name": "primary", "idx": 2}]})
    label = read_image(sent)
    expected = np.resize([0, KINDS["nodule"], KINDS["primary"]], (4, 3, 2))
    np.testing.assert_array_equal(label.read(label.whole), expected)


def test_a_label_that_means_what_it_says_is_left_as_it_was(tmp_path: Path) -> None:
    study, sent = written(tmp_path / "study.nii", [0]), written(tmp_path / "sent.nii", [0, 1, 2, 3, 4])
    before = sent.read_bytes()
    take_label(sent, study, {})
    assert sent.read_bytes() == before


def test_a_label_on_another_grid_is_refused(tmp_path: Path) -> None:
    study = written(tmp_path / "study.nii", [0])
    with pytest.raises(DataError, match="must share one grid"):
        take_label(written(tmp_path / "sent.nii", [1], 2 * AFFINE), study, {})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"markups": {}}', "[" * 100_000])
def test_markups_have_a_list(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sent.json"
    path.write_text(text)
    with pytest.raises(DataError, match="a list of markups"):
        take_label(path, tmp_path / "study.nii", {})
