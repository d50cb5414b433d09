"""Workers that died: told apart in plain words, and none of them ends the whole search."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.experiment import Trial

_DIED = "the worker process died"
# How Tune separates the errors of a trial in the file that it keeps of them.
_NEXT_ERROR = re.compile(r"^Failure # \d+ \(occurred at [^)\n]*\)\n", re.MULTILINE)
_OF_AN_ACTOR = "The actor "
# Ray names memory as a possible cause of every death; this is said where it was the cause.
_OUT_OF_MEMORY = "running low on memory"
_MEMORY = re.compile(r"was ([\d.]+) ?GB used / ([\d.]+) ?GB")
_NODE_LOST = re.compile(r"\b(its|the actor's) node (has )?died|node was terminated", re.IGNORECASE)

# Ray finds out whether a node is lost when it has been silent for a while; Tune does not wait.
_OUT_OF_REACH = "is temporarily unavailable"


@contextlib.contextmanager
def deaths_of_single_trials() -> Iterator[None]:
    """Let Tune take whatever ends a worker for the death of that worker.

    It ends the whole search where Ray does not call it that, as for a worker that was killed for
    want of memory.
    """
    handle = RayActorManager._actor_task_failed

    def as_death(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, _KNOWN_TO_TUNE):
            exception = RayActorError(error_msg=f"{_OF_AN_ACTOR}died: {exception}")
        handle(manager, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = as_death
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = handle


_KNOWN_TO_TUNE = (RayActorError, RayTaskError)


def why(trial: Trial) -> str:
    """Say why an attempt ended without a last report.

    Parameters
    ----------
    trial
        One that has just failed.
    """
    return in_plain_words(_last_error(trial))


def in_plain_words(error: str) -> str:
    """Say in a few words what Ray says in many.

    Parameters
    ----------
    error
        Ray's text; empty where it is not known.
    """
    if not error:
        return _DIED
    if _OUT_OF_MEMORY in error:
        used = _MEMORY.search(error)
        amounts = f" ({used[1]} GB of the {used[2]} GB of its node were in use)" if used else ""
        return f"{_DIED}: out of memory{amounts}"
    if _NODE_LOST.search(error):
        return f"{_DIED}: its node was lost"
    if _OUT_OF_REACH in error:
        return f"{_DIED}, or its node was lost"
    if error.startswith(_OF_AN_ACTOR):
        return _DIED
    return error.rpartition("\n")[2]


def _last_error(trial: Trial) -> str:
    # Tune reads the file where it will be put later; this is where it has just been written.
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):  # no file, no name of one
        return ""
    return _NEXT_ERROR.split(text)[-1].strip()
