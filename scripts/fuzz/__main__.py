"""Reads thousands of mutated files: each must be read, or refused with a reason, in bounded time and memory.

    python scripts/fuzz dicom --count 10000 --seed 1 --real ../shared/data/dicom_robustness
    python scripts/fuzz nifti --count 10000
    python scripts/fuzz cohort --count 2000
    python scripts/fuzz dicom --seed 1 --only 4711 --keep /tmp/4711     # one input again, kept

Readers run in a process of their own with a limit on its address space; one that dies, hangs or runs out of memory is a
finding, as is any error but the package's own, a refusal that came only when memory had run out, a message longer than
4000 characters, and a volume that is let through though it is none. Ends with 1 where there are findings.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import campaign

SUBJECTS = ("dicom", "nifti", "cohort")


def main() -> int:
    """Runs a campaign and prints its table."""
    parser = argparse.ArgumentParser(description="Reads mutated files.", epilog=__doc__.split("\n\n")[1])
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this input alone")
    parser.add_argument("--keep", type=Path, help="leave inputs with findings, or the only one, in this folder")
    parser.add_argument("--memory-mib", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no more inputs after these")
    parser.add_argument("--real", type=Path, help="folder of archives with difficult DICOM files")
    parser.add_argument("--json", type=Path, help="write the report here")
    chosen = parser.parse_args()
    numbers = range(chosen.first, chosen.first + chosen.count)
    if chosen.only is not None:
        numbers = range(chosen.only, chosen.only + 1)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        subject = make_subject(chosen.subject, Path(scratch), chosen.real)
        limits = campaign.Limits(chosen.memory_mib, chosen.seconds)
        start = time.monotonic()
        report = campaign.run(subject, chosen.seed, numbers, limits, Path(scratch) / "inputs", chosen.minutes)
        seconds = time.monotonic() - start
        if chosen.keep:
            kept = numbers if chosen.only is not None else [int(finding["number"]) for finding in report.findings]
            for number in kept:
                campaign.make(subject, chosen.seed, number, chosen.keep / str(number))
    tell(chosen, report, seconds)
    if chosen.json:
        chosen.json.write_text(json.dumps(document(chosen, report, seconds), indent=1) + "\n")
    return 1 if report.findings else 0


def make_subject(name: str, scratch: Path, real: Path | None) -> campaign.Subject:
    """What is mutated and read."""
    if name == "dicom":
        from dicom_subject import DicomSubject

        return DicomSubject(scratch, real)
    if name == "nifti":
        from nifti_subject import NiftiSubject

        return NiftiSubject(scratch)
    from cohort_subject import CohortSubject

    return CohortSubject(scratch)


def tell(chosen: argparse.Namespace, report: campaign.Report, seconds: float) -> None:
    """The findings, then a table of outcomes by reader."""
    for finding in report.findings:
        print(f"FINDING {chosen.subject} --seed {chosen.seed} --only {finding['number']} [{finding['reader']}]")
        print(f"  {finding.get('made', '')}\n  {finding['found']}")
        if finding.get("trace"):
            print("\n".join(f"    {line[:300]}" for line in str(finding["trace"]).splitlines()[-6:]))
    print(
        f"{chosen.subject}: {report.inputs} inputs of seed {chosen.seed}, from number {chosen.first}, {seconds:.0f} s"
    )
    print("| reader | read | refused | findings |\n| --- | --- | --- | --- |")
    for reader in dict.fromkeys(own for own, _ in report.outcomes):
        counts = [report.outcomes[reader, kind] for kind in (campaign.READ, campaign.REFUSED, campaign.FINDING)]
        print(f"| {reader} | {' | '.join(map(str, counts))} |")
    slowest, number, reader = report.slowest
    print(f"Slowest reading {slowest:.2f} s (number {number}, {reader}); most memory {report.peak_mib:.0f} MiB.")


def document(chosen: argparse.Namespace, report: campaign.Report, seconds: float) -> dict[str, object]:
    """The report as JSON."""
    return {
        "subject": chosen.subject,
        "seed": chosen.seed,
        "first": chosen.first,
        "inputs": report.inputs,
        "seconds": round(seconds, 1),
        "peak_mib": round(report.peak_mib),
        "slowest_seconds": round(report.slowest[0], 2),
        "outcomes": {f"{reader}: {outcome}": count for (reader, outcome), count in report.outcomes.items()},
        "rules": {f"{reader}: {rule}": count for (reader, rule), count in report.rules.most_common()},
        "findings": report.findings,
    }


if __name__ == "__main__":
    sys.exit(main())
