"""Figures of a pretraining: written, of the right size, and showing what they are given."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from monai_staging.outputs.figures_confusion import matrix_figure
from monai_staging.outputs.figures_pretrain import curves_figure, patches_figure


def pixels(path: Path) -> np.ndarray:
    return matplotlib.image.imread(path)[..., :3]


@pytest.mark.parametrize("shape", [(3, 2, 8, 8), (3, 1, 8, 8, 6)])
def test_patches_are_drawn_the_patient_s_right_on_the_left_and_the_front_at_the_top(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    image = np.full(shape, 0.5, np.float32)[:1]
    image[:, 0, 4:, 4:] = 0.8  # in RAS: right, front
    for ras in (True, False):
        path = patches_figure(tmp_path / "figure.png", {"original": image}, ras=ras, subtitle="made")
        grey, bright = (np.argwhere(np.isclose(pixels(path), value, atol=0.01).all(axis=2)) for value in (0.5, 0.8))
        assert len(grey) > 2 * len(bright) > 1000
        assert (bright.mean(axis=0) < grey.mean(axis=0)).all() == ras


def test_a_confusion_matrix_is_dark_where_many_are(tmp_path: Path) -> None:
    truth = np.repeat(np.arange(3), 5)
    right = pixels(matrix_figure(tmp_path / "right.png", truth, truth, ("a", "b", "automobile"), title="made"))
    never = pixels(matrix_figure(tmp_path / "never.png", truth, (truth + 1) % 3, ("a", "b", "c"), title="made"))
    assert right.shape != (0,) and not np.array_equal(right[: len(never)], never[: len(right)])


def test_curves_take_epochs_without_a_validation(tmp_path: Path) -> None:
    epochs = [{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0, "val_nt_xent": 3.0}]
    path = curves_figure(tmp_path / "a.png", epochs, metric="nt_xent", subtitle="made")
    assert (pixels(path) < 0.99).any()
    with_none = curves_figure(tmp_path / "b.png", epochs[:1], metric="nt_xent")
    assert with_none.stat().st_size > 0
