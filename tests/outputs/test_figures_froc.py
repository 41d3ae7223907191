from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from monai_staging.metrics.froc import POINTS, Findings, Marks, froc
from monai_staging.outputs.figures_froc import froc_figure

LESIONS = Findings(["a", "b"], [[0, 0, 0], [0, 0, 0]], [6, 6])
MARKS = Marks(["a", "b", "b"], [[0, 0, 0], [50, 0, 0], [0, 0, 0]], [0.9, 0.8, 0.7])


@pytest.mark.parametrize("n_boot", [0, 30])
def test_a_curve_with_its_points_and_band(tmp_path, monkeypatch, n_boot):
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **more: (drawn.append(self), save(self, *args, **more)))
    result = froc(LESIONS, MARKS, ["a", "b", "c"], strata=["small", "large"], n_boot=n_boot)
    results = {"all": result, **result.strata}
    path = froc_figure(tmp_path / "froc.png", results, subtitle="3 phantoms")
    assert Image.open(path).size == (990, 810)
    [figure] = drawn
    [axes] = figure.axes
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert [text for text in texts if text in {"1/8", "1/4", "1/2", "1", "2", "4", "8"}] != []
    assert any(text.startswith("all  CPM 0.") and text.endswith("n=2") for text in texts)
    assert any("3 phantoms\n3 scans" in text for text in texts)
    # A line and its points for each; the points are those of the CPM, and lie on the line.
    lines = axes.get_lines()
    assert len(lines) == 6
    for line, points in zip(lines[::2], lines[1::2], strict=True):
        curve = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
        assert [curve[point] for point in POINTS] == list(points.get_ydata())
    assert len(axes.collections) == (3 if n_boot else 0)
