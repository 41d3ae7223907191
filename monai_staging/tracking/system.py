"""System metrics (CPU, memory, disk, network, GPU), sampled with MLflow's own monitors.

MLflow's ``SystemMetricsMonitor`` gives up for good when its server is away and needs a run id from it. Its parts are
used here instead: same names, same values, written to the run's journal like everything else.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("monai_staging.tracking")


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    # Each GPU monitor raises where its library or its device is missing.
    with contextlib.suppress(Exception):
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        monitors.append(GPUMonitor())
    with contextlib.suppress(Exception):
        from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

        monitors.append(ROCMMonitor())
    return monitors


class SystemSampler:
    """Samples the machine in a daemon thread.

    Args:
        log: called with ``{"system/...": value}`` and the number of the sample.
        interval_s: seconds between samples; the first comes at once, the last when the sampler stops.
        first_step: number of the first sample (a resumed run counts on).
    """

    def __init__(self, log: Callable[[dict[str, float], int], None], interval_s: float, first_step: int = 0) -> None:
        self._log = log
        self._interval_s = interval_s
        self._step = first_step
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Takes a last sample and ends the thread."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        import psutil

        monitors = _monitors()
        psutil.cpu_percent()  # the first call only sets the start of the interval it measures
        self._stop.wait(min(1.0, self._interval_s))
        while True:
            last = self._stop.is_set()
            try:
                self._sample(monitors)
            except Exception as error:
                logger.warning("System metrics stop: %s", error)
                return
            if last:
                return
            self._stop.wait(self._interval_s)

    def _sample(self, monitors: list[Any]) -> None:
        metrics: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            metrics.update(monitor.aggregate_metrics())
            monitor.clear_metrics()
        self._log({f"system/{key}": float(value) for key, value in metrics.items()}, self._step)
        self._step += 1
