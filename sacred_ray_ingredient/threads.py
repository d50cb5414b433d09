"""As many threads for numerical libraries as a trial had.

A sum that two threads share is added up in another order than one thread does it, and its last
bits can be others. Ray gives each worker as many threads as the trial has processors.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "OMP_NUM_THREADS"


def restart_with(count: int, is_certain: bool = False) -> None:
    """Start this process anew with a number of threads, unless it has that, or the user chose one.

    Libraries read the number when they are loaded, which they are by now. Does not return where it
    does something.

    Parameters
    ----------
    count
        What the trial had.
    is_certain
        Whether that is recorded, and not only to be expected of its processors; then it is taken
        in spite of what the user has chosen for other things.
    """
    given = os.environ.get(VARIABLE)
    if given == str(count) or (given is not None and not is_certain):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, {**os.environ, VARIABLE: str(count)})  # noqa: S606


def thread_note(count: int | None) -> list[str]:
    """Say if this process uses another number of threads.

    Parameters
    ----------
    count
        What the trial had; None where that is not known.
    """
    given = os.environ.get(VARIABLE)
    if count is None or given == str(count):
        return []
    now = "as many as there are processors" if given is None else given
    return [
        f"The trial used {count} {'thread' if count == 1 else 'threads'} for numerical libraries; "
        f"this process uses {now}, which can change last bits: {VARIABLE}={count} would be the "
        "same."
    ]
