"""Trains the segmentation bundle once a fold and pools the nodules of all folds into one table.

python scripts/segmentation_folds.py --dataset_dir DIR --output_dir OUT [--key value ...]

All other keys are the bundle's. Folds that are done are not done again. Writes OUT/fold-<k>/ as the bundle does, and
OUT/metrics.json and OUT/predictions.csv of all nodules, each scored by the network that had not seen its patient.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from monai_staging.outputs.segmentation import read_segmentations, write_segmentation_evaluation
from monai_staging.workflows.segmentation_report import report_segmentation

BUNDLE = Path("bundles/segmentation/train.json")


def main() -> None:
    """Runs what is not done, then pools."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", default="data/phantom-nodules", help="see the bundle")
    parser.add_argument("--output_dir", default="runs/segmentation-folds", type=Path)
    parser.add_argument("--folds", default=5, type=int)
    parser.add_argument("--seed", default=0, type=int, help="of the trainings and the bootstrap")
    parser.add_argument("--resamples", default=1000, type=int)
    known, keys = parser.parse_known_args()
    folders = [known.output_dir / f"fold-{fold}" for fold in range(known.folds)]
    for fold, folder in enumerate(folders):
        # The last thing that a training writes.
        if not (folder / "history.json").is_file():
            train(known, fold, folder, keys)
    nodules = read_segmentations(folder / "predictions.csv" for folder in folders)
    title = f"{known.dataset_dir}, {known.folds} folds"
    result = write_segmentation_evaluation(known.output_dir, nodules, seed=known.seed, n_boot=known.resamples)
    report_segmentation(result, nodules, title, known.seed, known.resamples)


def train(known: argparse.Namespace, fold: int, folder: Path, keys: list[str]) -> None:
    """One fold, in a process of its own; goes on where it was stopped."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(BUNDLE)]
    command += ["--dataset_dir", str(known.dataset_dir), "--output_dir", str(folder), "--seed", str(known.seed)]
    command += ["--folds", str(known.folds), "--fold", str(fold), "--resamples", str(known.resamples)]
    if any(folder.glob("checkpoint-*.pt")):
        command += ["--resume", "true"]
    subprocess.run([*command, *keys], check=True)


if __name__ == "__main__":
    main()
