"""Labels of ratings, and which layout a folder is of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.cohort.nodules import load_nodules
from monai_staging.cohort.nodules.nodule import label_of_ratings
from monai_staging.errors import DataError


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_a_label_is_the_readers_mean_unless_that_is_uncertain(ratings: list[int]) -> None:
    expected = None if 2.5 <= mean(ratings) <= 3.5 else (int(mean(ratings) > 3),)
    assert label_of_ratings(ratings) == expected
    mirrored = label_of_ratings([6 - rating for rating in ratings])
    assert mirrored == (None if expected is None else (1 - expected[0],))


def test_no_rating_is_no_label_and_no_rating_is_out_of_range() -> None:
    assert label_of_ratings([]) is None
    assert label_of_ratings([3, 4], uncertain=(3, 3)) == (1,)
    for wrong in ([0, 1], [5, 6]):
        with pytest.raises(DataError, match=f"between 1 and 5; found {wrong[0]}, {wrong[1]}"):
            label_of_ratings(wrong)


def test_a_set_says_what_it_is(phantom_nodules: Path) -> None:
    nodules = load_nodules(phantom_nodules)
    assert nodules.title == "phantom nodules (synthetic)"
    assert replace(nodules, synthetic=False).title == "phantom nodules"
    assert nodules.labelled == list(range(12)) and len(nodules) == 12
    unknown = replace(nodules.records[3], label=None)
    some = replace(nodules, records=(*nodules.records[:3], unknown, *nodules.records[4:]))
    assert some.labelled == [index for index in range(12) if index != 3]


def test_a_layout_is_recognised(
    phantom_nodules: Path, medmnist_arrays: Callable[..., dict[str, np.ndarray]], tmp_path: Path
) -> None:
    np.savez(tmp_path / "nodulemnist3d.npz", **medmnist_arrays((7, 7, 7)))
    assert load_nodules(phantom_nodules).source == "lidc-nodules"
    assert load_nodules(tmp_path).source == load_nodules(tmp_path / "nodulemnist3d.npz").source == "medmnist"


def test_what_is_none_of_the_layouts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.npz").write_text("no archive")
    with pytest.raises(DataError, match="nodules.csv; a MedMNIST .npz.*is needed, found none of them"):
        load_nodules(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        load_nodules(tmp_path / "nowhere")
    (tmp_path / "cohort.json").write_text("{}")
    with pytest.raises(DataError, match="cohort.json must have the keys"):
        load_nodules(tmp_path)
