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

from sacred_ray_ingredient.engines.death_words import death_of_actor, in_plain_words

# How Tune separates the errors of a trial in the file that it keeps of them.
_NEXT_ERROR = re.compile(r"^Failure # \d+ \(occurred at [^)\n]*\)\n", re.MULTILINE)


@contextlib.contextmanager
def deaths_of_single_trials() -> Iterator[None]:
    """Let Tune take whatever ends a worker for the death of that worker.

    It ends the whole search where Ray does not call it that, as for a worker that was killed for
    want of memory.
    """
    handle = RayActorManager._actor_task_failed

    def as_death(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, _KNOWN_TO_TUNE):
            exception = RayActorError(error_msg=death_of_actor(exception))
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
    return in_plain_words(_last_error(trial), getattr(trial, "node_lost", None))


def _last_error(trial: Trial) -> str:
    # Tune reads the file where it will be put later; this is where it has just been written.
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):  # no file, no name of one
        return ""
    return _NEXT_ERROR.split(text)[-1].strip()
