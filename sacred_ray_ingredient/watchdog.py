"""Ends a trial that takes too long, also one that reports nothing."""

from __future__ import annotations

import ctypes
import datetime
import os
import threading
from collections.abc import Callable
from types import TracebackType

from sacred.run import Run

# As long may the experiment's own clean-up take, before the process is given up.
_PATIENCE_S = 10.0


class TrialTimeout(KeyboardInterrupt):
    """The trial took longer than ``ray.trial_timeout_s``.

    A ``KeyboardInterrupt``, so that an ``except Exception`` of the inner experiment does not
    hold it up; Sacred ends the run with the status.
    """

    STATUS = "TIMEOUT"


class Watchdog:
    """Limits the time of a ``with`` block, by an exception that is raised within it.

    Parameters
    ----------
    seconds
        The limit; None for none.
    give_up
        Called from another thread when the block has not ended some seconds after the exception,
        as happens within a long call of compiled code, which no exception interrupts.
    note
        Called from another thread right before the exception.
    """

    def __init__(
        self,
        seconds: float | None,
        give_up: Callable[[], None],
        note: Callable[[], None] = lambda: None,
    ) -> None:
        self._seconds = seconds
        self._give_up = give_up
        self._note = note
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread_id = threading.get_ident()
        self._raised: type[BaseException] = TrialTimeout

    def __enter__(self) -> Watchdog:
        """Begin to watch the thread that enters."""
        self._thread_id = threading.get_ident()
        if self._seconds is not None:
            threading.Thread(target=self._watch, name="trial-timeout", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching; an exception that is still on its way is taken back."""
        try:
            with self._lock:
                self._ended.set()
                _raise_in_thread(self._thread_id, None)
        except KeyboardInterrupt as late:  # on the way out, so the block was in time
            if not isinstance(late, self._raised):
                raise
            self._ended.set()

    def interrupt(self, exception: type[BaseException], note: Callable[[], None]) -> bool:
        """End the block from another thread, unless it has ended.

        Parameters
        ----------
        exception
            Raised within it; a ``KeyboardInterrupt``.
        note
            Called right before.

        Returns
        -------
        bool
            Whether the block was going on.
        """
        with self._lock:
            if self._ended.is_set():
                return False
            note()
            self._raised = exception
            _raise_in_thread(self._thread_id, exception)
            return True

    def _watch(self) -> None:
        if self._ended.wait(self._seconds):
            return
        self.interrupt(TrialTimeout, self._note)
        if not self._ended.wait(_PATIENCE_S):
            self._give_up()


def _raise_in_thread(thread_id: int, exception: type[BaseException] | None) -> None:
    """Raise an exception in another thread; None takes back one that was not raised yet."""
    raised = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), raised)


def note_reason(run: Run, reason: str) -> None:
    """Write into a run that goes on why it is about to end.

    Parameters
    ----------
    run
        The run.
    reason
        For the record.
    """
    run.info.setdefault("sweep", {})["stop_reason"] = reason


def end_process(run: Run, reason: str) -> None:
    """Record the end of a run that cannot be interrupted, and end its process.

    Parameters
    ----------
    run
        The run that is stuck.
    reason
        For the record.
    """
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    try:
        note_reason(run, reason)
        for observer in run.observers:
            observer.heartbeat_event(run.info, run.captured_out, now, None)
            observer.interrupted_event(interrupt_time=now, status=TrialTimeout.STATUS)
    finally:
        os._exit(1)
