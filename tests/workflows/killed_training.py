"""Trains a small network, kills it (SIGKILL) at random moments, resumes it, and says whether anything differs.

Run by test_checkpoint.py as a process of its own: ``python -m killed_training FOLDER WORKERS KILLS``. Everything heavy
is imported once; each training is a fork.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ROCAUC, LrScheduleHandler, ValidationHandler, from_engine
from monai.transforms import Activationsd, Compose, RandFlipd, RandGaussianNoised
from monai.utils import set_determinism

from monai_staging.workflows.checkpoint import TrainingCheckpoint
from monai_staging.workflows.determinism import EpochSeeder
from monai_staging.workflows.stopping import EarlyStop


def items(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "image": torch.randn(1, 6, 6, generator=generator) + 0.3 * (index % 2),
            "label": torch.tensor([float(index % 2)]),
        }
        for index in range(count)
    ]


def train(folder: Path, workers: int, resume: bool) -> None:
    torch.set_num_threads(1)
    set_determinism(3)
    network = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(36, 16),
        torch.nn.BatchNorm1d(16),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.4),
        torch.nn.Linear(16, 1),
    )
    noise = Compose([RandGaussianNoised("image", prob=0.7), RandFlipd("image", prob=0.5, spatial_axis=0)])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(items(24, 1)), batch_size=8),
        network=network,
        key_val_metric={"val_auc": ROCAUC(output_transform=from_engine(["pred", "label"]))},
        postprocessing=Compose([Activationsd("pred", sigmoid=True)]),
    )
    stop = EarlyStop(50, evaluator, "val_auc")
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=6,
        train_data_loader=DataLoader(Dataset(items(40, 0), noise), batch_size=8, shuffle=True, num_workers=workers),
        network=network,
        optimizer=optimizer,
        loss_function=torch.nn.BCEWithLogitsLoss(),
        train_handlers=[
            # First in the list on purpose: it saves last all the same.
            TrainingCheckpoint(folder, network, optimizer, schedule, evaluator, stop, metric="val_auc", resume=resume),
            EpochSeeder(3),
            ValidationHandler(interval=1, validator=evaluator),
            LrScheduleHandler(schedule, print_lr=False),
            stop,
        ],
    )
    trainer.run()
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    result = {
        "weights": digest.hexdigest(),
        "metrics": evaluator.state.metrics,
        "best": json.loads((folder / "best.json").read_text()),
        "best_metric_epoch": evaluator.state.best_metric_epoch,
        "rate": schedule.get_last_lr(),
        "early_stop": stop.state_dict(),
        "files": sorted(path.name for path in folder.iterdir() if path.suffix == ".pt"),
    }
    (folder / "result.json").write_text(json.dumps(result, sort_keys=True))


def child(folder: Path, workers: int, resume: bool) -> int:
    process = os.fork()
    if process == 0:
        try:
            train(folder, workers, resume)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return process


def main() -> None:
    folder, workers, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    start = time.monotonic()
    if os.waitpid(child(folder / "whole", workers, resume=False), 0)[1]:
        sys.exit("the uninterrupted training failed")
    duration = time.monotonic() - start
    moments = random.Random(workers)
    done = 0
    while done < kills:
        process = child(folder / "killed", workers, resume=True)
        time.sleep(moments.uniform(0.1, 0.9) * duration / 2)
        if os.waitpid(process, os.WNOHANG)[0]:
            break  # it came to its end between two kills
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        done += 1
    for _ in range(2):  # the second finds a finished training
        if os.waitpid(child(folder / "killed", workers, resume=True), 0)[1]:
            sys.exit("the resumed training failed")
    whole, killed = (json.loads((folder / name / "result.json").read_text()) for name in ("whole", "killed"))
    print(json.dumps({"kills": done, "whole": whole, "killed": killed}))


if __name__ == "__main__":
    main()
