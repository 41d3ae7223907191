"""Phantom slides: the truth is where the dark nuclei are, the stains can be told, and a set is made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.histology import phantom
from monai_staging.histology.nuclei import LOOKALIKES, MITOSES, Brush, lymphocyte, resting
from monai_staging.histology.phantom import HistologyConfig, default_slides, draw_slide
from monai_staging.histology.reader import SlideReader
from monai_staging.histology.slides import load_slides
from monai_staging.transforms.stain import find_stains

SMALL = HistologyConfig(patients=3, size=320, mitoses=60.0, lookalikes=60.0)


def test_a_slide_is_the_same_again_and_another_for_each_patient() -> None:
    one, again, other = draw_slide(SMALL, 0), draw_slide(SMALL, 0), draw_slide(SMALL, 1)
    np.testing.assert_array_equal(one.pixels, again.pixels)
    assert one.mitoses == again.mitoses and one.scanner == again.scanner
    assert one.pixels.shape == (320, 320, 3) and one.pixels.dtype == np.uint8
    assert one.mitoses != other.mitoses and (one.pixels != other.pixels).mean() > 0.5
    reseeded = draw_slide(replace(SMALL, seed=1), 0)
    assert reseeded.mitoses != one.mitoses


def test_the_truth_is_where_something_dark_is_drawn() -> None:
    inside, outside = [], []
    for patient in range(4):
        slide = draw_slide(SMALL, patient)
        red = slide.pixels[..., 0].astype(float)
        for points in (slide.mitoses, slide.lookalikes):
            for x, y in points:
                assert 0 <= x < 320 and 0 <= y < 320
                near = red[max(0, int(y) - 18) : int(y) + 19, max(0, int(x) - 18) : int(x) + 19]
                inside.append(np.percentile(near, 3) / np.median(red))
        draw = np.random.default_rng(patient)
        for x, y in draw.integers(18, 300, (40, 2)):
            outside.append(np.percentile(red[y - 18 : y + 19, x - 18 : x + 19], 3) / np.median(red))
    assert len(inside) > 20 and np.median(inside) < 0.5 < np.median(outside)


def test_its_stains_can_be_told() -> None:
    angles = []
    for patient in range(4):
        stains = find_stains(torch.from_numpy(draw_slide(SMALL, patient).pixels).permute(2, 0, 1))
        assert stains.matrix[0, 0] > stains.matrix[0, 1]  # haematoxylin lets less red through
        angles.append(stains.matrix[:, 0])
    # Laboratories differ.
    assert np.std(angles, axis=0).max() > 0.01


@pytest.mark.parametrize("kind", [*[draw for draw, _ in (MITOSES | LOOKALIKES).values()], lymphocyte, resting])
def test_every_cell_fits_its_square(kind) -> None:
    for seed in range(8):
        cell = kind(Brush(np.random.default_rng(seed), 0.25))
        edge = [cell.chromatin[0], cell.chromatin[-1], cell.chromatin[:, 0], cell.chromatin[:, -1]]
        assert max(side.max() for side in edge) == 0 and cell.chromatin.min() >= 0
        assert 0.5 < cell.chromatin.max() < 5 and 0 <= cell.body.min() <= cell.body.max() <= 1


def test_a_set_is_made_once_and_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = default_slides(tmp_path / "slides", SMALL)
    found = load_slides(root)
    assert found.source == "phantom" and len({slide.patient for slide in found.slides}) == 3
    for number, slide in enumerate(found.slides):
        made = draw_slide(SMALL, number)
        assert slide.mitoses == made.mitoses and slide.scanner == made.scanner
        with SlideReader(slide.image) as reader:
            assert reader.microns_per_pixel == pytest.approx(0.25)
            np.testing.assert_array_equal(reader.read(0, 0, 320, 320), made.pixels.transpose(2, 0, 1))
    monkeypatch.setattr(phantom, "draw_slide", lambda *_: pytest.fail("made again"))
    assert default_slides(tmp_path / "slides", SMALL) == root
    with pytest.raises(DataError, match="has phantom slides of .* choose another folder"):
        default_slides(tmp_path / "slides", replace(SMALL, seed=5))
    with pytest.raises(UsageError, match="numbers are above 0"):
        HistologyConfig(size=0)
