"""How long ``import monai_staging`` and ``monai-staging --help`` take, beside Python's own start."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import Aim

NAME, HELP = "startup", "import and --help"
AIM_S = 0.3
COMMANDS = {
    "python": ("-c", "pass"),
    "import monai_staging": ("-c", "import monai_staging"),
    "monai-staging --help": ("-m", "monai_staging.cli", "--help"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the benchmark's arguments."""
    parser.add_argument("--repeats", type=int, default=15, help="timed starts of each, in turns (default %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Times it."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    processor: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repeat in range(args.repeats + 1):
        for name, arguments in COMMANDS.items():
            clock, own = started(arguments)
            if repeat:  # the first round warms the caches
                seconds[name].append(clock)
                processor[name].append(own)
    aims = [
        # On an idle machine the clock shows the same; on a busy one it shows what else runs.
        Aim(name, round(median(processor[name]), 4), AIM_S, at_least=False, unit="processor s")
        for name in ("import monai_staging", "monai-staging --help")
    ]
    return {
        "aims": [aim.to_json() for aim in aims],
        "repeats": args.repeats,
        "seconds": {name: round(median(own), 4) for name, own in seconds.items()},
        "processor_s": {name: round(median(own), 4) for name, own in processor.items()},
    }


def started(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Seconds on the clock and of the processor of one start."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def text(report: Mapping[str, Any]) -> str:
    """The report for a person."""
    return "\n".join(
        f"{name:22s} {report['seconds'][name]:7.3f} s {report['processor_s'][name]:7.3f} s cpu" for name in COMMANDS
    )
