"""The report as a page: whole in itself, safe, legible to those who hear it, and true to the scan in its pictures."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_staging.cohort.volume import Volume
from monai_staging.errors import UsageError
from monai_staging.outputs.findings import Category, Findings, Site, StagingFinding
from monai_staging.outputs.report_figures import lesion_parts, lesion_views, lesion_window
from monai_staging.outputs.report_html import SHOWN, write_report
from monai_staging.outputs.report_markup import POLICY, Markup, tag
from monai_staging.outputs.report_words import in_order, percent, size_sentence, stage_sentence
from monai_staging.outputs.reported import NOT_A_DEVICE, ReportedStudy, ScanFacts, SliceAttention
from monai_staging.tnm import TNM, categories, groups

Ball = tuple[tuple[float, float, float], float]
AFFINE = np.array([[-2.0, 0, 0, 60], [0, -2, 0, 50], [0, 0, 3, -300], [0, 0, 0, 1.0]])
SHAPE = (60, 50, 40)
MAIN: Ball = ((30.0, 20.0, -240.0), 8.0)
"""To the right and anterior of the middle, in the upper half."""
SMALL: Ball = ((-30.0, -10.0, -270.0), 5.0)
VOID = {"meta", "img"}


def lungs(balls: Sequence[Ball], affine: np.ndarray = AFFINE, shape: tuple[int, int, int] = SHAPE) -> tuple[Any, Any]:
    """A volume of lung with balls of soft tissue, and their mask."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    mask = np.zeros(shape, np.uint8)
    for label, (center, radius) in enumerate(balls, start=1):
        mask[np.linalg.norm(world - center, axis=-1) <= radius] = label
    return Volume(np.where(mask > 0, 40, -850).astype(np.int16), affine), mask


@pytest.fixture(scope="module")
def study_with(report: Callable[..., Findings]) -> Callable[..., ReportedStudy]:
    """``study_with(balls, **changes)``: what would be reported of such lungs."""
    sources = SimpleNamespace(series=SimpleNamespace(series="1.2.3"))

    def make(balls: Sequence[Ball], affine: np.ndarray = AFFINE, **changes: Any) -> ReportedStudy:
        volume, mask = lungs(balls, affine)
        boxes = [np.concatenate([np.array(at) - size - 1, np.array(at) + size + 1]) for at, size in balls]
        heights = np.linspace(-295, -190, 12)
        weights = np.exp(-(((heights - MAIN[0][2]) / 10) ** 2))
        reported = ReportedStudy(
            "k17",
            volume,
            mask,
            report(mask, volume, sources),
            tuple(boxes),
            ScanFacts("DICOM", "40 slices 3 mm apart; the only CT series.", {"Kernel": "B70f"}),
            letter_sets={"n": ("N0",)},
            attention=SliceAttention(heights, {letter: weights / weights.sum() for letter in "tnm"}),
            calibration=("Calibrated on phantoms.",),
            warnings=("One thing & another.",),
            seconds={"lungs": 0.5, "stage": 1.25},
        )
        return replace(reported, **changes)

    return make


class Page(HTMLParser):
    """A page's elements and texts; fails where one is not closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts).replace("\u00a0", " ")

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture(scope="module")
def page(study_with: Callable[..., ReportedStudy], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_report(tmp_path_factory.mktemp("report") / "report.html", study_with([MAIN, SMALL])))


def test_needs_nothing_beside_it(page: Page) -> None:
    names = {tag for tag, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "form", "base"}
    assert {"content": POLICY, "http-equiv": "Content-Security-Policy"} in page.all("meta")
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert "href" not in attributes
        assert str(attributes.get("src", "data:image/png;base64,")).startswith("data:image/png;base64,")
    style = page.source[page.source.index("<style>") : page.source.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", style)
    assert not re.search(r"https?://", page.source)


def test_pictures(page: Page) -> None:
    images = page.all("img")
    assert len(images) == 10
    for image in images:
        assert image["alt"] and "lesion" in image["alt"]
        data = base64.b64decode(str(image["src"]).partition(",")[2])
        kinds, place = [], 8
        while place < len(data):
            kinds.append(data[place + 4 : place + 8])
            place += 12 + int.from_bytes(data[place : place + 4], "big")
        assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
        assert Image.open(io.BytesIO(data)).size == (int(str(image["width"])), int(str(image["height"])))
    assert images[0]["alt"].replace("\u00a0", " ") == (  # type: ignore[union-attr]
        "Axial CT slice 21 of 40 from the feet, in the lung window with the outline of lesion 1, 18.0 mm and "
        "the detector's box; patient's right on the left of the picture, anterior at the top"
    )


def test_structure(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(names)) == len(names)
    assert all(owner["aria-labelledby"] in names for _, owner in page.elements if "aria-labelledby" in owner)
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in page.all("svg"))


def test_what_is_said(page: Page, study_with: Callable[..., ReportedStudy]) -> None:
    findings = study_with([MAIN, SMALL]).findings
    text = page.text
    assert text.count(NOT_A_DEVICE) == 1
    places = [
        text.index(part)
        for part in (
            "At least T1b by size (18.0 mm",
            "with 90 % confidence one of: ",
            NOT_A_DEVICE,
            "1 warning",
            "One thing & another.",
            "2 lesions",
            "Lesion 1: ",
            "Lung window, centre -600 HU, width 1500 HU",
            "Größe: 12 mm",
            "Would give T3 at least: pericardium, chest wall",
            "brain (outside the scan)",
            "Probabilities",
            "Calibrated on phantoms.",
            "Where the staging network looked",
            "sha256:" + "5e" * 32,
            "lungs 0.5, stage 1.2; 1.8 in all",
        )
    ]
    assert places == sorted(places)
    assert "40 slices 3 mm apart" in text and "B70f" in text and findings.algorithm.version in text


def test_numbers_of_the_table(page: Page, study_with: Callable[..., ReportedStudy]) -> None:
    size = study_with([MAIN, SMALL]).findings.lesions[0].measurement
    table = page.text[page.text.index("Malignancy") :]
    shown = ["1", "primary", "right upper lobe", f"{size.diameter_3d_mm:.1f}"]
    shown += [f"{size.axial_diameter_mm:.1f} × {size.perpendicular_mm:.1f}", f"{size.solid_diameter_mm:.1f}"]
    shown += [f"{size.volume_mm3:.0f}", f"{size.voxel_volume_mm3:.0f}", "at least T1b", "0.30", "67 %"]
    assert table.startswith("Malignancy" + "".join(shown))
    # A node's size says nothing of T.
    assert "nodemediastinum" in table and table.count("at least T1b") == 1


def test_bars_have_their_numbers_in_text(page: Page) -> None:
    fills = [attributes["style"] for attributes in page.all("span") if attributes.get("class") == "fill"]
    assert fills[:3] == ["width: 10.0%", "width: 20.0%", "width: 70.0%"]
    assert "T110 %T2a20 %T470 %" in page.text and "N050 %in setN250 %" in page.text


def test_texts_are_escaped(study_with: Callable[..., ReportedStudy], tmp_path: Path) -> None:
    evil = '<script>alert("1")</script><img src=x onerror=y>'
    study = study_with([SMALL])
    staging = replace(study.findings.staging, reasons=(evil,), not_assessed=(evil,))
    study = replace(
        study,
        name=evil,
        warnings=(evil,),
        calibration=(evil,),
        scan=ScanFacts(evil, evil, {evil: evil}),
        findings=replace(study.findings, staging=staging),
        seconds={evil: 1.0},
    )
    page = Page(write_report(tmp_path / "report.html", study))
    assert not page.all("script") and len(page.all("img")) == 5
    # The title is one of the places.
    assert page.text.count(evil) >= 10


def test_same_bytes(study_with: Callable[..., ReportedStudy], tmp_path: Path) -> None:
    first, second = (write_report(tmp_path / name, study_with([SMALL])).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_no_identity(study: Any, tmp_path: Path) -> None:
    scan = ScanFacts("DICOM", "the only CT series.")
    reported = ReportedStudy("k17", study.volume, study.mask, study.findings, (None, None), scan)
    text = write_report(tmp_path / "report.html", reported).read_text(encoding="utf-8")
    for secret in ("LUNG1-001", study.series.series, study.series.study):
        assert secret not in text


def test_nothing_found(study_with: Callable[..., ReportedStudy], tmp_path: Path) -> None:
    study = study_with([])
    tnm = TNM(*(frozenset(categories(letter, "8")) for letter in "tnm"))  # type: ignore[arg-type]
    bare = StagingFinding(tnm, groups("8"))
    study = replace(
        study,
        findings=replace(study.findings, staging=bare),
        **{"attention": None, "calibration": (), "warnings": (), "letter_sets": {}, "seconds": {}},
    )
    page = Page(write_report(tmp_path / "report.html", study))
    assert not page.all("img") and not page.all("table")
    for said in (
        "No lesion found, so no T by size.",
        "Stage group not narrowed down: every one of the 8th edition is possible.",
        "That is no proof that there is none.",
        "N still possibleunknown: every category is possible",
        "No probabilities were estimated.",
    ):
        assert said in page.text
    for missing in ("warning", "How far to believe them", "Where the staging network looked", "Seconds a step"):
        assert missing not in page.text


def test_probabilities_without_calibration(study_with: Callable[..., ReportedStudy], tmp_path: Path) -> None:
    page = Page(write_report(tmp_path / "report.html", study_with([], calibration=())))
    assert "take them as scores, not as chances" in page.text
    assert "Bands: where lesions are" not in page.text and "slices with a lesion" not in page.text


def test_many_lesions(study_with: Callable[..., ReportedStudy], tmp_path: Path) -> None:
    balls = [((x, y, -285.0 + 20 * n), 4.0 + n + x / 50) for n, (x, y) in enumerate([(40, 30), (-20, -20)] * 2)]
    balls += [((x, -30.0, z), 2.5) for x in (45.0, 20.0) for z in (-295.0, -280.0, -265.0, -250.0)]
    page = Page(write_report(tmp_path / "report.html", study_with(balls)))
    assert len(page.all("img")) == 5 * SHOWN
    assert f"Pictures of the {SHOWN} largest of 12 lesions" in page.text
    assert [row.get("data-label") for row in page.all("th")].count("Lesion") == 12
    shown = [int(number) for number in re.findall(r"Lesion (\d+): ", page.text)]
    assert shown == sorted(shown) and set(shown) >= {1, 2, 3, 4}


def test_warnings_are_counted(study_with: Callable[..., ReportedStudy], tmp_path: Path) -> None:
    page = Page(write_report(tmp_path / "report.html", study_with([], warnings=("a", "b"))))
    assert "2 warnings" in page.text


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_views_lie_as_radiologists_see_them(
    study_with: Callable[..., ReportedStudy], flips: tuple[int, int, int]
) -> None:
    affine = AFFINE.copy()
    for axis, flip in enumerate(flips):
        if flip < 0:
            affine[:3, 3] += affine[:3, axis] * (SHAPE[axis] - 1)
            affine[:3, axis] *= -1
    study = study_with([MAIN], affine)
    whole, zoom, bare, coronal, sagittal = lesion_views(study, 1, lesion_parts(study))
    x, y, z = MAIN[0]
    assert f"from the {'feet' if flips[2] > 0 else 'head'}, z\u00a0=\u00a0-240.0" in whole.caption
    assert f"y\u00a0=\u00a0{y:.1f}" in coronal.caption and f"x\u00a0=\u00a0{x:.1f}" in sagittal.caption
    # Right is on the left, anterior and head at the top; of a sagittal plane anterior is on the left.
    for view, place in (
        (whole, ((60 - x) / 120 + 0.01, (50 - y) / 100 + 0.01)),
        (coronal, ((60 - x) / 90, (-181.5 - z) / 117)),
        (sagittal, ((50 - y) / 80, (-181.5 - z) / 117)),
    ):
        image = np.asarray(Image.open(io.BytesIO(view.png)).convert("L"))
        column, row = int(place[0] * image.shape[1]), int(place[1] * image.shape[0])
        assert image[row, column] > 200, view.caption
    assert zoom.png != bare.png and "without lines" in bare.alt


def test_slice_of_the_axial_diameter_is_the_lesions(study_with: Callable[..., ReportedStudy]) -> None:
    study = study_with([MAIN])
    lesion = study.findings.lesions[0]
    wrong = replace(lesion, measurement=replace(lesion.measurement, axial_slice=2))
    study = replace(study, findings=replace(study.findings, lesions=(wrong,)))
    with pytest.raises(UsageError, match="one of its own, 18 to 22; found 2"):
        lesion_views(study, 1, lesion_parts(study))


def test_lesion_without_voxels_is_refused(study_with: Callable[..., ReportedStudy], tmp_path: Path) -> None:
    study = study_with([MAIN])
    study = replace(study, mask=np.zeros(SHAPE, np.uint8))
    with pytest.raises(UsageError, match="lesion 1 has none"):
        write_report(tmp_path / "report.html", study)
    assert not list(tmp_path.iterdir())


def test_box_beside_the_slice_is_not_drawn(study_with: Callable[..., ReportedStudy]) -> None:
    study = study_with([MAIN], boxes_mm=(np.array([20.0, 10, -299, 40, 30, -290]),))
    views = lesion_views(study, 1, lesion_parts(study))
    assert "box" not in views[0].alt and "box" in views[3].alt


def test_windows(study_with: Callable[..., ReportedStudy]) -> None:
    lesion = study_with([MAIN]).findings.lesions[0]
    assert lesion_window(lesion) == "lung"
    assert lesion_window(replace(lesion, category=Category.NODE)) == "mediastinum"
    assert lesion_window(replace(lesion, site=Site.HILUM)) == "mediastinum"
    assert lesion_window(replace(lesion, site=Site.BONE)) == "bone"
    assert lesion_window(replace(lesion, site=Site.THORAX)) == "lung"


def test_size_in_words(study_with: Callable[..., ReportedStudy]) -> None:
    findings = study_with([MAIN, SMALL]).findings
    first, second = findings.lesions
    nodule = replace(findings, lesions=(replace(first, category=Category.NODULE), second))
    assert size_sentence(nodule).endswith("lesion 1 of 2), if this nodule is the primary tumour")
    node = replace(findings, lesions=(replace(first, category=Category.METASTASIS), second))
    assert size_sentence(node) == "2 lesions, none of them a lung tumour: no T by size"
    part = replace(first.measurement.size_t, size_mm=7.0)
    subsolid = replace(first, measurement=replace(first.measurement, size_t=part))
    assert "solid part 7.0\u00a0mm" in size_sentence(replace(findings, lesions=(subsolid,)))


@pytest.mark.parametrize(
    ("named", "confidence", "said"),
    [
        (("IA2",), 0.9, "Stage group, with 90 % confidence: IA2"),
        (("IA2", "IB"), 0.95, "Stage group, with 95 % confidence one of: IA2, IB"),
        (("IA2", "IB"), None, "Stage groups still possible: IA2, IB (no confidence is claimed)"),
        (("IB",), None, "Stage group: IB (no confidence is claimed)"),
        ((), None, "No stage group: the 8th edition has none for these categories"),
    ],
)
def test_stage_in_words(named: tuple[str, ...], confidence: float | None, said: str) -> None:
    staging = StagingFinding(TNM({"T1b"}, {"N0"}, {"M0"}), named, confidence)
    assert stage_sentence(staging).replace("\u00a0", " ") == said


def test_shares_in_words() -> None:
    shares = (0, 0.001, 0.005, 0.5, 0.994, 0.9999, 1)
    assert [percent(share).replace("\u00a0", " ") for share in shares] == [
        *("0 %", "< 1 %", "< 1 %", "50 %", "99 %", "> 99 %", "100 %"),
    ]


def test_categories_are_in_order() -> None:
    given = {"T4": 0.1, "T2": 0.2, "TX": 0.1, "T1mi": 0.3, "T1b": 0.3}
    assert [key for key, _ in in_order("t", given, "8")] == ["TX", "T1mi", "T1b", "T2", "T4"]


def test_markup() -> None:
    assert tag("p", "a < b", Markup("<br>"), class_="x", title=None) == '<p class="x">a &lt; b<br></p>'
    assert tag("img", alt='"', data_label="&") == '<img alt="&quot;" data-label="&amp;">'
