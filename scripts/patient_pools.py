"""Trains the patient score with noisy-or, max and attention on the same nodules, and puts all three into one table.

python scripts/patient_pools.py --dataset_dir COHORT --output_dir OUT --seeds 3 [--key value ...]

All other keys are the bundle's, for every training: --epochs 30, --most 5. The detector looks at each scan once, for
all of them. Trainings that are done are not done again. Writes OUT/arms/ as the bundle does, OUT/table.md and
OUT/metrics.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_staging.files import write_json_atomic, write_text_atomic
from monai_staging.networks.nodule_bag import POOLS
from monai_staging.workflows.arms import config_keys
from monai_staging.workflows.patients_arms import BUNDLE, CACHE, CONFIG, PoolExperiment, joined, pool_arms, pool_tables
from monai_staging.workflows.staging_data import cohort_title


def main() -> None:
    """Trains what is not done, and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", default="data/phantom-screening", help="cohort")
    parser.add_argument("--output_dir", default="runs/patient-pools", type=Path)
    parser.add_argument("--pools", default=POOLS, nargs="+", choices=POOLS, help="the first is what others go against")
    parser.add_argument("--seeds", default=3, type=int, help="trainings of each pool")
    parser.add_argument("--seed", default=0, type=int, help="of the bootstrap, and of the first training")
    parser.add_argument("--resamples", default=1000, type=int)
    parser.add_argument("--workers", default=1, type=int)
    known, words = parser.parse_known_args()
    keys = config_keys(words, BUNDLE / CONFIG)
    settings = {"cache_dir": str((known.output_dir / CACHE).absolute()), "resamples": known.resamples, **keys}
    seeds = range(known.seed, known.seed + known.seeds)
    with PoolExperiment("patient pools", known.dataset_dir, known.output_dir, settings, known.workers) as experiment:
        results = experiment.run(pool_arms(known.pools, seeds))
        pools = {pool: joined([results[f"{pool} seed {seed}"] for seed in seeds]) for pool in known.pools}
        told = f"means of seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
        table, document = pool_tables(pools, seed=known.seed, n_boot=known.resamples)
        text = "\n".join(
            [
                f"{cohort_title(experiment.dataset_dir, 'test')}; {told}",
                "",
                table,
                "",
                f"95 % intervals by resampling patients ({known.resamples} times, seed {known.seed}), of differences "
                "the trainings too; p by permutation, of these trained networks.",
            ]
        )
        print(text)
        write_text_atomic(known.output_dir / "table.md", text + "\n")
        write_json_atomic(known.output_dir / "metrics.json", document)
        experiment.log(known.output_dir / "table.md", known.output_dir / "metrics.json")


if __name__ == "__main__":
    main()
