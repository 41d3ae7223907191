"""States as files that run no code when they are read."""

from __future__ import annotations

import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.optimizers import WarmupCosineSchedule

from monai_staging.errors import DataError
from monai_staging.workflows.saved_state import plain, random_state, read_state, restore_random_state, write_state


def test_random_generators_go_on_where_they_were(tmp_path: Path) -> None:
    np.random.standard_normal()  # leaves a cached second value, which is part of the state
    write_state({"random": random_state()}, tmp_path / "state.pt")
    expected = (random.random(), np.random.standard_normal(3).tolist(), torch.rand(3).tolist())
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    restore_random_state(read_state(tmp_path / "state.pt")["random"])
    assert (random.random(), np.random.standard_normal(3).tolist(), torch.rand(3).tolist()) == expected


def test_values_come_back_as_they_were(tmp_path: Path) -> None:
    state = {
        "float": np.float64(0.5),
        "count": np.int32(3),
        "array": np.arange(3, dtype=np.uint32),
        "meta": MetaTensor(torch.ones(2)),
        "parameter": torch.nn.Parameter(torch.zeros(2)),
        "nested": [{"a": (1, None, True)}],
        5: b"bytes",
    }
    write_state(state, tmp_path / "state.pt")
    found = read_state(tmp_path / "state.pt")
    assert found["float"] == 0.5 and type(found["float"]) is float
    assert found["count"] == 3 and found["array"].tolist() == [0, 1, 2]
    assert type(found["meta"]) is torch.Tensor and found["meta"].tolist() == [1, 1]
    assert type(found["parameter"]) is torch.Tensor
    assert found["nested"] == [{"a": (1, None, True)}]
    assert found[5] == b"bytes"


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=10),
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 4]),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
        lambda o: WarmupCosineSchedule(o, warmup_steps=2, t_total=10),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.CosineAnnealingLR(o, 5)],
            milestones=[2],
        ),
    ],
    ids=["one-cycle", "multi-step", "plateau", "lambda", "warmup-cosine", "sequential"],
)
def test_schedules_survive(tmp_path: Path, make: object) -> None:
    def fresh() -> tuple[torch.optim.Optimizer, object]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5, momentum=0.9)
        return optimizer, make(optimizer)  # type: ignore[operator]

    def steps(pair: tuple[torch.optim.Optimizer, object], count: int) -> list[float]:
        optimizer, schedule = pair
        rates = []
        for _ in range(count):
            optimizer.step()
            if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
                schedule.step(1.0)
            else:
                schedule.step()  # type: ignore[attr-defined]
            rates.append(optimizer.param_groups[0]["lr"])
        return rates

    whole = fresh()
    steps(whole, 3)
    write_state({"o": whole[0].state_dict(), "s": whole[1].state_dict()}, tmp_path / "s.pt")  # type: ignore[attr-defined]
    state = read_state(tmp_path / "s.pt")
    resumed = fresh()
    resumed[0].load_state_dict(state["o"])
    resumed[1].load_state_dict(state["s"])  # type: ignore[attr-defined]
    assert steps(resumed, 5) == steps(whole, 5)


def test_what_needs_code_is_refused_when_it_is_saved() -> None:
    with pytest.raises(DataError, match=r"state\.a\.0 is a Path|state\.a\.0 is a PosixPath"):
        plain({"a": [Path("x")]})


def test_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "ran"),)

    path = tmp_path / "state.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Harmful()))
        archive.writestr("archive/version", "3")
    with pytest.raises(DataError, match="cannot be read"):
        read_state(path)
    assert not (tmp_path / "ran").exists()


def test_other_formats_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "weights.pt")
    with pytest.raises(DataError, match="format None"):
        read_state(tmp_path / "weights.pt")
