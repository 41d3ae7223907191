"""A Python that has imported what every bundle run imports, and forks for each: `python -m MODULE`, sooner.

Importing takes ten seconds of a core, a run of a tiny bundle one or two. Requests come as JSON lines on standard input.
One that starts a process has module, arguments, folder, environment, and files for what it prints, and is answered with
the process's id; one that waits for a process has that id, and is answered with its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys
import warnings
from typing import Any

IMPORTED = (
    *("torch._dynamo", "monai.bundle", "monai.engines", "monai.handlers", "monai.transforms", "monai.losses"),
    *("monai.networks.nets", "mlflow", "mlflow.cli", "mlflow.pytorch", "mlflow.store.tracking.sqlalchemy_store"),
    *("sklearn.ensemble", "skimage.measure", "matplotlib.pyplot", "networkx", "pandas"),
    *("torch._inductor.ir", "torch._export.serde.serialize"),
)


def run(request: dict[str, Any]) -> int:
    """What `python -m MODULE` would do and return, in this process."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    sys.path[0] = request["folder"]
    if os.environ.get("PYTHONWARNINGS") == "ignore":
        warnings.simplefilter("ignore")
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        # As the interpreter would: a run that is open is ended by a hook there.
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        return 1
    return 0


def forked(request: dict[str, Any]) -> int:
    """`run` in a process and a session of its own, with its coverage where coverage is measured; the process's id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        # A shell's background job inherits an ignored interrupt; a user's does not.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        measured = None
        if "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ:
            import coverage

            if (inherited := coverage.Coverage.current()) is not None:
                inherited.stop()
            measured = coverage.process_startup(force=True)
        import atexit

        code = run(request)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        if measured is not None:
            measured.stop()
            measured.save()
    finally:
        os._exit(code)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints while it is imported is no answer
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        ended = os.waitpid(request["wait"], 0)[1] if "wait" in request else None
        answers.write(f"{forked(request) if ended is None else os.waitstatus_to_exitcode(ended)}\n")
    os._exit(0)  # taking all that was imported down again takes seconds
