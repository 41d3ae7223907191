from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from monai_staging.cli.main import main

ANNOTATIONS = """seriesuid,coordX,coordY,coordZ,diameter_mm,texture
1.1,-10.5,20,-300,6,solid
1.2,30,-40,-250,12,solid
1.2,80,-40,-250,20,ground glass
"""
PREDICTIONS = """seriesuid,coordX,coordY,coordZ,probability
1.1,-10,20,-299,0.9
1.1,-10.5,21,-300,0.3
1.1,60,20,-300,0.8
1.2,30,-42,-250,0.7
1.3,0,0,0,0.6
1.3,5,5,-100,0.95
"""
EXCLUDED = """seriesuid,coordX,coordY,coordZ,diameter_mm
1.3,3,3,-98,-1
"""
SERIES = "1.1\n1.2\n1.3\n1.4\n"
KEYS = ["scans", "lesions", "detected", "false_positives_per_scan", "sensitivity", "low", "high"]
KEYS += ["cpm", "cpm_low", "cpm_high"]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name, text in (
        ("annotations.csv", ANNOTATIONS),
        ("marks.csv", PREDICTIONS),
        ("excluded.csv", EXCLUDED),
        ("seriesuids.csv", SERIES),
    ):
        (tmp_path / name).write_text(text)
    path = str(tmp_path) + "/"
    return ["froc", f"{path}annotations.csv", f"{path}marks.csv", "--series", f"{path}seriesuids.csv"]


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_document(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *files, "--excluded", str(tmp_path / "excluded.csv"), "--bootstrap", "200")
    assert list(found) == KEYS
    assert found["false_positives_per_scan"] == [0.125, 0.25, 0.5, 1, 2, 4, 8]
    assert (found["scans"], found["lesions"], found["detected"]) == (4, 3, 2)
    # Hit, false, hit, false; four scans.
    assert found["sensitivity"] == pytest.approx([1 / 3, *[2 / 3] * 6])
    assert found["cpm"] == pytest.approx((1 / 3 + 6 * 2 / 3) / 7)
    assert all(low <= high for low, high in zip(found["low"], found["high"], strict=True))  # type: ignore[call-overload]
    # Without them the surest mark is false: at 1/8 the curve has climbed no step.
    without = document(capsys, *files, "--bootstrap", "200")
    assert without["sensitivity"] == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])


def test_the_same_seed_gives_the_same_intervals(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    first, again, other = (document(capsys, *files, "--seed", seed) for seed in ("0", "0", "5"))
    assert first == again
    assert {**first, "cpm_low": 0, "low": 0, "high": 0, "cpm_high": 0} == {
        **{**other, "cpm_low": 0, "low": 0, "high": 0, "cpm_high": 0}
    }
    assert document(capsys, *files, "--bootstrap", "0")["low"] == [None] * 7


def test_tab_separated_files_give_the_same(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = document(capsys, *files)
    for name in ("annotations.csv", "marks.csv"):
        path = tmp_path / name
        path.write_text(path.read_text().replace(",", "\t"))
    assert document(capsys, *files) == before


def test_what_people_read(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "froc.png"
    excluded = str(tmp_path / "excluded.csv")
    assert main([*files, "--excluded", excluded, "--figure", str(figure), "--sizes", "6", "15"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for line in (
        "1 marks on excluded findings count neither way",
        "4 scans, 3 nodules, 2 hit by a mark; 2 false positives",
        "95 % intervals over 4 scans, 1000 resamples, seed 0",
        "     1/8  0.3333 [",
        "       8  0.6667 [",
        "     CPM  0.6190 [",
        "by diameter: nodules, hit, CPM, sensitivity at 1 and at 8 FP/scan",
        "  6-15 mm             2      2  0.9286 [",
        "  15 mm and more      1      0  0.0000 [0.0000, 0.0000]   0.0000",
        f"written: {figure}",
    ):
        assert line in captured.out, captured.out
    assert Image.open(figure).size == (990, 810)


def test_nothing_but_the_document_on_stdout(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = tmp_path / "annotations.csv"
    annotations.write_text(annotations.read_text().replace(",12,", ",-1,"))
    marks = tmp_path / "marks.csv"
    marks.write_text(marks.read_text() + "1.4,0,0,0,0.1\n" * 101)
    assert main([*files, "--json", "--figure", str(tmp_path / "froc.png")]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["lesions"] == 3
    assert "1 nodules have a diameter below 0: taken as 10 mm" in captured.err
    assert "1 scans have more than 100 marks" in captured.err and "--max-marks 100" in captured.err
    assert "written: " in captured.err
    assert main([*files, "--json", "--max-marks", "100"]) == 0
    captured = capsys.readouterr()
    # All 101 are alike: the script keeps what is above the 101st, and that is none of them.
    assert "101 marks beyond 100 a scan are left out" in captured.err
    assert "scans have more" not in captured.err


def test_strata_of_a_column(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *files, "--by", "texture")
    assert list(found) == [*KEYS, "strata"]
    strata = found["strata"]
    assert isinstance(strata, dict)
    assert {name: one["lesions"] for name, one in strata.items()} == {"ground glass": 1, "solid": 2}
    assert list(strata["solid"]) == KEYS


def test_patients(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "seriesuids.csv").write_text("seriesuid,patient\n1.1,A\n1.2,A\n1.3,B\n1.4,C\n")
    assert main(files) == 0
    assert "95 % intervals over 3 patients" in capsys.readouterr().out


def test_part_of_the_scans(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "seriesuids.csv").write_text("1.1\n1.4\n")
    assert main([*files, "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Scan 1.2: every scan with a lesion must be on the list of scans" in captured.err
    excluded = str(tmp_path / "excluded.csv")
    assert main([*files, "--part", "--by", "texture", "--excluded", excluded, "--json"]) == 0
    captured = capsys.readouterr()
    assert "of other scans, left out: 2 nodules, 3 marks, 1 excluded findings" in captured.err
    found = json.loads(captured.out)
    assert (found["scans"], found["lesions"], list(found["strata"])) == (2, 1, ["solid"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("marks.csv", "1.3,0,0,0,0.6", "1.9,0,0,0,0.6"), "Scan 1.9: every scan with a mark must be on the list"),
        (("marks.csv", "0.95", "high"), "marks.csv, line 7: probability is a finite number, found 'high'"),
        (("annotations.csv", "diameter_mm", "diameter"), "annotations.csv: No column 'diameter_mm'"),
        (("annotations.csv", ANNOTATIONS.partition("\n")[2], ""), "at least 1 lesion, found 0 in 4 scans"),
        (("seriesuids.csv", "1.4", "1.1"), "1.1 is in lines 1 and 4"),
    ],
)
def test_data_that_is_not_acceptable(
    change: tuple[str, str, str], message: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, old, new = change
    path = tmp_path / name
    path.write_text(path.read_text().replace(old, new))
    assert main([*files, "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("monai-staging froc: ") and message in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--by", "colour"],
        ["--sizes", "10", "6"],
        ["--max-marks", "0"],
        ["--bootstrap", "-1"],
        ["--seed", "-1"],
        ["--excluded", "nothing.csv"],
    ],
)
def test_wrong_usage(arguments: list[str], files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*files, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("monai-staging froc: ")


def test_the_list_of_scans_is_needed(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(files[:3])
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main([*files, "--by", "texture", "--sizes", "6"])
    assert ended.value.code == 2
