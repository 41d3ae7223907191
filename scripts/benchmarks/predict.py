"""``monai-staging predict`` per study: seconds and largest memory of the command, and of a study once all is loaded.

The command runs in processes of their own, as a user starts it, on a DICOM study. A study more, as in ``--batch``, is
what `scripts/predict_table.py` times scan by scan on a cohort with its scores.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.data import dicom_study

NAME, HELP = "predict", "monai-staging predict per study"
ROOT = Path(__file__).parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the benchmark's arguments."""
    parser.add_argument("--study", type=Path, help="DICOM folder of a study (default: a phantom, made in --work)")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"), help="for the phantom")
    parser.add_argument("--resolution", default="full", help="of the phantom (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of the command (default %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Times it."""
    study = args.study or dicom_study(args.work, args.resolution)
    runs = []
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(command(study, Path(folder) / "out", args.threads))
    return {
        "aims": [],
        "repeats": args.repeats,
        "command": {name: round(median(own[name] for own in runs), 2) for name in runs[0]},
        **loaded(study, args),
    }


def command(study: Path, out: Path, threads: int) -> dict[str, float]:
    """One run: seconds on the clock and of the processor, and its largest memory in GiB."""
    environment = {
        **os.environ,
        **{name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")},
        "PYTHONPATH": str(ROOT),
    }
    words = [sys.executable, "-m", "monai_staging.cli", "predict", str(study), str(out), "--device", "cpu"]
    begin = time.perf_counter()
    # wait4 alone says what one child has used.
    with open(os.devnull, "wb") as nowhere:
        actions = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), stream) for stream in (1, 2)]
        process = os.posix_spawn(sys.executable, words, environment, file_actions=actions)
        _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(words)}: ended with {os.waitstatus_to_exitcode(status)}")
    memory = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seconds": time.perf_counter() - begin,
        "processor_s": used.ru_utime + used.ru_stime,
        "memory_gib": memory / 2**30,
    }


def loaded(study: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The same study with the networks in memory, step by step."""
    import torch

    from monai_staging.predict.models import STEPS, load_model
    from monai_staging.predict.pipeline import Predictor
    from monai_staging.predict.study import open_study

    torch.set_num_threads(args.threads)
    begin = time.perf_counter()
    predictor = Predictor({name: load_model(name) for name in STEPS})
    load_s = time.perf_counter() - begin
    predictor(open_study(study))  # the first one builds what is built once
    begin, own = time.perf_counter(), time.process_time()
    found = predictor(open_study(study)).reported
    return {
        "volume": list(found.volume.shape),
        "lesions": len(found.findings.lesions),
        "loading_s": round(load_s, 2),
        "a_study_more": {
            "seconds": round(time.perf_counter() - begin, 2),
            "processor_s": round(time.process_time() - own, 2),
            "steps_s": {name: round(seconds, 2) for name, seconds in found.seconds.items()},
        },
    }


def text(report: Mapping[str, Any]) -> str:
    """The report for a person."""
    own, more = report["command"], report["a_study_more"]
    steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in more["steps_s"].items())
    return "\n".join(
        [
            f"A study of {' x '.join(map(str, report['volume']))} voxels, {report['lesions']} lesions found",
            f"  the command    {own['seconds']:6.1f} s {own['processor_s']:6.1f} s cpu, {own['memory_gib']:.2f} GiB",
            f"  a study more   {more['seconds']:6.1f} s {more['processor_s']:6.1f} s cpu: {steps}",
        ]
    )
