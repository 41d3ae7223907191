"""Times FROC on a case as large as LUNA16's whole challenge, beside resampling scans and scoring each resample anew.

    python scripts/froc_speed.py [--scans N] [--lesions N] [--marks N] [--resamples N] [--anew N] [--json]

Scans, lesions and marks are random (seed 0). A hit's score is drawn higher than that of a false mark.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from monai_staging.metrics.froc import Findings, Marks, froc
from monai_staging.metrics.intervals import IntArray

SEED = 0

Case = tuple[Findings, Marks, list[str]]
"""What is to be found, what was found, and the scans."""


def large_case(scans: int, lesions: int, marks: int) -> Case:
    """Lesions of 3 to 30 mm, marks and the names of the scans; a mark is near four fifths of the lesions."""
    random = np.random.default_rng(SEED)
    names = [f"scan-{number:04d}" for number in range(scans)]
    owner = random.integers(0, scans, lesions)
    centers, diameters = random.uniform(-150, 150, (lesions, 3)), random.uniform(3, 30, lesions)
    hit = np.flatnonzero(random.random(lesions) < 0.8)
    near = centers[hit] + random.normal(0, 1, (len(hit), 3))
    elsewhere = random.integers(0, scans, marks - len(hit))
    found = Marks(
        tuple(names[scan] for scan in np.concatenate([owner[hit], elsewhere])),
        np.concatenate([near, random.uniform(-150, 150, (len(elsewhere), 3))]),
        np.concatenate([random.beta(4, 2, len(hit)), random.beta(1, 6, len(elsewhere))]),
    )
    return Findings(tuple(names[scan] for scan in owner), centers, diameters), found, names


def resampled(lesions: Findings, marks: Marks, names: list[str], drawn: IntArray) -> Case:
    """The case with the scans that were drawn, each under a name of its own."""
    of_lesion, of_mark = _rows(lesions.scans), _rows(marks.scans)
    empty = np.zeros(0, dtype=np.int64)
    own = [f"{place}" for place in range(len(drawn))]
    lesion_rows = [of_lesion.get(names[scan], empty) for scan in drawn]
    mark_rows = [of_mark.get(names[scan], empty) for scan in drawn]
    rows, others = np.concatenate(lesion_rows), np.concatenate(mark_rows)
    return (
        Findings(_owners(own, lesion_rows), lesions.centers_mm[rows], lesions.diameters_mm[rows]),
        Marks(_owners(own, mark_rows), marks.centers_mm[others], marks.scores[others]),
        own,
    )


def _rows(scans: tuple[str, ...]) -> dict[str, IntArray]:
    every, inverse = np.unique(np.array(scans), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    return dict(zip(every.tolist(), np.split(order, np.cumsum(np.bincount(inverse))[:-1]), strict=True))


def _owners(own: list[str], rows: list[IntArray]) -> tuple[str, ...]:
    return tuple(name for name, of in zip(own, rows, strict=True) for _ in of)


def main() -> None:
    """Times both and prints the ratio, a resample each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=888)
    parser.add_argument("--lesions", type=int, default=1186)
    parser.add_argument("--marks", type=int, default=55_000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--anew", type=int, default=20, help="resamples that are scored anew (default %(default)s)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    case = large_case(args.scans, args.lesions, args.marks)
    froc(*case, n_boot=2)  # imports and caches
    start = time.perf_counter()
    result = froc(*case, n_boot=args.resamples, seed=SEED)
    whole = time.perf_counter() - start
    start = time.perf_counter()
    froc(*case, n_boot=0)
    once = time.perf_counter() - start
    random = np.random.default_rng(SEED)
    drawn = random.integers(0, args.scans, (args.anew, args.scans))
    start = time.perf_counter()
    values = [froc(*resampled(*case, row), n_boot=0).cpm.value for row in drawn]
    anew = (time.perf_counter() - start) / args.anew
    ours = (whole - once) / args.resamples
    report = {
        "scans": args.scans,
        "lesions": args.lesions,
        "marks": args.marks,
        "resamples": args.resamples,
        "seconds": round(whole, 2),
        "seconds_a_resample": ours,
        "seconds_a_resample_anew": anew,
        "ratio": round(anew / ours, 1),
        "cpm": result.cpm.to_json(),
        "cpm_anew": [round(float(edge), 4) for edge in np.percentile(values, [2.5, 97.5])],
    }
    if args.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{args.scans} scans, {args.lesions} lesions, {args.marks} marks, seed {SEED}: CPM {result.cpm.text(4)}")
    print(f"  with {args.resamples} resamples  {whole:8.2f} s, {1e3 * ours:.2f} ms a resample")
    print(f"  scored anew          {1e3 * anew:8.1f} ms a resample, {report['ratio']} times as long")


if __name__ == "__main__":
    main()
