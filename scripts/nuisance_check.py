"""Can the scan alone tell the stage? A classifier on nuisances should do no better than chance.

    python scripts/nuisance_check.py [--cases 2000] [--seed 0] [--json]       from plans, nothing is rendered
    python scripts/nuisance_check.py --tree PHANTOM_TREE [--json]             from written files

From plans, the nuisances are those the scanner was drawn with; from a tree, those its DICOM headers and air tell:
pixel size, slice spacing and thickness, kernel, contrast, field of view, number of slices and noise. A random forest
predicts main T, N and M in five folds; accuracy is set beside the largest class's, AUROC (one against rest, macro
mean) beside 0.5, with 95 % bootstrap intervals over patients.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from monai_staging.cohort.phantom import PhantomConfig, draw_scanner, plan_disease
from monai_staging.tnm import main_category

PHASES = ("none", "venous", "arterial")
REPEATS = 500


def from_plans(cases: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Nuisances (cases, features) and labels of plans."""
    config = PhantomConfig()
    rows, labels = [], []
    for index in range(cases):
        s, plan = draw_scanner(seed, index, config), plan_disease(seed, index, config)
        rows.append(
            [s.spacing_mm, s.slice_spacing_mm, s.slice_thickness_mm, s.noise_hu, s.sharpness, PHASES.index(s.phase),
             s.enhancement, s.field_of_view_mm, s.matrix, *s.offset_mm, s.roll_deg, s.start_mm, s.motion_mm, s.streaks]
        )  # fmt: skip
        labels.append((main_category(plan.t), plan.n, main_category(plan.m)))
    return np.array(rows, dtype=float), _columns(labels)


def from_tree(tree: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Nuisances from the files of a tree, labels from its truth."""
    import pydicom

    rows, labels = [], []
    for path in sorted((tree / "truth").glob("*.json")):
        truth = json.loads(path.read_text(encoding="utf-8"))["truth"]
        files = sorted((tree / truth["patient"] / "CT").glob("*.dcm"))
        image = pydicom.dcmread(files[len(files) // 2])
        corner = image.pixel_array[4:28, 4:28].astype(float)
        spacing = float(image.PixelSpacing[0])
        position = [float(v) for v in image.ImagePositionPatient]
        rows.append(
            [spacing, float(image.SpacingBetweenSlices), float(image.SliceThickness),
            int(str(image.ConvolutionKernel)[1:3]),
             "ContrastBolusAgent" in image, image.Rows * spacing, len(files), corner.std(), *position]
        )  # fmt: skip
        labels.append((main_category(truth["t"]), truth["n"], main_category(truth["m"])))
    return np.array(rows, dtype=float), _columns(labels)


def _columns(labels: list[tuple[str, str, str]]) -> dict[str, np.ndarray]:
    return {letter: np.array([row[k] for row in labels]) for k, letter in enumerate("tnm")}


def check(features: np.ndarray, label: np.ndarray, seed: int) -> dict[str, float]:
    """Accuracy and AUROC of the classifier, with intervals, and what chance gives."""
    classes, counts = np.unique(label, return_counts=True)
    if counts.min() < 5:
        raise SystemExit(
            f"Too few phantoms: five folds need five of each class, found {dict(zip(classes, counts, strict=True))}."
        )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    forest = RandomForestClassifier(200, min_samples_leaf=5, random_state=seed, n_jobs=1)
    scores = cross_val_predict(forest, features, label, cv=folds, method="predict_proba")
    correct = classes[scores.argmax(1)] == label
    rng = np.random.default_rng(seed)
    accuracy, auroc = [], []
    for _ in range(REPEATS):
        chosen = rng.integers(0, len(label), len(label))
        accuracy.append(correct[chosen].mean())
        if len(np.unique(label[chosen])) == len(classes):
            auroc.append(_auroc(label[chosen], scores[chosen], classes))
    return {
        "n": len(label), "accuracy": float(correct.mean()), "accuracy_low": float(np.quantile(accuracy, 0.025)),
        "accuracy_high": float(np.quantile(accuracy, 0.975)),
        "majority": float(max(np.mean(label == c) for c in classes)), "auroc": _auroc(label, scores, classes),
        "auroc_low": float(np.quantile(auroc, 0.025)), "auroc_high": float(np.quantile(auroc, 0.975)),
    }  # fmt: skip


def _auroc(label: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(label == c, scores[:, k]) for k, c in enumerate(classes)]))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tree", type=Path, help="folder written by `monai-staging phantom`")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    features, labels = from_tree(args.tree) if args.tree else from_plans(args.cases, args.seed)
    found = {letter: check(features, label, args.seed) for letter, label in labels.items()}
    if args.json:
        print(json.dumps(found))
        return
    print(f"{len(features)} phantoms, {features.shape[1]} nuisances, random forest, five folds")
    print("letter  accuracy [95 % interval]  largest class  AUROC [95 % interval]  chance")
    for letter, row in found.items():
        print(
            f"{letter.upper():6}  {row['accuracy']:.3f} [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}]      "
            f"{row['majority']:.3f}          {row['auroc']:.3f} [{row['auroc_low']:.3f}, {row['auroc_high']:.3f}]   0.5"
        )


if __name__ == "__main__":
    main()
