from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, State

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.staging_calibration import StagingCalibration
from monai_staging.networks.staging import StagingOutput
from monai_staging.tnm.categories import LETTERS, categories
from monai_staging.workflows.staging_calibration import (
    StagingCalibrator,
    calibration_file,
    load_calibration,
    model_digests,
)

CLASSES = {letter: [name for name in categories(letter, "8") if name != "Tis"] for letter in LETTERS}
WIDTH = sum(map(len, CLASSES.values()))


def batch_of(rows, start=0):
    """What an engine sees of some studies, and what the network says of them."""
    generator = torch.Generator().manual_seed(start)
    logits = 3 * torch.randn(rows, WIDTH, generator=generator)
    sets = {letter: CLASSES[letter] for letter in LETTERS}
    batch = {"case": [f"case-{start + row}" for row in range(rows)], "edition": ["8"] * rows, "prefix": ["c"] * rows}
    batch["study"] = list(batch["case"])
    offset = 0
    for letter, names in sets.items():
        best = logits[:, offset : offset + len(names)].argmax(dim=1)
        shift = torch.randint(2, (rows,), generator=generator)
        batch[f"{letter}_set"] = [names[(int(k) + int(s)) % len(names)] for k, s in zip(best, shift, strict=True)]
        offset += len(names)
    batch["tnm"] = torch.zeros(rows, WIDTH)
    nothing = torch.zeros(rows, 0, 1, 1, 4)
    attention, side = torch.full((rows, 3, 4), 0.25), torch.full((rows, 2), 0.5)
    return batch, {"pred": StagingOutput(logits, attention, nothing, nothing, side)}


@pytest.fixture
def weights(tmp_path):
    paths = [tmp_path / f"{name}.pt" for name in "ab"]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


@pytest.fixture
def calibrated(weights, tmp_path):
    """A calibrator after an epoch of 24 studies, and the lines it printed."""
    lines = []
    calibrator = StagingCalibrator(
        CLASSES,
        path=calibration_file(weights[0]),
        weights=str(weights[0]),
        output_dir=tmp_path / "out",
        title="phantoms (synthetic CT), validation part",
        cohort_digest="d" * 64,
        resamples=20,
        chose_epoch=True,
        figures=False,
        printer=lines.append,
    )
    for start in (0, 12):
        calibrator.keep(*batch_of(12, start))
    calibrator.complete(SimpleNamespace(state=State()))
    return calibrator, "\n".join(lines)


def test_the_calibration_is_written_beside_the_weights_and_told(calibrated, weights, tmp_path):
    calibrator, text = calibrated
    found = StagingCalibration.load(tmp_path / "calibration.json", model_digests(weights[0]))
    assert found == calibrator.calibration
    assert found.weights_sha256 == (hashlib.sha256(b"a.pt").hexdigest(),) and found.cohort_digest == "d" * 64
    # Right in half of them, and sure each time.
    assert all(value > 1.2 for value in found.temperatures.values())
    assert "24 patients, each scaled as the others say" in text and "| Stage group" in text
    assert all(line in text for line in found.statement()) and str(tmp_path / "calibration.json") in text
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["t_log_loss_gain"]["value"] > 0 and set(metrics["m_ece"]) == {"value", "low", "high", "n"}
    assert not (tmp_path / "out" / "figures").exists()


def test_a_model_finds_its_own_calibration_alone(calibrated, weights):
    own = load_calibration("beside", weights[0])
    assert own is not None and own == load_calibration(weights[0].with_name("calibration.json"), weights[0])
    assert load_calibration("none", weights[0]) is None is load_calibration(None, weights[0])
    # The file of one network is neither an ensemble's nor that of passes with dropout.
    assert load_calibration("beside", weights) is None is load_calibration("beside", weights[0], 20)
    with pytest.raises(DataError, match="belongs to weights with SHA-256"):
        load_calibration("beside", weights[1])
    weights[0].write_bytes(b"trained anew")
    with pytest.raises(DataError, match=r"Calibration .*calibration\.json: it belongs to weights"):
        load_calibration("beside", weights[0])
    with pytest.raises(DataError, match="cannot be read"):
        load_calibration("elsewhere.json", weights[0])


def test_every_model_has_a_place_of_its_own(weights):
    names = [
        calibration_file(*model).name
        for model in ((weights[0],), (weights,), (weights[0], 20), (weights, 20), (weights[::-1],))
    ]
    assert names[0] == "calibration.json" and names[2] == "calibration-20-passes.json"
    assert len(set(names)) == 4 and names[1] == names[4] and names[3] == names[1].replace(".json", "-20-passes.json")
    with pytest.raises(DataError, match="no such file, so no calibration"):
        calibration_file([weights[0], "nothing.pt"])
    with pytest.raises(UsageError, match="2 or more"):
        calibration_file(weights[0], 1)


def test_it_goes_with_an_engine(weights, tmp_path):
    calibrator = StagingCalibrator(
        CLASSES, tmp_path / "c.json", weights, tmp_path / "out", "phantoms", "d" * 64, resamples=10, printer=len
    )
    engine = Engine(lambda _, batch: batch[1])
    # An engine's batch is what the loader gives; here it has what the network says too.
    calibrator.collect = lambda running: calibrator.keep(*running.state.batch)
    calibrator.attach(engine)
    engine.run([batch_of(6), batch_of(6, 6)])
    assert StagingCalibration.load(tmp_path / "c.json", model_digests(weights)).patients == dict.fromkeys(LETTERS, 12)
    assert (tmp_path / "out" / "figures" / "calibration.png").stat().st_size > 10_000
