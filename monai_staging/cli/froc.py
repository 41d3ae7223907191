"""Sensitivity of a nodule detector against false positives per scan, by the rules of LUNA16, with 95 % intervals.

ANNOTATIONS and --excluded have the columns seriesuid, coordX, coordY, coordZ and diameter_mm, PREDICTIONS seriesuid,
coordX, coordY, coordZ and probability: comma or tab separated, world coordinates in LPS mm. LIST names every scan that
was searched, a SeriesInstanceUID a line; with columns seriesuid and patient, intervals are over patients.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from monai_staging.metrics.froc import Findings, FrocResult

_OFFICIAL_LIMIT = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "annotations", metavar="ANNOTATIONS", type=Path, help="the nodules, as LUNA16's annotations.csv"
    )
    parser.add_argument("predictions", metavar="PREDICTIONS", type=Path, help="the detector's marks with probability")
    parser.add_argument("--series", metavar="LIST", type=Path, required=True, help="all scans that were searched")
    parser.add_argument("--excluded", metavar="CSV", type=Path, help="findings that count neither way")
    parser.add_argument(
        "--part", action="store_true", help="LIST is a part (a fold): leave out what the tables have of other scans"
    )
    parser.add_argument(
        "--max-marks",
        metavar="N",
        type=int,
        help=f"marks a scan may have, the surest first (the challenge's script: {_OFFICIAL_LIMIT}; default: no limit)",
    )
    strata = parser.add_mutually_exclusive_group()
    strata.add_argument("--by", metavar="COLUMN", help="also by the values of a column of ANNOTATIONS")
    strata.add_argument(
        "--sizes", metavar="MM", type=float, nargs="+", help="also by size: the edges of the classes, as in 6 10 20"
    )
    parser.add_argument(
        "--bootstrap", metavar="N", type=int, default=1000, help="resamples for the intervals (default %(default)s)"
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the resampling (default %(default)s)")
    parser.add_argument("--figure", metavar="PNG", type=Path, help="also draw the curve, with its band")
    parser.add_argument("--json", action="store_true", help="one JSON document; what was left out goes to stderr")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from monai_staging.metrics.froc import Findings, froc, read_findings, read_marks, read_scans, size_strata
    from monai_staging.metrics.froc.tables import check_strata

    listed = read_scans(args.series)
    lesions, strata = read_findings(args.annotations, by=args.by)
    marks = read_marks(args.predictions)
    excluded = Findings.none() if args.excluded is None else read_findings(args.excluded)[0]
    out = sys.stderr if args.json else sys.stdout
    if args.part:
        own = set(listed.scans)
        strata = tuple(name for name, scan in zip(strata, lesions.scans, strict=False) if scan in own)
        counts = len(lesions), len(marks), len(excluded)
        lesions, marks, excluded = lesions.within(own), marks.within(own), excluded.within(own)
        print(
            f"of other scans, left out: {counts[0] - len(lesions)} nodules, {counts[1] - len(marks)} marks, "
            f"{counts[2] - len(excluded)} excluded findings",
            file=out,
        )
    if args.sizes is not None:
        strata = size_strata(lesions.diameters_mm, args.sizes)
    elif args.by is not None:
        check_strata(strata, args.by)
    result = froc(
        lesions,
        marks,
        listed.scans,
        excluded=excluded,
        patients=listed.patients,
        strata=strata if args.by is not None or args.sizes is not None else None,
        max_marks=args.max_marks,
        n_boot=args.bootstrap,
        seed=args.seed,
    )
    _say_how(args, result, lesions, marks.scans, out)
    if args.json:
        print(json.dumps(result.to_json(), ensure_ascii=False))
    else:
        _say_numbers(args, result)
    if args.figure is not None:
        from monai_staging.outputs.figures_froc import froc_figure

        froc_figure(args.figure, {"all": result, **result.strata} if result.strata else {args.predictions.stem: result})
        print(f"written: {args.figure}", file=out)
    return 0


def _say_how(
    args: argparse.Namespace, result: FrocResult, lesions: Findings, marks: tuple[str, ...], out: TextIO
) -> None:
    """What was left out or assumed."""
    from collections import Counter

    unknown = int((lesions.diameters_mm < 0).sum())
    if unknown:
        print(f"{unknown} nodules have a diameter below 0: taken as 10 mm, as in the challenge's script", file=out)
    if result.matches.ignored:
        print(f"{result.matches.ignored} marks on excluded findings count neither way", file=out)
    if args.max_marks is not None:
        print(f"{result.matches.left_out} marks beyond {args.max_marks} a scan are left out", file=out)
        return
    many = sum(count > _OFFICIAL_LIMIT for count in Counter(marks).values())
    if many:
        print(
            f"{many} scans have more than {_OFFICIAL_LIMIT} marks, all of which count; "
            f"the challenge's script takes the surest: --max-marks {_OFFICIAL_LIMIT}",
            file=out,
        )


def _say_numbers(args: argparse.Namespace, result: FrocResult) -> None:
    """The table for people."""
    from monai_staging.metrics.froc import POINTS

    units = f"{result.cpm.n} {result.unit}s"
    print(
        f"{result.scans} scans, {result.lesions} nodules, {result.detected} hit by a mark; "
        f"{len(result.matches.false_scores)} false positives"
    )
    if args.bootstrap:
        print(f"95 % intervals over {units}, {args.bootstrap} resamples, seed {args.seed}")
    print(f"{'FP/scan':>8}  {'sensitivity':<24}  score from")
    for point, estimate in zip(POINTS, result.sensitivity, strict=True):
        name = f"1/{round(1 / point)}" if point < 1 else f"{point:g}"
        print(f"{name:>8}  {estimate.text(4):<24}  {result.curve.threshold_at(point):.6g}")
    print(f"{'CPM':>8}  {result.cpm.text(4)}")
    if result.strata:
        width = max(map(len, result.strata))
        print(
            f"by {args.by if args.by is not None else 'diameter'}: nodules, hit, CPM, sensitivity at 1 and at 8 FP/scan"
        )
        for name, own in result.strata.items():
            cells = (own.cpm, own.sensitivity[3], own.sensitivity[6])
            print(
                f"  {name:<{width}}  {own.lesions:>5}  {own.detected:>5}  "
                + "  ".join(f"{cell.text(4):<24}" for cell in cells).rstrip()
            )
