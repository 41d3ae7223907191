from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from monai_staging.cli.main import main

KEYS = ["t", "n", "m", "edition", "prefix", "groups"]


def stage(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["stage", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_is_one_document_with_these_keys(capsys: pytest.CaptureFixture[str]) -> None:
    document = stage(capsys, "--t", "cT2a", "--n", "N1", "--m", "0")
    assert list(document) == KEYS
    assert document == {"t": ["T2a"], "n": ["N1"], "m": ["M0"], "edition": "8", "prefix": "c", "groups": ["IIB"]}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--t", "1", "--n", "0", "--m", "0"), "IA1 IA2 IA3"),
        (("--t", "T1c", "--n", "N2", "--m", "M0", "--edition", "9"), "IIB IIIA"),
        (("--t", "T4", "--n", "0", "--m", "0", "--edition", "6"), "IIIB"),
        (("--t", "T4", "--n", "0", "--m", "0", "--edition", "AJCC 7th"), "IIIA"),
        (("--t", "T1a", "--n", "N0"), "IA1 IVA IVB"),
        (("--t", "T1a", "--n", "N0", "--m", "MX"), "IA1 IVA IVB"),
        (("--t", "TX", "--n", "N0", "--m", "M0"), "0 IA1 IA2 IA3 IB IIA IIB IIIA"),
        (("--t", "TX", "--n", "N0", "--m", "M0", "--tx-means", "occult"), "occult"),
        (("--t", "Tis", "--n", "N1", "--m", "M0"), ""),
        (("--t", "X", "--n", "X", "--m", "1c"), "IVB"),
    ],
)
def test_groups(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str) -> None:
    assert stage(capsys, *arguments)["groups"] == expected.split()


def test_prefixes(capsys: pytest.CaptureFixture[str]) -> None:
    assert stage(capsys, "--t", "ypT1a", "--n", "0", "--m", "cM0")["prefix"] == "yp"
    assert stage(capsys, "--t", "T1a", "--prefix", "p")["prefix"] == "p"
    assert main(["stage", "--t", "cT1a", "--prefix", "p"]) == 2
    assert "Prefixes must agree: T 'cT1a' has 'c', the given prefix says 'p'" in capsys.readouterr().err


def test_a_stray_code_is_unknown_and_warned_of_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stage", "--t", "T1c", "--n", "0", "--m", "0", "--edition", "7", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["t"] == ["Tis", "T1a", "T1b", "T2a", "T2b", "T3", "T4"]
    assert "T 'T1c' is no code of the 7th edition" in captured.err


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ("--t", "T2a", "--n", "1"),
            ["M  unknown: any of M0, M1a, M1b, M1c", "Stage group  one of IIB, IVA, IVB (M unknown)"],
        ),
        (
            ("--t", "T2a", "--n", "1", "--m", "0", "--prefix", "p"),
            ["8th edition, p (pathological", "Stage group  IIB\n"],
        ),
        (("--t", "1", "--n", "0", "--m", "0"), ["T  T1mi, T1a, T1b, T1c", "Stage group  one of IA1, IA2, IA3\n"]),
        ((), ["Stage group  any: nothing is excluded"]),
        (("--t", "is", "--n", "1", "--m", "0"), ["Stage group  none: the table has no row for cTis N1 M0"]),
    ],
)
def test_what_people_read(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], lines: list[str]) -> None:
    assert main(["stage", *arguments]) == 0
    out = capsys.readouterr().out
    for line in lines:
        assert line in out


@pytest.mark.parametrize("arguments", [("--edition", "5"), ("--prefix", "a")])
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert main(["stage", "--t", "1", *arguments]) == 2
    assert "must be one of" in capsys.readouterr().err


def test_the_command_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from monai_staging.cli.main import main; main(['stage', '--t', '1', '--n', '0', '--m', '0']);"
        "print(sorted({'numpy', 'pandas', 'torch', 'monai', 'openpyxl'} & set(sys.modules)))"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.stdout.splitlines()[-1] == "[]"
    # Processor time is what the code costs, whatever else the machine does: 0.07 s.
    assert min(seconds) < 0.3
