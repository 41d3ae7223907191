"""Requests in every form in which MLflow hands them on, and those that are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.errors import DataError, UsageError
from monai_staging.tracking.pyfunc.model import ARTIFACT, ROOT_VARIABLE, NodulePyfunc, answer
from monai_staging.tracking.pyfunc.predictor import NodulePredictor
from monai_staging.tracking.pyfunc.settings import NoduleModelSettings
from monai_staging.transforms.nodule_features import FEATURES as NAMES

Maker = Callable[..., NoduleModelSettings]
VIEWS = np.linspace(0, 1, 3 * 2 * 32 * 32, dtype=np.float32).reshape(3, 1, 2, 32, 32)
FEATURES = np.zeros((3, len(NAMES)))


@pytest.fixture
def predictor(make_settings: Maker, make_folder: Callable[..., Path]) -> NodulePredictor:
    return NodulePredictor.load(make_folder(make_settings()))


@pytest.fixture
def nodules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MONAI_STAGING_CACHE", str(tmp_path / "cache"))
    return write_phantom_nodules(tmp_path / "nodules", 2, 1)


def nested(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same as arrays in an array of objects, as tables come from files."""
    made = np.empty(len(array), dtype=object)
    made[:] = list(array)
    return made


@pytest.mark.parametrize(
    "request_",
    [
        VIEWS,
        {"views": VIEWS},
        {"views": VIEWS.tolist(), "path": None},
        pd.DataFrame({"views": list(VIEWS)}),
        pd.DataFrame({"views": VIEWS.tolist()}),
        pd.DataFrame({"views": [VIEWS.tolist()]}),
        pd.DataFrame({"views": [VIEWS[:2], VIEWS[2:]]}),
        pd.DataFrame({"views": [nested(VIEWS)]}),
        pd.DataFrame({"views": list(VIEWS), "path": [None, np.nan, None]}),
        [{"views": one} for one in VIEWS.tolist()],
    ],
)
def test_views_in_any_form_give_the_same(predictor: NodulePredictor, request_: Any) -> None:
    found = answer(predictor, request_)
    assert list(found.columns) == ["p_malignant"]
    np.testing.assert_allclose(found.to_numpy(), predictor.predict(VIEWS), atol=1e-6)


def test_paths_in_any_form_give_a_row_a_nodule(predictor: NodulePredictor, nodules: Path) -> None:
    alone = answer(predictor, str(nodules))
    assert list(alone.columns) == ["row", "nodule", "p_malignant"] and list(alone["nodule"]) == ["0", "1"]
    for request in (
        nodules,
        {"path": str(nodules)},
        [str(nodules)],
        [{"path": str(nodules)}],
        np.array([str(nodules)]),
    ):
        pd.testing.assert_frame_equal(answer(predictor, request), alone)
    for request in (pd.DataFrame({"path": [str(nodules)] * 2}), {"path": [str(nodules)] * 2}):
        twice = answer(predictor, request)
        assert list(twice["row"]) == [0, 0, 1, 1]
        np.testing.assert_allclose(twice["p_malignant"], [*alone["p_malignant"]] * 2)


def test_measured_features_go_along(make_settings: Maker, make_folder: Callable[..., Path]) -> None:
    predictor = NodulePredictor.load(make_folder(make_settings(features=True)))
    found = answer(predictor, pd.DataFrame({"views": list(VIEWS), "features": FEATURES.tolist()}))
    np.testing.assert_allclose(found.to_numpy(), predictor.predict(VIEWS, FEATURES), atol=1e-6)
    # What JSON has for a feature that could not be measured.
    holes = [[None, *row[1:]] for row in FEATURES.tolist()]
    expected = predictor.predict(VIEWS, np.array(holes, dtype=np.float32))
    np.testing.assert_allclose(answer(predictor, {"views": VIEWS, "features": holes}).to_numpy(), expected)


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        ({}, UsageError, "found neither"),
        (pd.DataFrame({"image": [1]}), UsageError, "found image"),
        ({"views": VIEWS, "path": "x"}, UsageError, "found views, path"),
        (3, UsageError, "found int"),
        ([], UsageError, "found list"),
        ({"path": ""}, UsageError, "a path is a text"),
        ({"path": [3]}, UsageError, "a path is a text"),
        ({"views": VIEWS[0, 0]}, DataError, "4 axes a nodule, found 3"),
        ({"views": "picture.png"}, DataError, "array of numbers in every row"),
        (pd.DataFrame({"views": [VIEWS[0], VIEWS[0, :, :, :16]]}), DataError, "same shape in every row"),
        ({"path": "no/such/place"}, DataError, "no such file or folder"),
    ],
)
def test_other_requests_are_refused(
    predictor: NodulePredictor, request_: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        answer(predictor, request_)


def test_paths_outside_the_root_are_refused(
    predictor: NodulePredictor, nodules: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(nodules.parent))
    assert len(answer(predictor, str(nodules))) == 2
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "served"))
    link = tmp_path / "served" / "link"
    link.parent.mkdir()
    link.symlink_to(nodules)
    for path in (nodules, link, tmp_path / "served" / ".." / "nodules", tmp_path / "no-such"):
        with pytest.raises(UsageError, match=f"must lie under {ROOT_VARIABLE}"):
            answer(predictor, str(path))


def test_refusals_reach_a_client_as_its_own_mistake(make_settings: Maker, make_folder: Callable[..., Path]) -> None:
    model = NodulePyfunc()
    model.load_context(SimpleNamespace(artifacts={ARTIFACT: str(make_folder(make_settings()))}))
    assert len(model.predict(None, pd.DataFrame({"views": list(VIEWS)}))) == 3
    with pytest.raises(MlflowException, match="0 to 1") as refused:
        model.predict(None, pd.DataFrame({"views": list(255 * VIEWS)}))
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE" and refused.value.get_http_status_code() == 400
