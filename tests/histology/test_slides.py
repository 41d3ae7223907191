"""Sets of slides in the layouts of their downloads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from monai_staging.cohort.splits import SplitOptions
from monai_staging.errors import DataError, UsageError
from monai_staging.histology.slides import Slide, SlideSet, load_slides

PIXELS = np.zeros((40, 60, 3), np.uint8)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, PIXELS, photometric="rgb")
    return path


@pytest.fixture
def tupac(tmp_path: Path) -> Path:
    for part, case in ((1, "01"), (1, "02"), (2, "24")):
        picture(tmp_path / f"mitoses_image_data_part_{part}" / case / "01.tif")
    picture(tmp_path / "mitoses_image_data_part_1" / "01" / "02.tif")
    truth = tmp_path / "mitoses_ground_truth"
    (truth / "01").mkdir(parents=True)
    (truth / "24").mkdir()
    (truth / "01" / "01.csv").write_text("12,50\n30,7\n")
    (truth / "24" / "01.csv").write_text("1,2\n\n")
    return tmp_path


@pytest.fixture
def midog(tmp_path: Path) -> Path:
    for name in ("001.tiff", "002.tiff"):
        picture(tmp_path / "images" / name)
    size = {"width": 60, "height": 40}
    document = {
        "images": [{"id": number, "file_name": f"{number:03}.tiff", **size} for number in (1, 2, 200)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 5, 20, 15]},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [-5, 30, 5, 40]},
            {"id": 3, "image_id": 2, "category_id": 2, "bbox": [30, 30, 50, 50]},
        ],
        "categories": [{"id": 1, "name": "mitotic figure"}, {"id": 2, "name": "hard negative"}],
    }
    document["annotations"][2]["bbox"] = [30, 20, 50, 40]
    (tmp_path / "MIDOG.json").write_text(json.dumps(document))
    return tmp_path


def test_tupac16_as_its_archives_unpack(tupac: Path) -> None:
    found = load_slides(tupac)
    assert found.source == "tupac16" and [slide.name for slide in found.slides] == ["01/01", "01/02", "02/01", "24/01"]
    first, second, _, last = found.slides
    # The files say row and column.
    assert first.mitoses == ((50.0, 12.0), (7.0, 30.0)) and second.mitoses == () and last.mitoses == ((2.0, 1.0),)
    assert [slide.patient for slide in found.slides] == ["01", "01", "02", "24"]
    assert first.microns_per_pixel == 0.25 and first.image.is_file()


def test_tupac16_that_is_not_whole_is_refused(tupac: Path) -> None:
    csv = tupac / "mitoses_ground_truth" / "01" / "01.csv"
    csv.write_text("row,column\n1,2\n")
    with pytest.raises(DataError, match=r"01\.csv: a line is row,column, found 'row,column' \(line 1\)"):
        load_slides(tupac)
    csv.write_text("1,2\n")
    (tupac / "mitoses_image_data_part_2" / "24" / "01.tif").unlink()
    with pytest.raises(DataError, match=r"every csv has its region, found none for 24/01 \(1 in all\)"):
        load_slides(tupac)
    (tupac / "mitoses_ground_truth").rename(tupac / "truth")
    with pytest.raises(DataError, match="mitoses_ground_truth lies beside the images"):
        load_slides(tupac)


def test_midog_as_downloaded(midog: Path) -> None:
    found = load_slides(midog)
    # The third has no annotation: nobody labelled its scanner's.
    assert found.source == "midog" and [slide.name for slide in found.slides] == ["001", "002"]
    assert found.slides[0].mitoses == ((15.0, 10.0),) and found.slides[0].lookalikes == ((0.0, 35.0),)
    assert found.slides[1].mitoses == () and found.slides[1].lookalikes == ((40.0, 30.0),)
    assert len({slide.patient for slide in found.slides}) == 2


def test_midog_that_is_damaged_is_refused(midog: Path) -> None:
    path = midog / "MIDOG.json"
    document = json.loads(path.read_text())
    (midog / "images" / "002.tiff").rename(midog / "002.tiff")
    assert len(load_slides(midog).slides) == 2
    (midog / "002.tiff").unlink()
    with pytest.raises(DataError, match=r"Slide 002\.tiff: its file lies in .*; it is in neither"):
        load_slides(midog)
    document["annotations"][0]["bbox"] = [10, 5, 50, 50]
    document["annotations"][0]["bbox"][2:] = [9, 9]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"Slide 001\.tiff: a box is \(x1, y1, x2, y2\) .* found \[10, 5, 9, 9\]"):
        load_slides(midog)
    document["annotations"][0]["category_id"] = 7
    document["annotations"][0]["bbox"] = [10, 5, 20, 15]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="not MIDOG's images and annotations"):
        load_slides(midog)


def slide_set(folder: Path, patients: int = 10) -> SlideSet:
    slides = []
    for number in range(patients):
        for region in "ab":
            image = picture(folder / "images" / f"{number}{region}.tif")
            mitoses = ((3.0, 4.5),) if number % 2 else ()
            slides.append(Slide(f"{number}{region}", f"p{number}", image, 0.5, mitoses, ((1.0, 2.0),), "S"))
    return SlideSet("phantom", tuple(reversed(slides)))


def test_our_own_format_reads_back(tmp_path: Path) -> None:
    written = slide_set(tmp_path)
    assert written.save(tmp_path).name == "slides.json" and load_slides(tmp_path) == written
    (tmp_path / "images" / "3a.tif").unlink()
    with pytest.raises(DataError, match="Slide 3a: its image .* is not there"):
        load_slides(tmp_path)
    (tmp_path / "slides.json").write_text("{}")
    with pytest.raises(DataError, match="not a list of slides"):
        load_slides(tmp_path)
    with pytest.raises(UsageError, match="its image lies below"):
        written.save(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="found none of them"):
        load_slides(tmp_path / "nothing")


def test_parts_are_by_patient_and_alike(tmp_path: Path) -> None:
    found = slide_set(tmp_path)
    parts = found.split(SplitOptions(test=0.2, folds=4, seed=1))
    assert [len(parts[name]) for name in ("training", "validation", "test")] == [12, 4, 4]
    assert sorted(slide.name for part in parts.values() for slide in part) == [slide.name for slide in found.slides]
    of_part = {name: {slide.patient for slide in part} for name, part in parts.items()}
    assert not of_part["training"] & of_part["test"] and not of_part["validation"] & of_part["test"]
    # Half of the patients have mitoses, and half of the held-out ones.
    assert sum(bool(slide.mitoses) for slide in parts["test"]) == 2
    assert found.split(SplitOptions(test=0.2, folds=4, seed=1)) == parts
    assert found.split(SplitOptions(test=0.2, folds=4, seed=2)) != parts
    with pytest.raises(UsageError, match="three patients make three parts, found 2"):
        slide_set(tmp_path / "few", 2).split(SplitOptions())


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        (SplitOptions(test=0.9, folds=5), (1, 1, 1)),
        (SplitOptions(test=0.5, folds=0, validation=0.45), (1, 1, 1)),
        (SplitOptions(test=0.0, folds=0), (3, 0, 0)),
        (SplitOptions(test=0.0, folds=0, validation=0.5), (2, 1, 0)),
    ],
)
def test_of_three_patients_one_at_least_is_learned_from(tmp_path: Path, options: SplitOptions, counts: tuple) -> None:
    parts = slide_set(tmp_path, 3).split(options)
    found = tuple(len({slide.patient for slide in parts[name]}) for name in ("training", "validation", "test"))
    assert found == counts


def test_values_that_cannot_be_are_refused(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.tif")
    for settings, message in (
        ({"microns_per_pixel": 0.0}, "a pixel is larger than 0 um, found 0"),
        ({"mitoses": ((-1.0, 2.0),)}, r"right of and below the corner, found \(-1\.0, 2\.0\)"),
    ):
        with pytest.raises(DataError, match=message):
            Slide("a", "p", image, **{"microns_per_pixel": 0.25, **settings})
    slide = Slide("a", "p", image, 0.25)
    with pytest.raises(DataError, match="names differ, found a twice"):
        SlideSet("x", (slide, slide))
    with pytest.raises(DataError, match="at least one is needed"):
        SlideSet("x", ())
