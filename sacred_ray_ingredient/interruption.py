"""Ctrl-C and termination as a request to end a sweep in good order."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


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
    """Remembers that the end was asked for.

    Attributes
    ----------
    signal_number : int or None
        The signal that asked for it.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

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


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM into a request; a second SIGINT interrupts at once.

    Only the main thread can handle signals; elsewhere nothing is changed.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def ask_for_the_end(number: int, frame: FrameType | None) -> None:
        if interruption.requested():
            raise SweepInterrupted(number)
        interruption.signal_number = number
        sys.stderr.write(
            "\nEnding the sweep: running trials are stopped and recorded as INTERRUPTED "
            "(Ctrl-C again to leave at once).\n"
        )
        sys.stderr.flush()

    handled = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, ask_for_the_end) for number in handled}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
