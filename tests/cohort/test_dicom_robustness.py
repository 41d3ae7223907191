"""Every file of the collection of difficult DICOM files is read with the right pixels, or refused with a reason."""

from __future__ import annotations

import runpy
import sys
from collections import Counter

import pytest


def rows(text: str) -> dict[str, tuple[str, str]]:
    """File -> (outcome, what) of the printed table."""
    cells = (line.strip("| ").split(" | ", 2) for line in text.splitlines() if line.startswith("| "))
    return {name: (outcome, what) for name, outcome, what in list(cells)[2:]}


@pytest.fixture(scope="module")
def script(repository):
    return str(repository / "scripts" / "robustness_table.py")


def run(script, monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    return ended.value.code


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_every_file_is_read_rightly_or_refused_with_a_reason(script, shared_data, monkeypatch, capsys):
    assert run(script, monkeypatch, shared_data / "dicom_robustness") == 0
    table = rows(capsys.readouterr().out)
    assert len(table) == 99
    assert Counter(outcome for outcome, _ in table.values()) == {
        "read": 23,
        "pixels only": 24,
        "refused": 28,
        "skipped": 24,
    }
    for outcome, what in table.values():
        assert outcome != "refused" or "[" in what  # the rule's name
    folder = "dicomParser/testImages/"
    twins = [name for name, (_, what) in table.items() if "pixels equal to uncompressed twin" in what]
    for kind in (
        "big_endian",
        "lossless.57",
        "lossless.70",
        "jpeg_ls.80",
        "rle",
        "fragmented_no_bot",
        "fragmented_bot",
    ):
        assert any(name.startswith(folder) and kind in name for name in twins), kind
    assert any("J2KR" in name for name in twins)
    assert "volume of 23x38x3" in table["dcmqi/data/segmentations/23x38x3/multiframe/mf.dcm"][1]
    masks = [what for _, what in table.values() if "segments equal to" in what]
    assert len(masks) == 11


def test_a_folder_without_archives(script, monkeypatch, tmp_path, capsys):
    assert run(script, monkeypatch, tmp_path) == 2
    assert "No archives" in capsys.readouterr().err
