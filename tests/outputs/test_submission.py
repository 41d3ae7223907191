"""The submission: read back by another reader, in the sample's order, and never sure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

from monai_staging.errors import DataError, UsageError
from monai_staging.outputs.submission import CERTAIN, write_submission


def test_it_is_read_back_and_scored(tmp_path: Path) -> None:
    given = {"b": 0.25, "a": 0.0, "c": 1.0}
    path = write_submission(tmp_path / "submission.csv", given)
    rows = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert rows["id"].tolist() == ["a", "b", "c"] and path.read_text().startswith("id,cancer\n")
    assert rows["cancer"].tolist() == [CERTAIN, 0.25, 1 - CERTAIN]
    # A sure mistake costs what it may, not everything.
    assert log_loss([1, 0, 1], rows["cancer"]) < 3


def test_rows_are_in_the_order_of_the_sample(tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("id,cancer\nc,0.5\na,0.5\n")
    path = write_submission(tmp_path / "out.csv", {"a": 0.1, "c": 0.9}, sample=tmp_path / "sample.csv")
    assert path.read_text() == "id,cancer\nc,0.900000\na,0.100000\n"
    with pytest.raises(UsageError, match="1 of 2 have none, the first is c"):
        write_submission(tmp_path / "out.csv", {"a": 0.1}, sample=tmp_path / "sample.csv")
    with pytest.raises(UsageError, match="2 patients, and there are 3 probabilities"):
        write_submission(tmp_path / "out.csv", {"a": 0.1, "c": 0.9, "d": 0.1}, sample=tmp_path / "sample.csv")
    (tmp_path / "sample.csv").write_text("patient\nc\n")
    with pytest.raises(DataError, match="the column id"):
        write_submission(tmp_path / "out.csv", {"a": 0.1}, sample=tmp_path / "sample.csv")


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1, found"):
        write_submission(tmp_path / "out.csv", {"a": value})
    with pytest.raises(UsageError, match="found none"):
        write_submission(tmp_path / "out.csv", {})
    assert not (tmp_path / "out.csv").exists()
