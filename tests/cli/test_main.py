"""The command line as a user meets it: help, wrong usage, exit codes, errors."""

from __future__ import annotations

import argparse
import subprocess
import sys
import types
from pathlib import Path

import pytest

from monai_staging import __version__
from monai_staging.cli import main as cli
from monai_staging.errors import DataError, UsageError


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for name, (_, text) in cli.COMMANDS.items():
        assert f"  {name}" in printed
        assert text in printed
    assert "Not a medical device" in printed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"monai-staging {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["--no-such-option"], ["info", "--no-such-option"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: monai-staging" in captured.err


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: monai-staging {name}")


def command_that(outcome: BaseException | int) -> types.ModuleType:
    def run(args: argparse.Namespace) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    module = types.ModuleType("a_command", "Does something.")
    module.run = run  # type: ignore[attr-defined]
    module.add_arguments = lambda parser: None  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(
    ("outcome", "exit_code"),
    [
        (0, 0),
        (1, 1),
        (DataError("Case A: 3 slices missing"), 1),
        (UsageError("edition 5 is unknown"), 2),
    ],
)
def test_exit_code_and_message(
    outcome: Exception | int,
    exit_code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "a_command", command_that(outcome))
    monkeypatch.setitem(cli.COMMANDS, "try", ("a_command", "does something"))
    assert cli.main(["try"]) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (f"monai-staging try: {outcome}\n" if isinstance(outcome, Exception) else "")


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a_command", command_that(ZeroDivisionError("ours")))
    monkeypatch.setitem(cli.COMMANDS, "try", ("a_command", "does something"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["try"])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (PermissionError(13, "Permission denied", "away/file"), "Permission denied: away/file"),
        (PermissionError(13, "Permission denied", "HERE/out/deep/.12.tmp.x.csv"), "Permission denied: out/deep/x.csv"),
        (OSError("no number"), "no number"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: OSError,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if error.filename:
        error.filename = error.filename.replace("HERE", str(tmp_path.resolve()))
    module = command_that(error)
    module.add_arguments = lambda parser: parser.add_argument("path")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_command", module)
    monkeypatch.setitem(cli.COMMANDS, "try", ("a_command", "does something"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["try", "out"]) == 1
    assert capsys.readouterr().err == f"monai-staging try: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("ingest folder RAW FILE", "FILE: the cohort's folder cannot be made (Not a directory)"),
        ("ingest folder RAW FILE/out", "FILE/out: the cohort's folder cannot be made (Not a directory)"),
        ("stage-table t.csv --out FILE/x.csv", "Not a directory: FILE"),
        ("stage-table t.csv --out RAW", "Is a directory: RAW"),
        ("phantom FILE --cases 1 --workers 1 --resolution tiny", "Not a directory: FILE"),
        ("phantom FILE/x --cases 1 --workers 1 --resolution tiny", "Not a directory: FILE"),
    ],
)
def test_an_output_path_that_cannot_be_made_is_one_line(
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("mine")
    (tmp_path / "RAW").mkdir()
    (tmp_path / "t.csv").write_text("t,n,m\n1a,0,0\n")
    assert cli.main(arguments.split()) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("monai-staging")]
    assert len(told) == 1
    assert told[0].startswith(f"monai-staging {arguments.split()[0]}: {message}")
    assert (tmp_path / "FILE").read_text() == "mine"


def test_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "monai_staging.cli", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"monai-staging {__version__}\n")


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        """
import sys, types
from monai_staging.cli import main as cli
command = types.ModuleType("a_command", "Prints much.")
command.add_arguments = lambda parser: None
command.run = lambda args: [print(line) for line in range(1_000_000)] and 0
sys.modules["a_command"] = command
cli.COMMANDS["try"] = ("a_command", "prints much")
sys.exit(cli.main(["try"]))
"""
    )
    done = subprocess.run(
        ["bash", "-c", '"$0" "$1" | true; exit "${PIPESTATUS[0]}"', sys.executable, program],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
