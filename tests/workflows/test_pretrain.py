"""Tasks of pretraining, their batches, what they measure, and what is kept of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.tracking.identity import run_identity
from monai_staging.workflows.history import History
from monai_staging.workflows.pretrain import TASKS, Contrastive, build_task
from monai_staging.workflows.pretrain_batch import PretrainPrepareBatch
from monai_staging.workflows.pretrain_report import PretrainCollector

SETTINGS = ConfigParser.load_config_file(str(Path(__file__).parents[2] / "bundles" / "pretrain" / "train.json"))[
    "tasks"
]


def batch(count: int = 6, channels: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (count, channels, 32, 32), dtype=torch.uint8, generator=generator),
        "label": torch.arange(count) % 3,
        "group": torch.arange(count) // 2,
        "index": torch.arange(count),
    }


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("training", [True, False])
def test_a_task_goes_from_bytes_to_measures(name: str, training: bool) -> None:
    task = build_task(name, SETTINGS)
    inputs, target = PretrainPrepareBatch(task, 3, training)(batch(), "cpu")
    assert inputs.shape[1:] == (3, 32, 32) and inputs.is_contiguous(memory_format=torch.channels_last)
    assert inputs.min() >= 0 and inputs.max() <= 1
    network = task.network(build_backbone("resnet10", in_channels=3, width=0.125), 2, 3, classes=3)
    prediction = network(inputs)
    loss = task.loss(prediction, target)
    assert loss.dim() == 0 and torch.isfinite(loss)
    rows = task.measure(prediction.detach(), target, inputs)
    assert task.metric in rows and all(values.shape == (6,) for values in rows.values())


@pytest.mark.parametrize("name", TASKS)
def test_validation_is_the_same_in_every_epoch_and_training_is_not(name: str) -> None:
    task = build_task(name, SETTINGS)
    looking, training = (PretrainPrepareBatch(task, 1, flag) for flag in (False, True))
    torch.manual_seed(0)
    first, again = looking(batch())[0], looking(batch())[0]
    assert torch.equal(first, again)
    assert not torch.equal(training(batch())[0], training(batch())[0])
    torch.manual_seed(1)
    once = training(batch())[0]
    torch.manual_seed(1)
    assert torch.equal(training(batch())[0], once)


def test_contrastive_views_are_found_by_their_partners() -> None:
    task = Contrastive()
    features = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 0, 1, 2])).float()
    _, target = task.batch(torch.rand(3, 1, 8, 8), torch.zeros(3), True, None)
    assert task.measure(features, target, features)["top1"].tolist() == [1, 1, 1]
    swapped = features[[0, 1, 2, 1, 0, 2]]
    assert task.measure(swapped, target, swapped)["top1"].tolist() == [0, 0, 1]


def test_names_and_settings_that_are_not_known_are_refused() -> None:
    with pytest.raises(
        UsageError, match="one of digits, mnist, cifar10, restoration, autoencoder, contrastive .* 'autoencode'"
    ):
        build_task("autoencode", SETTINGS)
    with pytest.raises(UsageError, match="Task restoration: settings .* are not its own"):
        build_task("restoration", {"restoration": {"temperature": 1}})
    assert build_task("restoration", {}).metric == "mse"


def test_a_collector_means_over_images_and_signs_the_score() -> None:
    collector = PretrainCollector(build_task("restoration", SETTINGS))

    def step(engine: Engine, item: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"pred": item["image"], "label": torch.zeros_like(item["image"]), "image": item["image"]}

    engine = Engine(step)
    collector.attach(engine)
    data = [
        {"image": torch.full((count, 1, 2, 2), value), "group": torch.zeros(count, dtype=torch.int64)}
        for count, value in ((3, 1.0), (1, 3.0))
    ]
    engine.run(data, max_epochs=2)  # the second epoch starts from nothing
    assert engine.state.metrics["mse"] == pytest.approx((3 * 1 + 9) / 4)
    assert engine.state.metrics["score"] == -engine.state.metrics["mse"]
    assert collector.rows["mse"].tolist() == [1, 1, 1, 9] and len(collector.groups) == 4


def test_history_keeps_losses_and_metrics_and_takes_them_back() -> None:
    evaluator = Engine(lambda engine, item: None)
    trainer = Engine(lambda engine, item: item)

    @trainer.on(Events.EPOCH_COMPLETED(every=2))
    def validate() -> None:
        evaluator.state.epoch = trainer.state.epoch
        evaluator.state.metrics = {"mse": 0.5, "text": "no number"}

    history = History(evaluator)
    history.attach(trainer)
    data = [{"loss": torch.tensor(value), "image": torch.zeros(3)} for value in (1.0, 3.0)]
    trainer.run(data, max_epochs=2)
    seconds = [row["seconds"] for row in history.epochs]
    assert 0 < seconds[0] < seconds[1]
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history.epochs]
    assert rows == [{"epoch": 1, "loss": 2}, {"epoch": 2, "loss": 2, "val_mse": 0.5}]
    assert trainer.state.metrics["images_per_second"] > 0
    copy = History(evaluator)
    copy.load_state_dict(history.state_dict())
    assert copy.epochs == history.epochs


def test_a_run_s_names_are_read_from_its_journal(tmp_path: Path) -> None:
    assert run_identity(tmp_path, "sqlite:///x.db", 0) == {"run_id": None, "run_key": None}
    lines = [{"op": "run", "key": "k"}, {"op": "metrics"}]
    path = tmp_path / "tracking-spool.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"op": "torn')
    assert run_identity(tmp_path, "sqlite:///x.db", 0) == {"run_id": None, "run_key": "k"}
    lines.append({"op": "run_id", "uri": "sqlite:///y.db", "run_id": "other"})
    lines.append({"op": "run_id", "uri": "http://host", "run_id": "mine"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run_identity(tmp_path, "http://user:secret@host") == {"run_id": "mine", "run_key": "k"}
    assert run_identity(tmp_path, "sqlite:///x.db", 0.2)["run_id"] is None
