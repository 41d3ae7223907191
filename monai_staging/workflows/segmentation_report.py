"""Collects what a segmentation evaluator found, scores it while training, and writes the report at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys
from numpy.typing import NDArray
from torch import Tensor

from monai_staging.metrics.segmentation import agreement, dice, nodule_scores
from monai_staging.outputs.segmentation import (
    NoduleSegmentation,
    write_segmentation_evaluation,
)
from monai_staging.outputs.segmentation_files import SegmentationEvaluation
from monai_staging.transforms.nodule_mask import NoduleMask
from monai_staging.transforms.nodule_views import consensus
from monai_staging.workflows.collector import EpochCollector
from monai_staging.workflows.gate_maps import largest_slice, write_gates
from monai_staging.workflows.segmentation_data import SegmentationData


class SegmentationCollector(EpochCollector):
    """Collects an evaluator's probabilities; after an epoch its metrics hold ``dice``, the mean over nodules.

    Args:
        data: whose nodules.
        mask: makes masks of probabilities.
    """

    def __init__(self, data: SegmentationData, mask: NoduleMask) -> None:
        self.data = data
        self.mask = mask
        self._parts: list[tuple[Tensor, Tensor]] = []

    def begin(self) -> None:
        """Forgets the epoch before."""
        self._parts.clear()

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Keeps one batch."""
        chance: Tensor = output[Keys.PRED]
        self._parts.append((batch["nodule"], chance[:, 0].detach().float().cpu()))

    def complete(self, engine: Engine) -> None:
        """Scores the epoch."""
        values = [dice(mask, consensus(self.data.volume(index).outlines)) for index, mask in self.masks().items()]
        engine.state.metrics["dice"] = float(np.mean(values))

    def masks(self) -> dict[int, NDArray[np.bool_]]:
        """(D, H, W) of every nodule, by its place in the set, in the order of the set."""
        owner = torch.cat([part[0] for part in self._parts])
        chance = torch.cat([part[1] for part in self._parts]).numpy()
        found = {}
        for index in torch.unique(owner).tolist():
            whole = self.data.restore(index, chance[(owner == index).numpy()])
            found[index] = self.mask(whole, self.data.spacing_mm(index))
        return found


class SegmentationReport(SegmentationCollector):
    """At the end of an evaluation writes ``metrics.json``, ``predictions.csv`` and figures, and prints the table.

    Args:
        data: of the evaluation.
        mask: makes masks of probabilities.
        output_dir: folder for everything written.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether they are drawn.
        title: what the data is; the set's test part by default.
        tracker: a tracking handler that is given metrics and figures, if any.
        printer: where lines for the user go.
    """

    def __init__(
        self,
        data: SegmentationData,
        mask: NoduleMask,
        output_dir: str | os.PathLike[str],
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        title: str | None = None,
        tracker: Any = None,
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__(data, mask)
        self.output_dir = Path(output_dir)
        self.seed, self.resamples = seed, resamples
        self.figures = figures
        self.title = title or f"{data.nodules.title}, test part"
        self.tracker = tracker
        self.printer = printer
        self.result: SegmentationEvaluation | None = None

    def complete(self, engine: Engine) -> None:
        """Evaluates, writes and prints."""
        masks = self.masks()
        nodules = [self._nodule(index, mask) for index, mask in masks.items()]
        engine.state.metrics["dice"] = float(np.mean([nodule.values["dice"] for nodule in nodules]))
        self.result = write_segmentation_evaluation(
            self.output_dir,
            nodules,
            title=self.title,
            seed=self.seed,
            n_boot=self.resamples,
            pictures=(lambda row: self._picture(list(masks)[row], masks)) if self.figures else None,
        )
        if self.figures:
            gates = write_gates(
                self.output_dir / "figures" / "gates.png",
                engine.network,  # type: ignore[attr-defined]  # an evaluator's
                self.data,
                masks,
                {index: nodule.values["dice"] for index, nodule in zip(masks, nodules, strict=True)},
                self.title,
            )
            self.result = replace(self.result, figures=(*self.result.figures, *([gates] if gates else [])))
        report_segmentation(self.result, nodules, self.title, self.seed, self.resamples, self.printer)
        if self.tracker is not None:
            self.tracker.log_metrics_file(self.result.metrics_path)
            self.tracker.log_figures(self.result.figures)

    def _nodule(self, index: int, mask: NDArray[np.bool_]) -> NoduleSegmentation:
        outlines = self.data.volume(index).outlines
        record = self.data.record(index)
        values = nodule_scores(mask, consensus(outlines), self.data.spacing_mm(index))
        values |= agreement(outlines, consensus, mask)
        return NoduleSegmentation(record.name, record.patient, len(outlines), values)

    def _picture(
        self, index: int, masks: Mapping[int, NDArray[np.bool_]]
    ) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], float]:
        """Image, mask and reference of the slice where both together are largest, and a pixel's size in mm."""
        volume = self.data.volume(index)
        mask, reference = masks[index], consensus(volume.outlines)
        place = largest_slice(mask, reference)
        return volume.image[0, place], mask[place], reference[place], self.data.spacing_mm(index)[1]


def report_segmentation(
    result: SegmentationEvaluation,
    nodules: list[NoduleSegmentation],
    title: str,
    seed: int,
    resamples: int,
    printer: Callable[[str], None] = print,
) -> None:
    """Prints an evaluation's table and what it wrote."""
    patients = len({nodule.patient for nodule in nodules})
    printer(f"\n{title}: {len(nodules)} nodules of {patients} patients")
    printer(f"95 % intervals by resampling patients ({resamples} times, seed {seed})\n\n{result.table}\n")
    printer("Written:")
    for path in (result.metrics_path, result.predictions_path, *result.figures):
        printer(f"  {path}")
