"""The picture of a slide: what it says the points are that were to be found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from monai_staging.outputs.figures_mitosis import FALSE, FOUND, MISSED, slide_figure


@pytest.mark.parametrize(("phantom", "name"), [(False, "readers' points"), (True, "true points")])
def test_points_are_the_readers_or_a_phantom_s_own(
    phantom: bool, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: (drawn.append(self), save(self, *args, **kwargs))
    )
    marks = {FOUND: np.array([[8.0, 8.0]]), FALSE: np.array([[4.0, 20.0]]), MISSED: np.zeros((0, 2))}
    path = slide_figure(
        tmp_path / "a.png",
        np.full((64, 64, 3), 240, np.uint8),
        np.zeros((16, 16)),
        np.eye(16),
        marks,
        **{"width_um": 32.0, "threshold": 0.4, "title": "best of 1", "subtitle": "what", "phantom": phantom},
    )
    assert path.stat().st_size > 10_000
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles[:3] == ["slide", f"{name}, exp(-a d)", "network"]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["found: 1", "missed: 0", "false: 1"]
