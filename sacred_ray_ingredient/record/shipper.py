"""The background thread of a process that brings journals to MongoDB while runs go on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sacred_ray_ingredient.record.shipment import Shipment

# Seconds between two shipments of a run, and after a failure, doubled each time.
INTERVAL_S = 5.0
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_LONGEST_PAUSE_AFTER_REFUSAL_S = 60.0

_log = logging.getLogger(__name__)


class Shipper:
    """Ships journals, one after the other, and waits while the database is away.

    Parameters
    ----------
    interval_s
        Seconds between two shipments of a run that goes on.
    """

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._changed = threading.Condition()
        self._due: dict[Shipment, float] = {}
        self._own_failures: dict[Shipment, int] = {}
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._failures = 0
        self._retry_at = 0.0

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._failures > 0

    @property
    def waiting(self) -> int:
        """How many journals are to be shipped."""
        return len(self._due)

    def add(self, shipment: Shipment) -> None:
        """Begin to ship a journal; it is deleted once the database has all of it."""
        with self._changed:
            self._due[shipment] = 0.0
            self._is_stopping = False
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="record", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def hurry(self, shipment: Shipment) -> None:
        """Ship a journal as soon as possible."""
        with self._changed:
            if shipment in self._due:
                self._due[shipment] = 0.0
                self._changed.notify_all()

    def wait(self, shipment: Shipment, is_enough: Callable[[], bool], seconds: float) -> bool:
        """Wait for a shipment, unless the database is away.

        Parameters
        ----------
        shipment
            It is shipped at once.
        is_enough
            Asked after each shipment.
        seconds
            The longest time.

        Returns
        -------
        bool
            Whether it was enough in time.
        """
        deadline = time.monotonic() + seconds
        self.hurry(shipment)
        with self._changed:
            while not is_enough():
                left = deadline - time.monotonic()
                if left <= 0 or self._thread is None:
                    return False
                self._changed.wait(min(left, 1.0))
        return True

    def stop(self, seconds: float = 2.0) -> None:
        """End the thread; what is left stays in the journals.

        Parameters
        ----------
        seconds
            For runs that have ended, unless the database is away.
        """
        deadline = time.monotonic() + seconds
        for shipment in list(self._due):
            if shipment.state.has_ended and not self.is_failing:
                left = max(deadline - time.monotonic(), 0.0)
                self.wait(shipment, lambda shipment=shipment: shipment.is_complete, left)  # type: ignore[misc]
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                shipment = self._next()
                while shipment is None:
                    if self._is_stopping:
                        self._thread = None
                        return
                    self._changed.wait(self._time_left())
                    shipment = self._next()
            self._ship(shipment)

    def _ship(self, shipment: Shipment) -> None:
        try:
            is_over = shipment.advance()
            if is_over:
                shipment.source.delete()
        except Exception as error:
            # Whatever it is: the run goes on, its journal stays, and it is tried again.
            _log.debug("journal %s: %s: %s", shipment.source.record_id, type(error).__name__, error)
            self._put_off(shipment, error)
            return
        with self._changed:
            self._failures = 0
            self._own_failures.pop(shipment, None)
            if is_over:
                self._due.pop(shipment, None)
            self._changed.notify_all()

    def _put_off(self, shipment: Shipment, error: Exception) -> None:
        from pymongo.errors import ConnectionFailure, ServerSelectionTimeoutError

        with self._changed:
            now = time.monotonic()
            own = self._own_failures[shipment] = self._own_failures.get(shipment, 0) + 1
            if isinstance(error, (ConnectionFailure, ServerSelectionTimeoutError)):
                self._failures += 1
                self._retry_at = now + _pause(self._failures, _LONGEST_PAUSE_S)
                self._due[shipment] = self._retry_at
            else:
                # What the server refuses of one run holds up no other one.
                shipment.refusal = f"{type(error).__name__}: {error}"
                self._due[shipment] = now + _pause(own, _LONGEST_PAUSE_AFTER_REFUSAL_S)
            self._changed.notify_all()

    def _next(self) -> Shipment | None:
        now = time.monotonic()
        if self._is_stopping or not self._due or now < self._retry_at:
            return None
        shipment, due = min(self._due.items(), key=lambda item: item[1])
        if due > now:
            return None
        # Before it is read, so that a call of `hurry` meanwhile has its effect afterwards.
        self._due[shipment] = now + self._interval_s
        return shipment

    def _time_left(self) -> float | None:
        if not self._due:
            return None
        due = max(min(self._due.values()), self._retry_at)
        return max(due - time.monotonic(), 0.0)


def _pause(failures: int, longest_s: float) -> float:
    return float(min(_FIRST_PAUSE_S * 2 ** min(failures - 1, 20), longest_s))
