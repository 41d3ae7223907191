"""Takes what a network found in whole scans back to the scans' own voxels: scores, report, masks and lesion tables."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from monai_staging.cohort.lesions import Part, lesion_of_part, paint
from monai_staging.cohort.volume import Volume, read_volume, write_mask
from monai_staging.files import write_json_atomic
from monai_staging.measure.lesion import measure_lesion
from monai_staging.metrics.chest import scan_scores
from monai_staging.outputs.chest import ScanSegmentation, write_chest_evaluation
from monai_staging.outputs.figures_chest import Picture, take_picture
from monai_staging.outputs.segmentation_files import SegmentationEvaluation
from monai_staging.transforms.lesion_parts import LesionParts
from monai_staging.workflows.chest_data import ChestCase
from monai_staging.workflows.collector import EpochCollector


class ScanCollector(EpochCollector):
    """Takes each scan's probabilities to lesions on the scan's own voxels; subclasses say what becomes of them.

    Args:
        parts: makes lesions of probabilities.
    """

    def __init__(self, parts: LesionParts) -> None:
        self.parts = parts

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """One scan."""
        case: ChestCase = batch["case"]
        chance: Tensor = output[Keys.PRED]
        volume = read_volume(case.image)
        self.take(case, volume, self.parts(chance[0, 0], batch["grid"], volume.shape, volume.affine, batch["bound"]))

    @abstractmethod
    def take(self, case: ChestCase, volume: Volume, found: list[Part]) -> None:
        """What was found in a scan, largest first."""


class ChestCollector(ScanCollector):
    """Scores an evaluator's scans; after an epoch its metrics hold ``dice`` and others, means over scans.

    Args:
        parts: makes lesions of probabilities.
    """

    def __init__(self, parts: LesionParts) -> None:
        super().__init__(parts)
        self.scans: list[ScanSegmentation] = []

    def begin(self) -> None:
        """Forgets the epoch before."""
        self.scans.clear()

    def take(self, case: ChestCase, volume: Volume, found: list[Part]) -> None:
        """Scores a scan."""
        self._score(case, volume, found, case.reference())

    def _score(self, case: ChestCase, volume: Volume, found: list[Part], reference: list[Part]) -> None:
        values = scan_scores(found, reference, volume.array, volume.affine, case.edition)
        self.scans.append(ScanSegmentation(case.name, case.patient, values))

    def complete(self, engine: Engine) -> None:
        """The epoch's metrics."""
        for name in ("dice", "found", "false_parts", "t_exact"):
            values = [scan.values[name] for scan in self.scans if not np.isnan(scan.values[name])]
            engine.state.metrics[name] = float(np.mean(values)) if values else float("nan")


class ChestReport(ChestCollector):
    """At the end of an evaluation writes ``metrics.json``, ``predictions.csv`` and a figure, and prints the table.

    Args:
        parts: makes lesions of probabilities.
        output_dir: folder for everything written.
        title: what the data is.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether one is drawn.
        tracker: a tracking handler that is given metrics and figures, if any.
        printer: where lines for the user go.
    """

    unit = "scans"
    """What a row is of."""
    heading = "Lesions in whole scans"
    """Of the figure."""

    def __init__(
        self,
        parts: LesionParts,
        output_dir: str | os.PathLike[str],
        title: str,
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        tracker: Any = None,
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__(parts)
        self.output_dir = Path(output_dir)
        self.title = title
        self.seed, self.resamples = seed, resamples
        self.figures = figures
        self.tracker = tracker
        self.printer = printer
        self.result: SegmentationEvaluation | None = None
        self._pictures: list[Picture] = []

    def begin(self) -> None:
        """Forgets the epoch before."""
        super().begin()
        self._pictures.clear()

    def take(self, case: ChestCase, volume: Volume, found: list[Part]) -> None:
        """Scores a scan, and keeps a picture of it."""
        reference = case.reference()
        self._score(case, volume, found, reference)
        if self.figures:
            self._pictures.append(take_picture(volume.array, volume.affine, found, reference))

    def complete(self, engine: Engine) -> None:
        """Evaluates, writes and prints."""
        super().complete(engine)
        result = self.result = write_chest_evaluation(
            self.output_dir,
            self.scans,
            heading=self.heading,
            title=self.title,
            seed=self.seed,
            n_boot=self.resamples,
            pictures=self._pictures.__getitem__ if self.figures else None,
        )
        patients = len({scan.patient for scan in self.scans})
        self.printer(f"\n{self.title}: {len(self.scans)} {self.unit} of {patients} patients")
        self.printer(f"95 % intervals by resampling patients ({self.resamples} times, seed {self.seed})\n")
        self.printer(f"{result.table}\n\nWritten:")
        for path in (result.metrics_path, result.predictions_path, *result.figures):
            self.printer(f"  {path}")
        if self.tracker is not None:
            self.tracker.log_metrics_file(result.metrics_path)
            self.tracker.log_figures(result.figures)


class ChestInference(ScanCollector):
    """Writes what was found in each scan: a mask on its own voxels, and its lesions with their sizes.

    ``masks/<scan>.nii`` numbers the lesions from 1, largest first; ``lesions.json`` lists them scan by scan: ``label``,
    centre and extents of the box (RAS mm), and what :func:`monai_staging.measure.measure_lesion` gives.

    Args:
        parts: makes lesions of probabilities.
        output_dir: folder for everything written.
        printer: where lines for the user go.
    """

    def __init__(
        self, parts: LesionParts, output_dir: str | os.PathLike[str], printer: Callable[[str], None] = print
    ) -> None:
        super().__init__(parts)
        self.output_dir = Path(output_dir)
        self.printer = printer
        self._lesions: dict[str, list[dict[str, Any]]] = {}

    def begin(self) -> None:
        """Forgets the epoch before."""
        self._lesions.clear()

    def take(self, case: ChestCase, volume: Volume, found: list[Part]) -> None:
        """Writes a scan's mask and measures its lesions."""
        write_mask(self.output_dir / "masks" / f"{case.name}.nii", paint(found, volume.shape), volume.affine)
        self._lesions[case.name] = lesions = []
        for label, part in enumerate(found, start=1):
            lesion = lesion_of_part(part, volume.affine, kind="nodule", label=label)
            size = measure_lesion(part.mask, volume.affine, volume.array[part.box], edition=case.edition)
            place = {"label": label, "center_mm": list(lesion.center_mm), "size_mm": list(lesion.size_mm)}
            lesions.append({**place, **size.to_json()})
        largest = f"the largest {lesions[0]['diameter_3d_mm']:.1f} mm" if lesions else "none"
        self.printer(f"{case.name}: {len(lesions)} lesions, {largest}")

    def complete(self, engine: Engine) -> None:
        """Writes the table of all scans."""
        path = self.output_dir / "lesions.json"
        write_json_atomic(path, self._lesions)
        self.printer(f"Written:\n  {path}\n  {self.output_dir / 'masks'}")
