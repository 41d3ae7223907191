"""LIDC-IDRI's nodules (10.7937/K9/TCIA.2015.LO9QL9SX): what is known of them, and how far their size alone goes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from monai_staging.cohort.nodules import NoduleSet, load_nodules
from monai_staging.cohort.nodules.patches import TABLE, VOLUMES, is_patches
from monai_staging.cohort.nodules.split import NoduleSplit, split_nodules
from monai_staging.transforms.nodule_features import FEATURES, NoduleFeatures, ruler_area_mm2
from monai_staging.transforms.nodule_views import NoduleViews


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    folder = shared_data / "lidc_nodules"
    if not is_patches(folder):
        pytest.skip("real data missing: ../shared/data/lidc_nodules")
    return folder


@pytest.fixture(scope="module")
def nodules(folder: Path) -> NoduleSet:
    return load_nodules(folder)


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / TABLE, newline="") as file:
        return list(csv.DictReader(file))


def test_all_nodules_are_there(nodules: NoduleSet, rows: list[dict[str, str]]) -> None:
    assert len(nodules) == len(rows) == 850 and not nodules.synthetic
    assert len({record.patient for record in nodules.records}) == len({row["patient_id"] for row in rows}) == 432
    labels = [record.label for record in nodules.records]
    assert (labels.count((1,)), labels.count((0,))) == (232, 618)
    assert [label == (1,) for label in labels] == [float(row["malignancy_mean"]) > 3 for row in rows]
    assert not any("LIDC" in record.patient or "LIDC" in record.name for record in nodules.records)


def test_outlines_are_the_file_s(folder: Path, nodules: NoduleSet, rows: list[dict[str, str]]) -> None:
    with np.load(folder / VOLUMES) as file:
        packed, images = file["masks_packed"], file["images"]
    for index in range(0, 850, 97):
        span = slice(int(rows[index]["npz_first_slice"]), None)
        span = slice(span.start, span.start + int(rows[index]["npz_n_slices"]))
        masks = np.unpackbits(packed[span], axis=-1).astype(bool)
        volume = nodules.read(index)
        np.testing.assert_array_equal(volume.image[0], images[span])
        np.testing.assert_array_equal(volume.outlines.sum(axis=0), masks.sum(axis=1))
        # A table of readers and the outlines they drew agree, but for those who drew nothing here.
        assert len(volume.outlines) <= int(rows[index]["n_readers"])


def test_size_alone_tells_malignant_nodules(nodules: NoduleSet) -> None:
    """The ruler, by fold of five: what a network has to beat."""
    areas = np.array(
        [
            ruler_area_mm2(nodules.read(index).outlines, record.spacing_mm or (0, 0, 0))
            for index, record in enumerate(nodules.records)
        ]
    )
    labels = np.array([record.label == (1,) for record in nodules.records])
    tested = [split_nodules(nodules, NoduleSplit(fold=fold))["test"] for fold in range(5)]
    assert sorted(np.concatenate(tested)) == list(range(850))
    assert np.mean([roc_auc_score(labels[own], areas[own]) for own in tested]) == pytest.approx(0.903, abs=0.005)
    for own in tested:
        assert labels[own].mean() == pytest.approx(232 / 850, abs=0.02)


def test_a_nodule_without_an_outlined_pixel_stays_usable(nodules: NoduleSet, rows: list[dict[str, str]]) -> None:
    without = [index for index in range(850) if not len(nodules.read(index).outlines)]
    assert len(without) == 1 and int(rows[without[0]]["n_readers"]) > 0
    volume, record = nodules.read(without[0]), nodules.records[without[0]]
    assert record.label is not None and without[0] in nodules.labelled
    assert np.isnan(NoduleFeatures()(volume, record.spacing_mm)).all()
    views = NoduleViews()(volume, record.spacing_mm)
    assert views[0, 0].any() and not views[0, 1].any()


@pytest.mark.filterwarnings("error")
def test_the_smallest_and_the_largest_can_be_measured(nodules: NoduleSet) -> None:
    sizes = [volume.outlines.sum() for volume in map(nodules.read, range(850))]
    order = [index for index in np.argsort(sizes) if sizes[index]]
    for index in (*order[:8], *order[-8:]):
        measured = NoduleFeatures()(nodules.read(index), nodules.records[index].spacing_mm)
        found = dict(zip(FEATURES, measured, strict=True))
        assert found["largest_area_mm2"] <= found["union_area_mm2"] and found["feret_mm"] >= found["minor_axis_mm"] / 2
        assert np.isfinite(measured).all()
