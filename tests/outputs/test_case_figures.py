"""Pictures of a cohort's cases: no identity, phantoms called that, and the reader's own box on the slice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_staging.cohort import Case, Cohort, Lesion
from monai_staging.cohort.dicom import load_series
from monai_staging.cohort.lesions import lesions_of_boxes
from monai_staging.cohort.volume import Volume, write_volume
from monai_staging.errors import UsageError
from monai_staging.outputs import case_figures
from monai_staging.outputs.case_figures import case_lesion_figure, reader_box


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    array = np.full((40, 40, 6), -850, np.int16)
    array[20:30, 10:22, 2:5] = 40
    affine = np.diag([-1.0, -1.0, 4.0, 1.0])
    affine[:3, 3] = (25, 30, -60)
    (tmp_path / "volumes").mkdir()
    write_volume(tmp_path / "volumes" / "a.nii", Volume(array, affine))
    boxes = ((2, 21.0, 11.0, 28.0, 20.0), (3, 20.0, 10.0, 30.0, 22.0), (4, 22.0, 12.0, 27.0, 19.0))
    lesions = lesions_of_boxes(boxes, affine)
    case = Case("Mustermann", "1.2", "1.2.3", "volumes/a.nii", ("T1a",), ("N0",), ("M0",), "8", lesions=lesions)
    bare = Case("Musterfrau", "1.3", "1.3.3", "volumes/a.nii", ("T1a",), ("N0",), ("M0",), "8")
    made = Cohort(tmp_path, "mine", "phantom", training=(case, bare))
    made.save()
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the figure is asked for."""
    kept: list[dict[str, Any]] = []
    draw = case_figures.lesion_figure

    def keep(path: Path, array: Any, affine: Any, reader: Any, predicted: Any, **settings: Any) -> Path:
        kept.append({"reader": reader, "predicted": predicted, **settings})
        return draw(path, array, affine, reader, predicted, **settings)

    monkeypatch.setattr(case_figures, "lesion_figure", keep)
    return kept


def test_a_phantom_is_called_that_and_nobody_is_named(
    tmp_path: Path, cohort: Cohort, asked: list[dict[str, Any]]
) -> None:
    path = case_lesion_figure(tmp_path / "a.png", cohort, cohort.training[0], [-4, 9, -54, 4, 19, -46])
    assert asked[0]["subtitle"] == "phantoms (synthetic CT)" and asked[0]["phantom"]
    assert asked[0]["case_name"].startswith("case-") and "Muster" not in str(asked[0])
    assert "Muster" not in path.read_bytes().decode("latin-1")
    assert set(Image.open(path).info) <= {"Software", "dpi"}
    case_lesion_figure(tmp_path / "b.png", replace(cohort, source="folder"), cohort.training[0], None)
    assert not asked[1]["phantom"]


def test_the_reader_s_box_on_the_slice_is_shown_and_the_lesion_s_cut_elsewhere(
    tmp_path: Path, cohort: Cohort, asked: list[dict[str, Any]]
) -> None:
    case = cohort.training[0]
    # Slice 3 is at -48; its pixels 20 to 29 lie at x 5 to -4, each half a pixel wider.
    case_lesion_figure(tmp_path / "a.png", cohort, case, None)
    assert asked[0]["z_mm"] == -48
    assert asked[0]["reader"] == pytest.approx([-4.5, 8.5, -54, 5.5, 20.5, -42])
    case_lesion_figure(tmp_path / "b.png", cohort, case, None, z_mm=-52)
    assert asked[1]["reader"] == pytest.approx([-2.5, 10.5, -54, 4.5, 19.5, -42])
    without = Lesion("nodule", (0.0, 15.0, -48.0), (6.0, 8.0, 12.0))
    case_lesion_figure(tmp_path / "c.png", cohort, case, None, lesion=without)
    assert asked[2]["reader"] == pytest.approx([-3, 11, -54, 3, 19, -42])


def test_a_case_without_a_lesion_shows_what_was_predicted(
    tmp_path: Path, cohort: Cohort, asked: list[dict[str, Any]]
) -> None:
    case_lesion_figure(tmp_path / "a.png", cohort, cohort.training[1], [-4, 9, -54, 4, 19, -46])
    assert asked[0]["reader"] is None
    with pytest.raises(UsageError, match="needs"):
        case_lesion_figure(tmp_path / "b.png", cohort, cohort.training[1], None)
    stranger = Case("X", "1.9", "1.9.1", "volumes/a.nii", ("T1a",), ("N0",), ("M0",), "8")
    with pytest.raises(UsageError, match="A case of cohort mine is needed"):
        case_lesion_figure(tmp_path / "c.png", cohort, stranger, None)


def test_a_real_reader_s_box_is_the_one_of_the_xml(lung_pet_ct_dx_root: Path) -> None:
    folder = next(path.parent for path in lung_pet_ct_dx_root.rglob("*.dcm"))
    volume = load_series(folder)
    # The box of A0001 on the slice with index 45, as its XML says it.
    lesion = lesions_of_boxes(((44, 282.0, 307.0, 355.0, 388.0), (45, 278.0, 308.0, 360.0, 394.0)), volume.affine)[0]
    z = float(volume.affine[2, 2] * 45 + volume.affine[2, 3])
    box = reader_box(lesion, volume, z)
    pixel = volume.spacing_mm[0]
    assert box[3:5] - box[:2] == pytest.approx([82 * pixel, 86 * pixel], abs=0.01)
    # To the patient's left, so that x is below that of the picture's middle.
    assert box[3] < volume.affine[0, 3] - 255.5 * pixel
