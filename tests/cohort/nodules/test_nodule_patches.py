"""The layout of LIDC's nodule patches: read as written, and refused with row and rule where it is wrong."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.nodules.patches import (
    ATTRIBUTES,
    TABLE,
    VOLUMES,
    PatchTable,
    files_digest,
    is_patches,
    load_patches,
    write_patches,
)
from monai_staging.errors import DataError

Row = dict[str, object]


def row(patient: str = "LIDC-IDRI-0001", ratings: str = "4 5", **more: object) -> Row:
    known: Row = {"patient_id": patient, "slice_thickness_mm": 2.5, "pixel_spacing_mm": 0.7}
    return known | {"malignancy_ratings": ratings, "malignancy_mean": "", "subtlety_mean": 3.5} | more


def write(folder: Path, rows: list[Row], slices: int = 2) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Nodules of a few random slices; the third reader drew nothing."""
    random = np.random.default_rng(len(rows))
    images = [random.integers(0, 256, (slices + n, 64, 64), dtype=np.uint8) for n in range(len(rows))]
    outlines = [random.random((4, slices + n, 64, 64)) < 0.5 for n in range(len(rows))]
    for own in outlines:
        own[2] = False
    write_patches(folder, PatchTable(rows, images, outlines))
    return images, outlines


def edit(folder: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    with open(folder / TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    change(rows)
    with open(folder / TABLE, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [
        row(),
        row("LIDC-IDRI-0007", "1 2 2"),
        row(ratings="3"),
        row("LIDC-IDRI-0007", "", malignancy_mean=4.25, pixel_spacing_mm=0.5),
    ]
    images, outlines = write(tmp_path, rows)
    assert is_patches(tmp_path)
    nodules = load_patches(tmp_path)
    for index in (3, 0, 1):
        volume = nodules.read(index)
        np.testing.assert_array_equal(volume.image, images[index][None])
        # Readers who drew nothing are left out.
        np.testing.assert_array_equal(volume.outlines, outlines[index][[0, 1, 3]])
    assert [record.label for record in nodules.records] == [(1,), (0,), None, (1,)]
    assert [record.ratings for record in nodules.records] == [(4, 5), (1, 2, 2), (3,), ()]
    assert nodules.records[3].spacing_mm == (2.5, 0.5, 0.5)
    assert nodules.records[0].attributes == {"subtlety": 3.5}
    assert nodules.task == "binary" and nodules.classes == ("benign", "malignant") and not nodules.synthetic
    # Patients are kept apart and together, and named by none of their identifiers.
    patients = [record.patient for record in nodules.records]
    assert patients == ["patient-001", "patient-002", "patient-001", "patient-002"]
    assert nodules.digest == files_digest([tmp_path / VOLUMES, tmp_path / TABLE])


def test_only_tables_of_phantoms_are_synthetic(tmp_path: Path) -> None:
    write(tmp_path / "a", [row("phantom-0001"), row("LIDC-IDRI-0001")])
    write(tmp_path / "b", [row("phantom-0001"), row("phantom-0002")])
    assert load_patches(tmp_path / "a").title == "LIDC-IDRI nodules"
    assert load_patches(tmp_path / "b").title == "phantom nodules (synthetic)"


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("malignancy_ratings", "4 six", "nodule 1: malignancy_ratings are whole numbers; found '4 six'"),
        ("malignancy_ratings", "4 6", "nodule 1: Malignancy ratings lie between 1 and 5; found 4, 6"),
        ("slice_thickness_mm", "thick", "nodule 1: slice_thickness_mm must be a number; found 'thick'"),
        ("slice_thickness_mm", "nan", "nodule 1: slice_thickness_mm must be a number"),
        ("pixel_spacing_mm", "0", r"nodule 1: slice thickness and pixel size must be above 0 mm; found 2.5 and 0"),
        ("subtlety_mean", "high", "nodule 1: subtlety_mean must be a number; found 'high'"),
        ("npz_first_slice", "1.5", "nodule 1: npz_first_slice must be a whole number; found '1.5'"),
        ("npz_first_slice", "-1", r"nodule 1: its slices must lie in 0\.\.4; found 3 from slice -1 on"),
        ("npz_n_slices", "4", r"nodule 1: its slices must lie in 0\.\.4; found 4 from slice 2 on"),
        ("npz_n_slices", "0", "nodule 1: its slices must lie in"),
        ("npz_first_slice", "1", "nodule 1: a slice is one nodule's alone; found some of nodule 0's"),
        ("nodule_index", "0", "nodule_index must be unique; 0 occurs more than once"),
        ("nodule_index", "", "row 2: nodule_index must not be empty"),
        ("patient_id", "", "row 2: patient_id must not be empty"),
    ],
)
def test_a_wrong_row_is_named(column: str, value: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, [row(), row("LIDC-IDRI-0007")])

    def change(rows: list[dict[str, str]]) -> None:
        rows[1][column] = value
        if (column, value) == ("npz_first_slice", "1"):
            rows[1]["npz_n_slices"] = "2"

    edit(tmp_path, change)
    with pytest.raises(DataError, match=said):
        load_patches(tmp_path)


def test_a_row_that_ends_early_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [row(), row()])
    text = (tmp_path / TABLE).read_text().splitlines()
    (tmp_path / TABLE).write_text("\n".join([*text[:-1], text[-1].rpartition(",")[0]]))
    with pytest.raises(DataError, match="nodule 1: npz_n_slices must be a number; found None"):
        load_patches(tmp_path)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [row()])
    table = (tmp_path / TABLE).read_bytes()
    for content, said in (
        (b"", "missing: all rows"),
        (b"nodule_index,patient_id\n1,A\n", "missing: slice_thickness_mm, pixel_spacing_mm, npz_first_slice"),
        (table.replace(b"LIDC", b"\xff\xfe"), "must be UTF-8 text"),
    ):
        (tmp_path / TABLE).write_bytes(content)
        with pytest.raises(DataError, match=said):
            load_patches(tmp_path)
    (tmp_path / TABLE).unlink()
    assert not is_patches(tmp_path)
    with pytest.raises(DataError, match=f"{TABLE}: no such file"):
        load_patches(tmp_path)
    (tmp_path / TABLE).write_bytes(table)
    whole = (tmp_path / VOLUMES).read_bytes()
    middle = len(whole) // 3
    for content in (b"no archive", whole[:middle], whole[:middle] + bytes(400) + whole[middle + 400 :]):
        (tmp_path / VOLUMES).write_bytes(content)
        with pytest.raises(DataError, match="'images' and 'masks_packed' are needed and cannot be read"):
            load_patches(tmp_path)
    (tmp_path / VOLUMES).unlink()
    with pytest.raises(DataError, match=f"{VOLUMES}: no such file"):
        load_patches(tmp_path)


@pytest.mark.parametrize(
    ("images", "masks", "said"),
    [
        (
            np.zeros((2, 32, 32), np.uint8),
            np.zeros((2, 4, 64, 8), np.uint8),
            r"\(slices, 64, 64\) uint8; found \(2, 32",
        ),
        (np.zeros((2, 64, 64), np.int16), np.zeros((2, 4, 64, 8), np.uint8), "uint8; found .* int16"),
        (np.zeros((2, 64, 64), np.uint8), np.zeros((2, 3, 64, 8), np.uint8), r"\(2, 4, 64, 8\) uint8; found \(2, 3"),
        (np.zeros((2, 64, 64), np.uint8), np.zeros((1, 4, 64, 8), np.uint8), "masks_packed must be"),
        (np.zeros((2, 64, 64), np.uint8), np.zeros((2, 4, 64, 8), bool), "masks_packed must be"),
        (np.array([{}], dtype=object), np.zeros((2, 4, 64, 8), np.uint8), "cannot be read"),
    ],
)
def test_arrays_of_another_form_are_refused(images: np.ndarray, masks: np.ndarray, said: str, tmp_path: Path) -> None:
    write(tmp_path, [row()])
    np.savez(tmp_path / VOLUMES, images=images, masks_packed=masks)
    with pytest.raises(DataError, match=said):
        load_patches(tmp_path)


def test_every_attribute_is_read(tmp_path: Path) -> None:
    values = {column: 1 + 0.25 * place for place, column in enumerate(ATTRIBUTES.values())}
    write(tmp_path, [row(**values)])
    assert load_patches(tmp_path).records[0].attributes == {name: values[column] for name, column in ATTRIBUTES.items()}
