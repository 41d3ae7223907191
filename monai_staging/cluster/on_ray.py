"""On the nodes of a Ray cluster (extra ``[ray]``), where workers and nodes may be lost."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from monai_staging.cluster.worker import Folder, Raised, Setting, work
from monai_staging.cohort.pool import WorkerDied
from monai_staging.errors import DataError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

TRIES = 3
"""An item that has lost so many workers is taken to be the reason."""
AHEAD = 64
"""Items that are with the cluster at least: those that wait tell its autoscaler that more nodes would be used."""
PATIENCE_S = 20.0
"""After so long without a result it is asked whether there still is a node that can do the work."""
_NAME = "monai-staging"  # of the tasks in Ray's lists and logs, where no case may be named
_ADDRESS = re.compile(r"auto|[^\s/]+:\d+")


@dataclass(frozen=True)
class RayExecutor:
    """On a Ray cluster that this process is connected to, see :func:`connect`.

    Attributes:
        cpus: that each worker takes.
        gpus: likewise; ``0.25`` puts four workers on a GPU. 0 for none.
    """

    cpus: int = 1
    gpus: float = 0.0

    @property
    def workers(self) -> int:
        """As many as the nodes that are up have room for."""
        return sum(self._room(node["Resources"]) for node in _nodes())

    @property
    def threads(self) -> int:
        """Of each worker."""
        return self.cpus

    @property
    def machines(self) -> int:
        """Hosts that the cluster's nodes are on."""
        return len({node["NodeManagerHostname"] for node in _nodes()})

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
    ) -> Iterator[tuple[Item, Result | WorkerDied]]:
        """See :meth:`monai_staging.cluster.executor.Executor.run`."""
        waiting = deque((item, 1) for item in items)
        if not waiting:
            return
        with contextlib.ExitStack() as marks:
            folders = [Folder.read_from(path) for path in reads]
            folders += [marks.enter_context(Folder.written_to(path)) for path in writes]
            yield from self._run(function, waiting, Setting.here(folders))

    def check(self) -> None:
        """Raises :class:`UsageError` where no node has what one worker takes: Ray itself would wait for ever."""
        if not self.workers:
            has = {f"{own.get('CPU', 0):g} and {own.get('GPU', 0):g}" for own in (one["Resources"] for one in _nodes())}
            raise UsageError(
                f"Ray: a node with {self.cpus} CPUs and {self.gpus:g} GPUs is needed; the nodes have "
                f"{', '.join(sorted(has)) or 'nothing left'}"
            )

    def _room(self, has: dict[str, float]) -> int:
        room = int(has.get("CPU", 0) // self.cpus)
        if not self.gpus:
            return room
        gpus = int(has.get("GPU", 0))
        # Two workers with .4 of a GPU each share one; a third does not get what is left of several.
        return min(room, gpus * int(1 / self.gpus) if self.gpus < 1 else gpus // int(self.gpus))

    def _run(
        self, function: Callable[[Item], Result], waiting: deque[tuple[Item, int]], setting: Setting
    ) -> Iterator[tuple[Item, Result | WorkerDied]]:
        import ray

        # Ray's own retries would not be counted, told of, or bounded for a worker that runs out of memory. Of a GPU's
        # workers it would end each after one item, with the networks that it has loaded.
        remote = ray.remote(
            name=_NAME,
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            max_retries=0,
            max_calls=0,
            scheduling_strategy="SPREAD",
        )(work)
        ahead = max(AHEAD, 2 * self.workers)
        running: dict[Any, tuple[Item, int]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < ahead:
                    item, tries = waiting.popleft()
                    running[remote.remote(function, item, setting)] = item, tries
                done, _ = ray.wait(list(running), timeout=PATIENCE_S)
                if not done:
                    self._refuse_to_wait()
                for reference in done:
                    item, tries = running.pop(reference)
                    answer = _answer(reference)
                    if isinstance(answer, WorkerDied) and tries < TRIES:
                        _tell("a worker was lost, its item is done again")
                        waiting.append((item, tries + 1))
                    elif isinstance(answer, Raised):
                        raise answer.error
                    else:
                        yield item, answer
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _refuse_to_wait(self) -> None:
        try:
            self.check()
        except UsageError as error:
            raise DataError(f"{error}: nodes were lost. The same command goes on where it was.") from None


@contextlib.contextmanager
def connect(address: str, cpus: int = 1, gpus: float = 0.0) -> Iterator[RayExecutor]:
    """A cluster to work on, until the block ends.

    Args:
        address: HOST:PORT of the cluster, of which this machine is a node, or ``auto`` for the one that runs here.
        cpus: that each worker takes.
        gpus: likewise, also less than one.

    Raises:
        UsageError: Ray is not installed, the address is none, or no node has room for a worker.
        DataError: no cluster answers.
    """
    if not _ADDRESS.fullmatch(address):
        raise UsageError(
            f"--ray takes HOST:PORT of a cluster that this machine is a node of, or auto; found {address!r}"
        )
    if cpus < 1 or gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise UsageError(
            f"Ray: a worker takes 1 CPU or more, and a fraction of a GPU or whole ones; found {cpus} and {gpus:g}"
        )
    # Ray's makers need not know of anyone's studies.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UsageError("--ray needs Ray: pip install 'monai-staging[ray]'") from None
    _knock(address)
    try:
        # Nothing of the workers is printed here: they say what they have to say in their answers.
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise DataError(f"Ray: no cluster answers at {address} ({' '.join(str(error).split())[:300]})") from None
    try:
        executor = RayExecutor(cpus, gpus)
        executor.check()
        _tell(f"{executor.workers} workers on {len(_nodes())} nodes")
        yield executor
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises :class:`DataError` where nobody listens at an address: Ray would try for ever."""
    from ray.util import get_node_ip_address

    found = (os.environ.get("RAY_ADDRESS") or _last_started()) if address == "auto" else address
    if not re.fullmatch(r"\S+:\d+", found):
        return  # none is known here, as Ray will say
    host, _, port = found.rpartition(":")
    # As Ray does: its nodes are not told of each other by names of loopback.
    host = get_node_ip_address() if host in {"localhost", "127.0.0.1", "[::1]"} else host.strip("[]")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise DataError(f"Ray: no cluster answers at {found} ({error})") from None


def _last_started() -> str:
    """Where ``auto`` leads: what was started last on this machine, which may have been killed since."""
    path = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _answer(reference: Any) -> Any:
    """What a worker answered; :class:`WorkerDied` where worker, node or answer was lost."""
    import ray
    from ray import exceptions

    try:
        return ray.get(reference)
    except (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.LocalRayletDiedError,
        exceptions.ObjectLostError,
        exceptions.OutOfMemoryError,
    ):
        return WorkerDied()
    except exceptions.RayError as error:
        # Before our own code ran: the package, or one that it needs, is not installed there.
        last = str(error).strip().splitlines()[-1]
        raise DataError(f"Ray: a worker cannot do the work ({last}). Every node needs the same packages.") from None


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _tell(line: str) -> None:
    print(f"ray: {line}", file=sys.stderr, flush=True)
