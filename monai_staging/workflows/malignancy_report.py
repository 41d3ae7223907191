"""Collects what a malignancy evaluator saw, scores it while training, and writes the report at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from torch import Tensor

from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.outputs.nodules import NoduleEvaluation, write_nodule_evaluation
from monai_staging.workflows.class_collector import ClassCollector
from monai_staging.workflows.nodule_data import NoduleData
from monai_staging.workflows.nodule_maps import write_nodule_maps


class NoduleCollector(ClassCollector):
    """A :class:`~monai_staging.workflows.class_collector.ClassCollector` of nodules.

    Args:
        data: whose task and classes.
    """

    def __init__(self, data: NoduleData) -> None:
        super().__init__(data.nodules.task, data.nodules.classes)


class MalignancyReport(NoduleCollector):
    """At the end of an evaluation writes ``metrics.json``, ``predictions.csv`` and figures, and prints the table.

    Args:
        data: of the evaluation: title, views for the figure.
        output_dir: folder for everything written.
        baselines: predictions of other methods on the same nodules, by name, for the same table.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether they are drawn.
        title: what the data is; the set's test part by default.
        tracker: a tracking handler that is given metrics and figures, if any.
        printer: where lines for the user go.
    """

    def __init__(
        self,
        data: NoduleData,
        output_dir: str | os.PathLike[str],
        baselines: Callable[[], Mapping[str, NodulePredictions]] | None = None,
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        title: str | None = None,
        tracker: Any = None,
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__(data)
        self.data = data
        self.output_dir = Path(output_dir)
        self.baselines = baselines
        self.seed, self.resamples = seed, resamples
        self.figures = figures
        self.title = title or f"{data.nodules.title}, test part"
        self.tracker = tracker
        self.printer = printer
        self.result: NoduleEvaluation | None = None

    def complete(self, engine: Engine) -> None:
        """Evaluates, writes and prints."""
        super().complete(engine)
        assert self.predictions is not None
        others = dict(self.baselines()) if self.baselines is not None else {}
        self.result = report_nodules(
            self.output_dir,
            self.predictions,
            others,
            data=self.data if self.figures else None,
            network=engine.network,  # type: ignore[attr-defined]  # an evaluator's
            title=self.title,
            seed=self.seed,
            resamples=self.resamples,
            tracker=self.tracker,
            printer=self.printer,
        )


def report_nodules(
    output_dir: str | os.PathLike[str],
    predictions: NodulePredictions,
    others: Mapping[str, NodulePredictions] | None = None,
    *,
    data: NoduleData | None = None,
    network: NoduleNetwork | None = None,
    title: str = "",
    seed: int = 0,
    resamples: int = 1000,
    tracker: Any = None,
    printer: Callable[[str], None] = print,
) -> NoduleEvaluation:
    """Writes an evaluation, prints its table and gives it to a tracker; see :class:`MalignancyReport`.

    There are pictures with ``data`` alone, and what the class was read from with the ``network`` that read it.
    """
    pictures = (lambda names: pictures_of(data, names)) if data is not None else None
    result = write_nodule_evaluation(
        output_dir, predictions, others or {}, title=title, seed=seed, n_boot=resamples, pictures=pictures
    )
    if data is not None and network is not None:
        maps = write_nodule_maps(Path(output_dir) / "figures" / "maps.png", network, data, predictions, title)
        result = replace(result, figures=(*result.figures, *([maps] if maps else [])))
    known = predictions.known
    patients = len(set(known.patients))
    printer(f"\n{title}: {len(known)} nodules of {patients} patients with a label, {len(predictions)} predicted")
    if result.metrics:
        printer(f"95 % intervals by resampling patients ({resamples} times, seed {seed})\n\n{result.table}\n")
    else:
        printer("No label, no scores.\n")
    written = [*result.files, *result.figures]
    printer("Written:")
    for path in written:
        printer(f"  {path}")
    if tracker is not None:
        if result.metrics:
            tracker.log_metrics_file(result.metrics_path)
        tracker.log_figures(result.figures)
    return result


def pictures_of(data: NoduleData, names: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    """The slice that the outline belongs to, and the outline where there is one: (1 or 2, size, size) uint8 each.

    Of several slices the middle one, of a cube its middle slice, of several views the first, of colours the first.
    """
    place = {name: index for index, name in enumerate(data.arrays["name"])}
    views = data.arrays["views"]
    assert isinstance(views, Tensor)
    shown = [data.views.image_channels() // 2]
    if "outline" in data.views.channels:
        shown.append(views.shape[2] - 1)
    chosen = [views[place[name], 0][shown] for name in names]
    return [(view if view.dim() == 3 else view[:, view.shape[1] // 2]).numpy() for view in chosen]
