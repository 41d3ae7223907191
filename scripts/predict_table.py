"""What `monai-staging predict` comes to on a cohort whose truth is known, from the scan to the stage.

    python scripts/predict_table.py COHORT [--part test] [--limit N] [--point "8 fp/scan"] [--segmentation WEIGHTS]
        [--out FOLDER]

Lesions are those of the cohort's masks that lie in the lung (primary tumours and nodules). The diameter and T by size
are those of what was taken for the primary tumour against the true one's outline, measured the same way. 95 % intervals
by resampling patients. Writes FOLDER/metrics.json and predictions.csv, and prints tables.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

from monai_staging.cohort import load_cohort
from monai_staging.cohort.case import Case
from monai_staging.cohort.lesions import Part, overlap, part_of_mask
from monai_staging.cohort.privacy import load_key, study_names
from monai_staging.metrics.chest import scan_scores
from monai_staging.metrics.segmentation import dice, mean_estimate
from monai_staging.outputs.chest import ScanSegmentation, chest_metrics, chest_table
from monai_staging.outputs.findings import Findings
from monai_staging.outputs.reported import ReportedStudy, ScanFacts
from monai_staging.outputs.segmentation_files import write_scores
from monai_staging.outputs.table import text_table, write_metrics
from monai_staging.predict.models import STEPS, load_model
from monai_staging.predict.pipeline import Predictor
from monai_staging.predict.study import read_volume_study
from monai_staging.progress import progress
from monai_staging.tnm.categories import LETTERS, main_category
from monai_staging.tnm.tables import stage_groups
from monai_staging.workflows.chest_data import chest_cases
from monai_staging.workflows.staging_data import cohort_title

TABLES = (
    {
        "primary_detected": ("primary found", 3),
        "primary_first": ("and taken for it", 3),
        "primary_dice": ("its Dice, where found", 3),
        "seconds": ("seconds a scan", 1),
    },
    {f"{letter}_right": (f"{letter.upper()}, main category right", 3) for letter in LETTERS},
    {
        **{f"{name}_held": (f"{name.upper()} in its set", 3) for name in (*LETTERS, "group")},
        "group_set": ("groups in a set", 1),
    },
)


def main() -> None:
    """Predicts every scan of a part and scores it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--part", default="test")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--point", default="8 fp/scan")
    parser.add_argument("--out", type=Path, default=Path("runs/predict-table"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling")
    for name in STEPS:
        parser.add_argument(f"--{name}", metavar="WEIGHTS")
    chosen = parser.parse_args()
    models = {name: load_model(name, getattr(chosen, name), chosen.device) for name in STEPS}
    predictor = Predictor(models, chosen.point, chosen.device)
    cohort = load_cohort(chosen.cohort)
    named = dict(zip(study_names(cohort.cases, load_key(cohort.root)), cohort.cases, strict=True))
    scans = []
    cases = chest_cases(cohort.root, chosen.part, limit=chosen.limit)
    for scan in progress(cases, description="predicting", unit="scan"):
        start = time.monotonic()
        study = read_volume_study(scan.image, scan.name, ScanFacts("NIfTI", "a scan of a cohort."), cohort.phantom)
        reported = predictor(study).reported
        seconds = time.monotonic() - start
        values = scores(reported, scan.reference(), named[scan.name])
        scans.append(ScanSegmentation(scan.name, scan.patient, {**values, "seconds": seconds}))
    patients = [scan.patient for scan in scans]
    own = {
        name: mean_estimate(np.array([scan.values[name] for scan in scans]), patients, seed=chosen.seed)
        for columns in TABLES
        for name in columns
    }
    outlined = chest_metrics(scans, seed=chosen.seed)
    write_metrics(chosen.out / "metrics.json", {**own, **outlined})
    write_scores(
        chosen.out / "predictions.csv", ("scan", "patient"), [((one.name, one.patient), one.values) for one in scans]
    )
    print(f"\n{cohort_title(cohort.root, chosen.part)}: {len(scans)} scans, detector at {chosen.point}\n")
    print(chest_table(outlined))
    for columns in TABLES:
        cells = [f"{own[name].text(digits)} (n = {own[name].n})" for name, (_, digits) in columns.items()]
        print("\n" + text_table([head for head, _ in columns.values()], [cells]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"\n95 % intervals by resampling patients (seed {chosen.seed}); peak memory {peak / 2**30:.1f} GiB")


def scores(reported: ReportedStudy, reference: list[Part], case: Case) -> dict[str, float]:
    """Scores of one scan; NaN where something is undefined or unknown."""
    volume, findings = reported.volume, reported.findings
    parts = [part for lesion in findings.lesions if (part := part_of_mask(reported.mask == lesion.label)) is not None]
    values = scan_scores(parts, reference, volume.array, volume.affine, case.edition)
    if reference:
        shares = [overlap(part, reference[0]) for part in parts]
        touched = [share > 0 for share in shares]
        best = int(np.argmax(shares)) if any(touched) else None
        values["primary_detected"] = float(any(touched))
        values["primary_first"] = float(bool(touched) and touched[0])
        values["primary_dice"] = float("nan") if best is None else dice(*both(parts[best], reference[0], volume.shape))
    return values | stage_scores(findings, reported, case)


def stage_scores(findings: Findings, reported: ReportedStudy, case: Case) -> dict[str, float]:
    """Of letters and groups: whether the likeliest is right, and whether a set holds the truth."""
    staging, values = findings.staging, dict[str, float]()
    for letter in LETTERS:
        truth = set(getattr(case, letter))
        main = {main_category(name) for name in truth}
        chances: dict[str, float] = {}
        for name, chance in staging.probabilities(letter).items():
            chances[main_category(name)] = chances.get(main_category(name), 0.0) + chance
        known = len(main) == 1
        values[f"{letter}_right"] = float(max(chances, key=lambda own: chances[own]) in main) if known else float("nan")
        named = set(reported.letter_sets.get(letter, ()))
        values[f"{letter}_held"] = float(truth <= named) if named and known else float("nan")
    groups = set(stage_groups(case.t, case.n, case.m, case.edition))
    claimed = staging.confidence is not None and len(groups) == 1
    values["group_held"] = float(groups <= set(staging.groups)) if claimed else float("nan")
    values["group_set"] = float(len(staging.groups)) if claimed else float("nan")
    return values


def both(one: Part, other: Part, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Two parts as masks of the scan."""
    masks = []
    for part in (one, other):
        mask = np.zeros(shape, dtype=bool)
        mask[part.box] = part.mask
        masks.append(mask)
    return masks[0], masks[1]


if __name__ == "__main__":
    main()
