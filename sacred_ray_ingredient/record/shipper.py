"""The background thread of a process that brings journals to MongoDB while runs go on."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sacred_ray_ingredient.record.bulk import ship_together
from sacred_ray_ingredient.record.shipment import Shipment

# Seconds between two shipments of a run, and after a failure, doubled each time.
INTERVAL_S = 5.0
# Seconds that a run rests whose id is known without the database: a short one is written once,
# and together with those that end meanwhile.
LINGER_S = 0.25
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_LONGEST_PAUSE_AFTER_REFUSAL_S = 60.0
# Journals that are written together.
_MOST_TOGETHER = 500

# Name of a file beside the journals of a node: its time is when the database could not be reached.
UNREACHABLE = ".unreachable"

_log = logging.getLogger(__name__)


class Shipper:
    """Ships journals, those that are due together, and waits while the database is away.

    Parameters
    ----------
    interval_s
        Seconds between two shipments of a run that goes on.
    linger_s
        Seconds that a run rests which does not wait.

    Attributes
    ----------
    beacon : Path or None
        A file that is touched when the database cannot be reached, so that the driver fetches
        the journals beside it.
    """

    def __init__(self, interval_s: float = INTERVAL_S, linger_s: float = LINGER_S) -> None:
        self._interval_s = interval_s
        self._linger_s = linger_s
        self.beacon: Path | None = None
        self._changed = threading.Condition()
        self._due: dict[Shipment, float] = {}
        # Those that nobody waits for: all that have ended, and those not tried since then.
        self._ended: set[Shipment] = set()
        self._just_ended: set[Shipment] = set()
        self._not_synced: set[Shipment] = set()
        self._own_failures: dict[Shipment, int] = {}
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._sleeps_until = 0.0
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

    def add(self, shipment: Shipment, rests: bool = False) -> None:
        """Begin to ship a journal; it is deleted once the database has all of it.

        Parameters
        ----------
        shipment
            Of the journal.
        rests
            Whether it is not due at once.
        """
        with self._changed:
            self._is_stopping = False
            self._make_due(shipment, time.monotonic() + self._linger_s if rests else 0.0)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="record", daemon=True)
                self._thread.start()

    def hurry(self, shipment: Shipment) -> None:
        """Ship a journal as soon as possible."""
        with self._changed:
            if shipment in self._due:
                self._make_due(shipment, 0.0)

    def finish(self, shipment: Shipment, rests: bool = False) -> None:
        """Ship the rest of a run that has ended, for which nobody waits.

        Its journal is forced to the disk if the database does not take it the next time.

        Parameters
        ----------
        shipment
            Of its journal.
        rests
            Whether it need not be at once.
        """
        with self._changed:
            if shipment in self._due:
                self._ended.add(shipment)
                self._just_ended.add(shipment)
                self._not_synced.add(shipment)
                soon = time.monotonic() + self._linger_s if rests else 0.0
                self._make_due(shipment, min(soon, self._due[shipment]))

    def forget(self, shipment: Shipment) -> None:
        """Leave a journal to somebody else."""
        with self._changed:
            self._forget(shipment)

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
            has_ended = shipment in self._ended or shipment.state.has_ended
            if has_ended and not self.is_failing:
                left = max(deadline - time.monotonic(), 0.0)
                self.wait(shipment, lambda shipment=shipment: shipment.is_complete, left)  # type: ignore[misc]
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
        self._sync(list(self._due))

    def _make_due(self, shipment: Shipment, due: float) -> None:
        self._due[shipment] = due
        # Otherwise the thread wakes in time by itself.
        if max(due, self._retry_at) < self._sleeps_until:
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                group = self._next()
                while not group:
                    if self._is_stopping:
                        self._thread = None
                        return
                    left = self._time_left()
                    self._sleeps_until = float("inf") if left is None else time.monotonic() + left
                    self._changed.wait(left)
                    group = self._next()
                self._sleeps_until = 0.0
            self._ship_group(group)

    def _ship_group(self, group: Sequence[Shipment]) -> None:
        """Ship what is due; together what can be, and one by one what is left."""
        left = list(group)
        if len(group) > 1:
            try:
                left = ship_together(group)
            except Exception as error:
                if _is_away(error):
                    self._put_off(group, error)
                    return
                _log.debug("%d journals one by one: %s", len(group), type(error).__name__)
            alone = set(left)
            self._conclude([shipment for shipment in group if shipment not in alone])
        while left and not self._is_held_up():
            self._ship(left.pop(0))
        with self._changed:
            for shipment in left:  # they are tried when it is time again
                if shipment in self._due:
                    self._due[shipment] = 0.0

    def _is_held_up(self) -> bool:
        return self._is_stopping or time.monotonic() < self._retry_at

    def _ship(self, shipment: Shipment) -> None:
        try:
            shipment.advance()
        except Exception as error:
            # Whatever it is: the run goes on, its journal stays, and it is tried again.
            self._put_off([shipment], error)
            return
        self._conclude([shipment])

    def _conclude(self, shipments: Sequence[Shipment]) -> None:
        """Take note that the database has what was read, and delete journals that are over."""
        refused = []
        for shipment in shipments:
            try:
                if shipment.is_complete:
                    shipment.source.delete()
            except Exception as error:
                refused.append((shipment, error))
        for shipment, refusal in refused:
            self._put_off([shipment], refusal)
        put_off = {shipment for shipment, _ in refused}
        with self._changed:
            for shipment in shipments:
                if shipment in put_off:
                    continue
                self._failures = 0
                self._own_failures.pop(shipment, None)
                if shipment.is_complete:
                    self._forget(shipment)
            self._changed.notify_all()

    def _forget(self, shipment: Shipment) -> None:
        self._due.pop(shipment, None)
        self._own_failures.pop(shipment, None)
        for known in (self._ended, self._just_ended, self._not_synced):
            known.discard(shipment)

    def _put_off(self, shipments: Sequence[Shipment], error: Exception) -> None:
        is_away = _is_away(error)
        name = type(error).__name__
        with self._changed:
            now = time.monotonic()
            if is_away:
                self._failures += 1
                self._retry_at = now + _pause(self._failures, _LONGEST_PAUSE_S)
            for shipment in filter(self._due.__contains__, shipments):
                _log.debug("journal %s: %s: %s", shipment.source.record_id, name, error)
                own = self._own_failures[shipment] = self._own_failures.get(shipment, 0) + 1
                if is_away:
                    self._due[shipment] = self._retry_at
                else:
                    # What the server refuses of one run holds up no other one.
                    shipment.refusal = f"{name}: {error}"
                    self._due[shipment] = now + _pause(own, _LONGEST_PAUSE_AFTER_REFUSAL_S)
            is_long = is_away or any(self._own_failures.get(each, 0) > 1 for each in shipments)
            self._leave_to_others(is_long)
            self._changed.notify_all()
        self._sync(shipments)

    def _leave_to_others(self, is_long: bool) -> None:
        """Let the driver fetch journals, and forget those that it has fetched."""
        if self.beacon is None:
            return
        if is_long:
            with contextlib.suppress(OSError):
                self.beacon.touch()
        for shipment in list(self._due):
            if shipment.source.is_deleted:
                shipment.source.delete()  # its open files
                self._forget(shipment)

    def _sync(self, shipments: Sequence[Shipment]) -> None:
        """Force the journals of ended runs to the disk, which nobody has done so far."""
        for shipment in shipments:
            if shipment in self._not_synced:
                self._not_synced.discard(shipment)
                shipment.source.sync()

    def _next(self) -> list[Shipment]:
        now = time.monotonic()
        if self._is_stopping or not self._due or now < self._retry_at:
            return []
        group = [shipment for shipment, due in self._due.items() if due <= now]
        if not group:
            return []
        group.sort(key=self._due.__getitem__)
        # What has ended by now comes along, so that it is not a group of its own a moment later.
        chosen = set(group)
        group += [shipment for shipment in self._just_ended if shipment not in chosen]
        del group[_MOST_TOGETHER:]
        for shipment in group:
            # Before it is read, so that a call of `hurry` meanwhile has its effect afterwards.
            self._due[shipment] = now + self._interval_s
            self._just_ended.discard(shipment)
        return group

    def _time_left(self) -> float | None:
        if not self._due:
            return None
        due = max(min(self._due.values()), self._retry_at)
        return max(due - time.monotonic(), 0.0)


def _is_away(error: Exception) -> bool:
    from pymongo.errors import ConnectionFailure

    return isinstance(error, ConnectionFailure)


def _pause(failures: int, longest_s: float) -> float:
    return float(min(_FIRST_PAUSE_S * 2 ** min(failures - 1, 20), longest_s))
