"""The nodules of a training: cut once, cached, served as whole batches, by patient."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from monai_staging.cohort.nodules import load_nodules
from monai_staging.cohort.nodules.nodule import NoduleSet, NoduleVolume
from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.cohort.nodules.split import NoduleSplit, split_nodules
from monai_staging.errors import UsageError
from monai_staging.transforms.nodule_features import NoduleFeatures
from monai_staging.transforms.nodule_views import NoduleViews
from monai_staging.workflows import nodule_data
from monai_staging.workflows.nodule_data import NoduleData, as_batch

VIEWS = NoduleViews("planes", size=16, spacing_mm=1.5)
SPLIT = NoduleSplit(folds=3, validation=0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_nodules(tmp_path_factory.mktemp("data") / "nodules", 30, seed=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(folder: Path, cache: Path) -> NoduleData:
    return NoduleData(folder, VIEWS, SPLIT, cache=cache)


def test_each_nodule_has_its_own_views_features_and_targets(folder: Path, data: NoduleData) -> None:
    nodules, measure = load_nodules(folder), NoduleFeatures()
    part = data.part("training")
    assert len(part) == len(data.parts["training"])
    for place in (0, len(part) - 1):
        item, index = part[place], data.parts["training"][place]
        record, volume = nodules.records[index], nodules.read(index)
        np.testing.assert_array_equal(item["views"].numpy(), VIEWS(volume, record.spacing_mm))
        np.testing.assert_allclose(item["features"].numpy(), measure(volume, record.spacing_mm), rtol=1e-6)
        assert (item["name"], item["patient"]) == (record.name, record.patient)
        assert record.label is not None and item["label"].tolist() == list(record.label)
        ratings = np.array(record.ratings)
        assert item["soft"].item() == pytest.approx((1 / (1 + np.exp(-1.5 * (ratings - 3)))).mean(), abs=1e-6)
        assert item["ease"].item() == pytest.approx(abs(ratings.mean() - 3) - ratings.std(), abs=1e-6)
        expected = [record.attributes[name] for name in data.attributes]
        np.testing.assert_allclose(item["attributes"].numpy(), expected, rtol=1e-6)
    assert data.outputs == 1 and data.in_channels == 2 and data.colours == 1


def test_parts_are_those_of_the_split(folder: Path, data: NoduleData) -> None:
    expected = split_nodules(load_nodules(folder), SPLIT)
    assert {part: list(indices) for part, indices in expected.items()} == data.parts
    patients = [data.patients(part) for part in ("training", "validation", "test")]
    assert not patients[0] & patients[1] and not patients[0] & patients[2] and not patients[1] & patients[2]
    assert sum(len(data.part(part)) for part in data.parts) == 30
    with pytest.raises(UsageError, match="one of training, validation, test; found 'train'"):
        data.part("train")


def test_batches_are_taken_as_a_whole(data: NoduleData) -> None:
    part = data.part("training")
    batch = part.__getitems__([3, 0])
    for place, index in enumerate((3, 0)):
        item = part[index]
        for name, values in batch.items():
            same = values[place] == item[name]
            assert same.all() if isinstance(same, torch.Tensor) else same
    torch.testing.assert_close(part.values("label"), part.__getitems__(list(range(len(part))))["label"])
    with pytest.raises(UsageError, match="name is no array of numbers"):
        part.values("name")
    loaded = list(DataLoader(part, batch_size=8, collate_fn=as_batch))
    assert torch.equal(torch.cat([own["views"] for own in loaded]), part.values("views"))
    assert [name for own in loaded for name in own["name"]] == [part[n]["name"] for n in range(len(part))]


def test_without_a_split_every_nodule_is_tested_and_a_limit_cuts(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = NoduleData(folder, VIEWS, cache=cache)
    assert list(whole.parts) == ["test"] and whole.parts["test"] == list(range(30))
    some = NoduleData(folder, VIEWS, SPLIT, limit=12, cache=cache)
    assert sorted(index for part in some.parts.values() for index in part) == list(range(12))


def no_reading(*_: object) -> dict[str, torch.Tensor]:
    raise AssertionError("views are cut, not found")


def test_another_process_finds_what_was_cut(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: NoduleData
) -> None:
    script = (
        "import sys\n"
        "from monai_staging.transforms.nodule_views import NoduleViews\n"
        "from monai_staging.workflows.nodule_data import NoduleData\n"
        "NoduleData(sys.argv[1], NoduleViews('planes', size=16, spacing_mm=1.5), cache=sys.argv[2])\n"
    )
    subprocess.run([sys.executable, "-c", script, folder, tmp_path], check=True)
    assert len(list(tmp_path.rglob("*.pt"))) == 1
    monkeypatch.setattr(NoduleData, "_make", no_reading)
    found = NoduleData(folder, VIEWS, SPLIT, cache=tmp_path)
    for name in ("views", "features"):
        torch.testing.assert_close(found.arrays[name], data.arrays[name], equal_nan=True)
    # Another split needs no other views, other views are of another file.
    NoduleData(folder, VIEWS, NoduleSplit(folds=2, label_fraction=0.5), cache=tmp_path)
    for other in (NoduleViews("planes", size=15, spacing_mm=1.5), NoduleViews("2.5d", size=16, spacing_mm=1.5)):
        with pytest.raises(AssertionError, match="are cut"):
            NoduleData(folder, other, cache=tmp_path)


def test_another_set_or_another_state_of_it_has_its_own_file(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    first = load_nodules(folder)
    keys = []
    for nodules in (first, replace(first, digest="other"), replace(first, state="other")):
        monkeypatch.setattr(nodule_data, "load_nodules", lambda _, own=nodules: own)
        NoduleData(folder, VIEWS, cache=cache)
        keys.append(len(list(cache.rglob("*.pt"))))
    assert keys[1] == keys[0] + 1 and keys[2] == keys[1] + 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no tensors"),
        lambda path: path.write_bytes(path.read_bytes()[:2000]),
        lambda path: torch.save({"views": torch.zeros(3), "features": torch.zeros(3)}, path),
        lambda path: torch.save({"views": torch.zeros(30)}, path),
        lambda path: torch.save(torch.zeros(30), path),
    ],
)
def test_a_damaged_file_is_made_again(
    damage: object, folder: Path, tmp_path: Path, data: NoduleData, caplog: pytest.LogCaptureFixture
) -> None:
    NoduleData(folder, VIEWS, cache=tmp_path)
    (path,) = tmp_path.rglob("*.pt")
    whole = path.read_bytes()
    damage(path)  # type: ignore[operator]
    with caplog.at_level(logging.WARNING, "monai_staging.workflows"):
        again = NoduleData(folder, VIEWS, cache=tmp_path)
    assert "is damaged and is made again" in caplog.text
    assert torch.equal(again.arrays["views"], data.arrays["views"])  # type: ignore[arg-type]
    assert len(path.read_bytes()) == len(whole)
    caplog.clear()
    NoduleData(folder, VIEWS, cache=tmp_path)
    assert not caplog.text


def test_a_cache_that_cannot_be_written_costs_time_alone(
    folder: Path, tmp_path: Path, data: NoduleData, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "nodules").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, "monai_staging.workflows"):
        found = NoduleData(folder, VIEWS, cache=tmp_path)
    assert "cannot be written" in caplog.text
    assert torch.equal(found.arrays["views"], data.arrays["views"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "classes", "findings", "outputs"), [((12, 12, 3), 4, 1, 4), ((12, 12), 2, 5, 5), ((8, 8, 8), 2, 1, 1)]
)
def test_medmnist_s_images_are_nodules_too(
    shape: tuple[int, ...], classes: int, findings: int, outputs: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 9), ("val", 3), ("test", 4)):
        arrays[f"{part}_images"] = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count * findings).reshape(count, findings) % classes).astype(np.uint8)
    np.savez(tmp_path / "set.npz", **arrays)
    views = NoduleViews("central" if len(shape) == 2 or shape[-1] == 3 else "3d", size=8, channels=["image"])
    found = NoduleData(tmp_path, views, NoduleSplit(), cache=tmp_path / "cache")
    assert found.outputs == outputs and found.in_channels == (3 if shape[-1] == 3 else 1)
    assert {part: len(found.part(part)) for part in found.parts} == {"training": 9, "validation": 3, "test": 4}
    batch = found.part("training").__getitems__(list(range(9)))
    np.testing.assert_array_equal(batch["label"].numpy(), arrays["train_labels"])
    assert torch.equal(batch["soft"], batch["label"]) and (batch["ease"] == 1).all()
    assert batch["features"].isnan().all() and batch["attributes"].shape == (9, 0) and found.attributes == ()


def test_what_is_unknown_is_nan(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    first = load_nodules(folder)
    records = list(first.records)
    records[2] = replace(records[2], label=None, ratings=(3, 3), attributes={"texture": 2.0})
    records[5] = replace(records[5], label=None, ratings=(), attributes={})

    def read(index: int) -> NoduleVolume:
        volume = first.read(index)
        return NoduleVolume(volume.image, volume.outlines[:0]) if index == 5 else volume

    changed: NoduleSet = replace(first, records=tuple(records), read=read, digest="changed")
    monkeypatch.setattr(nodule_data, "load_nodules", lambda _: changed)
    found = NoduleData(folder, VIEWS, cache=cache)
    part = found.part("test")
    assert part.values("label").isnan()[:, 0].nonzero()[:, 0].tolist() == [2, 5]
    assert part.values("soft")[[2, 5], 0].tolist() == [0.5, pytest.approx(torch.nan, nan_ok=True)]
    attributes = part.values("attributes")
    assert attributes[2].nansum() == 2 and attributes[5].isnan().all()
    # Readers without one outlined pixel: usable, in the middle of the picture, without measurements.
    features = part.values("features")
    assert features[5].isnan().all() and features[2].isfinite().all()
    assert part.values("views")[5, :, 0].any() and not part.values("views")[5, :, 1].any()
    labelled = NoduleData(folder, VIEWS, SPLIT, cache=cache)
    assert sum(map(len, labelled.parts.values())) == 28
