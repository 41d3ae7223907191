"""Transfer between subtypes: trained on one, applied to the others as it is, then fine-tuned on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai_staging.cohort.cohort import Cohort
from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import Estimate
from monai_staging.outputs.boxes import SliceScore, box_metrics, iou_difference
from monai_staging.outputs.table import text_table
from monai_staging.workflows.boxes_arms import ArmResult, BoxArm, BoxExperiment

SPLITS = ("slice", "patient")
LEAKS = {"slice": "by slice, as published: LEAKS, patients are on both sides", "patient": "by patient"}
"""What each split is, for tables."""
PUBLISHED_SOURCES = ("B", "small cell carcinoma")
"""The subtype that was trained on, by its letter or as ``lung-pet-ct-dx`` names it."""


@dataclass(frozen=True)
class TransferPlan:
    """What is trained.

    Attributes:
        sources: subtypes to train on.
        targets: subtypes to apply to and fine-tune on.
        networks: of :data:`monai_staging.workflows.boxes_arms.CONFIGS`.
        splits: of :data:`SPLITS`.
        epochs: on the source; ``None`` for the config's.
        fine_tuning: epochs on each target; ``None`` likewise.
        seed: of the bootstrap.
        resamples: likewise.
    """

    sources: Sequence[str]
    targets: Sequence[str]
    networks: Sequence[str] = ("faithful", "better")
    splits: Sequence[str] = SPLITS
    epochs: int | None = None
    fine_tuning: int | None = 100
    seed: int = 0
    resamples: int = 1000


@dataclass(frozen=True)
class TransferCell:
    """Mean IoU on the held-out slices of one subtype.

    Attributes:
        network: which.
        split: how slices are held out.
        source: the subtype it was trained on.
        target: the subtype it is tested on.
        untouched: as trained on the source.
        fine_tuned: after fine-tuning; ``None`` where the target is the source.
        gain: of the fine-tuning, slice by slice; likewise.
    """

    network: str
    split: str
    source: str
    target: str
    untouched: Estimate
    fine_tuned: Estimate | None = None
    gain: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """As an object; ``leaks`` says whether patients are on both sides."""
        numbers = {name: getattr(self, name) for name in ("untouched", "fine_tuned", "gain")}
        return {
            **{name: getattr(self, name) for name in ("network", "split", "source", "target")},
            "leaks": self.split == "slice",
            **{name: None if value is None else value.to_json() for name, value in numbers.items()},
        }


def plan_subtypes(cohort: Cohort, sources: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Sources and targets: all subtypes of the cohort are targets.

    Args:
        cohort: which has subtypes.
        sources: as asked for; without, the published one.

    Raises:
        UsageError: fewer than two subtypes, or a source that the cohort does not have.
    """
    there = sorted({case.subtype for case in cohort.cases if case.subtype})
    chosen = list(sources) if sources else [name for name in there if name in PUBLISHED_SOURCES]
    unknown = [name for name in chosen if name not in there]
    if len(there) < 2 or unknown or not chosen:
        found = ", ".join(there) or "none"
        raise UsageError(
            f"Cohort {cohort.name}: transfer needs two subtypes or more, with the sources; it has {found}, "
            f"asked for {', '.join(chosen) or 'none, and none is small cell carcinoma'}"
        )
    return chosen, there


def run_transfer(experiment: BoxExperiment, plan: TransferPlan) -> list[TransferCell]:
    """Trains what is not done, first on the sources, then on every target from each source's weights."""
    trained = experiment.run([_source_arm(plan, *key) for key in _keys(plan)])
    tuned = experiment.run(
        [
            _target_arm(plan, *key, target, trained[_name(*key)])
            for key in _keys(plan)
            for target in plan.targets
            if target != key[2]
        ]
    )
    return [_cell(plan, *key, target, trained, tuned) for key in _keys(plan) for target in plan.targets]


def transfer_tables(cells: Sequence[TransferCell], targets: Sequence[str]) -> str:
    """The matrix of each network and split: a row a source and step, a column a target."""
    tables = []
    for network, split in dict.fromkeys((cell.network, cell.split) for cell in cells):
        own = [cell for cell in cells if (cell.network, cell.split) == (network, split)]
        rows = []
        for source in dict.fromkeys(cell.source for cell in own):
            of_source = {cell.target: cell for cell in own if cell.source == source}
            for step in ("untouched", "fine_tuned", "gain"):
                cells_of_step = [getattr(of_source[target], step) for target in targets]
                texts = ["-" if one is None else one.text(3) for one in cells_of_step]
                rows.append([source, step.replace("_", "-"), *texts])
        title = f"{network}, split {LEAKS[split]}"
        tables.append(f"{title}\n\n{text_table(['trained on', 'mean IoU', *targets], rows)}")
    return "\n\n".join(tables)


def _keys(plan: TransferPlan) -> list[tuple[str, str, str]]:
    return [(network, split, source) for network in plan.networks for split in plan.splits for source in plan.sources]


def _name(network: str, split: str, source: str, target: str | None = None) -> str:
    return f"{network} {split} {source}" + ("" if target is None else f" to {target}")


def _source_arm(plan: TransferPlan, network: str, split: str, source: str) -> BoxArm:
    keys = {"split": split, "subtypes": [source], **_epochs(plan.epochs)}
    return BoxArm(_name(network, split, source), network, keys)


def _target_arm(plan: TransferPlan, network: str, split: str, source: str, target: str, trained: ArmResult) -> BoxArm:
    keys = {"split": split, "subtypes": [target], "weights": str(trained.weights), **_epochs(plan.fine_tuning)}
    return BoxArm(_name(network, split, source, target), network, keys)


def _epochs(count: int | None) -> dict[str, int]:
    return {} if count is None else {"epochs": count}


def _cell(
    plan: TransferPlan,
    network: str,
    split: str,
    source: str,
    target: str,
    trained: Mapping[str, ArmResult],
    tuned: Mapping[str, ArmResult],
) -> TransferCell:
    def iou(slices: Sequence[SliceScore]) -> Estimate:
        return box_metrics(slices, seed=plan.seed, n_boot=plan.resamples)["iou"]

    if source == target:
        return TransferCell(network, split, source, target, iou(trained[_name(network, split, source)].slices))
    result = tuned[_name(network, split, source, target)]
    gain = iou_difference(result.slices, result.untouched, seed=plan.seed, n_boot=plan.resamples)
    return TransferCell(network, split, source, target, iou(result.untouched), iou(result.slices), gain)
