"""Registering, loading and serving: with trainings that cost none, and with a real comparison of two tiny ones."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from filelock import FileLock
from mlflow import MlflowClient

from monai_staging.cohort.nodules import load_nodules
from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.errors import DataError, UsageError
from monai_staging.tracking import registry_versions
from monai_staging.tracking.registry import load_model, register
from monai_staging.transforms.nodule_features import NoduleFeatures

ROOT = Path(__file__).parents[2]
Maker = Callable[..., Path]


# -- without a training -------------------------------------------------------------------------------------------


def test_version_has_alias_tags_description_and_signature(
    make_comparison: Maker, database: str, tmp_path: Path
) -> None:
    done = register(make_comparison(tmp_path / "c"), "nodules", tracking_uri=database)
    assert (done.version, done.created, done.kept, done.networks) == (1, True, None, 4)
    assert done.uri == "models:/nodules@champion"
    client = MlflowClient(database)
    version = client.get_model_version_by_alias("nodules", "champion")
    assert (str(version.version), version.status, version.tags) == ("1", "READY", done.tags)
    assert "best of comparison tried" in version.description
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert logged.status == "READY" and logged.tags["monai_staging.digest"] == done.digest
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "nodules", "version": "1"}]
    assert not mlflow.is_tracking_uri_set()  # the process's own setting is left alone


def test_same_command_again_registers_nothing(make_training: Maker, database: str, tmp_path: Path) -> None:
    folder = make_training(tmp_path / "run")
    first = register(folder, "nodules", tracking_uri=database)
    again = register(folder, "nodules", "other", tracking_uri=database)
    assert (again.version, again.created, again.digest) == (1, False, first.digest)
    assert MlflowClient(database).get_registered_model("nodules").aliases.keys() == {"champion", "other"}
    # The same model under another name is another version of it, of the same files.
    second = register(folder, "same", tracking_uri=database)
    assert (second.version, second.created) == (1, True)
    assert len(MlflowClient(database).search_logged_models(["1"])) == 1


@pytest.mark.parametrize(
    "step",
    [
        *("create_logged_model", "log_model_artifacts", "finalize_logged_model", "create_registered_model"),
        *("create_model_version", "set_logged_model_tags", "set_registered_model_alias"),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_broken_off_anywhere_the_same_command_goes_on(
    make_training: Maker, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    folder, real = make_training(tmp_path / "run"), getattr(MlflowClient, step)

    def killed(*arguments: Any, **named: Any) -> None:
        if after:
            real(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, killed)
        with pytest.raises(KeyboardInterrupt):
            register(folder, "nodules", tracking_uri=database)
    done = register(folder, "nodules", tracking_uri=database)
    assert done.version == 1 and done.kept is None
    client = MlflowClient(database)
    assert len(client.search_model_versions("name = 'nodules'")) == 1
    assert [model.status for model in client.search_logged_models(["1"])] == ["READY"]
    assert load_model("models:/nodules@champion", tracking_uri=database).settings.digest == done.digest


def test_alias_does_not_move_to_a_worse_model(make_training: Maker, database: str, tmp_path: Path) -> None:
    def holder() -> str:
        return str(MlflowClient(database).get_model_version_by_alias("nodules", "champion").version)

    register(make_training(tmp_path / "good", seed=0, auroc=0.9), "nodules", tracking_uri=database)
    worse = make_training(tmp_path / "worse", seed=1, auroc=0.8)
    kept = register(worse, "nodules", tracking_uri=database)
    assert kept.kept == "champion stays with version 1: auroc 0.8 is worse than 0.9 on the same data"
    assert (kept.version, kept.created, kept.uri, holder()) == (2, True, "models:/nodules/2", "1")
    forced = register(worse, "nodules", force=True, tracking_uri=database)
    assert (forced.version, forced.created, forced.kept, holder()) == (2, False, None, "2")
    other = make_training(tmp_path / "other", seed=2, auroc=0.7, data="e" * 64)
    assert register(other, "nodules", tracking_uri=database).kept is None and holder() == "3"


def test_alias_waits_until_the_version_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    class Version:
        status, status_message = "PENDING_REGISTRATION", "disk full"

    class Client:
        asked = 0

        def get_model_version(self, name: str, version: str) -> Version:
            self.asked += 1
            found = Version()
            found.status = states[min(self.asked, len(states)) - 1]
            return found

    monkeypatch.setattr(registry_versions.time, "sleep", lambda seconds: None)
    states = ["PENDING_REGISTRATION", "PENDING_REGISTRATION", "READY"]
    client = Client()
    registry_versions.wait_ready(client, "nodules", 1)
    assert client.asked == 3
    states = ["PENDING_REGISTRATION", "FAILED_REGISTRATION"]
    with pytest.raises(DataError, match=r"FAILED_REGISTRATION: disk full\. The alias stays"):
        registry_versions.wait_ready(Client(), "nodules", 1)
    states = ["PENDING_REGISTRATION"]
    monkeypatch.setattr(registry_versions, "READY_S", 0.0)
    with pytest.raises(DataError, match="it is PENDING_REGISTRATION"):
        registry_versions.wait_ready(Client(), "nodules", 1)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a@b", "it's", " a", "a\n"])
def test_names_that_mlflow_does_not_take_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="a name is of letters"):
        register(tmp_path, name)


@pytest.mark.parametrize("alias", ["", "latest", "v1", "V12", "a b", "a@b"])
def test_aliases_that_mlflow_does_not_take_are_refused(tmp_path: Path, alias: str) -> None:
    with pytest.raises(UsageError, match="an alias is of letters"):
        register(tmp_path, "nodules", alias)


@pytest.mark.parametrize(
    "uri", ["nodules@champion", "models:/nodules", "models:/m-1", "models:/a@b/c", "runs:/1/model"]
)
def test_uris_of_other_forms_are_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="models:/NAME@ALIAS"):
        load_model(uri)


def test_what_is_not_registered_is_said_with_what_is(make_training: Maker, database: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model 'nodules'; registered: nothing"):
        load_model("models:/nodules@champion", tracking_uri=database)
    register(make_training(tmp_path / "run"), "nodules", tracking_uri=database)
    with pytest.raises(DataError, match="no model 'lumps'; registered: nodules"):
        load_model("models:/lumps@champion", tracking_uri=database)
    with pytest.raises(DataError, match="'nodules' has no alias 'best'; aliases: champion"):
        load_model("models:/nodules@best", tracking_uri=database)
    with pytest.raises(DataError, match="'nodules' has no version 7"):
        load_model("models:/nodules/7", tracking_uri=database)
    assert len(load_model("models:/nodules/1", tracking_uri=database).networks) == 1


def test_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such database"):
        load_model("models:/nodules@champion", tracking_uri=f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()


def test_server_that_is_away_is_named_without_its_password(make_training: Maker, tmp_path: Path) -> None:
    uri = "http://user:secret@127.0.0.1:9"
    folder = make_training(tmp_path / "run")
    for call in (
        lambda: register(folder, "nodules", tracking_uri=uri),
        lambda: load_model("models:/a@b", tracking_uri=uri),
    ):
        with pytest.raises(DataError, match="MLflow at http://127.0.0.1:9 cannot be reached") as refused:
            call()
        assert "secret" not in str(refused.value)


def test_models_of_other_kinds_are_refused(make_training: Maker, database: str, tmp_path: Path) -> None:
    client = MlflowClient(database)
    (tmp_path / "other").mkdir()
    client.create_registered_model("other")
    client.create_model_version("other", (tmp_path / "other").as_uri())
    with pytest.raises(DataError, match="version 1 of 'other' is no nodule classifier"):
        load_model("models:/other/1", tracking_uri=database)


def test_code_of_the_registry_is_not_executed(make_training: Maker, database: str, tmp_path: Path) -> None:
    register(make_training(tmp_path / "run"), "nodules", tracking_uri=database)
    for script in (tmp_path / "mlruns").rglob("*.py"):
        script.write_text("raise SystemExit('executed')\n")
    assert len(load_model("models:/nodules@champion", tracking_uri=database).networks) == 1


def test_server_keeps_the_model_and_gives_it_back(make_training: Maker, server: Any, tmp_path: Path) -> None:
    server.start()
    done = register(make_training(tmp_path / "run"), "nodules", tracking_uri=server.uri)
    assert done.created and not register(tmp_path / "run", "nodules", tracking_uri=server.uri).created
    assert load_model("models:/nodules@champion", tracking_uri=server.uri).settings.digest == done.digest


# -- a real comparison --------------------------------------------------------------------------------------------

CONFIG = """\
name: tiny
bundle: {root}/bundles/malignancy
dataset_dir: {nodules}
settings: {{measured: true, width: 0.25, size: 32, spacing_mm: 1.125, amp: false, resamples: 20, epochs: 1}}
networks: {{ResNet-10: {{network: resnet10, views: planes}}}}
initialisations: {{scratch: null}}
seeds: 1
folds: 2
"""


@dataclass(frozen=True)
class Tried:
    """A comparison that was run: its folder, its nodules, its database."""

    folder: Path
    nodules: Path
    database: str

    @property
    def arms(self) -> list[Path]:
        return sorted((self.folder / "arms").iterdir())


@pytest.fixture(scope="session")
def tried(tmp_path_factory: pytest.TempPathFactory, warm_python: Any, empty_database: Path) -> Tried:
    """Two trainings of one epoch on phantom nodules, registered; made once for all workers."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    root = root / "registry"
    root.mkdir(exist_ok=True)
    found = Tried(root / "out", root / "nodules", f"sqlite:///{root / 'mlruns.db'}")
    with FileLock(root / "lock"):
        if not (root / "done").exists():
            write_phantom_nodules(found.nodules, 24, 3)
            (root / "tiny.yaml").write_text(CONFIG.format(root=ROOT, nodules=found.nodules))
            shutil.copy(empty_database, root / "mlruns.db")
            environment = {"MLFLOW_TRACKING_URI": found.database, "MONAI_STAGING_CACHE": str(root / "cache")}
            arguments = ["compare", "--config", str(root / "tiny.yaml"), "--out", str(found.folder)]
            arguments += ["--resamples", "20", "--permutations", "0", "--workers", "1"]
            done = warm_python.run("monai_staging.cli", *arguments, cwd=root, env=environment)
            assert done.returncode == 0, done.stderr
            register(found.folder, "nodules", tracking_uri=found.database)
            (root / "done").touch()
    return found


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONAI_STAGING_CACHE", str(tmp_path / "cache"))


def predicted(folder: Path) -> dict[str, float]:
    """Nodule to probability, as the bundle wrote it."""
    with open(folder / "predictions.csv", newline="") as file:
        return {row["nodule"]: float(row["p_malignant"]) for row in csv.DictReader(file)}


def inputs(predictor: Any, nodules: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Views and measured features of all nodules of a set, made by the transforms alone."""
    source, cut = load_nodules(nodules), predictor.settings.make_views()
    read = [(source.read(index), record.spacing_mm) for index, record in enumerate(source.records)]
    views = np.stack([cut(volume, spacing, source.value_range) for volume, spacing in read]) / 255
    return views, np.stack([NoduleFeatures()(volume, spacing) for volume, spacing in read])


def test_one_training_predicts_what_the_bundle_wrote(tried: Tried, database: str) -> None:
    """From a path and from an array, within what a table of six digits can hold."""
    expected = predicted(tried.arms[1])
    assert register(tried.arms[1], "one", tracking_uri=database).networks == 1
    predictor = load_model("models:/one@champion", tracking_uri=database)
    found = predictor.predict_path(tried.nodules)
    by_name = dict(zip(found.names, found.probabilities[:, 0], strict=True))
    assert len(expected) < len(by_name) == 24
    np.testing.assert_allclose([by_name[name] for name in expected], list(expected.values()), atol=1e-5)
    views, features = inputs(predictor, tried.nodules)
    np.testing.assert_allclose(predictor.predict(views, features), found.probabilities, atol=1e-5)


def test_comparison_is_the_mean_of_its_folds_under_its_run(tried: Tried) -> None:
    predictor = load_model("models:/nodules@champion", tracking_uri=tried.database)
    client = MlflowClient(tried.database)
    version = client.get_model_version_by_alias("nodules", "champion")
    parent = client.get_run(version.run_id)
    assert parent.data.tags["comparison"] == "tiny" and version.tags["source.run_id"] == parent.info.run_id
    assert version.tags["data.digest"] == load_nodules(tried.nodules).digest == parent.data.tags["data.digest"]
    best = json.loads((tried.folder / "findings.json").read_text())["arms"][0]
    assert float(version.tags["metric.auroc"]) == pytest.approx(best["auroc"]["value"], abs=1e-5)
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert {metric.key: metric.value for metric in logged.metrics}["auroc"] == best["auroc"]["value"]
    assert [output.model_id for output in parent.outputs.model_outputs] == [logged.model_id]
    assert str(tried.folder) not in json.dumps(version.tags) + version.description
    singles = [type(predictor)(predictor.settings, [network]) for network in predictor.networks]
    views, features = inputs(predictor, tried.nodules)
    expected = np.mean([single.predict(views, features) for single in singles], axis=0)
    np.testing.assert_allclose(predictor.predict(views, features), expected, atol=1e-6)
    # Each network is that of its fold.
    for single, arm in zip(singles, tried.arms, strict=True):
        wrote = predicted(arm)
        names = [record.name for record in load_nodules(tried.nodules).records]
        mine = dict(zip(names, single.predict(views, features)[:, 0], strict=True))
        np.testing.assert_allclose([mine[name] for name in wrote], list(wrote.values()), atol=1e-5)


@pytest.fixture
def served(tried: Tried, warm_python: Any, tmp_path: Path) -> Iterator[str]:
    """`mlflow models serve` of the registered model, in this environment; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"MLFLOW_TRACKING_URI": tried.database, "MONAI_STAGING_PATHS_UNDER": str(tried.nodules.parent)}
    # MLflow runs `uvicorn`, which an environment that is not activated does not find.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = ["models", "serve", "-m", "models:/nodules@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    process = warm_python.start("mlflow", *command, cwd=tmp_path, env=environment)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(1800):
            try:
                with urllib.request.urlopen(f"{address}/ping", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError(process.stderr.read_text())
        yield address
    finally:
        process.kill()


def test_server_answers_arrays_and_paths(tried: Tried, served: str) -> None:
    def post(body: Any) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{served}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    predictor = load_model("models:/nodules@champion", tracking_uri=tried.database)
    views, features = inputs(predictor, tried.nodules)
    expected = predictor.predict(views, features)[:, 0]
    two = [
        {"views": one.tolist(), "features": [None if np.isnan(value) else value for value in row]}
        for one, row in zip(views[:2], features[:2], strict=True)
    ]
    together = {name: [one[name] for one in two] for name in ("views", "features")}
    for body in ({"inputs": together}, {"inputs": two}, {"dataframe_records": two}, {"instances": two}):
        status, answer = post(body)
        assert status == 200, answer
        np.testing.assert_allclose([row["p_malignant"] for row in answer["predictions"]], expected[:2], atol=1e-5)
    for body in ({"inputs": {"path": str(tried.nodules)}}, {"instances": [{"path": str(tried.nodules)}]}):
        status, answer = post(body)
        assert status == 200, answer
        assert {row["nodule"] for row in answer["predictions"]} == {str(number) for number in range(24)}
        np.testing.assert_allclose([row["p_malignant"] for row in answer["predictions"]], expected, atol=1e-5)
        assert not [row for row in answer["predictions"] if set(row) != {"row", "nodule", "p_malignant"}]
    for body, said in (
        ({"inputs": {"path": "/etc"}}, "must lie under"),
        ({"inputs": {"views": [[[[[300.0]]]]], "features": features[:1].tolist()}}, "views must be"),
        ({"inputs": [1.0, 2.0]}, "neither"),
    ):
        status, answer = post(body)
        assert status == 400 and said in answer["message"], answer
