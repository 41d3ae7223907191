"""The handler on MONAI's engines and in a bundle's config."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, StatsHandler, ValidationHandler

from monai_staging.errors import UsageError
from monai_staging.tracking import TrackingHandler
from monai_staging.tracking.journal import Journal, journals


class Training:
    """A trainer and its evaluator, tracked by one handler."""

    def __init__(self, tracking: TrackingHandler, epochs: int = 3, before: list[Any] | None = None) -> None:
        self.tracking = tracking
        network = torch.nn.Linear(2, 1)
        items = [{"image": torch.ones(2) * i, "label": torch.ones(1)} for i in range(4)]
        self.evaluator = SupervisedEvaluator(
            device="cpu", val_data_loader=DataLoader(Dataset(items)), network=network, val_handlers=[tracking]
        )

        @self.evaluator.on("EPOCH_COMPLETED")
        def score(engine: Any) -> None:
            engine.state.metrics.update({"val_auc": 0.5 + engine.state.epoch / 10, "curve": [1, 2]})

        # The handler was attached first: let the metrics be there when it looks.
        handlers = self.evaluator._event_handlers[self._epoch_completed()]
        handlers.insert(0, handlers.pop())
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
        self.trainer = SupervisedTrainer(
            device="cpu",
            max_epochs=epochs,
            train_data_loader=DataLoader(Dataset(items), batch_size=2),
            network=network,
            optimizer=optimizer,
            loss_function=torch.nn.MSELoss(),
            train_handlers=[
                *(before or []),
                LrScheduleHandler(schedule, print_lr=False),
                ValidationHandler(interval=1, validator=self.evaluator),
                tracking,
            ],
        )

    @staticmethod
    def _epoch_completed() -> Any:
        from ignite.engine import Events

        return Events.EPOCH_COMPLETED


def runs(uri: str, experiment: str = "monai_staging") -> list[Any]:
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id], order_by=["attributes.start_time"])) if found else []


def artifact(uri: str, run: Any, path: str) -> str:
    return str(mlflow.MlflowClient(uri).download_artifacts(run.info.run_id, path))


def handler(tmp_path: Path, uri: str, **arguments: Any) -> TrackingHandler:
    arguments = {"system_metrics": False, "output_dir": tmp_path / "out", **arguments}
    return TrackingHandler(tracking_uri=uri, **arguments)


def test_training_is_one_run_with_grouped_metrics(tmp_path: Path, database: str) -> None:
    tracking = handler(tmp_path, database, run_name="first", experiment_name="exp", system_metrics=True)
    Training(tracking).trainer.run()
    tracking.finish()
    tracking.finish()  # once is enough
    (run,) = runs(database, "exp")
    assert (run.info.run_name, run.info.status, run.info.run_id) == ("first", "FINISHED", tracking.run_id)
    names = {name for name in run.data.metrics if not name.startswith("system/")}
    assert names == {"train/loss", "train/lr", "train/epoch_seconds", "val/auc"}
    assert "system/cpu_utilization_percentage" in run.data.metrics
    client = mlflow.MlflowClient(database)

    def history(name: str) -> list[tuple[int, float]]:
        return [(point.step, round(point.value, 6)) for point in client.get_metric_history(run.info.run_id, name)]

    assert history("val/auc") == [(1, 0.6), (2, 0.7), (3, 0.8)]
    # The rate the epoch was trained with, though the schedule has stepped before the handler looks.
    assert history("train/lr") == [(1, 0.1), (2, 0.01), (3, 0.001)]
    assert run.data.params["max_epochs"] == "3"
    assert run.data.tags["version.torch"] == torch.__version__.partition("+")[0] or run.data.tags["version.torch"]
    assert len(run.data.tags["mlflow.source.git.commit"]) == 40
    assert run.data.tags["git.dirty"] in ("true", "false")


def test_bundle_config_hands_itself_over(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = {
        "_meta_": {"version": "0.1", "name": "Staging"},
        "output_dir": str(tmp_path / "home" / "out"),
        "lr": 0.5,
        "half": "$@lr / 2",
        "tracking": {
            "_target_": "monai_staging.tracking.TrackingHandler",
            "output_dir": "@output_dir",
            "tracking_uri": database,
            "system_metrics": False,
        },
        "run": ["$@tracking.start()"],
    }
    parser = ConfigParser(config)
    parser["lr"] = 0.25  # as --lr 0.25 does
    parser.get_parsed_content("half")
    parser.get_parsed_content("run#0")
    parser.get_parsed_content("tracking").finish()
    (run,) = runs(database)
    assert run.data.params["lr"] == "0.25" and run.data.params["half"] == "0.125"
    assert run.data.params["output_dir"] == "~/out"
    stored = json.loads(Path(artifact(database, run, "config.json")).read_text())
    assert stored["lr"] == 0.25 and stored["half"] == "$@lr / 2" and stored["_meta_"]["version"] == "0.1"
    assert run.data.tags["mlflow.source.name"] == "Staging"


@pytest.mark.parametrize("as_file", [True, False])
def test_config_can_be_given(tmp_path: Path, database: str, as_file: bool) -> None:
    config: Any = {"net": {"width": 4}}
    if as_file:
        (tmp_path / "c.json").write_text(json.dumps(config))
        config = tmp_path / "c.json"
    with handler(tmp_path, database, config=config, tags={"team": "a"}):
        pass
    (run,) = runs(database)
    assert run.data.params == {"net.width": "4"}
    assert run.data.tags["team"] == "a"
    assert run.info.status == "FINISHED"


def test_cohort_is_logged_without_its_patients(tmp_path: Path, database: str) -> None:
    cohort = {"name": "lungs", "source": "phantom", "training": [{"patient": "DOE^JANE"}], "test": []}
    (tmp_path / "cohort.json").write_text(json.dumps(cohort))
    tracking = handler(tmp_path, database, cohort=tmp_path)
    training = Training(tracking, epochs=1)

    @training.trainer.on("ITERATION_COMPLETED")
    def fail(engine: Any) -> None:
        raise ValueError("Case DOE^JANE: no lung in it")

    with pytest.raises(ValueError, match="DOE"):
        training.trainer.run()
    (run,) = runs(database)
    assert run.data.tags["cohort.name"] == "lungs" and len(run.data.tags["cohort.digest"]) == 64
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "lungs" and json.loads(dataset.dataset.profile)["training"] == 1
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"].startswith("ValueError: Case case-")
    text = Path(artifact(database, run, "failure.txt")).read_text()
    assert "Traceback" in text and "no lung in it" in text and "in fail" in text
    for file in [tmp_path / "out" / "tracking-spool.jsonl", *(tmp_path / "mlruns").rglob("*.*")]:
        if file.is_file():
            assert "JANE" not in file.read_text()
    assert b"JANE" not in (tmp_path / "mlruns.db").read_bytes()


@pytest.mark.parametrize("place", ["trainer", "evaluator", "after another handler of exceptions"])
def test_failure_in_an_engine_ends_the_run_failed_and_is_raised(tmp_path: Path, database: str, place: str) -> None:
    tracking = handler(tmp_path, database)
    before = [StatsHandler()] if place.startswith("after") else []
    training = Training(tracking, before=before)
    engine = training.evaluator if place == "evaluator" else training.trainer

    @engine.on("ITERATION_STARTED")
    def fail(engine: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), tracking:
        training.trainer.run()
    (run,) = runs(database)
    assert (run.info.status, run.data.tags["failure"]) == ("FAILED", "ZeroDivisionError")


def test_interrupt_ends_the_run_killed(tmp_path: Path, database: str) -> None:
    training = Training(handler(tmp_path, database))

    @training.trainer.on("EPOCH_STARTED")
    def interrupt(engine: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.trainer.run()
    assert [run.info.status for run in runs(database)] == ["KILLED"]


def test_cause_of_a_wrapped_error_is_what_is_named(tmp_path: Path, database: str) -> None:
    tracking = handler(tmp_path, database)
    tracking.start()
    try:
        try:
            raise OSError("disk full")
        except OSError as cause:
            raise RuntimeError("Failed to evaluate") from cause
    except RuntimeError as error:
        tracking.fail(error)
    (run,) = runs(database)
    assert run.data.tags["failure"] == "OSError: disk full"


def test_resumed_training_is_the_same_run(tmp_path: Path, database: str) -> None:
    for resume in (False, True):
        tracking = handler(tmp_path, database, resume=resume, run_name=None)
        tracking.start()
        tracking.log_metrics({"auc": 0.5 + resume}, step=1 + resume, prefix="val")
        tracking.fail(KeyboardInterrupt()) if not resume else tracking.finish()
    (run,) = runs(database)
    assert run.info.status == "FINISHED"
    history = mlflow.MlflowClient(database).get_metric_history(run.info.run_id, "val/auc")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 1.5)]


def test_evaluation_in_the_folder_of_a_training_leaves_its_run_alone(tmp_path: Path, database: str) -> None:
    with handler(tmp_path, database, run_name="training"):
        pass
    with handler(tmp_path, database, run_name="evaluation", evaluator_prefix="test"):
        pass
    with handler(tmp_path, database, resume=True) as resumed:
        assert resumed.name == "training"
    assert {run.info.run_name for run in runs(database)} == {"training", "evaluation"}
    assert [path.name for path in journals(tmp_path / "out")] == ["tracking-spool-test.jsonl", "tracking-spool.jsonl"]


def test_without_resume_a_second_training_is_a_second_run(tmp_path: Path, database: str) -> None:
    for _ in range(2):
        with handler(tmp_path, database) as tracking:
            tracking.log_metrics({"a": 1})
    assert len(runs(database)) == 2


def test_resume_without_a_run_starts_one(tmp_path: Path, database: str) -> None:
    with handler(tmp_path, database, resume=True):
        pass
    assert len(runs(database)) == 1


def test_evaluation_figures_and_model(tmp_path: Path, database: str) -> None:
    figures = tmp_path / "figures"
    figures.mkdir()
    for name in ("a.png", "b.svg", "c.txt"):
        (figures / name).write_text(name)
    (tmp_path / "metrics.json").write_text(
        json.dumps({"t_auroc": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 20}, "n_ece": {"value": None}})
    )
    tracking = handler(tmp_path, database, evaluator_prefix="test")
    training = Training(tracking)
    training.evaluator.run()
    tracking.log_metrics_file(tmp_path / "metrics.json")
    tracking.log_figures(figures)
    tracking.log_figures([figures / "c.txt"], to="text")
    tracking.log_figures(figures / "a.png", to="one")
    assert tracking.log_model(torch.nn.Linear(2, 1), torch.ones(1, 2), name="staging")
    tracking.finish()
    (run,) = runs(database)
    assert run.data.metrics == pytest.approx(
        {"test/val_auc": 0.6, "test/t_auroc": 0.9, "test_interval/t_auroc_low": 0.8, "test_interval/t_auroc_high": 0.95}
    )
    client = mlflow.MlflowClient(database)
    assert [a.path for a in client.list_artifacts(run.info.run_id, "figures")] == ["figures/a.png", "figures/b.svg"]
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"figures", "text", "one", "metrics.json"}
    (output,) = run.outputs.model_outputs
    assert client.get_logged_model(output.model_id).name == "staging"


def test_network_that_cannot_be_exported_does_not_end_the_run(
    tmp_path: Path, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    with handler(tmp_path, database) as tracking:
        assert not tracking.log_model(Odd(), torch.ones(2, 2))
    assert "torch cannot export it" in caplog.text
    assert [run.info.status for run in runs(database)] == ["FINISHED"]


def test_iteration_losses_artifacts_and_closing_as_monai_has_them(tmp_path: Path, database: str) -> None:
    (tmp_path / "a.txt").write_text("a")
    tracking = handler(
        tmp_path,
        database,
        iteration_log=lambda engine, iteration: iteration % 2 == 0,
        artifacts=tmp_path / "a.txt",
        state_attributes=["best_metric"],
        experiment_param={"who": "me"},
        close_on_complete=True,
    )
    Training(tracking, epochs=2).trainer.run()
    (run,) = runs(database)
    assert run.info.status == "FINISHED"
    client = mlflow.MlflowClient(database)
    history = client.get_metric_history(run.info.run_id, "train_iteration/loss")
    assert [point.step for point in history] == [2, 4]
    assert "a.txt" in {a.path for a in client.list_artifacts(run.info.run_id)}
    assert run.data.params["who"] == "me" and run.data.metrics["train/best_metric"] == -1


def test_environment_wins_over_the_argument(
    tmp_path: Path, database: str, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_database, tmp_path / "third.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/third.db")  # what else the program does with MLflow does not matter
    # MLflow has written it to the environment as well; the user's word comes last.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    with handler(tmp_path, f"sqlite:///{tmp_path}/other.db"):
        pass
    assert len(runs(database)) == 1
    assert not (tmp_path / "other.db").exists()
    assert runs(f"sqlite:///{tmp_path}/third.db") == []


def test_default_is_a_database_in_the_current_folder(tmp_path: Path, database: str) -> None:
    # The fixture has put an empty mlruns.db there.
    with TrackingHandler(tmp_path / "out", system_metrics=False):
        pass
    (run,) = runs(database)
    assert run.info.artifact_uri.startswith((tmp_path / "mlruns").as_uri())


def test_folder_as_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="file store"):
        handler(tmp_path, str(tmp_path / "mlruns"))


def test_other_ranks_do_nothing(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    tracking = handler(tmp_path, database)
    Training(tracking, epochs=1).trainer.run()
    tracking.log_metrics({"a": 1})
    tracking.log_metrics_file(tmp_path / "none.json")
    assert not tracking.log_model(torch.nn.Linear(1, 1), torch.ones(1, 1))
    tracking.fail(ValueError())
    tracking.finish()
    assert not (tmp_path / "out").exists()
    assert runs(database) == []


def test_database_that_cannot_be_opened_does_not_stop_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, database: str
) -> None:
    (tmp_path / "file").write_text("")
    tracking = handler(tmp_path, f"sqlite:///{tmp_path}/file/mlruns.db", drain_s=20)
    Training(tracking).trainer.run()
    tracking.finish()
    assert "MLFLOW DOES NOT TAKE THE RUN" in caplog.text and f"'{tmp_path}/file'" in caplog.text
    assert "python -m monai_staging.tracking.sync" in caplog.text
    journal = Journal(tmp_path / "out" / "tracking-spool.jsonl")
    assert journal.facts[-1]["status"] == "FINISHED"
    # The next training in the same folder keeps what was not delivered.
    with handler(tmp_path, database):
        pass
    assert "never delivered; kept in" in caplog.text
    assert len(list((tmp_path / "out").glob("tracking-spool-*.jsonl"))) == 1


def test_program_that_just_ends_says_how_far_it_came(tmp_path: Path, database: str) -> None:
    for completed in (True, False):
        tracking = handler(tmp_path, database)
        tracking.start()
        tracking.completed = completed
        tracking._at_exit()
    assert [run.info.status for run in runs(database)] == ["FINISHED", "FAILED"]


def test_logging_takes_next_to_nothing_of_an_epoch(tmp_path: Path, database: str) -> None:
    """What the training thread spends in the handler: under 1 % of an epoch of one second."""
    tracking = handler(tmp_path, database)
    training = Training(tracking, epochs=1)
    training.trainer.run()
    spent: list[float] = []

    def timed(call: Callable[..., Any], *arguments: Any) -> None:
        start = time.perf_counter()
        call(*arguments)
        spent.append(time.perf_counter() - start)

    for _ in range(50):
        timed(tracking._epoch_started, training.trainer)
        timed(tracking._means.update, training.trainer)
        timed(tracking.epoch_completed, training.trainer)
    tracking.finish()
    assert sum(sorted(spent)[:-10]) / 50 < 0.01
