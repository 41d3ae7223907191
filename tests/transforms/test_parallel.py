from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from monai_staging.transforms.parallel import for_each


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_every_part_once_on_threads_of_their_own_each_single_threaded() -> None:
    done: list[int] = []
    seen: set[tuple[int, int]] = set()
    together = threading.Barrier(3, timeout=30)

    def work(part: int) -> None:
        if part < 3:
            together.wait()  # passes only if three parts are worked on at once
        seen.add((threading.get_ident(), torch.get_num_threads()))
        done.append(part)

    for_each(work, range(20))
    assert sorted(done) == list(range(20))
    assert {threads for _, threads in seen} == {1} and len(seen) == 3
    assert threading.get_ident() not in {ident for ident, _ in seen}
    assert torch.get_num_threads() == 3


def test_stays_in_the_callers_thread_where_torch_has_one() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        idents: set[int] = set()
        for_each(lambda part: idents.add(threading.get_ident()), range(4))
    finally:
        torch.set_num_threads(before)
    assert idents == {threading.get_ident()}


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_writes_to_what_the_caller_made_in_its_mode(mode: type) -> None:
    with mode():
        target = torch.zeros(6)
        gradient: list[bool] = []

        def work(part: int) -> None:
            target[part] = part
            gradient.append(torch.is_grad_enabled())

        for_each(work, range(6))
        assert set(gradient) == {torch.is_grad_enabled()}
    assert target.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("three_threads")
def test_an_error_reaches_the_caller() -> None:
    def work(part: int) -> None:
        if part == 2:
            raise ValueError("part 2")

    with pytest.raises(ValueError, match="part 2"):
        for_each(work, range(5))
