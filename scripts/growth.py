"""How time and memory grow with the number of cases, and of rows.

    python scripts/growth.py [--cases 10 100 1000] [--rows 10000 100000 1000000] [--steps NAME ...] [--out FOLDER]

Ingest, audit, the start of a training, FROC and what a comparison computes, at 10, 100 and 1,000 cases; audit, splits
and staging tables at up to a million rows. Each runs in a process of its own, which says the seconds of the step
without imports and what it is given, and the largest memory of the whole process and of its workers. Scans are series
of twelve slices of noise; rows are drawn. Writes OUT/growth.json, growth.md and the picture.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [own for own in (str(ROOT / "scripts"), str(ROOT)) if own not in sys.path]

from benchmarks.common import machine, machine_text  # noqa: E402
from benchmarks.growth_steps import CASES, ROWS  # noqa: E402

from monai_staging.files import write_json_atomic  # noqa: E402

HEADER = ("step", "number", "seconds", "processor s", "ms each", "peak memory, GiB", "grows with the power")


def main(argv: list[str] | None = None) -> int:
    """Measures every step and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", nargs="+", choices=[*CASES, *ROWS], default=[*CASES, *ROWS])
    parser.add_argument("--work", type=Path, default=Path("runs/growth"), help="for what is made (default %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "growth.png")
    parser.add_argument("--one", nargs=2, metavar=("STEP", "NUMBER"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.one:
        print(json.dumps(measured(args.one[0], int(args.one[1]), args.work.resolve())))
        return 0
    ran_on = machine(1)
    path = args.out / "growth.json"
    kept = json.loads(path.read_text())["steps"] if path.exists() else []
    found = {(row["step"], row["number"]): row for row in kept}
    for step in args.steps:
        for number in args.cases if step in CASES else args.rows:
            words = [sys.executable, str(Path(__file__)), "--one", step, str(number), "--work", str(args.work)]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            row = {"step": step, "number": number, **json.loads(done.stdout.splitlines()[-1])}
            found[step, number] = row
            print(f"{step}, {number}: {row['processor_s']:.2f} s, {row['memory_gib']:.2f} GiB", file=sys.stderr)
            write_json_atomic(path, {"steps": ordered(found.values()), "machine": ran_on})
    write(ordered(found.values()), ran_on, args)
    return 0


def ordered(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By step and number."""
    order = [*CASES, *ROWS]
    return sorted(rows, key=lambda row: (order.index(row["step"]), row["number"]))


def measured(step: str, number: int, work: Path) -> dict[str, float]:
    """One step in this process: seconds without imports and preparation, and largest memory."""
    run = {**CASES, **ROWS}[step](work, number)
    begin, own = time.perf_counter(), processor()
    run()
    seconds, own = time.perf_counter() - begin, processor() - own
    return {"seconds": round(seconds, 4), "processor_s": round(own, 4), "memory_gib": round(peak_gib(), 3)}


def peak_gib() -> float:
    """Largest memory of this process or of one of its workers."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status")
    if status.exists():
        # Of this program alone: what was measured first is also of the process that it was forked from.
        own = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * unit / 2**30


def processor() -> float:
    """Seconds of this process and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(own.ru_utime + own.ru_stime for own in used)


def write(rows: Sequence[dict[str, Any]], ran_on: dict[str, Any], args: argparse.Namespace) -> None:
    """Table, JSON and picture."""
    from monai_staging.files import write_text_atomic
    from monai_staging.outputs.table import text_table

    lines, before = [], None
    for row in rows:
        power = ""
        if before is not None and before["step"] == row["step"]:
            # Processor seconds: what else the machine does is not in them.
            ratio = max(row["processor_s"], 1e-4) / max(before["processor_s"], 1e-4)
            power = f"{math.log(ratio) / math.log(row['number'] / before['number']):.2f}"
        each = 1e3 * row["processor_s"] / row["number"]
        cells = [f"{row['seconds']:.2f}", f"{row['processor_s']:.2f}", f"{each:.3g}", f"{row['memory_gib']:.2f}"]
        lines.append([row["step"], f"{row['number']:,}", *cells, power])
        before = row
    table = text_table(HEADER, lines)
    print(f"{table}\n\n{machine_text(ran_on)}")
    write_text_atomic(args.out / "growth.md", f"{table}\n\n{machine_text(ran_on)}\n")
    draw(rows, args.picture)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Processor seconds against the number, both logarithmic, beside lines of slope 1; and memory."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from monai_staging.files import atomic_path

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for place, step in enumerate(dict.fromkeys(row["step"] for row in rows)):
        own = [row for row in rows if row["step"] == step]
        numbers = [row["number"] for row in own]
        look = {"marker": "osDv^<>P"[place % 8], "color": f"C{place}", "label": step}
        left.plot(numbers, [row["processor_s"] for row in own], **look)
        right.plot(numbers, [row["memory_gib"] for row in own], **look)
    low, high = min(row["number"] for row in rows), max(row["number"] for row in rows)
    for each in (1e-5, 1e-3, 1e-1):
        left.plot([low, high], [each * low, each * high], color="0.8", linewidth=0.8, zorder=0)
    left.set(xscale="log", yscale="log", xlabel="cases or rows", ylabel="processor seconds", ylim=(1e-2, None))
    left.set_title("Time (grey: in proportion)")
    right.set(xscale="log", ylim=(0, None), xlabel="cases or rows", ylabel="peak memory, GiB", title="Memory")
    right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
