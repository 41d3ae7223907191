"""The five-panel picture: boxes where they are however the volume is stored; what it says, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from monai_staging.errors import DataError, UsageError
from monai_staging.outputs.figures import DPI
from monai_staging.outputs.figures_lesion import EDGE, LOOKS, PREDICTED, READER, TRUE, lesion_figure

TUMOUR = np.array([30.0, 15.0, -100.0])
RADIUS = 14.0
READER_BOX = [*(TUMOUR - RADIUS), *(TUMOUR + RADIUS)]
PREDICTED_BOX = [*(TUMOUR - RADIUS + (4, -3, 2)), *(TUMOUR + RADIUS + (4, -3, 2))]


def chest() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A lung of 120 x 120 x 60 mm with a tumour to the right, and a bright mark far right and anterior."""
    affine = np.diag([2.0, 1.5, 3.0, 1.0])
    affine[:3, 3] = (-60, -60, -130)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (60, 80, 20)], indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    away = np.linalg.norm(world - TUMOUR, axis=-1)
    volume = -850 + 890 / (1 + np.exp((away - RADIUS) / 0.8))
    volume[55:, 70:] = 300
    return volume.astype(np.int16), affine


def turned(array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any], flips: str, order: tuple[int, int, int]):
    """The same chest stored otherwise."""
    affine = affine.copy()
    for axis in range(3):
        if "xyz"[axis] in flips:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    return array.transpose(order), affine[:, [*order, 3]]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written."""
    kept: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: (kept.append(self), save(self, *args, **kwargs))
    )
    return kept


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path).convert("RGB")) / 255


class Panel:
    """One panel of the written picture: colours at places of the patient, by where it lies and what it spans."""

    def __init__(self, picture: np.ndarray[Any, Any], figure: Figure, place: int) -> None:
        axes = figure.axes[place]
        box = axes.get_window_extent()
        scale = DPI / figure.dpi
        height = picture.shape[0]
        self.left, self.right = box.x0 * scale, box.x1 * scale
        self.top, self.bottom = height - box.y1 * scale, height - box.y0 * scale
        self.picture, self.x, self.y = picture, axes.get_xlim(), axes.get_ylim()

    def near(self, x: float, y: float, colour: str) -> bool:
        column = self.left + (x - self.x[0]) / (self.x[1] - self.x[0]) * (self.right - self.left)
        row = self.bottom + (y - self.y[0]) / (self.y[1] - self.y[0]) * (self.top - self.bottom)
        patch = self.picture[int(row) - 4 : int(row) + 5, int(column) - 4 : int(column) + 5]
        return bool((np.abs(patch - to_rgb(colour)).max(axis=-1) < 0.1).any())


def test_boxes_are_where_they_are_and_the_scan_is_radiological(tmp_path: Path, figures: list[Figure]) -> None:
    path = lesion_figure(tmp_path / "a.png", *chest(), READER_BOX, PREDICTED_BOX)
    picture = pixels(path)
    scan, reader, predicted, zoom, edge = (Panel(picture, figures[0], place) for place in range(5))
    # The patient's right runs to the left: x falls from the left edge to the right one.
    assert scan.x[0] > scan.x[1] and scan.y[0] < scan.y[1]
    assert scan.near(55, 55, "#ffffff") and not scan.near(-55, 55, "#ffffff") and not scan.near(55, -55, "#ffffff")
    for panels, box, name in (((reader, zoom), READER_BOX, READER), ((predicted, zoom), PREDICTED_BOX, PREDICTED)):
        colour = LOOKS[name]["color"]
        for panel in panels:
            sides = [(box[0], np.linspace(box[1], box[4], 9)), (box[3], np.linspace(box[1], box[4], 9))]
            for x, along in sides:
                # Of a dashed line some places are bare.
                assert sum(panel.near(x, y, colour) for y in along) >= 5
            assert not panel.near((box[0] + box[3]) / 2, (box[1] + box[4]) / 2, colour)
    assert not any(reader.near(PREDICTED_BOX[3], y, LOOKS[PREDICTED]["color"]) for y in np.linspace(5, 20, 5))
    # The edge is the tumour's circle.
    angle = np.linspace(0, 2 * np.pi, 12)
    ring = TUMOUR[:2] + RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert all(edge.near(x, y, LOOKS[EDGE]["color"]) for x, y in ring)
    assert not edge.near(*TUMOUR[:2], LOOKS[EDGE]["color"])


@pytest.mark.parametrize(
    ("flips", "order"), [("x", (0, 1, 2)), ("xy", (0, 1, 2)), ("z", (2, 0, 1)), ("xyz", (1, 2, 0))]
)
def test_another_orientation_gives_the_same_picture(tmp_path: Path, flips: str, order: tuple[int, int, int]) -> None:
    array, affine = chest()
    first = lesion_figure(tmp_path / "a.png", array, affine, READER_BOX, PREDICTED_BOX, z_mm=-103)
    other = lesion_figure(
        tmp_path / "b.png", *turned(array, affine, flips, order), READER_BOX, PREDICTED_BOX, z_mm=-103
    )
    assert np.abs(pixels(first) - pixels(other)).max() < 0.02


def test_a_phantom_s_box_is_the_true_one_and_no_reader_s(tmp_path: Path, figures: list[Figure]) -> None:
    array, affine = chest()
    path = lesion_figure(tmp_path / "a.png", array, affine, READER_BOX, PREDICTED_BOX, phantom=True)
    away = [*PREDICTED_BOX[:2], 50, *PREDICTED_BOX[3:5], 60]
    lesion_figure(tmp_path / "b.png", array, affine, None, PREDICTED_BOX, phantom=True)
    lesion_figure(tmp_path / "c.png", array, affine, READER_BOX, away, phantom=True)
    said = texts(figures[0])
    assert TRUE in said and "2  true box" in said and "true box 28 x 28 x 28 mm" in next(t for t in said if "IoU" in t)
    assert "no true box" in texts(figures[1])
    assert not any("reader" in text for figure in figures for text in texts(figure))
    # Nothing else is another.
    real = pixels(lesion_figure(tmp_path / "d.png", array, affine, READER_BOX, PREDICTED_BOX))
    top = slice(0, int(0.7 * len(real)))
    assert LOOKS[TRUE] == LOOKS[READER] and (np.abs(pixels(path)[top] - real[top]).max(axis=-1) > 0.1).mean() < 0.01


def test_it_says_what_is_seen(tmp_path: Path, figures: list[Figure]) -> None:
    array, affine = chest()
    lesion_figure(
        tmp_path / "a.png",
        array,
        affine,
        READER_BOX,
        PREDICTED_BOX,
        window=(50, 400),
        case_name="case-0123456789",
        subtitle="phantoms (synthetic CT)",
    )
    said = texts(figures[0])
    assert "Lesion: case-0123456789" in said and "phantoms (synthetic CT)" in said
    assert "axial slice at z = -100.0 mm, seen from the feet; window centre 50 HU, width 400 HU" in said
    # 24 x 25 x 26 of 28 cubed, twice.
    shared = 24 * 25 * 26
    facts = next(text for text in said if "IoU" in text)
    assert f"IoU of both {shared / (2 * 28**3 - shared):.2f}" in facts
    assert "reader's box 28 x 28 x 28 mm" in facts and "inside the reader's box" in facts
    shown = {"R", "L", "A", "P", READER, PREDICTED, EDGE}
    assert shown | {"50 mm"} <= set(said) or shown | {"20 mm"} <= set(said)
    for mark in "RLAP":
        assert said.count(mark) == 5
    assert [axes.get_title(loc="left") for axes in figures[0].axes] == [
        "1  scan",
        "2  reader's box",
        "3  predicted box",
        "4  zoom",
        "5  edge",
    ]


def test_boxes_that_are_not_there_are_told_of(tmp_path: Path, figures: list[Figure]) -> None:
    array, affine = chest()
    lesion_figure(tmp_path / "a.png", array, affine, READER_BOX, None)
    lesion_figure(tmp_path / "b.png", array, affine, None, PREDICTED_BOX)
    away = [*READER_BOX[:2], -125, *READER_BOX[3:5], -120]
    lesion_figure(tmp_path / "c.png", array, affine, READER_BOX, away)
    lesion_figure(tmp_path / "d.png", array, affine, READER_BOX, away, z_mm=-80)
    first, second, third, fourth = (texts(figure) for figure in figures)
    assert "not found" in first
    assert "no reader's box" in second and any("inside the predicted box" in text for text in second)
    assert "predicted box is at z = -125.0 to -120.0 mm" in third
    assert "no box on this slice" in fourth


def test_a_slice_alone_and_a_box_in_air(tmp_path: Path, figures: list[Figure]) -> None:
    array, affine = chest()
    affine = affine.copy()
    affine[2, 3] = -100
    lesion_figure(tmp_path / "a.png", array[:, :, 10], affine, READER_BOX, PREDICTED_BOX)
    assert "axial slice at z = -100.0 mm" in " ".join(texts(figures[0]))
    air = np.full((60, 80), -850, np.int16)
    lesion_figure(tmp_path / "b.png", air, affine, READER_BOX, None)
    assert "no edge found" in texts(figures[1])


def test_what_is_no_box_is_refused(tmp_path: Path) -> None:
    array, affine = chest()
    path = tmp_path / "a.png"
    with pytest.raises(UsageError, match=r"needs a box \(xmin, ymin, zmin, xmax, ymax, zmax\), got \[\]"):
        lesion_figure(path, array, affine, None, None)
    with pytest.raises(UsageError, match="needs"):
        lesion_figure(path, array, affine, [0, 0, 1, 1], None)
    with pytest.raises(DataError, match="does not end before it begins"):
        lesion_figure(path, array, affine, READER_BOX[3:] + READER_BOX[:3], None)
    with pytest.raises(UsageError, match="a height from"):
        lesion_figure(path, array, affine, READER_BOX, None, z_mm=500)
    with pytest.raises(UsageError, match="found 'skin'"):
        lesion_figure(path, array, affine, READER_BOX, None, window="skin")
    assert not path.exists()
