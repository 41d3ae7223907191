"""Maps over planes, and the figures made of them: what is shown, on which slices, in which coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from monai_staging.cohort.volume import Volume
from monai_staging.errors import UsageError
from monai_staging.outputs import figures_explain
from monai_staging.outputs.figures_explain import (
    GateMap,
    LetterMap,
    NoduleMap,
    gates_figure,
    nodule_maps_figure,
    study_maps_figure,
)
from monai_staging.outputs.figures_maps import Panel, maps_figure
from monai_staging.outputs.figures_plane import nodule_plane
from monai_staging.transforms.grid import Grid
from monai_staging.transforms.nodule_views import NoduleViews


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written."""
    kept: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: (kept.append(self), save(self, *args, **kwargs))
    )
    return kept


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `maps_figure` is asked for."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr(
        figures_explain, "maps_figure", lambda path, rows, **settings: kept.update(rows=rows, **settings) or path
    )
    return kept


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_a_figure_of_maps_has_every_picture_scale_and_legend(tmp_path: Path, figures: list[Figure]) -> None:
    plane = nodule_plane(np.full((8, 8), 0.4), 1.0, "axial")
    heat = nodule_plane(np.eye(8), 1.0)
    line = np.array([[0.0, 0.0], [2.0, 2.0]])
    rows = {
        "first": [Panel(plane, "bare", lines={"readers": [line]}), Panel(plane, "map", heat)],
        "second": [Panel(plane)],
    }
    path = maps_figure(tmp_path / "a.png", rows, scale="share", title="What", subtitle="phantoms\n\nlung")
    assert Image.open(path).format == "PNG"
    pictures = [axes for axes in figures[0].axes if axes.get_title(loc="left") or axes.texts]
    assert {"first", "second", "bare", "map", "share", "What", "phantoms", "lung", "readers"} <= set(texts(figures[0]))
    assert "network" not in texts(figures[0]) and len(pictures) == 4
    maps_figure(tmp_path / "b.png", {"one": [Panel(plane)]}, scale="share")
    assert "share" not in texts(figures[1])
    with pytest.raises(UsageError, match="needs a picture, got 1 rows"):
        maps_figure(tmp_path / "c.png", {"one": []})


def letter_map(grid: Grid, z: int, x: int, weights: dict[int, float]) -> LetterMap:
    maps = np.zeros(grid.size)
    maps[x, 4, z] = 1.0
    attention = np.full(grid.size[2], 0.01)
    for index, weight in weights.items():
        attention[index] = weight
    return LetterMap("T2 (0.61), reference T3", maps, attention)


def test_a_study_is_shown_where_the_map_is_largest_then_by_weight(tmp_path: Path, asked: dict[str, Any]) -> None:
    array = np.arange(12 * 10 * 6, dtype=np.int16).reshape(12, 10, 6)
    affine = np.diag([-4.0, 5.0, -10.0, 1.0])
    affine[:3, 3] = (20, -20, 0)
    # The network's grid is coarser, and goes on above and below the scan (-50 to 0 mm).
    grid = Grid((6, 8, 12), (8.0, 8.0, 10.0), (-24.0, -24.0, -90.0))
    own = letter_map(grid, 6, 5, {0: 0.5, 8: 0.3, 5: 0.2, 11: 0.4})
    study_maps_figure(tmp_path / "a.png", Volume(array, affine), grid, {"t": own, "m": own}, case_name="case-1")
    assert list(asked["rows"]) == [
        "T   T2 (0.61), reference T3",
        "M   T2 (0.61), reference T3",
    ]
    assert asked["subtitle"].splitlines()[-1] == (
        "T: lung window, centre -600 HU, width 1500 HU; M: mediastinum window, centre 40 HU, width 400 HU"
    )
    panels = next(iter(asked["rows"].values()))
    # Slices 0 and 11 are beyond the scan; 5 is too near to 6.
    assert [panel.title for panel in panels] == [
        "z = -30 mm, weight 0.01",
        "largest here 1.00",
        "z = -10 mm, weight 0.30",
        "largest here 0.00",
    ]
    assert panels[0].heat is None and panels[0].grey == (-1350, 150)
    # The slice of the scan at -30 mm, the patient's right on the left: the first column is the largest x.
    np.testing.assert_allclose(panels[0].plane.values, array[:, ::-1, 3].T)
    heat = panels[1].heat
    row, column = np.argwhere(heat.values == 1)[0]
    left, right, bottom, top = heat.extent_mm
    assert left + (column + 0.5) * (right - left) / 6 == pytest.approx(-24 + 5 * 8)
    assert top + (row + 0.5) * (bottom - top) / 8 == pytest.approx(-24 + 4 * 8)
    with pytest.raises(UsageError, match=r"Maps of t: \(6, 8, 11\) cells"):
        study_maps_figure(
            tmp_path / "b.png", Volume(array, affine), Grid((6, 8, 11), grid.spacing_mm, grid.origin_mm), {"t": own}
        )


@pytest.mark.parametrize(
    ("kind", "titles"),
    [
        ("central", ["axial"]),
        ("2.5d", ["axial"]),
        ("planes", ["axial", "coronal", "sagittal"]),
        ("3d", ["axial", "coronal", "sagittal"]),
    ],
)
def test_every_kind_of_view_is_shown_with_its_map(
    tmp_path: Path, asked: dict[str, Any], kind: str, titles: list[str]
) -> None:
    cut = NoduleViews(kind, size=12, spacing_mm=0.5)
    rng = np.random.default_rng(0)
    size = (12,) * cut.spatial_dims
    views = rng.random((cut.views, cut.in_channels(), *size))
    views[:, -1] = 0
    views[:, -1, 4:7, 4:9] = 1
    maps = rng.random((cut.views, *size))
    nodule_maps_figure(tmp_path / "a.png", cut, [NoduleMap("nodule 1", views, maps)])
    panels = asked["rows"]["nodule 1"]
    bare = [panel for panel in panels if panel.lines]
    assert [panel.title for panel in bare] == titles
    heats = [panel for panel in panels if panel.heat is not None]
    assert len(heats) == len(titles)
    for panel in panels:
        assert panel.plane.size_mm == (6, 6) and panel.plane.sides
    if kind == "2.5d":
        np.testing.assert_array_equal(panels[0].plane.values, views[0, 1])
        assert [panel.title for panel in panels[2:]] == ["3 mm below", "3 mm above"]
        np.testing.assert_array_equal(panels[2].plane.values, views[0, 0])
    if kind == "planes":
        # Coronal and sagittal planes head up, and their maps with them.
        np.testing.assert_array_equal(panels[2].plane.values, views[1, 0, ::-1])
        np.testing.assert_array_equal(heats[1].heat.values, maps[1, ::-1])
    if kind == "3d":
        np.testing.assert_array_equal(panels[0].plane.values, views[0, 0, 6])
        np.testing.assert_array_equal(heats[2].heat.values, maps[0, ::-1, :, 6])
    nodule_maps_figure(tmp_path / "b.png", cut, [NoduleMap("nodule 1", views, maps)], sided=False)
    unmarked = asked["rows"]["nodule 1"]
    assert not any(panel.plane.sides for panel in unmarked)
    if kind == "2.5d":
        # Nobody knows where the feet are.
        assert [panel.title for panel in unmarked[2:]] == ["3 mm before", "3 mm after"]
    for one, other in zip(panels, unmarked, strict=True):
        np.testing.assert_array_equal(one.plane.values, other.plane.values)


def test_the_outline_lies_around_the_pixels_it_is_of(tmp_path: Path, asked: dict[str, Any]) -> None:
    mask = np.zeros((10, 8), bool)
    mask[2:5, 1:4] = True  # rows from the top, columns from the left
    picture = GateMap("slice", np.zeros((10, 8)), np.zeros((3, 10, 8)), 0.5, {"readers": mask, "network": ~mask})
    gates_figure(tmp_path / "a.png", [picture])
    slice_panel, *gates = asked["rows"]["slice"]
    (line,) = slice_panel.lines["readers"]
    # From the middle, y upwards.
    assert line.min(axis=0) == pytest.approx((-2 + 0.5, 2.5 - 2.5))
    assert line.max(axis=0) == pytest.approx((-2 + 2.0, 2.5 - 1.0))
    assert len(slice_panel.lines["network"]) == 2
    assert [gate.title for gate in gates] == ["gate at full size", "gate at 1/2 of it", "gate at 1/4 of it"]


def test_figures_are_written(tmp_path: Path, figures: list[Figure]) -> None:
    cut = NoduleViews("central", size=12)
    nodule = NoduleMap("nodule 7   malignant (0.93)", np.full((1, 2, 12, 12), 0.5), np.eye(12)[None])
    nodule_maps_figure(tmp_path / "n.png", cut, [nodule], grey="lung window", subtitle="phantom nodules (synthetic)")
    gates_figure(tmp_path / "g.png", [GateMap("a", np.zeros((9, 9)), np.full((2, 9, 9), 0.7), 0.7)], sided=False)
    said = texts(figures[0])
    assert {"nodule 7   malignant (0.93)", "phantom nodules (synthetic)", "lung window", "readers"} <= set(said)
    assert "what spoke for the class (1: the most in the nodule)" in said
    assert {"R", "L", "A", "P"} <= set(said) and not {"R", "L", "A", "P"} & set(texts(figures[1]))
    assert all(Image.open(path).format == "PNG" for path in tmp_path.glob("*.png"))
