"""Dice against the number of annotated studies, for each strategy that `monai-staging label` offers; on phantoms.

    python scripts/active_learning.py [--dataset_dir data/phantom] [--output_dir OUT] [--studies 4 8 16] [--seeds 3]

The training part of the cohort are studies that wait for a label. For each seed the first of --studies are drawn at
random, the same for every strategy; then the server's own strategies choose one study after the other, the label of
each being what is true of the phantom. At each number an outline network (bundles/segmentation, train.json, chest.json,
outline.json) learns from the labels so far, from random weights and for the same number of patches (--draws), and
outlines every lesion of the test part that is clicked at. All other keys are the bundle's, for every training. What is
done is not done again. Writes OUT/arms/ as the bundle does, OUT/table.md, OUT/metrics.json and OUT/dice.png.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import Cohort, file_stem
from monai_staging.cohort.privacy import KEY_VARIABLE, load_key
from monai_staging.cohort.volume import read_mask
from monai_staging.files import write_json_atomic, write_text_atomic
from monai_staging.label.datastore import StudyDatastore
from monai_staging.label.kinds import KINDS, write_labels
from monai_staging.label.pieces import Pieces, Settings
from monai_staging.label.strategies import STRATEGIES, Looking, Random
from monai_staging.label.uploads import take_label
from monai_staging.metrics.intervals import Estimate, FloatArray, patient_bootstrap
from monai_staging.outputs.figures import colour, figure_file, line_style
from monai_staging.outputs.table import text_table
from monai_staging.progress import progress
from monai_staging.workflows.arms import Arm, ArmExperiment, config_keys

BUNDLE = Path("bundles/segmentation")
COARSE = {"spacing_mm": [3.0, 3.0, 5.0], "patch": [32, 32, 20], "width": 0.5, "patches": 4, "batch_size": 1}
"""A network that learns in a minute on one core: the strategies are compared, not the best outlines shown."""


@dataclass(frozen=True)
class Scores:
    """Dice of each clicked lesion.

    Attributes:
        patients: whose each is.
        dice: (lesions), 0 to 1.
    """

    patients: tuple[str, ...]
    dice: FloatArray


class LabelExperiment(ArmExperiment[Scores]):
    """Trainings of the outline network on cohorts of more and more labels."""

    bundle = BUNDLE
    configs = {"outline": ("train.json", "chest.json", "outline.json")}
    experiment = "active-learning"

    def result(self, folder: Path) -> Scores:
        """The scores of the test part."""
        with open(folder / "predictions.csv", newline="", encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["scan"])
        return Scores(tuple(row["patient"] for row in rows), np.array([float(row["dice"]) for row in rows]))


def main() -> None:
    """Annotates, trains what is not done, and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", default="data/phantom", help="cohort of phantoms")
    parser.add_argument("--output_dir", default="runs/active-learning", type=Path)
    parser.add_argument("--studies", default=[4, 8, 16], type=int, nargs="+", help="how many are annotated")
    parser.add_argument("--seeds", default=3, type=int, help="how many; of the first studies, the draws, the network")
    parser.add_argument("--draws", default=1536, type=int, help="patches a network learns from")
    parser.add_argument("--workers", default=1, type=int)
    parser.add_argument("--resamples", default=1000, type=int)
    known, rest = parser.parse_known_args()
    settings = {**COARSE, "val_interval": 10**6, "val_limit": 1, **config_keys(rest, BUNDLE / "chest.json")}
    counts = sorted(known.studies)
    with LabelExperiment("labels", known.dataset_dir, known.output_dir, settings, known.workers) as experiment:
        # Patients have the same names in every cohort of labels.
        os.environ.setdefault(KEY_VARIABLE, load_key(experiment.cohort.root).decode())
        arms = list(arms_of(experiment, counts, known.seeds, known.draws))
        results = experiment.run(arms)
        text, document = report(results, counts, known.seeds, known.resamples)
        print(text)
        write_text_atomic(known.output_dir / "table.md", text + "\n")
        write_json_atomic(known.output_dir / "metrics.json", document)
        figure = draw(known.output_dir / "dice.png", document, counts, experiment.cohort.phantom)
        experiment.log(known.output_dir / "table.md", known.output_dir / "metrics.json", figure)


def arms_of(experiment: LabelExperiment, counts: Sequence[int], seeds: int, draws: int) -> Iterator[Arm]:
    """A training for every strategy, seed and number of labels; the first number is one for all strategies."""
    for seed in range(seeds):
        orders = {name: annotate(experiment, name, seed, counts) for name in STRATEGIES}
        for count in counts:
            first = count == counts[0]
            for name in ["all"] if first else STRATEGIES:
                chosen = orders["random" if first else name][:count]
                folder = experiment.out / "labels" / f"{name}-{seed}-{count}"
                epochs = max(1, round(draws / (count * experiment.settings["patches"])))
                keys = {
                    "dataset_dir": str(cohort_of(experiment.cohort, chosen, folder)),
                    "epochs": epochs,
                    "seed": seed,
                }
                yield Arm(f"{name} {seed} {count}", "outline", keys)


def annotate(experiment: LabelExperiment, name: str, seed: int, counts: Sequence[int]) -> list[str]:
    """The studies in the order in which a strategy chose them, once their labels are saved as an annotator's are."""
    folder = experiment.out / "studies" / f"{name}-{seed}"
    record = folder / "order.json"
    if record.is_file():
        order: list[str] = json.loads(record.read_text(encoding="utf-8"))
        if len(order) >= counts[-1]:
            return order[: counts[-1]]
    cohort = experiment.cohort
    cases = {file_stem(case.series): case for case in cohort.training}
    folder.mkdir(parents=True, exist_ok=True)
    for stem, case in cases.items():
        place = folder / f"{stem}.nii"
        if not place.exists():
            place.symlink_to(cohort.image_path(case))
    store = StudyDatastore(folder)
    # What the network sees of a study does not depend on its labels: it is looked at once for all.
    strategy = STRATEGIES[name](Pieces(Settings({}), experiment.out))
    order = random.Random(seed).sample(sorted(cases), counts[0])
    if isinstance(strategy, Random):
        strategy.draw = random.Random(seed)
    if isinstance(strategy, Looking):
        look_at_all(strategy, store, sorted(cases))
    for stem in order:
        save_truth(cohort, cases[stem], stem, store)
    while len(order) < counts[-1]:
        answer = strategy({}, store)
        assert answer is not None, "more studies than the cohort has are asked for"
        order.append(answer["id"])
        save_truth(cohort, cases[order[-1]], order[-1], store)
    write_json_atomic(record, order)
    return order


def look_at_all(strategy: Looking, store: StudyDatastore, names: Sequence[str]) -> None:
    """Lets the network see every study: a server's request would go on where the one before stopped."""
    looker = strategy.pieces.looker
    for name in progress(names, description="looking at studies", unit="scan"):
        path = store.source(name)
        if looker.known(name, path) is None:
            looker.look(name, path, strategy.pieces.open(path).study)


def save_truth(cohort: Cohort, case: Case, stem: str, store: StudyDatastore) -> None:
    """Saves what is true of a phantom as an annotator's label."""
    path = cohort.mask_path(case)
    assert path is not None, "phantoms have masks"
    mask, affine = read_mask(path)
    kinds = np.zeros(max((lesion.label or 0 for lesion in case.lesions), default=0) + 1, dtype=np.uint8)
    for lesion in case.lesions:
        if lesion.label is not None:
            kinds[lesion.label] = KINDS[lesion.kind]
    with tempfile.TemporaryDirectory(prefix="monai-staging-") as folder:
        sent = Path(folder, "label.nii.gz")
        write_labels(sent, np.asfortranarray(kinds[mask]), affine)
        take_label(sent, store.source(stem), {})
        store.save_label(stem, str(sent), "final", {})


def cohort_of(cohort: Cohort, chosen: Sequence[str], folder: Path) -> Path:
    """A cohort of the annotated studies, with validation and test of the whole one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("volumes", "masks"):
        if not (folder / name).exists():
            (folder / name).symlink_to(cohort.root / name)
    cases = {file_stem(case.series): case for case in cohort.training}
    replace(cohort, root=folder, training=tuple(cases[stem] for stem in chosen), digest="").save()
    return folder


def report(
    results: Mapping[str, Scores], counts: Sequence[int], seeds: int, resamples: int
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Dice by number and strategy, with the difference to random, and the same as plain data."""
    document: dict[str, dict[str, Any]] = {}
    rows = []
    for count in counts:
        row = [str(count)]
        for name in STRATEGIES:
            own = _mean(results, name, count, counts, seeds)
            document.setdefault(name, {})[str(count)] = _estimate(own, resamples).to_json()
            row.append(_estimate(own, resamples).text(3))
        for name in list(STRATEGIES)[1:]:
            own, other = (_mean(results, which, count, counts, seeds) for which in (name, "random"))
            difference = _estimate(Scores(own.patients, own.dice - other.dice), resamples)
            document[name][f"{count} minus random"] = difference.to_json()
            row.append("" if count == counts[0] else difference.text(3))
        rows.append(row)
    header = ["annotated", *STRATEGIES, *(f"{name} - random" for name in list(STRATEGIES)[1:])]
    lines = [text_table(header, rows), ""]
    spread = {
        name: [float(results[_arm(name, seed, counts[-1], counts)].dice.mean()) for seed in range(seeds)]
        for name in STRATEGIES
    }
    for name, values in spread.items():
        lines.append(f"{name}, {counts[-1]} annotated, by seed: {', '.join(f'{value:.3f}' for value in values)}")
    lesions = len(results[_arm("random", 0, counts[0], counts)].dice)
    lines.append(
        f"Mean Dice of {lesions} clicked lesions of phantoms, mean of seeds 0 to {seeds - 1}; 95 % intervals by "
        f"resampling patients ({resamples} times, seed 0)."
    )
    return "\n".join(lines), document


def draw(path: Path, document: Mapping[str, Mapping[str, Any]], counts: Sequence[int], phantoms: bool) -> Path:
    """Dice against the number of annotated studies, a line a strategy."""
    with figure_file(path, 6.4, 4.4) as figure:
        axes = figure.add_subplot()
        for place, name in enumerate(STRATEGIES):
            points = [document[name][str(count)] for count in counts]
            values = np.array([point["value"] for point in points])
            ends = np.abs(np.array([[point["low"], point["high"]] for point in points]).T - values)
            at = np.array(counts) * 1.03 ** (place - 1)
            shade, line = colour(place), line_style(place)
            axes.errorbar(at, values, yerr=ends, color=shade, linestyle=line, marker="o", capsize=3, label=name)
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xlabel("annotated studies")
        axes.set_ylabel("Dice of clicked lesions\n95 % interval over patients")
        figure.legend(loc="outside lower center", ncols=len(STRATEGIES))
        axes.set_title("Dice by annotated studies" + (", phantoms" if phantoms else ""), loc="left")
    return path


def _arm(name: str, seed: int, count: int, counts: Sequence[int]) -> str:
    return f"{'all' if count == counts[0] else name} {seed} {count}"


def _mean(results: Mapping[str, Scores], name: str, count: int, counts: Sequence[int], seeds: int) -> Scores:
    """Each lesion's Dice, averaged over seeds."""
    every = [results[_arm(name, seed, count, counts)] for seed in range(seeds)]
    return Scores(every[0].patients, np.mean([own.dice for own in every], axis=0))


def _estimate(scores: Scores, resamples: int) -> Estimate:
    return patient_bootstrap(np.mean, scores.patients, scores.dice, n=resamples)


if __name__ == "__main__":
    main()
