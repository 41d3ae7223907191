"""Which run a resume continues, and which journals stay in the folder for it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer

from monai_staging.tracking import TrackingHandler
from monai_staging.tracking.journal import Journal, journals
from monai_staging.tracking.run_folder import RUN_NAME, RunFolder
from monai_staging.tracking.sync import main
from monai_staging.workflows.checkpoint import COMPANIONS, TrainingCheckpoint

DEAD = "http://127.0.0.1:9"


class Bundle:
    """``begin()``, then perhaps a training with checkpoints, in the order of handlers that is asked for."""

    def __init__(self, folder: Path, uri: str, name: str, resume: bool = False, checkpoint_first: bool = True) -> None:
        self.tracker = TrackingHandler(
            folder, uri, experiment_name="exp", run_name=name, resume=resume, system_metrics=False, drain_s=5
        )
        self.folder, self.resume, self.checkpoint_first = folder, resume, checkpoint_first
        self.tracker.begin()

    def refused(self) -> None:
        self.tracker.fail(ValueError("cohort refused"))

    def train(self, epochs: int, stop_after: int | None = None, stop: Any = KeyboardInterrupt) -> None:
        """Trains; ``stop`` is raised at the end of epoch ``stop_after`` (0: when the engine starts)."""
        network = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        checkpoint = TrainingCheckpoint(self.folder, network, optimizer, resume=self.resume)
        trainer = SupervisedTrainer(
            device="cpu",
            max_epochs=epochs,
            train_data_loader=DataLoader(Dataset([{"image": torch.ones(2), "label": torch.ones(1)}])),
            network=network,
            optimizer=optimizer,
            loss_function=torch.nn.MSELoss(),
            train_handlers=[checkpoint, self.tracker] if self.checkpoint_first else [self.tracker, checkpoint],
        )

        def check(engine: Any) -> None:
            if engine.state.epoch == stop_after:
                raise stop

        if stop_after == 0:
            trainer.add_event_handler(Events.STARTED, check)
        # Registered when the training runs, hence after the checkpoint's own saving.
        trainer.add_event_handler(
            Events.STARTED, lambda: trainer.add_event_handler(Events.EPOCH_COMPLETED, check) and None
        )
        try:
            trainer.run()
        except stop:
            return
        self.tracker.finish()


def epochs(uri: str) -> dict[str, list[int]]:
    """Name of each run -> the epochs it has."""
    client = mlflow.MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    histories = {run.info.run_name: client.get_metric_history(run.info.run_id, "train/loss") for run in found}
    assert len(found) == len(histories)
    return {name: [point.step for point in history] for name, history in histories.items()}


def names(folder: Path) -> list[str]:
    """Name of the run of each journal in the folder, the current one first."""
    found = [(path.name != "tracking-spool.jsonl", Journal(path).header["run_name"]) for path in journals(folder)]
    return [name for _, name in sorted(found)]


def test_resume_continues_the_training_not_a_run_that_was_refused_since(tmp_path: Path, database: str) -> None:
    out = tmp_path / "out"
    Bundle(out, database, "trained").train(4, stop_after=2)
    for number in range(2):
        Bundle(out, database, f"refused{number}").refused()
    # Of the refused runs, which are delivered, only the last one's journal stays.
    assert names(out) == ["refused1", "trained"]
    Bundle(out, database, "resumed", resume=True).train(4)
    assert epochs(database) == {"trained": [1, 2, 3, 4], "refused0": [], "refused1": []}
    assert names(out) == ["trained", "refused1"]
    Bundle(out, database, "again", resume=True).train(5)
    assert epochs(database)["trained"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("checkpoint_first", [True, False])
def test_training_put_aside_keeps_its_run_for_when_it_is_moved_back(
    tmp_path: Path, database: str, checkpoint_first: bool
) -> None:
    out = tmp_path / "out"
    for name in ("first", "second"):
        Bundle(out, database, name, checkpoint_first=checkpoint_first).train(4, stop_after=1)
    # The second is resumed where it stands, the first after its files are moved back.
    Bundle(out, database, "x", resume=True, checkpoint_first=checkpoint_first).train(4, stop_after=2)
    assert epochs(database) == {"first": [1], "second": [1, 2]}
    for path in out.glob("checkpoint-*.pt"):
        path.unlink()
    for path in (out / "earlier").iterdir():
        path.rename(out / path.name)
    Bundle(out, database, "x", resume=True, checkpoint_first=checkpoint_first).train(4)
    assert epochs(database) == {"first": [1, 2, 3, 4], "second": [1, 2]}


@pytest.mark.parametrize("checkpoint_first", [True, False])
def test_training_that_ends_before_its_first_epoch_is_not_the_one_before(
    tmp_path: Path, database: str, checkpoint_first: bool
) -> None:
    out = tmp_path / "out"
    Bundle(out, database, "first").train(2, stop_after=1)
    Bundle(out, database, "second", checkpoint_first=checkpoint_first).train(2, stop_after=0)
    # The first one's checkpoints are aside: what is resumed begins with epoch 1.
    Bundle(out, database, "x", resume=True).train(2)
    assert epochs(database) == {"first": [1], "second": [1, 2]}


def test_journals_stay_as_long_as_a_resume_can_ask_for_them(tmp_path: Path, database: str) -> None:
    out = tmp_path / "out"
    for name, left in (("a", ["a"]), ("b", ["b", "a"]), ("c", ["c", "a", "b"]), ("d", ["d", "b", "c"])):
        Bundle(out, database, name).train(2, stop_after=1)
        assert names(out) == left


def test_everything_undelivered_in_the_folder_is_delivered_by_one_command(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for name in ("first", "second", "refused"):
        bundle = Bundle(out, DEAD, name)
        bundle.refused() if name == "refused" else bundle.train(2, stop_after=1)
    Bundle(out, database, "last").train(1)
    assert sorted(names(out)) == ["first", "last", "refused", "second"]
    # The three are for a server that is away, which keeps nothing from the fourth.
    journal = Journal(out / "tracking-spool.jsonl")
    journal.append("tags", tags={"late": "1"})
    journal.close()
    assert main([str(out)]) == 1
    said = capsys.readouterr()
    assert said.err.count("127.0.0.1") >= 3 and "1 records delivered" in said.out
    assert main([str(out), "--tracking-uri", database]) == 0
    assert epochs(database) == {"first": [1], "second": [1], "refused": [], "last": [1]}


def older_format(folder: Path) -> None:
    """Makes the journal of the folder one of the time before ``tracking-run.json``."""
    path = folder / "tracking-spool.jsonl"
    first, rest = path.read_text().split("\n", 1)
    header = json.loads(first)
    del header["format"]
    path.write_text(json.dumps(header) + "\n" + rest)
    (folder / RUN_NAME).unlink()


@pytest.mark.parametrize("refusals", [0, 2])
def test_older_training_without_its_name_in_a_file_is_resumed(tmp_path: Path, database: str, refusals: int) -> None:
    out = tmp_path / "out"
    Bundle(out, database, "old").train(2, stop_after=1)
    older_format(out)
    for number in range(refusals):
        Bundle(out, database, f"refused{number}").refused()
    Bundle(out, database, "x", resume=True).train(2)
    assert epochs(database)["old"] == [1, 2]


@pytest.mark.parametrize("content", ["{", "[]", '{"run_key": 3}'])
def test_damaged_name_of_the_run_is_passed_over_and_said(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path)
    folder.begin({"key": "a" * 32, "tracking_uri": "u"}).close()
    (tmp_path / RUN_NAME).write_text(content)
    journal = folder.resume()
    assert journal is not None and journal.header["key"] == "a" * 32
    assert "does not name a run" in caplog.text


def test_journal_that_is_gone_is_not_replaced_by_another_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = RunFolder(tmp_path)
    folder.begin({"key": "a" * 32, "tracking_uri": "u"}).close()
    folder.claim("b" * 32)
    with caplog.at_level(logging.WARNING, "monai_staging"):
        assert folder.resume() is None
    assert "is gone" in caplog.text


def test_damaged_journal_of_an_older_run_stays_and_keeps_nobody_from_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path)
    for key in "abc":
        journal = folder.begin({"key": key, "tracking_uri": "u"})
        journal.append("tags", tags={})
        journal.close()
        if key == "b":
            damaged = tmp_path / "tracking-spool-a.jsonl"
            damaged.write_text(damaged.read_text() + "rubbish\n")
    assert "line 3 is not a tracking record" in caplog.text
    assert len(journals(tmp_path)) == 3


def test_evaluation_has_no_say_in_what_is_resumed(tmp_path: Path) -> None:
    training, evaluation = RunFolder(tmp_path), RunFolder(tmp_path, "tracking-spool-test.jsonl")
    training.begin({"key": "a" * 32, "tracking_uri": "u"}).close()
    training.claim("a" * 32)
    for key in ("b" * 32, "c" * 32):
        evaluation.begin({"key": key, "tracking_uri": "u"}).close()
        evaluation.claim(key)
    journal = training.resume()
    assert journal is not None and journal.header["key"] == "a" * 32
    assert sorted(path.name for path in journals(tmp_path)) == ["tracking-spool-test.jsonl", "tracking-spool.jsonl"]


def test_checkpoints_take_the_name_of_the_run_along() -> None:
    assert RUN_NAME in COMPANIONS
