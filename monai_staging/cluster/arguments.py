"""The arguments by which a command is sent to a Ray cluster."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from monai_staging.errors import UsageError

if TYPE_CHECKING:
    from monai_staging.cluster.executor import Executor


def add_ray_arguments(parser: argparse.ArgumentParser, beside: argparse._MutuallyExclusiveGroup | None = None) -> None:
    """Declares ``--ray`` and what goes with it.

    Args:
        parser: of the command.
        beside: the group of ``--workers``, which cannot be given too.
    """
    group = parser.add_argument_group("on a Ray cluster (extra [ray])")
    (beside or group).add_argument(
        "--ray", metavar="ADDRESS", help="HOST:PORT of the cluster, or auto for the one of this machine"
    )
    group.add_argument("--ray-cpus", type=int, metavar="N", help="CPUs and threads of each worker (default: 1)")
    group.add_argument(
        "--ray-gpus", type=float, metavar="F", help="GPUs of each worker, 0.25 for a quarter of one (default: 0)"
    )


@contextlib.contextmanager
def executor_of(args: argparse.Namespace, local: Executor) -> Iterator[Executor]:
    """Where the command does its work: on the cluster that it was given, else ``local``.

    Raises:
        UsageError: what is for Ray was given without it; see also :func:`monai_staging.cluster.on_ray.connect`.
    """
    if args.ray is None:
        for name in ("ray_cpus", "ray_gpus"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} is of workers on Ray: give --ray ADDRESS too.")
        yield local
        return
    from monai_staging.cluster.on_ray import connect

    cpus = 1 if args.ray_cpus is None else args.ray_cpus
    gpus = 0.0 if args.ray_gpus is None else args.ray_gpus
    with connect(args.ray, cpus, gpus) as executor:
        yield executor
