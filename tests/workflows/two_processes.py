"""Two processes, joined as torchrun joins them, and one beside them: what each comes to, as JSON.

Run by test_distributed.py as a process of its own, ``python -m two_processes FOLDER``, which forks.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import nn
from torch.utils.data import BatchSampler, RandomSampler

from monai_staging.losses.counts import of_all
from monai_staging.networks.backbones import ConvBackbone
from monai_staging.workflows import distributed
from monai_staging.workflows.collector import EpochCollector
from monai_staging.workflows.determinism import EpochSeeder
from monai_staging.workflows.fine_tuning import fine_tuning_handlers, parameter_groups
from monai_staging.workflows.rank import main_process_only


class Letters(nn.Module):
    """A backbone of two stages with batch norms, and a head; one layer is never asked."""

    def __init__(self, momentum: float | None = 0.1) -> None:
        super().__init__()
        first = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=momentum), nn.ReLU(), nn.MaxPool2d(2)]
        self.backbone = ConvBackbone(nn.Sequential(*first, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)), 4, 8)
        self.head = nn.Linear(4, 2)
        self.idle = nn.Linear(1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(image).mean((2, 3)))


def loss_of_the_known(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """A sum over the labels that are known, by their number in the batch."""
    known = label >= 0
    total = nn.functional.cross_entropy(logits[known], label[known], reduction="sum")
    return total / of_all(known.sum(), total, least=1)


class Names(EpochCollector):
    """What an evaluation saw, in order."""

    def begin(self) -> None:
        self.seen: list[int] = []

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        self.seen += batch["number"].tolist()

    def complete(self, engine: Engine) -> None:
        engine.state.metrics["cases"] = float(len(self.seen))


def cases(count: int) -> list[dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        {
            "image": 3 + torch.randn(1, 8, 8, generator=draw, dtype=torch.float64),
            # So that of two halves of a batch one knows more than the other, or nothing.
            "label": torch.tensor((number % 2) if number % 3 else -1),
            "number": torch.tensor(number),
        }
        for number in range(count)
    ]


def train(batch_size: int, regime: str = "full", momentum: float | None = 0.1) -> dict[str, Any]:
    """Twelve cases, four epochs, in double precision."""
    torch.manual_seed(0)
    network = Letters(momentum).double()
    optimizer = torch.optim.AdamW(parameter_groups(network, regime, 0.05, weight_decay=0.01))
    losses: list[float] = []
    trainer = SupervisedTrainer(
        device=distributed.start(),
        max_epochs=4,
        train_data_loader=distributed.training_share(
            DataLoader(Dataset(cases(12)), batch_size=batch_size, shuffle=True, num_workers=0)
        ),
        network=network,
        optimizer=optimizer,
        loss_function=loss_of_the_known,
        decollate=False,
        train_handlers=[
            EpochSeeder(3),
            distributed.DistributedTraining(find_unused_parameters=True),
            *fine_tuning_handlers(network, regime),
        ],
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda one: losses.append(float(one.state.output["loss"])))
    trainer.run()
    assert trainer.network is network and not any("forward" in module.__dict__ for module in network.modules())
    return {
        "losses": losses,
        "weights": {name: value.flatten().tolist() for name, value in network.state_dict().items()},
    }


def evaluate(count: int, batch_size: int | None = 2) -> dict[str, Any]:
    """What the main process's collector saw, and the metrics of this process."""
    data, collector = Dataset(cases(count)), Names()
    if batch_size is None:
        batches = [[place] for place in range(count)]
        loader = DataLoader(data, batch_size=1, num_workers=0)
        loader = torch.utils.data.DataLoader(Several(data), batch_size=None, sampler=batches)
    else:
        loader = DataLoader(data, batch_size=batch_size, num_workers=0)
    evaluator = SupervisedEvaluator(
        device=distributed.start(),
        val_data_loader=distributed.evaluation_share(loader),
        network=Letters().double(),
        decollate=False,
        val_handlers=[collector],
    )
    evaluator.run()
    return {"seen": collector.seen, "metrics": dict(evaluator.state.metrics), "batches": len(evaluator.data_loader)}


class Several(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Takes a list of places at a time."""

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, places: list[int]) -> dict[str, torch.Tensor]:
        items = [self.data[place] for place in places]
        return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def order(count: int, batch_size: int, drop_last: bool = False, batches: bool = False) -> list[list[int]]:
    """The batches of this process."""
    data = Dataset(cases(count))
    torch.manual_seed(idist.get_rank() + 5)
    if batches:
        sampler = BatchSampler(RandomSampler(data), batch_size, drop_last)
        loader: Any = torch.utils.data.DataLoader(Several(data), batch_size=None, sampler=sampler)
    else:
        loader = DataLoader(data, batch_size=batch_size, shuffle=True, drop_last=drop_last, num_workers=0)
    share = distributed.training_share(loader)
    found = [batch["number"].tolist() for batch in share]
    assert len(found) == len(share)
    return found


@main_process_only
def written() -> str:
    return "by the main process"


def everything(batch_size: int) -> dict[str, Any]:
    distributed.start()
    print("printed")
    return {
        "processes": distributed.processes(),
        "full": train(batch_size),
        "gradual": train(batch_size, "gradual"),
        "cumulative": train(batch_size, momentum=None),
        "orders": {
            "even": order(12, batch_size),
            "rest": order(13, batch_size),
            "dropped": order(13, batch_size, drop_last=True),
            "few": order(1, batch_size, drop_last=True),
            "batches": order(12, batch_size, batches=True),
        },
        "evaluations": [evaluate(7), evaluate(8), evaluate(1), evaluate(3, None)],
        "written": written(),
    }


def child(folder: Path, name: str, what: Callable[[], dict[str, Any]]) -> int:
    process = os.fork()
    if process == 0:
        try:
            torch.set_num_threads(1)
            out = os.open(folder / f"{name}.txt", os.O_WRONLY | os.O_CREAT)
            os.dup2(out, 1)
            (folder / f"{name}.json").write_text(json.dumps(what()))
            sys.stdout.flush()
            os._exit(0)
        except BaseException as error:
            import traceback

            traceback.print_exception(error)
            os._exit(1)
    return process


def main() -> None:
    folder = Path(sys.argv[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [child(folder, "alone", lambda: everything(4))]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    for rank in range(2):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        processes.append(child(folder, f"rank{rank}", lambda: everything(2)))
    if any(os.waitpid(process, 0)[1] for process in processes):
        sys.exit("a process failed")


if __name__ == "__main__":
    main()
