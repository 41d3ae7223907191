"""FROC of a case as large as LUNA16's whole challenge, with 1000 resamples, beside the challenge's procedure.

The procedure is written from its description, see `froc_case.py`. Its matching is timed in full, its resamples on
some, and the time of a thousand is said.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import SEED, Aim, Timed
from benchmarks.froc_case import large_case, literal_resample, literal_rows, literal_sensitivity

NAME, HELP = "froc", "FROC of LUNA16's size with 1000 resamples"
AIM = 100.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the benchmark's arguments."""
    parser.add_argument("--scans", type=int, default=888)
    parser.add_argument("--lesions", type=int, default=1186)
    parser.add_argument("--marks", type=int, default=55_000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument(
        "--literal", type=int, default=20, help="literal resamples that are timed (default %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of ours (default %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Times both, ours before, between and after the other's steps."""
    from monai_staging.metrics.froc import froc

    case = large_case(args.scans, args.lesions, args.marks)
    froc(*case, n_boot=2)  # imports and caches
    whole, matching, one = Timed(), Timed(), Timed()
    results = [whole.run([("froc", lambda own: froc(*own, n_boot=args.resamples, seed=SEED))], case)]
    rows = matching.run([("match", literal_rows)], case)
    arrays = {
        name: np.array([(lesion, score) for scan, lesion, score in rows if scan == name]).T
        for name in dict.fromkeys(scan for scan, _, _ in rows)
    }
    random, turns = np.random.default_rng(SEED), max(1, args.repeats - 1)
    values = []
    for turn in range(turns):
        for _ in range(args.literal * turn // turns, args.literal * (turn + 1) // turns):
            values.append(one.run([("resample", lambda own: literal_resample(own, case[2], random))], arrays))
        results.append(whole.run([("froc", lambda own: froc(*own, n_boot=args.resamples, seed=SEED))], case))
    every = np.concatenate(list(arrays.values()), axis=1)
    point = literal_sensitivity(every[0], every[1], args.scans)
    result = results[0]
    apart = float(np.abs(point - [estimate.value for estimate in result.sensitivity]).max())
    literal_s = matching.total_s[0] + args.resamples * median(one.total_s)
    literal_cpu = matching.processor_s[0] + args.resamples * median(one.processor_s)
    own_s, own_cpu = median(whole.total_s), median(whole.processor_s)
    found = round(literal_s / own_s, 1)
    return {
        "aims": [Aim(f"FROC with {args.resamples} resamples, beside the procedure", found, AIM).to_json()],
        "scans": args.scans,
        "lesions": args.lesions,
        "marks": args.marks,
        "resamples": args.resamples,
        "ours": whole.summary(),
        "literal": {
            "seconds": round(literal_s, 2),
            "matching_s": round(matching.total_s[0], 3),
            "resample_s": round(median(one.total_s), 5),
            "timed_resamples": args.literal,
        },
        "ratio": found,
        "processor_ratio": round(literal_cpu / own_cpu, 1),
        "largest_difference": apart,
        "cpm": result.cpm.to_json(),
        "cpm_literal": [round(float(edge), 4) for edge in np.percentile(np.mean(values, axis=1), [2.5, 97.5])],
    }


def text(report: Mapping[str, Any]) -> str:
    """The report for a person."""
    ours, literal, cpm = report["ours"], report["literal"], report["cpm"]
    return "\n".join(
        [
            f"{report['scans']} scans, {report['lesions']} lesions, {report['marks']} marks: "
            f"CPM {cpm['value']:.4f} [{cpm['low']:.4f}, {cpm['high']:.4f}]",
            f"  ours     {ours['median_s']:8.2f} s with {report['resamples']} resamples",
            f"  literal  {literal['seconds']:8.2f} s: matching {literal['matching_s']:.2f}, a resample "
            f"{1e3 * literal['resample_s']:.1f} ms ({literal['timed_resamples']} timed); "
            f"{report['ratio']:g} times as long (processor {report['processor_ratio']:g})",
            f"  the seven sensitivities differ by {report['largest_difference']:.2g} at most",
        ]
    )
