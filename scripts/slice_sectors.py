"""Trains the published networks of 1, 5 and 13 sectors and ours, and puts them into one table.

python scripts/slice_sectors.py --backbone_weights FILE [--dataset_dir COHORT] [--output_dir OUT] [--key value ...]

FILE has the frozen features of the published networks; ours starts from random weights. All other keys are the
bundle's, for every training: --limit 20. Trainings that are done are not done again. Writes OUT/arms/ as the bundle
does, OUT/table.md and OUT/metrics.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_staging.files import write_json_atomic, write_text_atomic
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.slices import StudyScores, accuracy_difference
from monai_staging.outputs.slices import read_ranked_slices
from monai_staging.outputs.table import text_table
from monai_staging.workflows.arms import Arm, ArmExperiment, config_keys
from monai_staging.workflows.nodule_result import HISTORY
from monai_staging.workflows.slice_classes import CLASSES

SECTORS = (1, 5, 13)
COLUMNS = ("balanced_accuracy", "auroc_nodule", "auroc_malignant", "found_at_10")


@dataclass(frozen=True)
class SliceResult:
    """What came of a training.

    Attributes:
        metrics: of the test part.
        studies: what was said of each.
        seconds: of training, without validation.
    """

    metrics: dict[str, Estimate]
    studies: list[StudyScores]
    seconds: float


class SliceExperiment(ArmExperiment[SliceResult]):
    """Trainings of the slices bundle on the same cohort."""

    bundle = Path("bundles/slices")
    configs = {"ours": ("train.json",), "faithful": ("train.json", "faithful.json")}
    experiment = "slices"

    def result(self, folder: Path) -> SliceResult:
        """Metrics, scores and the time of training."""
        history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        studies = read_ranked_slices(folder / "slices.csv", CLASSES)
        return SliceResult({name: _estimate(own) for name, own in metrics.items()}, studies, history[-1]["seconds"])


def main() -> None:
    """Trains what is not done, and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone_weights", required=True, help="of the published networks' ResNet-50")
    parser.add_argument("--dataset_dir", default="data/phantom-screening", help="cohort with rated nodules")
    parser.add_argument("--output_dir", default="runs/slice-sectors", type=Path)
    parser.add_argument("--seed", default=0, type=int, help="of the trainings and the bootstrap")
    parser.add_argument("--resamples", default=1000, type=int)
    known, rest = parser.parse_known_args()
    keys = config_keys(rest, SliceExperiment.bundle / "train.json")
    published = {"backbone_weights": known.backbone_weights}
    arms = [
        Arm(f"{count} sector{'s' * (count > 1)}", "faithful", {**published, "sector_num": count}) for count in SECTORS
    ]
    arms.append(Arm("ours", "ours"))
    settings = {"seed": known.seed, "resamples": known.resamples, **keys}
    with SliceExperiment("slices and sectors", known.dataset_dir, known.output_dir, settings) as experiment:
        results = experiment.run(arms)
        text, document = report(results, known.seed, known.resamples)
        print(text)
        write_text_atomic(known.output_dir / "table.md", text + "\n")
        write_json_atomic(known.output_dir / "metrics.json", document)
        experiment.log(known.output_dir / "table.md", known.output_dir / "metrics.json")


def report(results: dict[str, SliceResult], seed: int, resamples: int) -> tuple[str, dict[str, dict[str, Any]]]:
    """The table with the difference to the last of the sectors beneath, and the same as plain data."""
    header = ["", "balanced accuracy", "AUROC nodule", "AUROC malignant", "nodules in 10 slices"]
    header += ["training, s", "a study, ms"]
    rows: list[list[str]] = []
    document: dict[str, dict[str, Any]] = {}
    for name, result in results.items():
        per_study = result.metrics["seconds_per_study"].value
        cells = [result.metrics[column].text(3) for column in COLUMNS]
        rows.append([name, *cells, f"{result.seconds:.0f}", f"{1000 * per_study:.0f}"])
        numbers = {key: value.to_json() for key, value in result.metrics.items()}
        document[name] = {**numbers, "training_seconds": result.seconds}
    ours, others = results["ours"], {name: result for name, result in results.items() if name != "ours"}
    lines = [text_table(header, rows), ""]
    for name, other in others.items():
        difference = accuracy_difference(ours.studies, other.studies, seed=seed, n_boot=resamples)
        document[name]["ours_minus_this"] = difference.to_json()
        cost = ours.seconds / other.seconds
        study = ours.metrics["seconds_per_study"].value / other.metrics["seconds_per_study"].value
        lines.append(
            f"ours - {name}: {difference.text(3)} balanced accuracy, at {cost:.2f} of its training and {study:.2f} of "
            "its time a study"
        )
    lines += ["", f"95 % intervals by resampling patients ({resamples} times, seed {seed}); one class by chance: .333."]
    return "\n".join(lines), document


def _estimate(own: dict[str, Any]) -> Estimate:
    value, low, high = (
        float("nan") if own[name] is None else float(own[name] or 0.0) for name in ("value", "low", "high")
    )
    return Estimate(value, low, high, int(own["n"] or 0))


if __name__ == "__main__":
    main()
