"""Early stopping, and losses that are not numbers."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer

from monai_staging.cohort.privacy import case_name, load_key
from monai_staging.errors import DataError, UsageError
from monai_staging.workflows.stopping import EarlyStop, FiniteLoss


def epochs_until_stop(scores: list[float | None], **arguments: Any) -> int:
    """Runs an engine whose validation gives ``scores`` (None: no validation in that epoch); returns the last epoch."""
    evaluator, trainer = Engine(lambda e, b: None), Engine(lambda e, b: None)

    @trainer.on("EPOCH_COMPLETED")
    def validate(engine: Engine) -> None:
        score = scores[engine.state.epoch - 1]
        if score is not None:
            evaluator.state.epoch = engine.state.epoch
            evaluator.state.metrics = {"score": score}

    EarlyStop(evaluator=evaluator, metric="score", **arguments).attach(trainer)
    trainer.run([0], max_epochs=len(scores))
    return trainer.state.epoch


@pytest.mark.parametrize(
    ("scores", "arguments", "last"),
    [
        ([1.0, 2.0, 3.0, 4.0], {"patience": 2}, 4),
        ([3.0, 2.0, 1.0, 4.0], {"patience": 2}, 3),
        ([1.0, 2.0, 3.0, 0.0], {"patience": 2, "mode": "min"}, 3),
        ([1.0, None, None, None, 0.0, 0.0, 9.0], {"patience": 2}, 6),
        ([1.0, 1.05, 1.1, 5.0], {"patience": 2, "min_delta": 0.5}, 3),
        ([float("nan"), float("nan"), 1.0, 2.0], {"patience": 3}, 4),
        ([1.0, float("nan"), float("nan"), 2.0], {"patience": 2}, 3),
    ],
    ids=["improving", "worsening", "min", "not validated", "small steps", "nan first", "nan later"],
)
def test_stops_after_patience(scores: list[float | None], arguments: dict[str, Any], last: int) -> None:
    assert epochs_until_stop(scores, **arguments) == last


def test_unknown_metric_is_told() -> None:
    evaluator, trainer = Engine(lambda e, b: None), Engine(lambda e, b: None)
    evaluator.state.epoch, evaluator.state.metrics = 1, {"auc": 1.0}
    EarlyStop(2, evaluator, "dice").attach(trainer)
    with pytest.raises(UsageError, match=r"no metric 'dice' among \['auc'\]"):
        trainer.run([0])


def nan_trainer(guard: FiniteLoss, **more: Any) -> SupervisedTrainer:
    items = [
        {"image": torch.full((2,), value), "label": torch.zeros(1), "patient": f"SMITH-{index}"}
        | {name: values[index] for name, values in more.items()}
        for index, value in enumerate([1.0, 1.0, float("inf"), 1.0])
    ]
    network = torch.nn.Linear(2, 1)
    return SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=torch.nn.MSELoss(),
        train_handlers=[guard],
    )


def test_loss_that_is_not_finite_ends_the_training_before_it_reaches_the_weights(tmp_path: Path) -> None:
    (tmp_path / "cohort.json").write_text(json.dumps({}))
    trainer = nan_trainer(FiniteLoss(tmp_path))
    with pytest.raises(DataError, match=r"loss is (nan|inf) in epoch 1, iteration 2") as caught:
        trainer.run()
    key = load_key(tmp_path)
    assert case_name("SMITH-2", key) in str(caught.value)
    assert case_name("SMITH-3", key) in str(caught.value)
    assert "SMITH" not in str(caught.value)
    assert torch.isfinite(trainer.network.weight).all()


def test_cases_without_a_cohort_stay_unnamed() -> None:
    with pytest.raises(DataError, match="cases not named") as caught:
        nan_trainer(FiniteLoss()).run()
    assert "SMITH" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "arguments", "said"),
    [
        ({"case": ["case-a", "case-b", "case-c", "case-c"]}, {}, "cases case-c)"),
        ({"name": ["a", "b", "c", "d"]}, {"key": "name"}, "cases c, d)"),
        ({"study": [0, 0, 1, 0]}, {"key": "study", "names": ["case-a", "case-b"]}, "cases case-b, case-a)"),
        ({"index": [5, 6, 7, 8]}, {"key": "index"}, "cases index 7, index 8)"),
    ],
)
def test_cases_are_named_as_the_batch_has_them(
    more: dict[str, list[Any]], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match="loss is") as caught:
        nan_trainer(FiniteLoss(**arguments), **more).run()
    assert said in str(caught.value) and "SMITH" not in str(caught.value)


def test_a_state_that_cannot_be_kept_hides_no_cases() -> None:
    class Full:
        def put_by(self, engine: Any, why: Any) -> Path:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"cases c, d.*could not be kept \(No space left on device\)"):
        nan_trainer(FiniteLoss(checkpoint=Full(), key="name"), name=["a", "b", "c", "d"]).run()
