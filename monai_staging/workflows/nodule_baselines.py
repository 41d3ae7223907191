"""What a network has to beat: a ruler, and a random forest on measured features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.transforms.nodule_features import FEATURES
from monai_staging.workflows.malignancy_report import report_nodules
from monai_staging.workflows.nodule_data import NoduleData

RULER = "largest_area_mm2"
TREES = 500


def _ruler(seed: int) -> Any:
    """Logistic regression on the log of the largest area: its order is the ruler's, its probabilities are fitted."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression(C=1e3))


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(TREES, min_samples_leaf=3, random_state=seed)


# name -> (model, features it sees)
BASELINES: dict[str, tuple[Callable[[int], Any], tuple[str, ...]]] = {
    "ruler": (_ruler, (RULER,)),
    "forest": (_forest, FEATURES),
}


def baseline(name: str, data: NoduleData, seed: int = 0, training: NoduleData | None = None) -> NodulePredictions:
    """Trains a baseline on the training part and predicts the test part.

    Args:
        name: of :data:`BASELINES`.
        data: with both parts; ``binary``.
        seed: of what is random in it.
        training: whose training part is learned from, where it is not ``data``'s.

    Raises:
        UsageError: no such baseline, or a task with other than two classes.
        DataError: the training part holds one class only.
    """
    if name not in BASELINES:
        raise UsageError(f"Baseline: one of {', '.join(BASELINES)} is needed, found {name!r}")
    if data.nodules.task != "binary":
        raise UsageError(f"Baseline {name}: two classes are needed; {data.nodules.name} is {data.nodules.task}")
    make, names = BASELINES[name]
    source = training or data
    inputs, truth = _table(source, source.parts["training"], names)
    if len(np.unique(truth)) < 2:
        raise DataError(f"Baseline {name}: both classes must occur in the training part, found one.")
    test, _ = _table(data, data.parts["test"], names)
    # A nodule without an outline: as the typical one.
    typical = np.nanmedian(inputs, axis=0)
    model = make(seed).fit(_filled(inputs, typical), truth)
    chance = model.predict_proba(_filled(test, typical))[:, 1:]
    records = [data.nodules.records[index] for index in data.parts["test"]]
    labels = [[np.nan] if record.label is None else list(record.label) for record in records]
    return NodulePredictions(
        tuple(record.name for record in records),
        tuple(record.patient for record in records),
        "binary",
        data.nodules.classes,
        np.array(labels, dtype=np.float64),
        chance,
    )


def baselines(
    data: NoduleData, names: tuple[str, ...] = tuple(BASELINES), seed: int = 0
) -> Mapping[str, NodulePredictions]:
    """Several baselines by name; none where the data set has no measured features or other than two classes."""
    measurable = any(record.spacing_mm is not None for record in data.nodules.records)
    if data.nodules.task != "binary" or not measurable:
        return {}
    return {name: baseline(name, data, seed) for name in names}


def _table(data: NoduleData, indices: list[int], names: tuple[str, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    features, labels = data.arrays["features"], data.arrays["label"]
    assert isinstance(features, Tensor) and isinstance(labels, Tensor)
    columns = [FEATURES.index(name) for name in names]
    return features[indices][:, columns].double().numpy(), labels[indices, 0].numpy()


def _filled(values: NDArray[Any], typical: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.isnan(values), typical, values)


def run_baseline(
    name: str, data: NoduleData, output_dir: str, seed: int = 0, resamples: int = 1000, tracker: Any = None
) -> None:
    """Trains a baseline and writes the same report as a network's, as a run of its own."""
    if tracker is not None:
        tracker.start()
    report_nodules(
        output_dir,
        baseline(name, data, seed),
        title=f"{name} on {data.nodules.title}, test part",
        seed=seed,
        resamples=resamples,
        tracker=tracker,
    )
