"""A cache on a disk that is not well: damaged files, no room."""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.transforms import Transform

from monai_staging.workflows.cached_dataset import CachedDataset


class Counted(Transform):
    """Makes a tensor of a number, and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, data: int) -> torch.Tensor:
        self.made += 1
        return torch.arange(4096) * data


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-100], lambda content: b"", lambda content: os.urandom(len(content)), flipped],
    ids=["cut off", "empty", "other bytes", "one bit"],
)
def test_a_damaged_file_is_made_again_and_said(
    damage: Callable[[bytes], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = CachedDataset([3], Counted(), tmp_path)[0]
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    counted = Counted()
    dataset = CachedDataset([3], counted, tmp_path)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(dataset[0], made)
    assert counted.made == 1 and path.read_bytes() == whole
    assert path.name in caplog.text and "Made again" in caplog.text
    assert torch.equal(dataset[0], made) and torch.equal(dataset[0], made) and counted.made == 1
    # One that goes away while it is in use.
    path.write_bytes(whole[:50])
    assert torch.equal(dataset[0], made) and counted.made == 2


def test_without_room_each_case_is_made_anew(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            messages: list[str] = []
            handler = logging.Handler()
            handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
            logging.getLogger("monai_staging.workflows").addHandler(handler)
            counted = Counted()
            dataset = CachedDataset([3, 4], counted, tmp_path)
            same = all(torch.equal(dataset[index], torch.arange(4096) * (3 + index)) for index in (0, 1, 0))
            told = len(messages) == 1 and "cannot be written (File too large)" in messages[0]
            code = 0 if same and counted.made == 3 and told else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_kept() -> None:
    counted = Counted()
    dataset = CachedDataset([1], counted, None)
    assert torch.equal(dataset[0], dataset[0]) and counted.made == 2
