"""Scores the staging network with 8-bit convolutions beside the original: size, time a study, accuracy of T, N and M.

python scripts/int8_table.py --dataset_dir data/phantom-240 --output_dir runs/int8

Without --package the shipped weights are packaged into OUT/package first, with the ranges of 8-bit values learned from
the cohort's training part. Both models then see the studies of its test part. Writes OUT/table.md and OUT/metrics.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from monai_staging.files import write_json_atomic, write_text_atomic
from monai_staging.packaging.int8_accuracy import cost_of_int8
from monai_staging.packaging.layout import PackageOptions, package_bundle


def main() -> None:
    """Packages if need be, scores, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, default=Path("data/phantom-240"), help="cohort")
    parser.add_argument("--package", type=Path, help="folder that `monai-staging package staging OUT --int8` wrote")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/int8"))
    parser.add_argument("--part", default="test")
    parser.add_argument("--limit", type=int, help="at most so many studies")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1, help="that a network computes with")
    arguments = parser.parse_args()
    package = arguments.package or arguments.output_dir / "package"
    if not (package / "models").is_dir():
        options = PackageOptions(dataset_dir=arguments.dataset_dir, int8=True)
        package_bundle("staging", package, options, lambda line: print(line, file=sys.stderr, flush=True))
    with tempfile.TemporaryDirectory() as cache:
        found = cost_of_int8(
            package,
            arguments.dataset_dir,
            Path(cache),
            arguments.part,
            arguments.limit,
            arguments.seed,
            arguments.resamples,
            arguments.threads,
        )
    told = (
        f"{found.title}; {found.studies} studies, {arguments.threads} thread. 95 % intervals by resampling patients "
        f"({arguments.resamples} times, seed {arguments.seed}); differences are paired."
    )
    text = f"{found.table()}\n\n{told}"
    print(text)
    write_text_atomic(arguments.output_dir / "table.md", text + "\n")
    write_json_atomic(arguments.output_dir / "metrics.json", found.to_json())


if __name__ == "__main__":
    main()
