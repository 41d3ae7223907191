"""Faults on purpose: what a command does when it is struck, and what the same command comes to after.

    python -m scripts.faults [--rounds 10] [--only NAME ...] [--seed 0] [--log ROUNDS.jsonl] [--out TABLE.md]

A round prepares a tiny cohort or training, strikes for real (SIGKILL, a disk without room, a file with wrong bytes, a
server that is gone, a clock that jumps), runs the same command again and compares what is there with an undisturbed
run's, by digest. The table counts. It ends with 1 where something is lost, half written, different or not said. With a
log it goes on where it was left.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from scripts.faults import clock, cluster, disk, experiments, ingest, training, writing
from scripts.faults.fault import Bench, Fault, Round
from scripts.faults.process import end_all, import_all

_MODULES = (ingest, training, writing, experiments, cluster, clock)
FAULTS: tuple[type[Fault], ...] = tuple(fault for module in _MODULES for fault in module.FAULTS)
Log = dict[str, list[Round]]


def main() -> int:
    """Runs the rounds; returns the exit code."""
    names = [fault.__name__ for fault in FAULTS]
    possible = [name for name in names if clock.library() is not None or not name.endswith("Clock")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "faults: " + ", ".join(names)
    parser.add_argument("--rounds", type=int, default=10, help="of each fault (default: 10)")
    parser.add_argument("--only", nargs="+", choices=names, default=possible, metavar="NAME", help="these faults")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places (default: 0)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no round after so many")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--log", type=Path, help="a line a round; those that it has are not done again")
    parser.add_argument("--out", type=Path, help="also write the table there")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, found {args.rounds}")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that what is mounted is unmounted
    place = clock.folder() or Path(tempfile.mkdtemp(prefix="faults-", dir=args.work))
    try:
        if clock.folder() is not None:
            clock.mend_sleep()
        elif any(fault.__name__ in args.only for fault in clock.FAULTS):
            if clock.library() is None:
                parser.error("clock jumps need libfaketime (Debian: faketime); or name others by --only")
            # From here on this is another Python, whose clock can be set, in the same folder.
            command = [sys.executable, "-m", "scripts.faults", *sys.argv[1:]]
            os.execve(sys.executable, command, {**os.environ, **clock.environment(place)})
        log = _read(args.log)
        header = _header(args.seed, place)
        _run(args, place, log)
    finally:
        end_all()
        shutil.rmtree(place, ignore_errors=True)
    lines = [header, "", *_HEAD, *(_row(kind, log[kind.__name__]) for kind in FAULTS if log[kind.__name__])]
    print("\n".join(lines), flush=True)
    if args.out is not None:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(any(one.problems for rounds in log.values() for one in rounds))


def _run(args: argparse.Namespace, place: Path, log: Log) -> None:
    """Does the rounds that are not in the log yet, and adds them."""
    end = time.monotonic() + args.seconds
    kinds = [kind for kind in FAULTS if kind.__name__ in args.only and len(log[kind.__name__]) < args.rounds]
    if not kinds:
        return
    import_all()
    bench = Bench(place / "bench")
    faults: dict[str, Fault] = {}
    try:
        while time.monotonic() < end:
            # By turns, so that a run that has no time for all has some of each.
            kind = min(kinds, key=lambda one: len(log[one.__name__]))
            rounds = log[kind.__name__]
            if len(rounds) >= args.rounds:
                break
            if kind.__name__ not in faults:
                # Each has its own: the same moments, whichever others are asked for.
                faults[kind.__name__] = kind(bench, random.Random(f"{args.seed} {kind.__name__} {len(rounds)}"))
            begun = time.monotonic()
            rounds.append(faults[kind.__name__].round())
            _tell(kind, len(rounds), rounds[-1], time.monotonic() - begun)
            if args.log is not None:
                with open(args.log, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"fault": kind.__name__, **asdict(rounds[-1])}) + "\n")
    finally:
        for fault in faults.values():
            fault.close()


def _read(path: Path | None) -> Log:
    log: Log = defaultdict(list)
    if path is not None and path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            log[one.pop("fault")].append(Round(**{**one, "problems": tuple(one["problems"])}))
    return log


_HEAD = (
    "| Fault | Command | Rounds | What happened | The same command after | Lost, half written or unsaid |",
    "| --- | --- | ---: | --- | --- | ---: |",
)


def _header(seed: int, place: Path) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("monai", "torch", "pytorch-ignite", "mlflow"))
    kernel = f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores"
    return f"Seed {seed}; Python {platform.python_version()}, {packages}; {kernel}; a full disk is {disk.kind(place)}."


def _tell(kind: type[Fault], number: int, done: Round, seconds: float) -> None:
    state = "; ".join(done.problems) or "ok"
    print(f"{kind.__name__} {number}: {done.struck} ({done.detail}); then {done.then}; {state} [{seconds:.1f} s]")
    sys.stdout.flush()


def _row(kind: type[Fault], rounds: list[Round]) -> str:
    def counted(values: list[str]) -> str:
        return ", ".join(f"{value} ({count})" for value, count in Counter(values).most_common())

    wrong = sum(bool(one.problems) for one in rounds)
    struck, then = counted([one.struck for one in rounds]), counted([one.then for one in rounds])
    return f"| {kind.name} | {kind.command} | {len(rounds)} | {struck} | {then} | {wrong} |"


if __name__ == "__main__":
    sys.exit(main())
