"""Five hundred mutated files, each read or refused with a reason; and what the fuzzer takes for a finding."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monai_staging.errors import DataError

FUZZ = Path(__file__).parents[2] / "scripts" / "fuzz"


def fuzz(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FUZZ, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(("subject", "count"), [("dicom", 150), ("nifti", 200), ("cohort", 150)])
def test_every_mutated_file_is_read_or_refused(subject, count, tmp_path):
    done = fuzz(subject, "--count", count, "--seed", 8, "--json", tmp_path / "report.json")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["inputs"] == count and report["findings"] == []
    refused = sum(own for name, own in report["outcomes"].items() if name.endswith(": refused"))
    read = sum(own for name, own in report["outcomes"].items() if name.endswith(": read"))
    # Mutations reach the rules, and are not so wild that nothing is left of a file.
    assert refused > count / 2 and read > count / 20 and len(report["rules"]) > 2


@pytest.fixture
def campaign(monkeypatch):
    monkeypatch.syspath_prepend(str(FUZZ))
    import campaign

    return campaign


class Subject:
    name = "test"

    def __init__(self, read):
        self.read = read

    def make(self, rng: random.Random, folder: Path) -> str:
        (folder / "file").write_text(str(rng.random()))
        return "a number"

    def readers(self, folder: Path):
        return {"reader": self.read}


def dies(folder):
    if folder.name == "2":
        os.kill(os.getpid(), signal.SIGKILL)


def hangs(folder):
    if folder.name == "2":
        time.sleep(60)


def takes_memory(folder):
    if folder.name == "2":
        try:
            bytearray(2**31)
        except MemoryError:
            raise DataError("no room") from None


def fails(folder):
    if folder.name == "2":
        raise KeyError("patient")


def rambles(folder):
    if folder.name == "2":
        raise type("Rambling", (DataError,), {"__str__": lambda self: "x" * 5000})


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (dies, "the process died"),
        (hangs, "no end after 1 s"),
        (takes_memory, "refused only when memory had run out"),
        (fails, "KeyError"),
        (rambles, "a message of 5000 characters"),
    ],
)
def test_what_is_a_finding(read, found, campaign, tmp_path):
    limits = campaign.Limits(memory_mib=512, seconds=1)
    report = campaign.run(Subject(read), 1, range(5), limits, tmp_path)
    (finding,) = report.findings
    assert finding["number"] == 2 and found in finding["found"]
    # The others are read nevertheless.
    assert report.outcomes["reader", "read"] == 4 and report.inputs == 5


def test_seed_and_number_make_the_same_input_again(campaign, tmp_path):
    made = []
    for seed, number in ((1, 3), (1, 3), (1, 4), (2, 3)):
        campaign.make(Subject(None), seed, number, tmp_path / "input")
        made.append((tmp_path / "input" / "file").read_text())
    assert made[0] == made[1] and len(set(made)) == 3
