"""Phantom nodules: of the size that was asked for, rated by the law that is written down, repeatable."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from monai_staging.cohort.nodules import load_nodules
from monai_staging.cohort.nodules.patches import TABLE, VOLUMES
from monai_staging.cohort.nodules.phantom import (
    PhantomNodule,
    Properties,
    draw_properties,
    render_nodule,
    write_phantom_nodules,
)
from monai_staging.errors import UsageError
from monai_staging.transforms.nodule_views import consensus

BALL = Properties(
    diameter_mm=9.0, spiculation=0.0, lobulation=0.0, softness=0.0, solidity=1.0, calcium=0.0, elongation=0.0
)


def render(properties: Properties, count: int) -> list[PhantomNodule]:
    random = np.random.default_rng(7)
    return [render_nodule(random, properties) for _ in range(count)]


def test_the_same_seed_gives_the_same_bytes(phantom_nodules: Path, tmp_path: Path) -> None:
    write_phantom_nodules(tmp_path / "again", 12, seed=4)
    for name in (VOLUMES, TABLE):
        assert (tmp_path / "again" / name).read_bytes() == (phantom_nodules / name).read_bytes()
    write_phantom_nodules(tmp_path / "other", 12, seed=5)
    assert (tmp_path / "other" / VOLUMES).read_bytes() != (phantom_nodules / VOLUMES).read_bytes()


def test_what_is_written_is_certain_and_called_synthetic(phantom_nodules: Path) -> None:
    nodules = load_nodules(phantom_nodules)
    assert nodules.synthetic and "synthetic" in nodules.title and len(nodules) == 12
    with open(phantom_nodules / TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    for index, (row, record) in enumerate(zip(rows, nodules.records, strict=True)):
        mean = np.mean(record.ratings)
        assert mean < 2.5 or mean > 3.5
        assert record.label == (int(mean > 3),) and float(row["malignancy_mean"]) == pytest.approx(mean, abs=1e-4)
        volume = nodules.read(index)
        assert len(volume.outlines) == len(record.ratings) == int(row["n_readers"])
        # Only slices that a reader outlined, stretched to the whole range.
        assert volume.outlines.any(axis=(0, 2, 3)).all()
        assert (volume.image.min(), volume.image.max()) == (0, 255)
        assert all(1 <= value <= 6 for value in record.attributes.values())


@pytest.mark.parametrize("diameter_mm", [5.0, 9.0, 16.0])
def test_a_ball_has_the_volume_of_its_diameter(diameter_mm: float) -> None:
    measured = [
        consensus(nodule.outlines[nodule.outlines.any(axis=(1, 2, 3))]).sum() * np.prod(nodule.spacing_mm)
        for nodule in render(replace(BALL, diameter_mm=diameter_mm), 12)
    ]
    assert np.mean(measured) == pytest.approx(np.pi / 6 * diameter_mm**3, rel=0.12)


def test_elongation_and_bumps_keep_or_add_what_they_say() -> None:
    def heights_mm(properties: Properties) -> float:
        return float(np.mean([n.outlines.any(axis=(0, 2, 3)).sum() * n.spacing_mm[0] for n in render(properties, 12)]))

    assert heights_mm(replace(BALL, spiculation=1.0)) > heights_mm(BALL)
    elongated = [
        consensus(n.outlines[n.outlines.any(axis=(1, 2, 3))]).sum() * np.prod(n.spacing_mm)
        for n in render(replace(BALL, elongation=1.0), 12)
    ]
    assert np.mean(elongated) == pytest.approx(np.pi / 6 * 9**3, rel=0.12)


def test_tissue_is_as_dense_as_its_properties_say() -> None:
    def brightness(properties: Properties) -> float:
        """Of the nodule's middle over the darkest lung, in units of the chest wall's or vessels' range."""
        return float(np.mean([n.image[len(n.image) // 2, 30:34, 30:34].mean() for n in render(properties, 12)]))

    assert brightness(replace(BALL, calcium=1.0)) > 225
    assert brightness(replace(BALL, solidity=0.1)) < 0.8 * brightness(BALL)


def test_ratings_follow_the_law() -> None:
    """A reader's rating is 3 + .9 of the log-odds and of opinions (standard deviations .5 and .7), rounded."""
    opinions = np.linspace(-4, 4, 2001)
    weight = stats.norm.pdf(opinions, scale=np.hypot(0.5, 0.7))
    random = np.random.default_rng(11)
    residuals, expected = [], []
    for _ in range(120):
        drawn = replace(draw_properties(random), diameter_mm=float(random.uniform(4, 14)))
        odds = 2.6 * np.log(drawn.diameter_mm / 11) + 2.5 * drawn.spiculation + 1.5 * drawn.lobulation
        odds += drawn.softness - 4 * drawn.calcium - 1.6
        assert drawn.malignancy == pytest.approx(odds)
        mean = np.average(np.clip(np.rint(3 + 0.9 * (odds + opinions)), 1, 5), weights=weight)
        residuals.append(np.mean(render_nodule(random, drawn).ratings) - mean)
        expected.append(mean)
    assert abs(np.mean(residuals)) < 0.2
    assert np.std(expected) > 0.5
    # No sign is left over in what the law does not explain.
    assert abs(stats.pearsonr(residuals, expected).statistic) < 0.3


def test_properties_lie_in_their_ranges() -> None:
    random = np.random.default_rng(0)
    drawn = [draw_properties(random) for _ in range(400)]
    assert all(3 <= own.diameter_mm <= 40 for own in drawn)
    shares = np.array([[o.spiculation, o.lobulation, o.softness, o.solidity, o.calcium, o.elongation] for o in drawn])
    assert shares.min() >= 0 and shares.max() <= 1
    assert 6 < np.median([own.diameter_mm for own in drawn]) < 9


def test_a_nodule_too_faint_for_every_reader_still_has_an_outline() -> None:
    specks = render(replace(BALL, diameter_mm=0.3), 4)
    assert all(nodule.outlines.any() for nodule in specks)


def test_wrong_counts_and_a_folder_with_nodules_are_refused(phantom_nodules: Path, tmp_path: Path) -> None:
    for wrong in ({"nodules": 0}, {"nodules": 1, "patients": 0}, {"nodules": 1, "seed": -1}):
        with pytest.raises(UsageError, match="at least 1 nodule and 1 patient"):
            write_phantom_nodules(tmp_path / "none", **wrong)
    assert not (tmp_path / "none").exists()
    before = (phantom_nodules / VOLUMES).read_bytes()
    with pytest.raises(UsageError, match="holds nodules already"):
        write_phantom_nodules(phantom_nodules, 2, seed=9)
    assert (phantom_nodules / VOLUMES).read_bytes() == before
    write_phantom_nodules(tmp_path / "one", 3, patients=1)
    assert len({record.patient for record in load_nodules(tmp_path / "one").records}) == 1
