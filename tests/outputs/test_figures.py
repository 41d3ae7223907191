from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as reference

from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.levels import Level, level_classes
from monai_staging.outputs.figures import COLOURS, colour, figure_file, headline, line_style
from monai_staging.outputs.figures_confusion import confusion_figure
from monai_staging.outputs.figures_curves import reliability_figure, roc_figure, roc_points


def level(name="t", rows=40, seed=0):
    rng = np.random.default_rng(seed)
    classes = level_classes("8")[name]
    truth = rng.integers(-1, len(classes), rows)
    return Level(name, classes, rng.dirichlet(np.ones(len(classes)), rows), truth)


def patients(rows=40):
    return [f"case-{index}" for index in range(rows)]


@pytest.fixture
def drawn(monkeypatch):
    """Every text on the figures that are written, and the figures themselves."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: (figures.append(self), save(self, *args, **kwargs))
    )

    def texts():
        return [text.get_text() for figure in figures for text in figure.findobj(Text) if text.get_text()]

    return texts


def test_a_failed_figure_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError, match="half"), figure_file(tmp_path / "a.png", 2, 2):
        raise RuntimeError("half drawn")
    assert list(tmp_path.iterdir()) == []


def test_figures_leave_no_global_state(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    with figure_file(tmp_path / "a.png", 4, 3) as figure:
        headline(figure.add_subplot(), "title", "one\ntwo")
    assert dict(matplotlib.rcParams) == before
    assert Image.open(tmp_path / "a.png").size == (600, 450)


def test_no_two_series_look_alike():
    looks = {(colour(index), line_style(index)) for index in range(36)}
    assert len(looks) == 36
    assert colour(len(COLOURS)) == colour(0)


@pytest.mark.parametrize("name", ["m", "t", "group_fine"])
def test_confusion_matrix_shows_the_counts(tmp_path, drawn, name):
    one = level(name)
    path = confusion_figure(tmp_path / "c.png", one, subtitle="40 phantoms")
    assert Image.open(path).format == "PNG"
    texts = drawn()
    known = one.truth >= 0
    matrix = reference.confusion_matrix(one.truth[known], one.predicted[known], labels=range(len(one.classes)))
    cells = [int(text) for text in texts if text.isdigit() and text != "0"]
    expected = [count for count in matrix.ravel().tolist() if count]
    # The group "0" and the counts share a spelling: what is not a label must be a count.
    assert sorted(cells) == sorted(expected)
    assert {"reference", "predicted"} <= set(texts)
    assert f"40 phantoms\n{known.sum()} with known reference, {(~known).sum()} unknown left out" in texts


def test_roc_points_are_scikit_learns():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(50) < 0.4, rng.integers(0, 12, 50) / 12
    false, true, _ = reference.roc_curve(positive, scores, drop_intermediate=False)
    ours = roc_points(positive, scores)
    assert ours[0] == pytest.approx(false)
    assert ours[1] == pytest.approx(true)


def test_roc_names_areas_intervals_and_absent_classes(tmp_path, drawn):
    one = level("t")
    one = Level("t", one.classes, one.probabilities, np.where(one.truth == 1, 2, one.truth))
    roc_figure(tmp_path / "r.png", one, patients(), macro=Estimate(0.5, 0.4, 0.6, 33), subtitle="phantoms", n_boot=50)
    texts = drawn()
    known = one.truth >= 0
    area = reference.roc_auc_score(one.truth[known] == 3, one.probabilities[known, 3])
    label = next(text for text in texts if text.startswith("T3  "))
    assert label.startswith(f"T3  {area:.2f} [")
    assert label.endswith(f"n={(one.truth == 3).sum()}")
    assert any("no curve (class absent or alone): T1" in text for text in texts)
    assert any("macro AUROC 0.50 [0.40, 0.60], 33 patients" in text for text in texts)


def test_two_classes_have_one_curve(tmp_path, drawn):
    roc_figure(tmp_path / "r.png", level("m"), patients(), n_boot=20)
    texts = drawn()
    assert "M: M1 against M0" in texts
    assert any(text.startswith("M1  ") for text in texts)
    assert not any(text.startswith("M0  ") for text in texts)


def test_many_classes_and_single_class_roc(tmp_path):
    assert roc_figure(tmp_path / "many.png", level("group_fine"), patients(), n_boot=10).is_file()
    one = level("t")
    alone = Level("t", one.classes, one.probabilities, np.ones(40, dtype=np.int64))
    assert roc_figure(tmp_path / "alone.png", alone, patients(), n_boot=10).is_file()


def test_reliability_with_and_without_truth(tmp_path, drawn):
    one = level("n")
    reliability_figure(tmp_path / "a.png", one, ece=Estimate(0.2, 0.1, 0.3, 32), subtitle="phantoms")
    assert "phantoms\nexpected calibration error 0.20 [0.10, 0.30], 32 patients" in drawn()
    unknown = Level("n", one.classes, one.probabilities, np.full(40, -1))
    assert reliability_figure(tmp_path / "b.png", unknown).is_file()


def test_figures_can_be_drawn_in_a_thread(tmp_path):
    thread = threading.Thread(target=confusion_figure, args=(tmp_path / "c.png", level()))
    thread.start()
    thread.join()
    assert (tmp_path / "c.png").is_file()
