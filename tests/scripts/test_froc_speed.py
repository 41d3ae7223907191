from __future__ import annotations

import importlib.util
import json
import types
from pathlib import Path

import numpy as np
import pytest

from monai_staging.metrics.froc import froc


@pytest.fixture(scope="module")
def script(repository: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_froc_speed", repository / "scripts" / "froc_speed.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_case_resampled_once_each_and_thrice_each_has_the_same_curve(script: types.ModuleType) -> None:
    case = script.large_case(20, 30, 200)
    whole = froc(*case, n_boot=0)
    again = froc(*script.resampled(*case, np.random.default_rng(1).permutation(20)), n_boot=0)
    thrice = froc(*script.resampled(*case, np.repeat(np.arange(20), 3)), n_boot=0)
    assert whole.cpm.value == again.cpm.value == pytest.approx(thrice.cpm.value)
    assert (thrice.scans, thrice.lesions) == (60, 90)


def test_it_prints_both_times_and_their_ratio(
    script: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--scans", "20", "--lesions", "30", "--marks", "200", "--resamples", "50", "--anew", "5", "--json"]
    monkeypatch.setattr("sys.argv", ["froc_speed.py", *words])
    script.main()
    report = json.loads(capsys.readouterr().out)
    assert report["ratio"] == round(report["seconds_a_resample_anew"] / report["seconds_a_resample"], 1)
    assert report["cpm"]["low"] <= report["cpm"]["value"] <= report["cpm"]["high"]
