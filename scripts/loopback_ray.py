"""A Ray cluster of several nodes on this machine, for loopback only: nobody else reaches it, and nothing is reported.

    python scripts/loopback_ray.py [--nodes 2] [--cpus 1] [--gpus 0]

Prints the address for `--ray`, and stops the cluster when its input ends (Ctrl-D) or it is interrupted. Commands need
the same variable as the nodes, since Ray gives a node the machine's own address otherwise:

    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 monai-staging ingest SOURCE RAW OUT --ray ADDRESS
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile

LOOPBACK = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # what makes Ray listen on loopback on Macs
    "RAY_USAGE_STATS_ENABLED": "0",
}
OBJECT_STORE_BYTES = 80_000_000


def main() -> None:
    """Starts the nodes, waits, and ends them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=1, help="of each node")
    parser.add_argument("--gpus", type=int, default=0, help="of each node")
    chosen = parser.parse_args()
    # Sockets lie in it, whose paths may have no more than about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        # Read when Ray is imported.
        os.environ.update(LOOPBACK, RAY_TMPDIR=folder)
        from ray.cluster_utils import Cluster

        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        cluster = Cluster()
        try:
            for _ in range(chosen.nodes):
                cluster.add_node(
                    node_ip_address="127.0.0.1",
                    num_cpus=chosen.cpus,
                    num_gpus=chosen.gpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                )
            print(cluster.address, flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                sys.stdin.read()
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    main()
