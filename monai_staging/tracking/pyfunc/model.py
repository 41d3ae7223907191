"""The nodule classifier as MLflow calls it: rows with views or paths in, a table of probabilities out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel

from monai_staging.errors import DataError, StagingError, UsageError
from monai_staging.tracking.pyfunc.predictor import NodulePredictor

ARTIFACT = "nodule_model"
"""What the folder with settings and weights is called among a model's artifacts."""
VIEWS, FEATURES, PATH = "views", "features", "path"
"""Columns of a request."""
ROW, NODULE = "row", "nodule"
"""Columns of an answer to paths, before the probabilities."""
ROOT_VARIABLE = "MONAI_STAGING_PATHS_UNDER"
"""Environment variable: a folder that paths of requests must lie in; anywhere where it is not set."""


class NodulePyfunc(PythonModel):
    """Answers a request of views (with measured features, where the networks take them) or of paths, not of both.

    ``views``: of one nodule (V, C, \\*spatial) a row, or of several (B, V, C, \\*spatial). ``path``: a data set a row;
    the answer has a row a nodule, with the request's row and the nodule's name in the data set.
    """

    predictor: NodulePredictor

    def load_context(self, context: Any) -> None:
        """Loads settings and weights."""
        self.predictor = NodulePredictor.load(context.artifacts[ARTIFACT])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A table, ``p_<class>`` for each class.

        Raises:
            MlflowException: ``INVALID_PARAMETER_VALUE`` (status 400 of a server), with what was needed and found.
        """
        try:
            return answer(self.predictor, model_input)
        except StagingError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error


def answer(predictor: NodulePredictor, request: Any) -> pd.DataFrame:
    """The predictions of a request in any of the forms that MLflow hands on.

    Args:
        predictor: the model.
        request: a data frame, mapping or list of rows with columns ``views`` (and ``features``) or ``path``; an array
            of views; a path or several.

    Raises:
        UsageError: neither views nor paths, or both.
        DataError: views of another shape, or no data set of nodules.
    """
    columns = _columns(request)
    if (VIEWS in columns) == (PATH in columns):
        found = ", ".join(columns) or "neither"
        raise UsageError(f"Nodule model: a request has a column {VIEWS!r} or a column {PATH!r}, found {found}")
    if VIEWS in columns:
        shape = predictor.settings.input_shape
        views = _stacked(columns[VIEWS], len(shape), VIEWS)
        features = _stacked(columns[FEATURES], 1, FEATURES) if FEATURES in columns else None
        return pd.DataFrame(predictor.predict(views, features), columns=predictor.settings.columns)
    tables = []
    for row, path in enumerate(_paths(columns[PATH])):
        found_there = predictor.predict_path(path)
        table = pd.DataFrame(found_there.probabilities, columns=predictor.settings.columns)
        table.insert(0, NODULE, list(found_there.names))
        table.insert(0, ROW, row)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _columns(request: Any) -> dict[str, list[Any]]:
    """Column to its cells, without columns that hold nothing."""
    if isinstance(request, str | os.PathLike):
        return {PATH: [request]}
    if isinstance(request, Mapping):
        return {str(name): [cell] for name, cell in request.items() if not _missing(cell)}
    if isinstance(request, pd.DataFrame):
        found = {str(name): list(request[name]) for name in request.columns}
        return {name: cells for name, cells in found.items() if not all(_missing(cell) for cell in cells)}
    if isinstance(request, list) and request and all(isinstance(row, Mapping) for row in request):
        return _columns(pd.DataFrame(request))
    if isinstance(request, list) and request and all(isinstance(row, str | os.PathLike) for row in request):
        return {PATH: request}
    if isinstance(request, np.ndarray):
        return {PATH: [request]} if request.dtype.kind in "UO" else {VIEWS: [request]}
    raise UsageError(f"Nodule model: rows, an array of views or paths are needed, found {type(request).__name__}")


def _missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and np.isnan(cell))


def _stacked(cells: Sequence[Any], rank: int, name: str) -> np.ndarray[Any, Any]:
    """Cells of one nodule or of several each, as one array of all."""
    arrays = []
    for cell in cells:
        try:
            array = np.array(
                cell.tolist() if isinstance(cell, np.ndarray) and cell.dtype == object else cell, np.float32
            )
        except (TypeError, ValueError) as error:
            raise DataError(f"Nodule model: {name} must be an array of numbers in every row: {error}") from error
        if array.ndim not in (rank, rank + 1):
            raise DataError(f"Nodule model: {name} has {rank} axes a nodule, found {array.ndim}")
        arrays.append(array if array.ndim == rank + 1 else array[None])
    if len({array.shape[1:] for array in arrays}) > 1:
        raise DataError(f"Nodule model: {name} must have the same shape in every row")
    return np.concatenate(arrays)


def _paths(cells: Sequence[Any]) -> list[Path]:
    """Where the data sets lie; a served model reads no place outside :data:`ROOT_VARIABLE`'s."""
    texts: list[Any] = []
    for cell in cells:
        texts += list(np.ravel(cell)) if isinstance(cell, np.ndarray | list | tuple) else [cell]
    root = os.environ.get(ROOT_VARIABLE)
    paths = []
    for text in texts:
        if not isinstance(text, str | os.PathLike) or not str(text):
            raise UsageError(f"Nodule model: a path is a text, found {text!r}")
        path = Path(text)
        # Said alike whether it exists or not.
        if root and not path.resolve().is_relative_to(Path(root).resolve()):
            raise UsageError(f"Nodule model: {text}: paths must lie under {ROOT_VARIABLE}")
        paths.append(path)
    return paths
