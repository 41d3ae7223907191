"""Ingests and predicts on a Ray cluster of two nodes, on one machine, and compares with the same work without Ray.

    python scripts/ray_table.py [--cases 40] [--studies 10] [--resolution tiny] [--seed 0] [--work FOLDER]
        [--only ingest] [--json FILE]

Phantoms are ingested, and the first studies predicted, in one local process, in two, and on two raylets of a CPU
each (scripts/loopback_ray.py), once undisturbed and once with a worker killed (SIGKILL) while it works. Prints a table
of seconds, ratios to one local process, workers killed, and what differs: the bytes of all files but those that say
when they were made, report.json without its seconds. Every command has one thread a worker. In a FOLDER that is kept,
lines that are done are not done again. Ends with 1 where anything differs, or nobody was killed who should have been.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import ray
from loopback_ray import LOOPBACK

from monai_staging.cohort.journal import FOLDER as JOURNAL
from monai_staging.outputs.table import text_table
from monai_staging.predict.results import SUMMARY
from monai_staging.predict.writing import DOCUMENT, REPORT, RTSTRUCT, SEG, SR
from monai_staging.version import __version__

WORKING = "ray::monai-staging"  # the title of a worker's process while it has an item
DATED = {REPORT, SR, SEG, RTSTRUCT}
"""Files that hold the moment they were made at."""


@dataclass(frozen=True)
class Line:
    """One command.

    Attributes:
        command: what was done.
        where: and by whom.
        seconds: from its start to its end, imports included.
        ratio: of one local process's seconds to these.
        killed: workers.
        lost: items that the command says it did again.
        different: files whose bytes are others than one local process's.
    """

    command: str
    where: str
    seconds: float
    ratio: float
    killed: int
    lost: int
    different: int


def main() -> int:
    """Runs the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--studies", type=int, default=10)
    parser.add_argument("--resolution", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="a folder to keep (default: a temporary one)")
    parser.add_argument("--only", choices=("ingest", "predict"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ray-table-") as temporary:
        work = chosen.work or Path(temporary)
        raw = work / "raw"
        if not raw.is_dir():
            size = ["--cases", str(chosen.cases), "--resolution", chosen.resolution, "--seed", str(chosen.seed)]
            making = work / "raw.making"  # a run that was stopped leaves no raw data that are not whole
            shutil.rmtree(making, ignore_errors=True)
            command(["phantom", str(making), *size])
            making.rename(raw)
        lines = ingests(raw, work) if chosen.only != "predict" else []
        lines += predictions(raw, work, chosen.studies) if chosen.only != "ingest" else []
    rows = [
        [line.command, line.where, f"{line.seconds:.1f}", f"{line.ratio:.2f}"]
        + [str(own) for own in (line.killed, line.lost, line.different)]
        for line in lines
    ]
    print(text_table(["", "where", "seconds", "ratio", "killed", "done again", "files different"], rows))
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, Ray {ray.__version__}"
    size = f"{chosen.cases} phantoms ({chosen.resolution}), the first {chosen.studies} predicted"
    print(f"{size}; {machine}; monai_staging {__version__}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n")
    expected = ["killed" in line.where for line in lines]
    spared = any(killed and not (line.killed and line.lost) for line, killed in zip(lines, expected, strict=True))
    return int(spared or any(line.different for line in lines))


def ingests(raw: Path, work: Path) -> list[Line]:
    """Of all phantoms."""

    def run(out: Path, *more: str) -> tuple[list[str], Path]:
        return ["ingest", "phantom", str(raw), str(out), *more], out

    ways = {"1 process": ["--workers", "1"], "2 processes": ["--workers", "2"]}
    return measured("ingest", work, ways, run, lambda out: len(list((out / JOURNAL).glob("[0-9a-f]*.json"))))


def predictions(raw: Path, work: Path, studies: int) -> list[Line]:
    """Of the first studies."""
    some = work / "studies"
    if not some.is_dir():
        for patient in sorted(path for path in raw.iterdir() if path.is_dir())[:studies]:
            shutil.copytree(patient / "CT", some / patient.name)

    def run(out: Path, *more: str) -> tuple[list[str], Path]:
        # To storage where several workers write, as on nodes that share no disk.
        place = out.absolute().as_uri() if more else str(out)
        return ["predict", "--batch", str(some), place, *more], out

    return measured("predict", work, {"1 process": []}, run, lambda out: len(list(out.glob(f"*/{SUMMARY}"))))


def measured(
    name: str,
    work: Path,
    local: dict[str, list[str]],
    run: Callable[..., tuple[list[str], Path]],
    done: Callable[[Path], int],
) -> list[Line]:
    """One command in every way."""
    lines: list[Line] = []
    before: dict[str, str] = {}

    def add(where: str, more: list[str], nodes: psutil.Process | None = None) -> None:
        arguments, out = run(work / f"{name}-{len(lines)}", *more)
        record = out.with_suffix(".json")
        if record.is_file():
            if not lines:
                before.update(content(out))
            lines.append(Line(**json.loads(record.read_text())))
            return
        shutil.rmtree(out, ignore_errors=True)
        killed: list[int] = []
        ended = threading.Event()
        killer = threading.Thread(target=kill_one, args=(nodes, lambda: done(out), killed, ended))
        if nodes is not None:
            killer.start()
        seconds, said = command(arguments)
        ended.set()
        if nodes is not None:
            killer.join()
        found = content(out)
        if not lines:
            before.update(found)
        different = sum(before.get(file) != found.get(file) for file in {*before, *found})
        first = lines[0].seconds if lines else seconds
        lost = said.count("a worker was lost")
        lines.append(Line(name, where, seconds, first / seconds, len(killed), lost, different))
        record.write_text(json.dumps(asdict(lines[-1]), indent=2) + "\n")

    for where, more in local.items():
        add(where, more)
    with cluster() as (address, nodes):
        add("2 Ray nodes", ["--ray", address])
        add("2 Ray nodes, one worker killed", ["--ray", address], nodes)
    return lines


def kill_one(nodes: psutil.Process, done: Callable[[], int], killed: list[int], ended: threading.Event) -> None:
    """Kills a worker while it has an item, once something is done."""
    while not ended.is_set():
        if done():
            for child in nodes.children(recursive=True):
                try:
                    if child.cmdline()[:1] == [WORKING]:
                        child.kill()
                        killed.append(child.pid)
                        return
                except psutil.Error:
                    continue
        time.sleep(0.01)


@contextmanager
def cluster() -> Iterator[tuple[str, psutil.Process]]:
    """Two nodes of one CPU: their address and the process that all of theirs are children of."""
    script = Path(__file__).with_name("loopback_ray.py")
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.stdout.readline().strip(), psutil.Process(process.pid)
    finally:
        process.stdin.close()
        process.wait(60)


def command(arguments: list[str]) -> tuple[float, str]:
    """Runs `monai-staging`; its seconds and what it said."""
    start = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-m", "monai_staging.cli", *arguments], capture_output=True, text=True, env=environment()
    )
    if run.returncode:
        raise SystemExit(f"monai-staging {' '.join(arguments)}: {run.stderr[-3000:]}")
    seconds = time.monotonic() - start
    print(f"{' '.join(arguments)}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds, run.stderr


def environment() -> dict[str, str]:
    """One thread a worker, loopback only, and this repository's package."""
    root = str(Path(__file__).resolve().parents[1])
    return {**os.environ, **LOOPBACK, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}


def content(out: Path) -> dict[str, str]:
    """Digests of a folder's files, but of those that are dated and of an ingest's journal."""
    found = {}
    for path in sorted(own for own in out.rglob("*") if own.is_file()):
        name = path.relative_to(out)
        if path.name in DATED or JOURNAL in name.parts:
            continue
        data = path.read_bytes()
        if path.name == DOCUMENT:
            data = json.dumps({key: value for key, value in json.loads(data).items() if key != "seconds"}).encode()
        found[name.as_posix()] = hashlib.sha256(data).hexdigest()
    return found


if __name__ == "__main__":
    sys.exit(main())
