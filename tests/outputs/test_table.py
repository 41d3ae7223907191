from __future__ import annotations

import json
import math

from monai_staging.metrics.intervals import Estimate
from monai_staging.outputs.table import metrics_table, write_metrics

METRICS = {
    "t_accuracy": Estimate(0.8125, 0.7, 0.91, 48),
    "t_majority_accuracy": Estimate(0.4, 0.3, 0.5, 48),
    "t_quadratic_kappa": Estimate(0.75, 0.6, 0.9, 48),
    "t_ece": Estimate(0.1, 0.05, 0.2, 48),
    "m_accuracy": Estimate(1.0, 1.0, 1.0, 40),
    "m_auroc": Estimate(math.nan, math.nan, math.nan, 40),
    "group_accuracy": Estimate(0.7, 0.5, 0.8, 30),
    "group_majority_accuracy": Estimate(1.0, 1.0, 1.0, 30),
}


def test_rows_columns_and_cells():
    first, second, _ = metrics_table(METRICS).split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first.splitlines()]
    assert rows[0] == ["", "n", "accuracy", "majority class", "balanced accuracy", "macro-F1"]
    assert rows[2] == ["T", "48", "0.81 [0.70, 0.91]", "0.40 [0.30, 0.50]", "-", "-"]
    assert [row[0] for row in rows[2:]] == ["T", "M", "Stage group"]
    assert "| 0.75 [0.60, 0.90] | -     | 0.10 [0.05, 0.20] |" in second
    assert len({len(line) for line in first.splitlines()}) == 1
    assert max(map(len, first.splitlines() + second.splitlines())) <= 100


def test_a_collapsed_interval_is_explained_once():
    note = metrics_table(METRICS).split("\n\n")[2]
    assert note.startswith("M: the interval of the accuracy has no width")
    assert note.endswith("0.07 for n = 40.")  # the rule of three: 3 / 40
    open_interval = {name: METRICS[name] for name in ("t_accuracy", "group_accuracy", "group_majority_accuracy")}
    assert "no width" not in metrics_table(open_interval)


def test_metrics_json_has_the_contract_and_no_nan(tmp_path):
    path = write_metrics(tmp_path / "out" / "metrics.json", METRICS)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(path.read_text(), parse_constant=refuse)
    assert document["t_accuracy"] == {"value": 0.8125, "low": 0.7, "high": 0.91, "n": 48}
    assert document["m_auroc"] == {"value": None, "low": None, "high": None, "n": 40}
    assert set(document) == set(METRICS)
