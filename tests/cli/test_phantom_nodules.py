from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_staging.cli.main import main
from monai_staging.cohort.nodules import load_nodules


def test_nodules_are_made_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "nodules"
    assert main(["phantom", str(out), "--nodules", "9", "--seed", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    nodules = load_nodules(out)
    labels = [record.label for record in nodules.records]
    assert told == {
        "out": str(out),
        "nodules": 9,
        "patients": len({record.patient for record in nodules.records}),
        "seed": 2,
        "counts": {"benign": labels.count((0,)), "malignant": labels.count((1,))},
        "digest": nodules.digest,
    }
    assert sorted(path.name for path in out.iterdir()) == ["lidc_nodules_64.npz", "nodules.csv"]
    assert main(["phantom", str(tmp_path / "again"), "--nodules", "9", "--seed", "2"]) == 0
    assert "9 phantom nodules (synthetic) of" in capsys.readouterr().out
    assert load_nodules(tmp_path / "again").digest == nodules.digest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nodules", "0"], "at least 1 nodule"),
        (["--nodules", "2", "--seed", "-1"], "no negative seed"),
        (["--nodules", "2", "--cases", "3"], "--cases has no meaning"),
        (["--nodules", "2", "--resolution", "tiny"], "--resolution has no meaning"),
        (["--cases", "0"], "must be at least 1"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantom", str(tmp_path / "out"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nodules_that_are_there_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nodules.csv").write_text("mine")
    assert main(["phantom", str(tmp_path), "--nodules", "2"]) == 2
    assert "holds nodules already" in capsys.readouterr().err
    assert (tmp_path / "nodules.csv").read_text() == "mine"


def test_studies_are_still_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["phantom", str(tmp_path), "--cases", "1", "--resolution", "tiny", "--workers", "1"]
    assert main(arguments) == 0
    assert "1 phantoms in" in capsys.readouterr().out
    assert (tmp_path / "clinical.csv").is_file() and not (tmp_path / "nodules.csv").exists()
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cases"] == sum(told["counts"]["t"].values()) == 1
