"""Trains the box regressor as published and ours, by slice and by patient, and puts all four into one table.

python scripts/box_regressors.py --dataset_dir COHORT --output_dir OUT --epochs 30 [--key value ...]

All other keys are the bundle's, for every training: --size 192, --slices_per_case 6. Both networks learn from the same
slices, for the same epochs. Trainings that are done are not done again. Writes OUT/arms/ as the bundle does,
OUT/table.md and OUT/metrics.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_staging.files import write_json_atomic, write_text_atomic
from monai_staging.outputs.boxes import box_table, iou_difference
from monai_staging.workflows.boxes_arms import CONFIGS, BoxArm, BoxExperiment, bundle_keys
from monai_staging.workflows.boxes_transfer import LEAKS, SPLITS


def main() -> None:
    """Trains what is not done, and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", default="data/phantom", help="cohort")
    parser.add_argument("--output_dir", default="runs/box-regressors", type=Path)
    parser.add_argument("--epochs", default=30, type=int)
    parser.add_argument("--seed", default=0, type=int, help="of the trainings, the splits and the bootstrap")
    parser.add_argument("--resamples", default=1000, type=int)
    parser.add_argument("--workers", default=1, type=int)
    known, keys = parser.parse_known_args()
    seeds = {"seed": known.seed, "split_seed": known.seed, "resamples": known.resamples}
    # Slices without a tumour are not among those that the published network learns from.
    settings = {"epochs": known.epochs, "empty": 0, "val_interval": 1, **seeds, **bundle_keys(keys)}
    arms = [BoxArm(f"{network} {split}", network, {"split": split}) for split in SPLITS for network in CONFIGS]
    with BoxExperiment("box regressors", known.dataset_dir, known.output_dir, settings, known.workers) as experiment:
        results = experiment.run(arms)
        rows = {name: result.metrics(known.seed, known.resamples) for name, result in results.items()}
        lines = [box_table(rows, first="network, split"), ""]
        for split in SPLITS:
            better, faithful = (results[f"{network} {split}"].slices for network in ("better", "faithful"))
            difference = iou_difference(better, faithful, seed=known.seed, n_boot=known.resamples)
            lines.append(f"better - faithful, split {LEAKS[split]}: {difference.text(3)}")
            rows[f"better {split}"]["iou_minus_faithful"] = difference
        lines += ["", f"{known.epochs} epochs each. 95 % intervals by resampling patients, seed {known.seed}."]
        text = "\n".join(lines)
        print(text)
        write_text_atomic(known.output_dir / "table.md", text + "\n")
        document = {name: {key: value.to_json() for key, value in row.items()} for name, row in rows.items()}
        write_json_atomic(known.output_dir / "metrics.json", document)
        experiment.log(known.output_dir / "table.md", known.output_dir / "metrics.json")


if __name__ == "__main__":
    main()
