"""Trains the box regressor on one subtype, applies it to the others as it is, fine-tunes it on each, and tabulates IoU.

python scripts/subtype_transfer.py --dataset_dir COHORT --output_dir OUT [--sources NAME ...] [--key value ...]

The cohort's cases have a subtype: phantoms made with --subtypes, or lung-pet-ct-dx. As published by default: on small
cell carcinoma (B), then 100 epochs on four fifths of each other subtype, by slice; and the same by patient. All other
keys are the bundle's, for every training. Trainings that are done are not done again. Writes OUT/arms/ as the bundle
does, OUT/transfer.md and OUT/transfer.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_staging.files import write_json_atomic, write_text_atomic
from monai_staging.workflows.boxes_arms import CONFIGS, BoxExperiment, bundle_keys
from monai_staging.workflows.boxes_transfer import (
    SPLITS,
    TransferPlan,
    plan_subtypes,
    run_transfer,
    transfer_tables,
)


def main() -> None:
    """Trains what is not done, and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", required=True, help="cohort with subtypes")
    parser.add_argument("--output_dir", default="runs/subtype-transfer", type=Path)
    parser.add_argument("--sources", nargs="+", metavar="NAME", help="subtypes to train on")
    parser.add_argument("--networks", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=SPLITS)
    parser.add_argument("--epochs", type=int, help="on the source (default: the config's)")
    parser.add_argument("--fine_tuning", default=100, type=int, metavar="EPOCHS", help="on each target")
    parser.add_argument("--seed", default=0, type=int, help="of the trainings, the splits and the bootstrap")
    parser.add_argument("--resamples", default=1000, type=int)
    parser.add_argument("--workers", default=1, type=int)
    known, keys = parser.parse_known_args()
    settings = {"empty": 0, "seed": known.seed, "split_seed": known.seed, **bundle_keys(keys)}
    with BoxExperiment("subtype transfer", known.dataset_dir, known.output_dir, settings, known.workers) as experiment:
        sources, targets = plan_subtypes(experiment.cohort, known.sources)
        plan = TransferPlan(
            sources,
            targets,
            known.networks,
            known.splits,
            known.epochs,
            known.fine_tuning,
            known.seed,
            known.resamples,
        )
        cells = run_transfer(experiment, plan)
        text = transfer_tables(cells, targets)
        print(f"{text}\n\n95 % intervals by resampling patients, seed {known.seed}.")
        write_text_atomic(known.output_dir / "transfer.md", text + "\n")
        write_json_atomic(known.output_dir / "transfer.json", [cell.to_json() for cell in cells])
        experiment.log(known.output_dir / "transfer.md", known.output_dir / "transfer.json")


if __name__ == "__main__":
    main()
