"""Faults in comparisons and in MLflow: the comparison killed, the registry killed, the server gone."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from scripts.faults.fault import (
    BUNDLE,
    CLI,
    DATABASE,
    Bench,
    Fault,
    NotStruck,
    Round,
    Span,
    contents,
    differences,
    killed,
    leftovers,
)
from scripts.faults.process import Child, in_child
from scripts.faults.training import EPOCHS, _Training

_SMALL = {"width": 0.125, "size": 32, "spacing_mm": 1.125, "views": "central", "batch_size": 8}


class CompareKilled(Fault):
    """SIGKILL at a random point of a comparison of two arms in two folds."""

    name = "SIGKILL"
    command = "compare"

    def arguments(self, out: Path) -> list[object]:
        """The command."""
        config = self.folder / "compare.yaml"
        document = {
            "name": "small",
            "bundle": "bundles/malignancy",
            "dataset_dir": str(self.bench.nodules),
            "settings": {**_SMALL, "epochs": 2},
            "networks": {"Small ResNet": {"network": "resnet10"}},
            "initialisations": {"scratch": None},
            "fractions": {1.0: {}},
            "seeds": 1,
            "folds": 2,
            "baselines": ["ruler"],
        }
        config.write_text(yaml.safe_dump(document))
        given = ["compare", "--config", config, "--out", out, "--workers", "1"]
        return [*given, "--resamples", "20", "--permutations", "20"]

    @cached_property
    def span(self) -> Span:
        """Of the command undisturbed."""
        return self.bench.span(CLI, self.arguments(self.folder / "whole" / "out"), self.folder / "whole" / "out")

    @cached_property
    def expected(self) -> dict[str, str]:
        """Its result."""
        assert self.span
        return self.result(self.folder / "whole" / "out")

    @staticmethod
    def result(out: Path) -> dict[str, str]:
        """Predictions and weights of every arm, and the table of differences."""
        found = contents(out)
        wanted = ("predictions.csv", "model.pt", "metrics.json", "differences.csv")
        return {name: digest for name, digest in found.items() if Path(name).name in wanted}

    def _once(self, out: Path) -> Round:
        assert self.expected
        when = killed(self, CLI, self.arguments(out / "out"), out / "out", self.span)
        before = _arms(out / "out")
        done = self.run(CLI, self.arguments(out / "out"))
        if done.code:
            return Round("killed", f"ends with {done.code}", (done.said,), when)
        problems = differences(self.expected, self.result(out / "out")) + leftovers(out)
        problems += [
            f"{name} was done twice" for name, time_ns in before.items() if _arms(out / "out")[name] != time_ns
        ]
        then = "the same predictions and table, no arm done twice" if not problems else "another result"
        return Round("killed", then, tuple(problems), f"{when}, {len(before)} arms done")


def _arms(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("arms/*/arm.json")}


class RegisterKilled(Fault):
    """SIGKILL at a random point of a registration."""

    name = "SIGKILL"
    command = "register"

    @cached_property
    def trained(self) -> Path:
        """A training that can be registered."""
        out = self.folder / "trained"
        settings = {**_SMALL, "network": "resnet10", "epochs": 1, "resamples": 20, "system_metrics": "false"}
        settings |= {"figures": "false", "log_model": "false", "dataset_dir": self.bench.nodules, "output_dir": out}
        command = ["run", "--config_file", "bundles/malignancy/train.json"]
        done = self.run(BUNDLE, [*command, *(part for key, one in settings.items() for part in (f"--{key}", one))])
        assert not done.code, done.err[-3000:]
        return out

    def arguments(self, out: Path) -> list[object]:
        """The command."""
        uri = f"sqlite:///{out / DATABASE}"
        return ["register", self.trained, "--name", "nodules", "--tracking-uri", uri]

    @cached_property
    def span(self) -> Span:
        """Of the command undisturbed."""
        whole = self.folder / "whole"
        whole.mkdir()
        self.bench.database(whole)
        return self.bench.span(CLI, self.arguments(whole), whole / "out")

    def _once(self, out: Path) -> Round:
        assert self.span
        out.mkdir()
        uri = self.bench.database(out)
        when = killed(self, CLI, self.arguments(out), out / "out", self.span)
        done = self.run(CLI, self.arguments(out))
        if done.code:
            return Round("killed", f"ends with {done.code}", (done.said,), when)
        problems = _asked(out, lambda: _registered(uri))
        then = "one version, ready, with the alias, loads" if not problems else "another registry"
        return Round("killed", then, tuple(problems), when)


def _registered(uri: str) -> list[str]:
    """What is wrong with a registry that should have one version."""
    import mlflow

    from monai_staging.tracking.registry import load_model

    client = mlflow.MlflowClient(uri)
    versions = client.search_model_versions("name='nodules'")
    problems = [] if len(versions) == 1 else [f"{len(versions)} versions"]
    problems += [f"version {one.version} is {one.status}" for one in versions if one.status != "READY"]
    if client.get_registered_model("nodules").aliases != {"champion": "1"}:
        problems.append("the alias is not version 1's")
    if not load_model("models:/nodules@champion", tracking_uri=uri, device="cpu").networks:
        problems.append("no network is loaded")
    return problems


def _asked(out: Path, what: Any) -> list[str]:
    """The answer of a process of its own: MLflow's connections are not to be forked into a later command."""
    path = out / "asked.yaml"
    in_child(lambda: path.write_text(yaml.safe_dump(what())))
    answer: list[str] = yaml.safe_load(path.read_text())
    return answer


class ServerGone(_Training):
    """The MLflow server is killed while a bundle trains, and comes back after."""

    name = "MLflow server dying"

    def __init__(self, bench: Bench, rng: Any) -> None:
        super().__init__(bench, rng)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        bench.database(self.folder)

    def serve(self) -> Child:
        """The server, once it answers."""
        command = ["server", "--host", "127.0.0.1", "--port", self.port, "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / DATABASE}"]
        command += ["--artifacts-destination", self.folder / "artifacts"]
        child = self.start("mlflow", command, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        end = time.monotonic() + 120
        while time.monotonic() < end and not child.poll():
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return child
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"MLflow: no server: {child.kill(group=True).err[-2000:]}")

    def _once(self, out: Path) -> Round:
        assert self.expected
        name = f"{out.name}-{self.rng.randrange(10**9)}"
        server = self.serve()
        try:
            training = self.start(BUNDLE, self.arguments(out / "out", run_name=name), MLFLOW_TRACKING_URI=self.uri)
            moment = self.rng.uniform(0, self.span.seconds)
            time.sleep(moment)
            if training.poll():
                raise NotStruck
            server.kill(group=True)
            done = training.wait()
            problems = [f"the training ends with {done.code}: {done.said}"] if done.code else []
            problems += differences(self.expected, self.result(out / "out"))
            server = self.serve()
            sync = self.run("monai_staging.tracking.sync", [out / "out"], MLFLOW_TRACKING_URI=self.uri)
            problems += [f"sync ends with {sync.code}: {sync.said}"] if sync.code else []
            problems += _asked(out, lambda: _delivered(self.uri, name))
        finally:
            server.kill(group=True)
        told = "says what to run" if "tracking.sync" in done.printed else "nothing was left to deliver"
        then = "sync: every fact is there once" if not problems else "something is missing"
        return Round(f"trains on to the same result, {told}", then, tuple(problems), f"after {moment:.1f} s")


def _delivered(uri: str, name: str) -> list[str]:
    """What a server lacks of a training."""
    import mlflow

    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("staging")
    runs = [] if experiment is None else client.search_runs([experiment.experiment_id], f"tags.mlflow.runName='{name}'")
    if len(runs) != 1:
        return [f"{len(runs)} runs on the server"]
    (run,) = runs
    problems = [] if run.info.status == "FINISHED" else [f"the run is {run.info.status}"]
    steps = Counter(one.step for one in client.get_metric_history(run.info.run_id, "train/loss"))
    if steps != Counter(range(1, EPOCHS + 1)):
        problems.append(f"train/loss has steps {sorted(steps.elements())}")
    if not any(key.startswith("test/") for key in run.data.metrics):
        problems.append("no test metrics")
    return problems


FAULTS = (CompareKilled, RegisterKilled, ServerGone)
