"""Hears how the process ends: an uncaught exception, Ctrl-C, SIGTERM, or the plain end of the program."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any


class Terminated(SystemExit):
    """SIGTERM, as an exception: the stack unwinds and the process ends with the usual 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def root_cause(error: BaseException) -> BaseException:
    """The error that happened; MONAI's parser raises one of its own from it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


class ProcessWatch:
    """Calls back when the process ends while it is installed.

    Args:
        on_error: called with an uncaught exception, KeyboardInterrupt included, before Python prints it.
        on_exit: called at interpreter exit.

    Attributes:
        terminated: SIGTERM, if it has come since ``install``. Python ends without a word to ``on_error`` then;
            ``on_exit`` looks here.
    """

    def __init__(self, on_error: Callable[[BaseException], None], on_exit: Callable[[], None]) -> None:
        self._on_error = on_error
        self._on_exit = on_exit
        self._previous_hook: Callable[..., Any] | None = None
        self._handles_sigterm = False
        self._pid = os.getpid()
        self.terminated: Terminated | None = None

    def install(self) -> None:
        """Starts listening. SIGTERM is taken only in the main thread and only where nobody else has taken it."""
        if self._previous_hook is not None:
            return
        self.terminated = None
        self._previous_hook = sys.excepthook
        sys.excepthook = self._hook
        atexit.register(self._exit)
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._sigterm)
            self._handles_sigterm = True

    def uninstall(self) -> None:
        """Stops listening and puts back what was there."""
        if self._previous_hook is None:
            return
        # Bound methods compare equal, they are not identical. Somebody else's later hook stays.
        if sys.excepthook == self._hook:
            sys.excepthook = self._previous_hook
        self._previous_hook = None
        atexit.unregister(self._exit)
        if self._handles_sigterm and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._handles_sigterm = False

    @contextlib.contextmanager
    def last_words(self) -> Iterator[None]:
        """Lets no SIGTERM cut the block short that says how the run ended; Ctrl-C and SIGKILL do.

        What starts many processes, as torchrun does, ends the others at once when one has failed.
        """
        own = threading.current_thread() is threading.main_thread()
        if not own or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            yield
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _hook(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        previous = self._previous_hook or sys.__excepthook__
        try:
            if os.getpid() == self._pid:
                self._on_error(error)
        finally:
            previous(kind, error, trace)

    def _exit(self) -> None:
        if os.getpid() == self._pid:
            self._on_exit()

    def _sigterm(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A forked worker: it ends as it would have without us.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self.terminated = Terminated()
        raise self.terminated
