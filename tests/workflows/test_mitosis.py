"""Batches, losses, data and reports of the mitosis bundle."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch.nn import functional

from monai_staging.cohort.privacy import KEY_VARIABLE
from monai_staging.errors import DataError, UsageError
from monai_staging.histology.phantom import HistologyConfig, default_slides
from monai_staging.histology.regions import SlideRegions
from monai_staging.histology.slide_pass import SlideMap
from monai_staging.metrics.points import Points
from monai_staging.networks.mitosis import TileClassifier
from monai_staging.transforms.rand_tiles import RandTiles
from monai_staging.transforms.stain import StainChannels
from monai_staging.workflows.mitosis import MitosisLoss, TilePrepareBatch
from monai_staging.workflows.mitosis_data import MitosisData, loose_slides
from monai_staging.workflows.mitosis_points import PointCollector, PointWriter, load_threshold, truth_points
from monai_staging.workflows.mitosis_report import MitosisReport
from monai_staging.workflows.mitosis_tiles import TileReport


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return default_slides(tmp_path_factory.mktemp("slides") / "set", HistologyConfig(patients=6, size=256, mitoses=60))


def test_parts_share_no_patient_and_names_say_nothing(slides: Path) -> None:
    data = MitosisData(slides, test=0.34, validation=0.17)
    names = {part: {slide.name for slide in own} for part, own in data.parts.items()}
    assert [len(names[part]) for part in ("training", "validation", "test")] == [3, 1, 2]
    assert len(set.union(*names.values())) == 6 and all(name.startswith("case-") for name in set.union(*names.values()))
    assert MitosisData(slides, test=0.34, validation=0.17).parts == data.parts
    assert data.title("test") == "phantom slides (drawn, no tissue), test part: 2 of 2 patients"
    assert len(MitosisData(slides, limit=1).part("training")) == 1
    with pytest.raises(UsageError, match="a part is one of training"):
        data.part("all")
    with pytest.raises(UsageError, match="a limit of at least 1"):
        MitosisData(slides, limit=0)


def test_parts_are_the_same_whatever_the_key(slides: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for key in ("one", "another", "a third"):
        monkeypatch.setenv(KEY_VARIABLE, key)
        data = MitosisData(slides)
        found.append({name: [slide.image for slide in own] for name, own in data.parts.items()})
    assert found[0] == found[1] == found[2]


def test_loose_slides_need_a_pixel_size(slides: Path, tmp_path: Path) -> None:
    found = loose_slides(slides / "images", 0.5)
    assert len(found) == 6 and {slide.microns_per_pixel for slide in found} == {0.5} and found[0].name == "000"
    assert [slide.name for slide in loose_slides(slides / "images" / "002.tif", 0.25)] == ["002"]
    with pytest.raises(DataError, match="found none"):
        loose_slides(tmp_path)


def test_a_batch_is_what_the_network_sees_and_its_cells() -> None:
    network = TileClassifier(32, filters=(4,), affine=8)
    image = torch.randint(0, 255, (3, 3, 32, 32), dtype=torch.uint8)
    target = torch.zeros(3, 1, 32, 32)
    target[1, 0, 5, 6] = 0.4
    batch = {"image": image, "map": target, "fed": torch.tensor([False, False, True])}
    noise = RandTiles(turn=False, stain_scale=0, stain_shift=0, brightness=0, noise=10.0)
    seen, cells = TilePrepareBatch(StainChannels("rgb"), network, augment_fed=noise)(batch, "cpu")
    assert cells.shape == (3, 1, 1, 1) and cells.flatten().tolist() == pytest.approx([0, 0.4, 0])
    torch.testing.assert_close(seen[:2], image[:2] / 255)
    assert 5 < float((255 * seen[2] - image[2]).std()) < 15
    torch.testing.assert_close(batch["image"], image)  # as it was
    for threshold, label in ((0.3, 1), (0.5, 0)):
        _, cells = TilePrepareBatch(StainChannels("six"), network, threshold=threshold)(batch, "cpu")
        assert cells.flatten().tolist() == [0, label, 0]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=6, max_size=6), st.sampled_from([0.0, 1.0, 2.0]))
def test_losses_are_those_of_their_papers(logits: list[float], gamma: float) -> None:
    score = torch.tensor(logits, dtype=torch.float64).view(1, 1, 2, 3).float()
    hard = torch.tensor([1.0, 0, 0, 1, 0, 0]).view(1, 1, 2, 3)
    chance = score.double().sigmoid()
    p = torch.where(hard > 0, chance, 1 - chance)
    torch.testing.assert_close(MitosisLoss("bce")(score, hard).double(), -p.log().mean(), rtol=1e-4, atol=1e-5)
    focal = (-((1 - p) ** gamma) * p.log()).mean()
    torch.testing.assert_close(MitosisLoss("focal", gamma=gamma)(score, hard).double(), focal, rtol=1e-3, atol=1e-5)
    signed = torch.where(hard > 0, score, -score)
    weight = torch.where(hard > 0, math.exp(4.0), 1.0)
    rare = (weight * functional.relu(1 - signed)).mean()
    torch.testing.assert_close(MitosisLoss("rare_hinge", rare_weight=4.0)(score, hard), rare)
    torch.testing.assert_close(MitosisLoss("hinge")(score, hard), functional.relu(1 - signed).mean())
    # CornerNet's, by hand: two peaks, others weighed by (1 - map)^4.
    soft = torch.tensor([1.0, 0.5, 0, 0.9, 0.3, 0]).view(1, 1, 2, 3)
    by_hand = 0.0
    for own, aim in zip(chance.flatten().tolist(), soft.flatten().tolist(), strict=True):
        if aim >= 0.8:
            by_hand -= (1 - own) ** gamma * math.log(own)
        else:
            by_hand -= (1 - aim) ** 4 * own**gamma * math.log(1 - own)
    assert float(MitosisLoss("peak_focal", gamma=gamma)(score, soft)) == pytest.approx(by_hand / 2, rel=1e-3, abs=1e-5)


def test_no_such_loss() -> None:
    with pytest.raises(UsageError, match="MitosisLoss: one of bce"):
        MitosisLoss("dice")


def engine() -> SimpleNamespace:
    return SimpleNamespace(state=SimpleNamespace(metrics={}))


def test_the_report_agrees_with_a_matching_by_scipy(slides: Path, tmp_path: Path) -> None:
    data = MitosisData(slides, test=0.5, validation=0.17)
    own = data.part("test")
    (tmp_path / "threshold.json").write_text(json.dumps({"threshold": 0.4}))
    lines: list[str] = []
    report = MitosisReport(
        *(own, tmp_path, tmp_path / "threshold.json", SlideRegions()),
        title="two",
        resamples=20,
        printer=lines.append,
    )
    draw = np.random.default_rng(0)
    report.begin()
    pairs = count = mitoses = 0
    for slide in own:
        places = np.array(slide.mitoses).reshape(-1, 2) * 0.25
        found = np.concatenate([places[::2] + draw.normal(0, 3, places[::2].shape), draw.random((6, 2)) * 64])
        scores = draw.random(len(found))
        seen = SlideMap(slide.name, np.zeros((64, 64), np.float16), 1.0, 0.25)
        report.keep({"slide": slide}, {"pred": {"xy_um": found, "scores": scores, "map": seen}})
        near = np.linalg.norm(places[:, None] - found[scores >= 0.4][None], axis=2) <= 7.5
        pairs += int(near[linear_sum_assignment(-near.astype(int))].sum())
        count, mitoses = count + int((scores >= 0.4).sum()), mitoses + len(places)
    state = engine()
    report.complete(state)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["f1"]["value"] == pytest.approx(2 * pairs / (count + mitoses))
    assert metrics["precision"]["value"] == pytest.approx(pairs / count) and metrics["f1"]["n"] == len(own)
    assert state.state.metrics["f1"] == metrics["f1"]["value"]
    rows = (tmp_path / "points.csv").read_text().splitlines()
    assert rows[0] == "slide,x_px,y_px,x_um,y_um,score,counts,right"
    assert sum(row.endswith(",1,1") for row in rows) == pairs
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert "precision_recall.png" in names and "slide_best.png" in names and f"{mitoses} mitoses" in "".join(lines)


def test_points_and_maps_of_slides_that_nobody_has_read(slides: Path, tmp_path: Path) -> None:
    import tifffile

    (tmp_path / "threshold.json").write_text('{"threshold": 0.5}')
    own = loose_slides(slides / "images", 0.25)[:1]
    lines: list[str] = []
    writer = PointWriter(own, tmp_path, tmp_path / "threshold.json", printer=lines.append)
    writer.begin()
    seen = SlideMap(own[0].name, np.full((64, 64), 0.2, np.float16), 1.0, 0.25)
    pred = {"xy_um": np.array([[10.0, 20.0], [30.0, 5.0]]), "scores": np.array([0.4, 0.9]), "map": seen}
    writer.keep({"slide": own[0]}, {"pred": pred})
    writer.complete(engine())
    rows = (tmp_path / "points.csv").read_text().splitlines()
    assert rows[1:] == ["000,120.0,20.0,30.00,5.00,0.9000,1,", "000,40.0,80.0,10.00,20.00,0.4000,0,"]
    assert (tifffile.imread(tmp_path / "maps" / "000.tif") == 51).all() and "1 points from 0.500 on" in lines[0]


def test_no_threshold_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file is not there"):
        load_threshold(tmp_path / "threshold.json")
    (tmp_path / "threshold.json").write_text("{}")
    with pytest.raises(DataError, match="holds no threshold"):
        load_threshold(tmp_path / "threshold.json")


def test_a_validation_without_a_point_has_an_f1_of_0(slides: Path) -> None:
    own = MitosisData(slides).part("training")
    collector = PointCollector(own)
    collector.begin()
    state = engine()
    collector.complete(state)
    assert state.state.metrics["f1"] == 0 and state.state.metrics["average_precision"] == 0
    truth = truth_points(own)
    assert len(truth.slides) == sum(len(slide.mitoses) for slide in own)
    assert isinstance(truth, Points)


def test_tiles_are_counted_as_published(slides: Path, tmp_path: Path) -> None:
    own = MitosisData(slides).part("training")
    report = TileReport(own, tmp_path, resamples=50, printer=lambda _: None)
    report.begin()
    names = [own[0].name, own[0].name, own[1].name, own[1].name, own[1].name]
    labels, logits = torch.tensor([1.0, 0, 1, 0, 0]), torch.tensor([2.0, -1, -1, 1, -2])
    report.keep({"slide": names, "label": labels}, {"pred": logits.view(5, 1, 1, 1)})
    state = engine()
    report.complete(state)
    metrics = json.loads((tmp_path / "tiles.json").read_text())
    values = {name: entry["value"] for name, entry in metrics.items()}
    assert values == pytest.approx(
        {"accuracy": 0.6, "balanced_accuracy": (1 / 2 + 2 / 3) / 2, "f1": 0.5, "precision": 0.5, "recall": 0.5}
    )
    assert state.state.metrics["tiles_f1"] == 0.5 and (tmp_path / "figures" / "tiles.png").is_file()
