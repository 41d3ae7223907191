"""Losses from the first epoch on and from a later one."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from monai_staging.errors import UsageError
from monai_staging.outputs.figures_curves import loss_figure

EPOCHS = [
    {"epoch": float(epoch), "seconds": 1.0, "loss": 3 / epoch} | ({"val_loss": 4 / epoch} if epoch % 2 == 0 else {})
    for epoch in range(1, 31)
]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    kept: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: (kept.append(self), save(self, *args, **kwargs))
    )
    return kept


def test_both_panels_have_the_losses_the_second_from_the_later_epoch(tmp_path: Path, figures: list[Figure]) -> None:
    path = loss_figure(tmp_path / "a.png", EPOCHS, later=20, subtitle="phantoms")
    assert path.stat().st_size > 0
    first, second = figures[0].axes
    training, validation = first.lines
    assert list(training.get_ydata()) == [row["loss"] for row in EPOCHS]
    assert list(validation.get_xdata()) == list(range(2, 31, 2))
    assert [line.get_label() for line in first.lines] == ["training loss", "validation loss"]
    assert training.get_linestyle() != validation.get_linestyle()
    assert list(second.lines[0].get_xdata()) == list(range(20, 31))
    assert second.get_ylim()[1] < 0.3 < first.get_ylim()[1]
    assert second.get_title(loc="left") == "Loss from epoch 20"


def test_without_a_later_epoch_it_is_the_middle_one(tmp_path: Path, figures: list[Figure]) -> None:
    loss_figure(tmp_path / "a.png", EPOCHS)
    assert figures[0].axes[1].get_title(loc="left") == "Loss from epoch 16"
    # A validation that ended before has no line there.
    loss_figure(tmp_path / "b.png", [*EPOCHS[:2], {"epoch": 3.0, "loss": 1.0}], later=3)
    assert [len(line.get_xdata()) for line in figures[1].axes[1].lines] == [1, 0]


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="epochs from 31 on"):
        loss_figure(tmp_path / "a.png", EPOCHS, later=31)
    with pytest.raises(UsageError, match=r"got \[\] of 0"):
        loss_figure(tmp_path / "a.png", [])
    with pytest.raises(UsageError, match=r"got \[\] of 1"):
        loss_figure(tmp_path / "a.png", [{"epoch": 1.0, "val_auroc": 0.5}])
