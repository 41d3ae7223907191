"""Checkpoints: what is saved, what is read back, and trainings killed in the middle."""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler

from monai_staging.errors import DataError, UsageError
from monai_staging.workflows.checkpoint import TrainingCheckpoint
from monai_staging.workflows.determinism import EpochSeeder
from monai_staging.workflows.saved_state import read_state
from monai_staging.workflows.stopping import EarlyStop, FiniteLoss


class Training:
    """A small training whose validation metric is read from a list, one value an epoch."""

    def __init__(self, folder: Path, scores: list[float], epochs: int | None = None, **arguments: Any) -> None:
        torch.manual_seed(0)
        features = int(arguments.pop("features", 3))
        patience = int(arguments.pop("patience", 100))
        self.network = torch.nn.Linear(features, 1)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.1)
        items = [{"image": torch.full((features,), float(i)), "label": torch.ones(1)} for i in range(4)]
        self.evaluator = SupervisedEvaluator(
            device="cpu", val_data_loader=DataLoader(Dataset(items[:1])), network=self.network
        )

        @self.evaluator.on("EPOCH_COMPLETED")
        def score(engine: Any) -> None:
            engine.state.metrics["score"] = scores[engine.state.epoch - 1]

        self.epochs: list[int] = []
        self.stop = EarlyStop(patience, self.evaluator, "score")
        self.checkpoint = TrainingCheckpoint(
            folder,
            self.network,
            self.optimizer,
            evaluator=self.evaluator,
            early_stop=self.stop,
            metric="score",
            **arguments,
        )
        self.trainer = SupervisedTrainer(
            device="cpu",
            max_epochs=epochs or len(scores),
            train_data_loader=DataLoader(Dataset(items), batch_size=2),
            network=self.network,
            optimizer=self.optimizer,
            loss_function=torch.nn.MSELoss(),
            train_handlers=[
                self.checkpoint,
                EpochSeeder(0),
                ValidationHandler(interval=1, validator=self.evaluator),
                self.stop,
            ],
        )

        @self.trainer.on("EPOCH_STARTED")
        def note(engine: Any) -> None:
            self.epochs.append(engine.state.epoch)

    def run(self) -> Training:
        self.trainer.run()
        return self


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("workers", [0, 2])
def test_training_killed_at_random_moments_ends_as_if_it_had_not_been(
    tmp_path: Path, warm_python: Any, workers: int
) -> None:
    done = warm_python.run("killed_training", tmp_path, str(workers), "3", cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["kills"] >= 1
    assert report["killed"] == report["whole"]


def test_keeps_the_last_two_and_the_best_weights(tmp_path: Path) -> None:
    training = Training(tmp_path, [0.1, 0.7, 0.3, float("nan")]).run()
    assert names(tmp_path) == ["best.json", "best.pt", "checkpoint-0003.pt", "checkpoint-0004.pt"]
    best = json.loads((tmp_path / "best.json").read_text())
    assert (best["epoch"], best["value"], best["metric"]) == (2, 0.7, "score")
    weights = torch.load(tmp_path / "best.pt", weights_only=True)
    training.network.load_state_dict(weights)  # a plain state dict
    # Weights of epoch 2, not of the end.
    again = Training(tmp_path / "short", [0.1, 0.7]).run()
    assert torch.equal(weights["weight"], again.network.weight)


def test_same_training_writes_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Training(tmp_path / name, [0.5]).run()
    for file in ("best.pt", "best.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_lower_is_better_with_mode_min(tmp_path: Path) -> None:
    Training(tmp_path, [0.4, 0.2, 0.9], mode="min").run()
    assert json.loads((tmp_path / "best.json").read_text())["epoch"] == 2


def test_resume_continues_after_the_last_epoch(tmp_path: Path) -> None:
    scores = [0.1, 0.2, 0.3, 0.2]
    whole = Training(tmp_path / "whole", scores).run()
    Training(tmp_path / "parts", scores, epochs=2).run()
    resumed = Training(tmp_path / "parts", scores, resume=True).run()
    assert resumed.epochs == [3, 4]
    assert torch.equal(resumed.network.weight, whole.network.weight)
    assert resumed.stop.state_dict() == whole.stop.state_dict() == {"counter": 1, "best_score": 0.3}
    assert resumed.checkpoint.best == whole.checkpoint.best


def test_resume_of_a_finished_training_trains_nothing(tmp_path: Path) -> None:
    first = Training(tmp_path, [0.1, 0.2]).run()
    again = Training(tmp_path, [0.1, 0.2], resume=True).run()
    assert again.epochs == []
    assert torch.equal(again.network.weight, first.network.weight)
    assert again.evaluator.state.metrics == {"score": 0.2}


def test_resume_of_an_early_stopped_training_trains_nothing(tmp_path: Path) -> None:
    scores = [0.9, 0.1, 0.1, 0.1, 0.1]
    first = Training(tmp_path, scores, patience=2).run()
    assert first.epochs == [1, 2, 3]
    assert Training(tmp_path, scores, patience=2, resume=True).run().epochs == []


def test_more_epochs_go_on_where_a_finished_training_ended(tmp_path: Path) -> None:
    Training(tmp_path, [0.1, 0.2]).run()
    assert Training(tmp_path, [0.1, 0.2, 0.3], resume=True).run().epochs == [3]


def test_resume_without_a_checkpoint_starts_from_the_beginning_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "monai_staging"):
        training = Training(tmp_path / "none", [0.1], resume=True).run()
    assert training.epochs == [1]
    assert "Nothing to resume" in caplog.text


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    scores = [0.1, 0.2, 0.3]
    whole = Training(tmp_path / "whole", scores).run()
    first = Training(tmp_path / "parts", scores, epochs=2).run()
    last = tmp_path / "parts" / "checkpoint-0002.pt"
    content = bytearray(last.read_bytes())
    if damage == "flipped":
        # One bit of a weight: only a checksum tells.
        place = content.find(first.network.weight.detach().numpy().tobytes())
        assert place > 0
        content[place] ^= 0x10
    last.write_bytes({"truncated": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING, "monai_staging"):
        resumed = Training(tmp_path / "parts", scores, resume=True).run()
    assert "Falling back" in caplog.text
    assert "checkpoint-0002.pt" in caplog.text
    assert resumed.epochs == [2, 3]
    assert torch.equal(resumed.network.weight, whole.network.weight)


def test_without_room_for_a_checkpoint_the_one_before_is_named_as_the_way_on(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole", [0.1, 0.2]).run()
    Training(tmp_path / "full", [0.1, 0.2], epochs=1).run()
    size = (tmp_path / "full" / "checkpoint-0001.pt").stat().st_size
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
            Training(tmp_path / "full", [0.1, 0.2], resume=True).run()
        except DataError as error:
            code = 0 if "checkpoint-0002.pt cannot be written (File too large)" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert names(tmp_path / "full") == ["best.json", "best.pt", "checkpoint-0001.pt"]
    resumed = Training(tmp_path / "full", [0.1, 0.2], resume=True).run()
    assert resumed.epochs == [2] and torch.equal(resumed.network.weight, whole.network.weight)


def test_a_loss_that_is_no_number_leaves_its_state_and_a_resume_does_not_take_it(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole", [0.1, 0.2]).run()
    broken = Training(tmp_path / "parts", [0.1, 0.2])
    FiniteLoss(checkpoint=broken.checkpoint).attach(broken.trainer)

    @broken.trainer.on(IterationEvents.FORWARD_COMPLETED)
    def poison(engine: Any) -> None:
        if engine.state.iteration == 4:
            engine.state.output["pred"] = engine.state.output["pred"] * float("nan")

    with pytest.raises(DataError, match=r"loss is nan in epoch 2, iteration 4 .* is in .*parts/not-finite\.pt"):
        broken.run()
    state = read_state(tmp_path / "parts" / "not-finite.pt")
    assert (state["epoch"], state["iteration"], state["why"]["cases"]) == (2, 4, [])
    assert (
        torch.equal(state["network"]["weight"], broken.network.weight) and state["network"]["weight"].isfinite().all()
    )
    assert state["why"]["loss"].isnan()
    resumed = Training(tmp_path / "parts", [0.1, 0.2], resume=True).run()
    assert resumed.epochs == [2] and torch.equal(resumed.network.weight, whole.network.weight)


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    Training(tmp_path, [0.1]).run()
    with pytest.raises(DataError, match="another network"):
        Training(tmp_path, [0.1, 0.2], features=5, resume=True).run()


def test_changed_settings_are_named_on_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Training(tmp_path, [0.1], identity={"seed": 1, "batch_size": 2}).run()
    with caplog.at_level(logging.WARNING, "monai_staging"):
        Training(tmp_path, [0.1, 0.2], identity={"seed": 2, "batch_size": 2}, resume=True).run()
    assert "seed was 1 and is 2 now" in caplog.text
    assert "batch_size" not in caplog.text


def test_a_new_training_puts_the_files_of_an_older_one_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Training(tmp_path, [0.1, 0.2, 0.3]).run()
    with caplog.at_level(logging.WARNING, "monai_staging"):
        Training(tmp_path, [0.5], epochs=1).run()
    assert "earlier training" in caplog.text
    # Had the older ones stayed, the next resume would have taken them for the newest.
    assert names(tmp_path) == ["best.json", "best.pt", "checkpoint-0001.pt", "earlier"]
    assert names(tmp_path / "earlier") == ["best.json", "best.pt", "checkpoint-0002.pt", "checkpoint-0003.pt"]


def test_what_names_the_tracked_run_goes_aside_with_the_checkpoints(tmp_path: Path) -> None:
    tracked = tmp_path / "tracking-run.json"
    tracked.write_text("first")
    Training(tmp_path, [0.1]).run()
    assert tracked.read_text() == "first"  # no checkpoints, nothing to put aside
    Training(tmp_path, [0.1, 0.2], resume=True).run()
    assert tracked.exists()
    Training(tmp_path, [0.1]).run()
    assert not tracked.exists() and (tmp_path / "earlier" / tracked.name).read_text() == "first"


def test_what_an_older_training_left_is_never_the_new_one_s(tmp_path: Path) -> None:
    Training(tmp_path, [0.1, 0.2]).run()

    class KilledError(Exception):
        """Stands for the kill of the process in its first epoch."""

    killed = Training(tmp_path, [0.1, 0.2])

    @killed.trainer.on("EPOCH_STARTED")
    def die(engine: Any) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        killed.run()
    assert Training(tmp_path, [0.3, 0.4], resume=True).run().epochs == [1, 2]
    # Nor does a training without any score pass the older one's best weights off as its own.
    Training(tmp_path, [float("nan")], epochs=1).run()
    assert not (tmp_path / "best.pt").exists() and (tmp_path / "earlier" / "best.pt").exists()


def test_best_weights_lost_by_a_kill_come_back_from_the_checkpoint(tmp_path: Path) -> None:
    Training(tmp_path, [0.1, 0.2]).run()
    expected = (tmp_path / "best.pt").read_bytes()
    (tmp_path / "best.pt").write_bytes(b"of the epoch before")
    Training(tmp_path, [0.1, 0.2], resume=True).run()
    assert (tmp_path / "best.pt").read_bytes() == expected


def test_half_written_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = tmp_path / f".{process.pid}.tmp.checkpoint-0009.pt"
    left.write_bytes(b"half")
    Training(tmp_path, [0.1]).run()
    assert not left.exists()


def test_gradient_scaler_goes_on_with_its_scale(tmp_path: Path) -> None:
    scales = []
    for resume, scale in ((False, 512.0), (True, 8.0)):
        training = Training(tmp_path, [0.1, 0.1], epochs=1 + resume, resume=resume)
        # MONAI's trainer makes one itself, in run(), when it trains with mixed precision on a GPU.
        training.trainer.scaler = scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(torch.ones(1))  # a scaler has no state before its first use
        Engine.run(training.trainer, training.trainer.data_loader, max_epochs=training.trainer.state.max_epochs)
        scales.append(scaler.get_scale())
    assert scales == [512.0, 512.0]


def test_other_ranks_write_nothing_and_resume_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    Training(tmp_path / "one", [0.1]).run()
    assert not (tmp_path / "one").exists()
    monkeypatch.setenv("RANK", "0")
    first = Training(tmp_path / "two", [0.1]).run()
    before = {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    monkeypatch.setenv("RANK", "1")
    other = Training(tmp_path / "two", [0.1], resume=True).run()
    assert torch.equal(other.network.weight, first.network.weight)
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()} == before


def test_checkpoints_every_few_epochs_and_at_the_end(tmp_path: Path) -> None:
    Training(tmp_path, [0.9, 0.1, 0.1, 0.1, 0.1], interval_epochs=2, keep=9).run()
    # The first because it was the best, the last because it is the last.
    assert [name for name in names(tmp_path) if name.startswith("checkpoint")] == [
        f"checkpoint-{epoch:04d}.pt" for epoch in (1, 2, 4, 5)
    ]


def test_compiled_and_wrapped_networks_keep_their_plain_names(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 1))
    checkpoint = TrainingCheckpoint(tmp_path, torch.nn.DataParallel(network), torch.optim.SGD(network.parameters()))
    checkpoint._write_best()
    assert set(torch.load(tmp_path / "best.pt", weights_only=True)) == {"0.weight", "0.bias"}


def test_wrong_arguments_are_told() -> None:
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters())
    with pytest.raises(UsageError, match="needs the evaluator"):
        TrainingCheckpoint("x", network, optimizer, metric="score")
    with pytest.raises(UsageError, match="at least 1"):
        TrainingCheckpoint("x", network, optimizer, keep=0)


def test_unknown_metric_is_told_with_those_there_are(tmp_path: Path) -> None:
    training = Training(tmp_path, [0.1])
    training.checkpoint.metric = "dice"
    with pytest.raises(UsageError, match=r"no metric 'dice' among \['score'\]"):
        training.run()
