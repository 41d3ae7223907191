"""One training epoch of each bundle, beside a bare PyTorch loop over the same batches.

The bundle's own trainer runs with all its handlers: schedule, clipping, history, checkpoint, MLflow. The bare loop has
a copy of its network and optimizer, the same loss, precision and augmentation, clips gradients and does nothing else.
Batches are read beforehand, as many as an epoch of the bundle's default data has, and each epoch of the one is
followed by one of the other. Validation is left out of both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import Aim, Timed, processor_ratio, ratio
from benchmarks.data import phantom_cohort

NAME, HELP = "epoch", "a training epoch of each bundle beside a bare loop"
BUNDLES = Path(__file__).parents[2] / "bundles"
AIM = 1.05
NEVER = 1_000_000


@dataclass(frozen=True)
class Training:
    """A bundle's training.

    Attributes:
        data: what it is of, see :func:`data_of`.
        batches: of an epoch of its default data.
        keys: of its config, with other values.
    """

    data: str
    batches: int
    keys: Mapping[str, Any] = field(default_factory=dict)


TRAININGS = {
    "staging": Training("cancer", 71, {"map_start_steps": 0}),
    "detection": Training("nodules", 17),
    "segmentation": Training("patches", 15),
    "malignancy": Training("patches", 15),
    "slices": Training("screening", 60),
    "mitosis": Training("slides", 24),
    "pretrain": Training("none", 25),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the benchmark's arguments."""
    parser.add_argument("--bundles", nargs="+", choices=list(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"), help="for phantoms (default %(default)s)")
    parser.add_argument("--cohort", type=Path, help="folder of a cohort, for the bundles that take one")
    parser.add_argument("--batches", type=int, help="of an epoch (default: as many as the bundle's default data has)")
    parser.add_argument("--repeats", type=int, default=4, help="timed epochs of each, in turns (default %(default)s)")
    parser.add_argument("--tracking", help="MLflow's address (default: a database that is removed afterwards)")
    parser.add_argument("--keys", type=json.loads, default={}, help="JSON: keys of the configs, where they have them")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Times each bundle."""
    import torch

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder, tracked_in(args.tracking, folder):
        found = {name: one_bundle(name, args, Path(folder) / name) for name in args.bundles}
    aims = [
        Aim(
            f"{name}: an epoch, beside a bare loop", own["processor_ratio"], AIM, at_least=False, unit="processor times"
        )
        for name, own in found.items()
    ]
    return {"aims": [aim.to_json() for aim in aims], "bundles": found}


@contextmanager
def tracked_in(uri: str | None, folder: str) -> Iterator[None]:
    """Runs go to this database, not to the user's own; by default to one that is gone afterwards."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri or f"sqlite:///{folder}/mlruns.db"
    try:
        yield
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def one_bundle(name: str, args: argparse.Namespace, output: Path) -> dict[str, Any]:
    """Times one bundle."""
    from monai.bundle import ConfigWorkflow

    training = TRAININGS[name]
    config = BUNDLES / name / "train.json"
    known = json.loads(config.read_text())
    keys = {
        **training.keys,
        **{key: value for key, value in args.keys.items() if key in known},
        **{
            "epochs": args.repeats + 1,
            "val_interval": NEVER,
            "output_dir": str(output),
            "dataset_dir": data_of(name, args),
        },
    }
    workflow = ConfigWorkflow(
        str(config), str(config.with_name("metadata.json")), logging_file=False, workflow_type="train", **keys
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    begin = time.perf_counter()
    count = args.batches or training.batches
    batches = list(islice(cycle(trainer.data_loader), count))
    reading_s = time.perf_counter() - begin
    epochs = Epochs(trainer, batches, float(known["gradient_norm"]))
    trainer.run()
    workflow.finalize()
    ours, bare = epochs.ours, epochs.bare
    return {
        "batches": count,
        "batch_read_s": round(reading_s / count, 5),
        "ours": ours.summary(),
        "bare": bare.summary(),
        "ratio": ratio(ours, bare, 4),
        "processor_ratio": processor_ratio(ours, bare, 4),
        "more_a_batch_ms": round(1e3 * (median(ours.processor_s) - median(bare.processor_s)) / count, 3),
    }


class Epochs:
    """Times the trainer's epochs, each followed by one of a bare loop; the first of both is for the caches.

    Args:
        trainer: of the bundle; it is given the batches.
        batches: of both.
        largest: norm of the gradients.
    """

    def __init__(self, trainer: Any, batches: Sequence[Any], largest: float) -> None:
        import torch
        from ignite.engine import Events

        self.trainer, self.batches, self.largest = trainer, batches, largest
        self.ours, self.bare = Timed(), Timed()
        self.network = deepcopy(trainer.network)
        names = {id(own): name for name, own in trainer.network.named_parameters()}
        copies = dict(self.network.named_parameters())
        groups = [
            {**group, "params": [copies[names[id(own)]] for own in group["params"]]}
            for group in trainer.optimizer.param_groups
        ]
        self.parameters = [own for group in groups for own in group["params"]]
        self.optimizer = type(trainer.optimizer)(groups)
        trainer.data_loader = batches
        trainer.state.dataloader = batches
        trainer.state.epoch_length = len(batches)
        # Last of all, so that what others do at the end of an epoch is in it: they register when the training starts.
        trainer.add_event_handler(
            Events.STARTED, lambda: trainer.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        )
        trainer.add_event_handler(Events.STARTED, self._start)
        self._clip = torch.nn.utils.clip_grad_norm_

    def _start(self) -> None:
        self._begin, self._own = time.perf_counter(), time.process_time()

    def _epoch(self) -> None:
        seconds, own = time.perf_counter() - self._begin, time.process_time() - self._own
        first = self.trainer.state.epoch == 1
        if not first:
            self.ours.total_s.append(seconds)
            self.ours.processor_s.append(own)
        (Timed() if first else self.bare).run([("epoch", lambda _: self._loop())])
        self._start()

    def _loop(self) -> None:
        trainer, network, optimizer = self.trainer, self.network, self.optimizer
        network.train()
        for batch in self.batches:
            inputs, targets, *more = trainer.prepare_batch(batch, trainer.state.device, trainer.non_blocking)
            args, kwargs = more or ((), {})
            optimizer.zero_grad()
            loss = trainer.loss_function(trainer.inferer(inputs, network, *args, **kwargs), targets).mean()
            loss.backward()
            self._clip(self.parameters, self.largest)
            optimizer.step()
            loss.item()  # a loop says how it is getting on


def data_of(name: str, args: argparse.Namespace) -> str:
    """The folder with a bundle's data: phantoms, fewer than by default."""
    kind = TRAININGS[name].data
    if kind in {"cancer", "nodules", "screening"}:
        return str(args.cohort or phantom_cohort(args.work, kind, 6 if kind == "cancer" else 8))
    if kind == "patches":
        from monai_staging.cohort.nodules.default import default_nodules

        return str(default_nodules(args.work / "patches", 120))
    if kind == "slides":
        from monai_staging.histology.phantom import HistologyConfig, default_slides

        return str(default_slides(args.work / "slides", HistologyConfig(patients=8, size=512, mitoses=80)))
    return str(args.work)


def text(report: Mapping[str, Any]) -> str:
    """The report for a person."""
    from monai_staging.outputs.table import text_table

    rows = [
        [
            name,
            str(own["batches"]),
            f"{own['ours']['median_s']:.2f}",
            f"{own['bare']['median_s']:.2f}",
            f"{own['ratio']:.3f}",
            f"{own['processor_ratio']:.3f}",
            f"{own['more_a_batch_ms']:.2f}",
            f"{1e3 * own['batch_read_s']:.1f}",
        ]
        for name, own in report["bundles"].items()
    ]
    header = ["", "batches", "s", "bare, s", "ratio", "processor", "more a batch, ms", "reading a batch, ms"]
    return text_table(header, rows)
