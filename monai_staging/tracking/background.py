"""A thread that delivers a journal while the training goes on, and outlives an unreachable server."""

from __future__ import annotations

import logging
import threading
import time

from monai_staging.tracking.delivery import Delivery
from monai_staging.tracking.failures import is_away, reason
from monai_staging.tracking.journal import public_uri

logger = logging.getLogger("monai_staging.tracking")


class BackgroundDelivery:
    """Delivers in a daemon thread; the training never waits for it.

    Args:
        delivery: what to deliver, and where to.
        retry_s: seconds between two tries while the server is away.
    """

    def __init__(self, delivery: Delivery, retry_s: float = 15.0) -> None:
        self.delivery = delivery
        self.retry_s = retry_s
        self.down = False
        self._told = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow-delivery", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Says that there is something new to deliver."""
        self._wake.set()

    def stop(self, drain_s: float) -> bool:
        """Waits at most ``drain_s`` seconds for the rest to arrive; returns whether all of it did."""
        self._stop.set()
        self._wake.set()
        self._thread.join(drain_s)
        return self.delivery.pending == 0

    def _run(self) -> None:
        while True:
            stopping = self._stop.is_set()
            self._wake.clear()
            self._try()
            if stopping:
                return
            if self.down:
                # New facts do not hurry a dead server; only the end of the run does.
                self._stop.wait(self.retry_s)
            else:
                self._wake.wait()

    def _try(self) -> None:
        start = time.monotonic()
        try:
            count = self.delivery.deliver()
        except Exception as error:  # whatever it is, the training is worth more
            self.down = True
            if not self._told:
                self._told = True
                logger.warning(
                    "MLFLOW %s at %s. Training goes on; the run is kept in %s and delivered when the server %s, or by "
                    "`%s`. (%s)",
                    "IS NOT REACHABLE" if is_away(error) else "DOES NOT TAKE THE RUN",
                    public_uri(self.delivery.tracking_uri),
                    self.delivery.journal.path,
                    "is back" if is_away(error) else "takes it",
                    self.delivery.command,
                    reason(error),
                )
            else:
                logger.debug("MLflow still fails after %.1f s", time.monotonic() - start, exc_info=True)
            return
        if self.down:
            logger.warning("MLflow is reachable again: %d records delivered.", count)
            self.down = self._told = False
