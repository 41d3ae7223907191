"""What the staging network's lesion map finds in a cohort, group by group, and how far size alone tells T.

    python scripts/lesion_map.py data/phantom-240 [--part validation] [--weights bundles/staging/models/model.pt]

For each lesion group: area under the ROC curve of the patients with such a lesion against those without, by the
surest cell of the map. For the primary, by its true longest diameter: in how many patients the surest cell lies in it.
And, over the training part, the accuracy of T from the true longest diameter by the edition's rule. Intervals: 95 %, by
resampling patients 1000 times, seed 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser

from monai_staging.cohort import load_cohort
from monai_staging.metrics.classification import class_auroc
from monai_staging.metrics.intervals import patient_bootstrap
from monai_staging.metrics.levels import true_classes
from monai_staging.tnm.categories import main_categories, main_category
from monai_staging.tnm.size import category_of_size

BINS_MM = (0, 20, 30, 200)
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Runs the network over a part and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--part", default="validation", choices=("training", "validation", "test"))
    parser.add_argument("--weights", type=Path, default=ROOT / "bundles" / "staging" / "models" / "model.pt")
    arguments = parser.parse_args()
    config = ConfigParser()
    config.read_config(ROOT / "bundles" / "staging" / "evaluate.json")
    config.update({"dataset_dir": str(arguments.cohort), "part": arguments.part, "weights": str(arguments.weights)})
    groups = config.get_parsed_content("groups")
    surest, present, hits = look(config)
    print(f"{arguments.part} part, {len(surest)} cases\n\n| group | with | area under the curve |\n| --- | --- | --- |")
    for index, group in enumerate(groups):
        print(f"| {group} | {present[:, index].sum()} | {area(present[:, index], surest[:, index])} |")
    print("\n| longest diameter of the primary, mm | surest cell in it |\n| --- | --- |")
    for low, high in zip(BINS_MM, BINS_MM[1:], strict=False):
        inside = [hit for size, hit in hits if low <= size < high]
        print(f"| {low} to {high} | {sum(inside)} of {len(inside)} |")
    right = size_alone(arguments.cohort)
    found = patient_bootstrap(np.mean, np.arange(len(right)), right)
    print("\nT by the true longest diameter alone, training part:")
    print(f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}], {found.n} cases")


def look(config: ConfigParser) -> tuple[np.ndarray, np.ndarray, list[tuple[float, bool]]]:
    """Surest logit (cases, groups), whether there is such a lesion, and (diameter, hit) of each primary."""
    dataset, network = config.get_parsed_content("dataset"), config.get_parsed_content("net").eval()
    device = config.get_parsed_content("device")
    surest, present, hits = [], [], []
    for raw, item in zip(dataset.data, dataset, strict=True):
        with torch.no_grad():
            output = network.details(item["image"][None].to(device), item["clinical"][None].to(device))
        logits, truth = output.presence[0].cpu(), item["lesion_mm"] > 0
        surest.append(logits.flatten(1).amax(dim=1).numpy())
        present.append(truth.flatten(1).any(dim=1).numpy())
        if present[-1][0]:
            size = max(longest(lesion) for lesion in raw["lesions"] if lesion["kind"] == "primary")
            hits.append((size, bool(truth[0].flatten()[logits[0].argmax()])))
    return np.array(surest), np.array(present), hits


def longest(lesion: dict[str, object]) -> float:
    """Longest diameter in mm; of a lesion without one, the longest edge of its box."""
    return float(lesion["diameter_mm"] or max(lesion["size_mm"]))  # type: ignore[arg-type, call-overload]


def area(present: np.ndarray, scores: np.ndarray) -> str:
    """Area under the curve with its interval, or a dash where all have the lesion or none has."""
    if present.all() or not present.any():
        return "-"
    found = patient_bootstrap(class_auroc, np.arange(len(scores)), present, scores, weighted=True)
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def size_alone(cohort: Path) -> np.ndarray:
    """Whether the rule of sizes gives the true main category, for each training case where it is known."""
    right = []
    for case in load_cohort(cohort).training:
        sizes = [lesion.diameter_mm or max(lesion.size_mm) for lesion in case.lesions if lesion.kind == "primary"]
        truth = true_classes([case.t], [case.n], [case.m], case.edition)["t"][0]
        if sizes and truth >= 0:
            found = main_category(category_of_size(max(sizes), case.edition))
            right.append(found == main_categories("t", case.edition)[truth])
    return np.array(right)


if __name__ == "__main__":
    main()
