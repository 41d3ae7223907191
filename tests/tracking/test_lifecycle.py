"""How a process ends, heard from inside it."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys, time
from monai_staging.tracking.lifecycle import ProcessWatch, Terminated
# A shell's background job inherits an ignored SIGINT; a user's does not.
signal.signal(signal.SIGINT, signal.default_int_handler)
def say(*words):
    print(*words, flush=True)
watch = ProcessWatch(lambda error: say("error", type(error).__name__), lambda: say("exit"))
watch.install()
watch.install()
{body}
"""


def run(body: str, number: int | None = None) -> tuple[int, list[str], str]:
    """Runs a process that installs a watch and does ``body``; sends it a signal once it says ready."""
    script = SCRIPT.format(body=textwrap.dedent(body))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = []
        if number is not None:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
        lines += process.stdout.read().split("\n")[:-1]
        errors = process.stderr.read()
    return process.returncode, lines, errors


WAIT = """
    try:
        say("ready")
        time.sleep(60)
    except BaseException as error:
        say("raised", type(error).__name__)
        raise
"""


def test_uncaught_exception_is_heard_and_still_printed() -> None:
    code, lines, errors = run("raise ValueError('oh')")
    assert (code, lines) == (1, ["error ValueError", "exit"])
    assert "ValueError: oh" in errors


def test_plain_end() -> None:
    assert run("")[:2] == (0, ["exit"])
    assert run("sys.exit(3)")[:2] == (3, ["exit"])


def test_sigterm_unwinds_the_stack() -> None:
    code, lines, _ = run(WAIT, signal.SIGTERM)
    assert (code, lines) == (143, ["raised Terminated", "exit"])


def test_interrupt() -> None:
    code, lines, _ = run(WAIT, signal.SIGINT)
    assert lines == ["raised KeyboardInterrupt", "error KeyboardInterrupt", "exit"]
    assert code == -signal.SIGINT


def test_sigterm_that_was_survived_is_not_the_end_of_what_comes_later() -> None:
    body = """
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except Terminated:
            say(watch.terminated is not None)
        watch.uninstall()
        watch.install()
        say(watch.terminated is None)
    """
    assert run(body)[1] == ["True", "True", "exit"]


def test_uninstalled_watch_hears_nothing() -> None:
    body = """
        watch.uninstall()
        watch.uninstall()
        assert sys.excepthook is sys.__excepthook__
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        raise ValueError
    """
    assert run(body)[1] == []


@pytest.mark.parametrize("owner", ["signal.SIG_IGN", "lambda *_: say('theirs')"])
def test_somebody_elses_sigterm_handler_stays(owner: str) -> None:
    body = f"""
        watch.uninstall()
        signal.signal(signal.SIGTERM, {owner})
        watch.install()
        os.kill(os.getpid(), signal.SIGTERM)
        say("alive")
    """
    lines = run(body)[1]
    assert "alive" in lines and "exit" in lines
    assert ("theirs" in lines) == ("theirs" in owner)


def test_forked_worker_neither_reports_nor_survives_sigterm() -> None:
    body = """
        child = os.fork()
        if child == 0:
            time.sleep(60)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        say("child", os.waitpid(child, 0)[1])
        child = os.fork()
        if child == 0:
            raise ValueError  # a worker's error is not this process's
        os.waitpid(child, 0)
    """
    assert run(body)[1] == [f"child {int(signal.SIGTERM)}", "exit"]


def test_import_is_light() -> None:
    script = "import sys, monai_staging.tracking, monai_staging.tracking.sync; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout == "False\n"


def test_sync_is_a_command() -> None:
    command = [sys.executable, "-m", "monai_staging.tracking.sync", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--tracking-uri" in done.stdout


def test_how_a_run_ended_is_told_to_the_end() -> None:
    # The watch is off by then, as at the end of a run.
    body = """
        watch.uninstall()
        with watch.last_words():
            os.kill(os.getpid(), signal.SIGTERM)
            say("told")
        os.kill(os.getpid(), signal.SIGTERM)
        say("never")
    """
    code, lines, errors = run(body)
    assert (code, lines) == (-signal.SIGTERM, ["told"]), errors
