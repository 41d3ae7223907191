"""What is registered: a trained nodule classifier, or the best arm of a comparison, read from its folder."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_staging.cohort.nodules import load_nodules
from monai_staging.compare.arm import RECORD
from monai_staging.compare.outcomes import MEASURES
from monai_staging.compare.plan import BASELINE, Arm
from monai_staging.compare.runner import ARMS
from monai_staging.errors import DataError
from monai_staging.tracking.journal import journals
from monai_staging.tracking.pyfunc.settings import NETWORK_KEYS, NoduleModelSettings
from monai_staging.tracking.run_folder import RUN_NAME
from monai_staging.workflows.nodule_result import WEIGHTS

FINDINGS, COMPARISON, METRICS, PREDICTIONS = "findings.json", "comparison.json", "metrics.json", "predictions.csv"
# What a network may have been made with: the weights it began with and its dropout do not change a prediction.
_NETWORK = {*NETWORK_KEYS, "_target_", "weights", "dropout"}
# Of views and networks that were made before there was a choice.
_VIEWS_BEFORE = {"padding": "zero"}
_NETWORK_BEFORE = {"landmarks": 0}
Estimates = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class RunRecord:
    """What a run's local journal says of it.

    Attributes:
        params: as they were logged, references resolved.
        tags: likewise.
        run_ids: what servers call the run, the last first.
    """

    params: Mapping[str, str]
    tags: Mapping[str, str]
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """What may become a version of a registered model.

    Attributes:
        weights: of its networks.
        settings: of all of them, without members.
        metrics: ``value``, ``low``, ``high`` and ``n`` by name, the one it is judged by first; may be empty.
        origin: plain tags that say where it comes from.
        run: the run it belongs to: of a comparison the parent.
        title: for people.
    """

    weights: tuple[Path, ...]
    settings: NoduleModelSettings
    metrics: Estimates
    origin: Mapping[str, str]
    run: RunRecord
    title: str
    members: tuple[str, ...] = field(default=())


def read_candidate(folder: Path) -> Candidate:
    """The candidate in a comparison's folder (its best arm, all folds and repetitions) or in a training's.

    Raises:
        DataError: neither, or one that is not finished; what is missing is named.
    """
    if (folder / FINDINGS).is_file():
        return _comparison(folder)
    if (folder / ARMS).is_dir():
        raise DataError(f"{folder}: no {FINDINGS}: the comparison is not finished; the command that began it goes on")
    if (folder / WEIGHTS).is_file():
        return _training(folder)
    raise DataError(
        f"{folder}: a comparison's folder ({FINDINGS}) or a malignancy training's ({WEIGHTS}) is needed, found neither"
    )


def read_run(folder: Path) -> RunRecord:
    """What the journal of the training in a folder says.

    Raises:
        DataError: no journal is there, or not that of the training.
    """
    key = _document(folder / RUN_NAME).get("run_key") if (folder / RUN_NAME).is_file() else None
    for path in journals(folder):
        with open(path, encoding="utf-8") as file:
            # A last line that is cut off is not whole yet.
            records = [json.loads(line) for line in file if line.endswith("\n")]
        if not records or (key is not None and records[0].get("key") != key):
            continue
        found: dict[str, dict[str, str]] = {"params": {}, "tags": {}}
        for record in records:
            if record["op"] in found:
                found[record["op"]].update(record[record["op"]])
        ids = [record["run_id"] for record in records if record["op"] == "run_id"]
        return RunRecord(found["params"], found["tags"], tuple(reversed(ids)))
    raise DataError(f"{folder}: the journal of the run that {RUN_NAME} names is not there")


def settings_of(folder: Path, record: RunRecord | None = None) -> NoduleModelSettings:
    """How a training's network and views are made, by its journal.

    Raises:
        DataError: it was no malignancy training, or its classes are not known.
    """
    params = (record or read_run(folder)).params
    needed = ("loss.task", "turns", "checkpoint.identity.data", "network_def.network", "checkpoint.identity.views")
    missing = [name for name in needed if name not in params]
    if missing:
        raise DataError(f"{folder}: no training of the malignancy bundle: its journal has no {', '.join(missing)}")
    unknown = {name.partition(".")[2] for name in params if name.startswith("network_def.")} - _NETWORK
    if unknown:
        raise DataError(f"{folder}: its network has settings that are not known: {', '.join(sorted(unknown))}")
    try:
        # As the training had them, defaults included: those may have changed since.
        views = {**_VIEWS_BEFORE, **dict(ast.literal_eval(params["checkpoint.identity.views"]))}
        network = {**_NETWORK_BEFORE, **_values(params, "network_def.", NETWORK_KEYS)}
        turns = int(params["turns"])
    except (ValueError, TypeError, SyntaxError) as error:
        raise DataError(f"{folder}: the journal's parameters are not in order: {error}") from error
    return NoduleModelSettings(
        task=params["loss.task"],
        classes=_classes(folder, params, int(network.get("outputs", 1))),
        network=network,
        views=views,
        turns=turns,
        data_digest=params["checkpoint.identity.data"],
    )


def _training(folder: Path) -> Candidate:
    run = read_run(folder)
    settings = settings_of(folder, run)
    metrics = _document(folder / METRICS) if (folder / METRICS).is_file() else {}
    network = settings.network["network"]
    origin = {"network": network, "start": "scratch" if run.params.get("backbone_weights") == "None" else "transfer"}
    origin |= {name: run.tags[name] for name in ("comparison",) if name in run.tags}
    title = f"{network} on {settings.views['kind']} views"
    return Candidate((folder / WEIGHTS,), settings, _measures(metrics), origin, run, title, run.run_ids[:1])


def _comparison(folder: Path) -> Candidate:
    plan, findings = _document(folder / COMPARISON), _document(folder / FINDINGS)
    try:
        network, init, fraction = (findings["best"][name] for name in ("network", "init", "fraction"))
        chosen = next(
            arm
            for arm in findings["arms"]
            if [arm[n] for n in ("network", "init", "fraction")] == [network, init, fraction]
        )
        folds = [None] if plan["folds"] is None else range(plan["folds"])
        arms = [Arm(network, init, float(fraction), seed, fold) for seed in plan["seeds"] for fold in folds]
    except (KeyError, TypeError, StopIteration) as error:
        raise DataError(f"{folder}: {FINDINGS} and {COMPARISON} do not name a best arm: {error!r}") from error
    if init == BASELINE:
        raise DataError(f"{folder}: the best arm is {network}, which is no network and cannot be registered")
    folders = [folder / ARMS / arm.name for arm in arms]
    missing = [one.name for one in folders if not ((one / RECORD).is_file() and (one / WEIGHTS).is_file())]
    if missing:
        raise DataError(
            f"{folder}: all {len(arms)} runs of the best arm ({network}, {init}) are needed; not finished: "
            f"{', '.join(missing)}"
        )
    runs = [read_run(one) for one in folders]
    settings = [settings_of(one, run) for one, run in zip(folders, runs, strict=True)]
    other = next((place for place, one in enumerate(settings) if one != settings[0]), None)
    if other is not None:
        raise DataError(f"{folder}: runs of one arm must share network, views and data; {folders[other].name} does not")
    parent = read_run(folder)
    digest = parent.tags.get("data.digest", settings[0].data_digest)
    if digest != settings[0].data_digest:
        raise DataError(f"{folder}: its runs were trained on data {settings[0].data_digest}, compared on {digest}")
    origin = {"comparison": str(plan["name"]), "network": network, "start": init, "fraction": f"{fraction:g}"}
    return Candidate(
        tuple(one / WEIGHTS for one in folders),
        settings[0],
        _measures(chosen),
        origin,
        parent,
        f"{network}, {init}: best of comparison {plan['name']}",
        tuple(run.run_ids[0] for run in runs if run.run_ids),
    )


def _measures(document: Mapping[str, Any]) -> Estimates:
    """Figures of merit that have a value, in the order in which they are judged."""
    names = [measure.name for measure in MEASURES["nodules"]]
    found = {name: document[name] for name in names if isinstance(document.get(name), Mapping)}
    return {name: one for name, one in found.items() if isinstance(one.get("value"), int | float)}


def _classes(folder: Path, params: Mapping[str, str], outputs: int) -> tuple[str, ...]:
    """Names of the probabilities: as in the run's predictions, else of the data if it is where it was."""
    if (folder / PREDICTIONS).is_file():
        with open(folder / PREDICTIONS, newline="", encoding="utf-8") as file:
            header: Sequence[str] = next(csv.reader(file), [])
        # Those of other methods come after the network's.
        return tuple([name.removeprefix("p_") for name in header if name.startswith("p_")][:outputs])
    try:
        nodules = load_nodules(params.get("data.dataset_dir", ""))
    except DataError as error:
        raise DataError(f"{folder}: no {PREDICTIONS}, and the data that names the classes is not there") from error
    if nodules.digest != params["checkpoint.identity.data"]:
        raise DataError(f"{folder}: no {PREDICTIONS}, and the data that names the classes has changed")
    return nodules.classes[1:] if nodules.task == "binary" else nodules.classes


def _values(params: Mapping[str, str], prefix: str, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Logged texts as values of their kinds."""
    return {name: kind(params[prefix + name]) for name, kind in kinds.items() if prefix + name in params}


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: a JSON object is needed, found {type(document).__name__}")
    return document
