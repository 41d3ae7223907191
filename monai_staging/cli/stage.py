"""Stage groups of one patient's T, N and M: the set that the table leaves possible.

A letter that is not given, or is X, is unknown and stays so: a missing M is never taken for M0. A code that the edition
does not have is unknown too, and a warning says so.
"""

from __future__ import annotations

import argparse
import json
import sys

from monai_staging.tnm.categories import EDITIONS, PREFIXES, categories, check_edition
from monai_staging.tnm.parse import CodeStatus, parse_code
from monai_staging.tnm.tables import groups as every_group
from monai_staging.tnm.value import TNM, common_prefix


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--t", default="", metavar="T", help="T as written anywhere: T2a, 2a, pT2a, T1-2, X")
    parser.add_argument("--n", default="", metavar="N", help="N, likewise")
    parser.add_argument("--m", default="", metavar="M", help="M, likewise")
    parser.add_argument("--edition", default="8", metavar="E", help=f"one of {', '.join(EDITIONS)} (default 8)")
    prefixes = "; ".join(f"{prefix}: {meaning}" for prefix, meaning in PREFIXES.items())
    parser.add_argument("--prefix", metavar="P", help=f"{prefixes} (default: the one in the codes, else c)")
    parser.add_argument(
        "--tx-means",
        choices=("unknown", "occult"),
        default="unknown",
        help="what a written TX means: T is not known (default), or malignant cells without a visible tumour",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document: t, n, m, edition, prefix, groups")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    edition = check_edition(args.edition)
    t = parse_code("t", args.t, edition, tx_means=args.tx_means)
    n, m = parse_code("n", args.n, edition), parse_code("m", args.m, edition)
    codes = (t, n, m)
    prefix = common_prefix(t, n, m, prefix=args.prefix) or "c"
    tnm = TNM(t.members, n.members, m.members, edition, prefix)
    for code in codes:
        if code.status is CodeStatus.STRAY:
            known = ", ".join(categories(code.letter, edition))
            what = f"{code.letter.upper()} {code.code!r} is no code of the {edition}th edition ({known})"
            print(f"warning: {what}; taken as unknown", file=sys.stderr)
    if args.json:
        print(json.dumps(tnm.to_json()))
        return 0
    print(f"{edition}th edition, {prefix} ({PREFIXES[prefix]})")
    for code in codes:
        shown = ", ".join(code.categories)
        stated = code.status is CodeStatus.STATED
        print(f"{code.letter.upper()}  {shown if stated else f'unknown: any of {shown}'}")
    print(f"Stage group  {_sentence(tnm)}")
    return 0


def _sentence(tnm: TNM) -> str:
    """The groups in words."""
    if tnm.group is not None:
        return tnm.group
    if not tnm.groups:
        return f"none: the table has no row for {tnm}"
    if len(tnm.groups) == len(every_group(tnm.edition)):
        return "any: nothing is excluded"
    sentence = f"one of {', '.join(tnm.groups)}"
    without = [letter.upper() for letter in "tnm" if tnm.is_unknown(letter)]
    return sentence + (f" ({' and '.join(without)} unknown)" if without else "")
