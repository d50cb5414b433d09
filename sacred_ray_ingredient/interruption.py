"""Ctrl-C and termination as a request to end a sweep in good order."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any


class SweepInterrupted(KeyboardInterrupt):
    """The user ended the sweep; Sacred records its run as INTERRUPTED.

    Parameters
    ----------
    signal_number
        What ended it; the exit code is 128 more, as shells have it.
    """

    STATUS = "INTERRUPTED"

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"ended by signal {signal_number}")
        self.exit_code = 128 + signal_number


class Interruption:
    """Turns signals into a request, for the time of its ``with`` block.

    The first SIGINT or SIGTERM is remembered; another one interrupts at once. Only the main
    thread can handle signals; elsewhere nothing is changed.

    Attributes
    ----------
    signal_number : int or None
        The signal that asked for the end.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        """Begin to handle signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask_for_the_end)
        return self

    def take_back(self) -> None:
        """Handle signals again, after something like ``ray.init`` has taken them over."""
        for number in self._before:
            signal.signal(number, self._ask_for_the_end)

    def __exit__(self, *exception: object) -> None:
        """Leave signals to whom they were left before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _ask_for_the_end(self, number: int, frame: FrameType | None) -> None:
        if self.requested():
            raise SweepInterrupted(number)
        self.signal_number = number
        sys.stderr.write(
            "\nEnding the sweep: running trials are stopped and recorded as INTERRUPTED "
            "(Ctrl-C again to leave at once).\n"
        )
        sys.stderr.flush()

    def requested(self) -> bool:
        """Tell whether the end was asked for."""
        return self.signal_number is not None

    def raise_if_requested(self) -> None:
        """End the sweep's run as interrupted, if that was asked for.

        Raises
        ------
        SweepInterrupted
            If it was.
        """
        if self.signal_number is not None:
            raise SweepInterrupted(self.signal_number)
