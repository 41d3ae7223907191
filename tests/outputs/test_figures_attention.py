from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from monai_staging.errors import UsageError
from monai_staging.outputs.figures import DPI
from monai_staging.outputs.figures_attention import attention_figure, radiological, top_slices, window_views


def corner_volume():
    """RAS, 40 x 30 x 5, dark; a bright block far to the patient's right and anterior in the top slice."""
    volume = np.zeros((40, 30, 5))
    volume[32:40, 24:30, 4] = 1.0
    return volume


def weights(slices=5, peak=4):
    values = np.full(slices, 0.1)
    values[peak] = 1.0
    return values / values.sum()


def test_radiological_puts_right_on_the_left_and_anterior_on_top():
    image = radiological(corner_volume()[:, :, 4])
    assert image.shape == (30, 40)
    assert image[:6, :8].all()
    assert image.sum() == 48


def test_the_written_picture_is_radiological(tmp_path):
    path = attention_figure(
        tmp_path / "a.png", {"lung": corner_volume()}, {"t": weights()}, np.arange(5) * 20.0, count=1
    )
    picture = np.asarray(Image.open(path).convert("L")).astype(int)
    # The shown slice is the largest dark area: everything else is thin ink on white paper.
    areas, _ = ndimage.label(picture < 40)
    rows, columns = ndimage.find_objects((areas == np.bincount(areas[areas > 0]).argmax()).astype(int))[0]
    top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
    assert right - left > DPI
    # The bright block is white on white: it eats the upper left corner of the dark area, and no other.
    height, width = bottom - top, right - left
    boxes = {
        "upper left": picture[top + height // 20 : top + height // 6, left + width // 20 : left + width // 6],
        "upper right": picture[top + height // 20 : top + height // 6, right - width // 6 : right - width // 20],
        "lower left": picture[bottom - height // 6 : bottom - height // 20, left + width // 20 : left + width // 6],
        "lower right": picture[bottom - height // 6 : bottom - height // 20, right - width // 6 : right - width // 20],
    }
    assert {name: bool(box.mean() > 200) for name, box in boxes.items()} == {
        "upper left": True,
        "upper right": False,
        "lower left": False,
        "lower right": False,
    }


def test_r_stands_on_the_left_of_every_slice_and_l_on_the_right(tmp_path, monkeypatch):
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (figures.append(self), path.write_bytes(b"png")))
    views = window_views(np.random.default_rng(0).normal(0, 500, (20, 20, 9)))
    attention_figure(
        tmp_path / "a.png",
        views,
        {letter: weights(9, peak) for letter, peak in zip("tnm", (1, 4, 7), strict=True)},
        np.arange(9) * 10.0,
        case_name="case-0a1b2c3d4e",
        captions={"t": "predicted T2 (0.61), reference T3", "group": "stage group: predicted IIB"},
        marks={"primary": [(5, 15)], "node": [(30, 40), (60, 70)]},
        subtitle="phantom",
    )
    images = [axes for axes in figures[0].axes if axes.images]
    assert len(images) == 3 * 3 * 2  # letters x slices x windows
    for axes in images:
        places = {text.get_text(): text.get_position()[0] for text in axes.texts}
        assert places["R"] < 0.1
        assert places["L"] > 0.9
    texts = {text.get_text() for text in figures[0].findobj(Text)}
    assert {"Attention over slices: case-0a1b2c3d4e", "phantom", "stage group: predicted IIB"} <= texts
    assert {"T   predicted T2 (0.61), reference T3", "N", "M", "lung", "mediastinum", "primary", "node"} <= texts
    assert "z = 10 mm, weight 0.56" in texts


def test_the_liver_of_a_real_ct_is_on_the_left_and_the_spine_below(shared_data, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    archive = shared_data / "totalsegmentator_examples" / "reference_files.tar.gz"
    wanted = {"liver": "example_seg_fast/liver.nii.gz", "spine": "example_seg_fast/vertebrae_L1.nii.gz"}
    shown = {}
    with tarfile.open(archive) as tar:
        for name, member in wanted.items():
            file = tmp_path / f"{name}.nii.gz"
            stream = tar.extractfile(member) or io.BytesIO()
            file.write_bytes(stream.read())
            mask = np.asarray(nibabel.as_closest_canonical(nibabel.load(file)).dataobj) > 0
            shown[name] = radiological(mask.any(axis=2))
    rows, columns = np.nonzero(shown["liver"])
    assert columns.mean() < 0.45 * shown["liver"].shape[1]
    spine_rows, spine_columns = np.nonzero(shown["spine"])
    assert spine_rows.mean() > rows.mean()
    assert columns.mean() < spine_columns.mean()


def test_windows():
    views = window_views(np.array([[[-1350.0, -600.0, 150.0, -160.0, 40.0, 240.0]]]))
    assert views["lung"][0, 0, :3].tolist() == [0, 0.5, 1]
    assert views["mediastinum"][0, 0, 3:].tolist() == [0, 0.5, 1]


def test_top_slices_are_apart_until_there_are_no_more():
    values = np.array([0.1, 0.3, 0.25, 0.2, 0.15])
    z_mm = np.arange(5) * 5.0
    assert top_slices(values, z_mm, 2, separation_mm=10) == [1, 3]
    assert top_slices(values, z_mm, 3, separation_mm=0) == [1, 2, 3]
    assert top_slices(values, z_mm, 4, separation_mm=100) == [1, 2, 3, 4]
    assert top_slices(values, z_mm, 9) == [1, 4, 2, 3, 0]


def test_refuses_shapes_that_do_not_agree(tmp_path):
    path, views = tmp_path / "a.png", {"lung": corner_volume()}
    with pytest.raises(UsageError, match=r"t is one value a slice, \(5,\), got shape \(4,\)"):
        attention_figure(path, views, {"t": weights(4, 0)}, np.arange(5))
    with pytest.raises(UsageError, match="z_mm"):
        attention_figure(path, views, {"t": weights()}, np.arange(6))
    with pytest.raises(UsageError, match="of one shape"):
        attention_figure(path, {**views, "bone": np.zeros((3, 3, 5))}, {"t": weights()}, np.arange(5))
    with pytest.raises(UsageError, match="views and weights, got 0 and 1"):
        attention_figure(path, {}, {"t": weights()}, np.arange(5))
    assert not path.exists()
