"""Two processes learn, draw and evaluate as one does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.workflows import distributed
from monai_staging.workflows.exchange import from_main, gathered, on_cpu


@pytest.fixture(scope="module")
def found(warm_python: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process and each of two came to; see two_processes.py."""
    folder = tmp_path_factory.mktemp("processes")
    done = warm_python.run("two_processes", folder, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    names = ("alone", "rank0", "rank1")
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in names} | {
        "printed": {name: (folder / f"{name}.txt").read_text() for name in names}
    }


@pytest.mark.parametrize("kind", ["full", "gradual", "cumulative"])
def test_two_processes_learn_what_one_does_of_twice_the_batch(found: dict[str, Any], kind: str) -> None:
    alone, first, second = (found[name][kind] for name in ("alone", "rank0", "rank1"))
    # Batch norms with their statistics, losses over what is known, stages thawed on the way, a layer nobody asks.
    for name, values in alone["weights"].items():
        assert first["weights"][name] == pytest.approx(values, abs=1e-8), name
    assert first["weights"] == second["weights"]
    assert first["losses"] == second["losses"] == pytest.approx(alone["losses"], abs=1e-8)
    assert len(alone["losses"]) == 12 and alone["losses"][-1] < alone["losses"][0]


def test_an_epoch_s_draws_are_shared_out(found: dict[str, Any]) -> None:
    assert found["alone"]["processes"] == 1 and found["rank1"]["processes"] == 2
    alone, first, second = (found[name]["orders"] for name in ("alone", "rank0", "rank1"))
    for kind in ("even", "batches"):
        # In the main process's order, whatever the other's generator says; one step's items are one process's batch.
        assert [sorted(one + other) for one, other in zip(first[kind], second[kind], strict=True)] == [
            sorted(batch) for batch in alone[kind]
        ]
    # Of 13 the last is learned from by both, or by none.
    assert [len(batch) for batch in first["rest"]] == [len(batch) for batch in second["rest"]] == [2, 2, 2, 1]
    assert first["rest"][-1] == second["rest"][-1] == alone["rest"][-1]
    assert {len(batch) for batch in first["dropped"]} == {2} and len(second["dropped"]) == 3
    assert first["few"] == second["few"] == [[0]]


def test_every_case_is_evaluated_once_in_order(found: dict[str, Any]) -> None:
    for one, main, other in zip(*(found[name]["evaluations"] for name in ("alone", "rank0", "rank1")), strict=True):
        assert main["seen"] == one["seen"] == list(range(len(one["seen"])))
        assert other["seen"] == []
        assert main["metrics"] == other["metrics"] == one["metrics"] == {"cases": float(len(one["seen"]))}
        assert main["batches"] == other["batches"] == -(-one["batches"] // 2)


def test_only_the_main_process_writes_and_speaks(found: dict[str, Any]) -> None:
    assert [found[name]["written"] for name in ("alone", "rank0", "rank1")] == ["by the main process"] * 2 + [None]
    assert found["printed"] == {"alone": "printed\n", "rank0": "printed\n", "rank1": ""}


def test_alone_nothing_is_exchanged() -> None:
    assert gathered({"a": 1}) == [{"a": 1}] and from_main(3) == 3
    loader = torch.utils.data.DataLoader([1, 2])
    assert distributed.training_share(loader) is distributed.evaluation_share(loader) is loader
    value = {"pred": (torch.ones(1, requires_grad=True), ["a"])}
    assert not on_cpu(value)["pred"][0].requires_grad and on_cpu(value)["pred"][1] == ["a"]


def test_a_process_too_many_for_the_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match="found 2 and a process number 2, counted from 0"):
        distributed.start()
