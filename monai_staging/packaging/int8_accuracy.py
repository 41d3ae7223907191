"""What 8 bits cost a staging network on patients: both models see the same studies, and differences are paired."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys
from numpy.typing import ArrayLike, NDArray

from monai_staging.errors import DataError
from monai_staging.metrics.intervals import Estimate, FloatArray
from monai_staging.metrics.paired import PairedDifference, paired_difference
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.staging import staging_metrics
from monai_staging.networks.staging import StagingOutput
from monai_staging.outputs.table import text_table
from monai_staging.packaging.export import parser_of
from monai_staging.packaging.onnx_model import Session, session
from monai_staging.progress import progress
from monai_staging.workflows.staging_collector import StagingCollector

LEVELS = {"t": "T", "n": "N", "m": "M", "group": "stage group"}
ORIGINAL, INT8 = "model.onnx", "model_int8.onnx"


@dataclass(frozen=True)
class Scored:
    """A model on a cohort.

    Attributes:
        name: for readers.
        bytes: of its file.
        ms_per_study: median of the network alone.
        accuracy: by level, main categories.
    """

    name: str
    bytes: int
    ms_per_study: float
    accuracy: dict[str, Estimate]


@dataclass(frozen=True)
class Cost:
    """Original and 8-bit model side by side.

    Attributes:
        original: the ONNX model.
        int8: the one with 8-bit convolutions.
        difference: of the accuracies, 8-bit minus original, by level.
        same: share of the studies with the same answer, by level.
        largest_change: of any probability of a class, by level.
        studies: how many.
        title: of the cohort.
    """

    original: Scored
    int8: Scored
    difference: dict[str, PairedDifference]
    same: dict[str, float]
    largest_change: dict[str, float]
    studies: int
    title: str

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""

        def scored(one: Scored) -> dict[str, Any]:
            accuracy = {name: value.to_json() for name, value in one.accuracy.items()}
            return {"bytes": one.bytes, "ms_per_study": one.ms_per_study, "accuracy": accuracy}

        return {
            "data": self.title,
            "studies": self.studies,
            "original": scored(self.original),
            "int8": scored(self.int8),
            "difference": {name: value.to_json() for name, value in self.difference.items()},
            "same_answer": self.same,
            "largest_change": self.largest_change,
        }

    def table(self) -> str:
        """For readers: size, time, accuracies with intervals; paired differences; share of same answers."""
        rows = [
            [one.name, f"{one.bytes / 1e6:.2f} MB", f"{one.ms_per_study:.0f}"]
            + [one.accuracy[level].text() for level in LEVELS]
            for one in (self.original, self.int8)
        ]
        difference = [self.difference[level].text() for level in LEVELS]
        share = self.int8.bytes / self.original.bytes, self.int8.ms_per_study / self.original.ms_per_study
        rows.append(["int8 - original", f"x {share[0]:.2f}", f"x {share[1]:.2f}", *difference])
        rows.append(["same answer", "", "", *(f"{self.same[level]:.3f}" for level in LEVELS)])
        rows.append(
            ["largest change of a probability", "", "", *(f"{self.largest_change[level]:.3f}" for level in LEVELS)]
        )
        return text_table(["", "size", "ms a study", *LEVELS.values()], rows)


def cost_of_int8(
    package: Path,
    dataset_dir: Path,
    cache_dir: Path,
    part: str = "test",
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
    threads: int = 1,
) -> Cost:
    """Runs both models of a package over a part of a cohort, in turns.

    Args:
        package: folder that ``monai-staging package staging OUT --int8`` wrote.
        dataset_dir: the cohort.
        cache_dir: for preprocessed studies.
        part: of the cohort.
        limit: at most so many studies.
        seed: of the bootstrap over patients, and of the permutations.
        resamples: of it.
        threads: that a network computes with.

    Raises:
        DataError: the package has not both models, or the part no study.
    """
    models = package / "models"
    for name in (ORIGINAL, INT8):
        if not (models / name).is_file():
            raise DataError(f"Package {package}: models/{name} is needed, which `package --int8` writes; found none")
    keys = {"dataset_dir": str(dataset_dir), "cache_dir": str(cache_dir), "part": part, "limit": limit, "batch_size": 1}
    parser = parser_of(package, ["evaluate"], **keys)
    prepare, loader = parser.get_parsed_content("prepare_batch"), parser.get_parsed_content("dataloader")
    if len(loader) == 0:
        raise DataError(f"Cohort {dataset_dir}: a study in its part {part} is needed, found 0")
    both = session(models / ORIGINAL, threads), session(models / INT8, threads)
    collectors = [StagingCollector(parser.get_parsed_content("classes")) for _ in both]
    times: list[list[float]] = [[], []]
    for number, batch in enumerate(progress(loader, description="scoring", unit="case")):
        image, _, _, named = prepare(batch)
        inputs = {"image": image.numpy(), "clinical": named["clinical"].numpy()}
        if number == 0:
            for model in both:
                model(inputs)  # the first call sets up
        for model, collector, taken in zip(both, collectors, times, strict=True):
            collector.keep(batch, {Keys.PRED: _answer(model, inputs, taken)})
    predictions = [_complete(collector) for collector in collectors]
    scored = [
        Scored(name, (models / file).stat().st_size, statistics.median(taken), _accuracy(found, seed, resamples))
        for name, file, taken, found in zip(("original", "int8"), (ORIGINAL, INT8), times, predictions, strict=True)
    ]
    title = parser.get_parsed_content("report").title
    differences, same, changes = {}, {}, {}
    for level in LEVELS:
        one, other = (found.levels[level] for found in predictions)
        same[level] = float(np.mean(one.predicted == other.predicted))
        changes[level] = float(np.abs(one.probabilities - other.probabilities).max())
        rows = np.flatnonzero(one.known)
        patients = [predictions[0].patients[row] for row in rows.tolist()]
        arms = other.predicted[rows], one.predicted[rows]
        differences[level] = paired_difference(
            _right, patients, one.truth[rows], *arms, n_boot=resamples, scale="score", seed=seed
        )
    return Cost(scored[0], scored[1], differences, same, changes, len(predictions[0]), title)


def _answer(model: Session, inputs: dict[str, NDArray[Any]], taken: list[float]) -> StagingOutput:
    start = time.perf_counter()
    logits = torch.from_numpy(model(inputs))
    taken.append(1000 * (time.perf_counter() - start))
    # The exported network gives its logits alone.
    nothing = torch.zeros(len(logits), 3, 1)
    return StagingOutput(logits, nothing, nothing, nothing, nothing)


def _complete(collector: StagingCollector) -> StagingPredictions:
    collector.complete(Engine(lambda engine, batch: None))
    assert collector.predictions is not None  # complete() ran
    return collector.predictions


def _accuracy(predictions: StagingPredictions, seed: int, resamples: int) -> dict[str, Estimate]:
    found = staging_metrics(predictions, seed=seed, n_boot=resamples)
    return {level: found[f"{level}_accuracy"] for level in LEVELS}


def _right(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike) -> FloatArray:
    """Weighted accuracy (resamples)."""
    right = (np.asarray(truth) == np.asarray(predicted)).astype(np.float64)
    given = np.asarray(weights, dtype=np.float64)
    total: FloatArray = given @ right / given.sum(axis=-1)
    return total
