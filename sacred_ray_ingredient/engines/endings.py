"""Why trials end early: announced by the driver, read by the workers.

A worker only sees that its report does not return. What it is to write into the record, whether
the trial was stopped or paused and why, stands in Ray's key-value store before it gets there.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.experimental import internal_kv

from sacred_ray_ingredient.tasks import Ending, TrialTask

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

_PREFIX = "sacred-ray-ending"


def result_of_attempt(trial: Trial) -> Mapping[str, Any]:
    """Return the last report of the current attempt; Tune keeps that of an earlier one.

    Parameters
    ----------
    trial
        One that Tune knows.
    """
    result: Mapping[str, Any] = trial.last_result or {}
    task = TrialTask.from_config(trial.config)
    return result if result.get("attempt") == task.attempt else {}


class Endings:
    """Why trials were stopped or paused; the driver writes it, a worker reads it.

    Parameters
    ----------
    sweep_id
        The sweep.
    """

    def __init__(self, sweep_id: str) -> None:
        self._sweep_id = sweep_id
        self._starts: Counter[tuple[str, int]] = Counter()
        self._announced: dict[str, Ending] = {}

    def started(self, trial: Trial) -> None:
        """Count a start of a trial; every one after the first of an attempt is a new segment."""
        task = TrialTask.from_config(trial.config)
        self._starts[trial.trial_id, task.attempt] += 1
        if self._announced.pop(trial.trial_id, None) is not None:
            internal_kv._internal_kv_del(_trial_key(self._sweep_id, task))

    def starts(self, trial: Trial) -> int:
        """Return how often the current attempt of a trial was started."""
        return self._starts[trial.trial_id, TrialTask.from_config(trial.config).attempt]

    def announce(self, trial_id: str, task: TrialTask, ending: Ending) -> None:
        """Tell the worker of a trial what is about to happen to it."""
        self._announced[trial_id] = ending
        internal_kv._internal_kv_put(_trial_key(self._sweep_id, task), _to_bytes(ending))

    def announce_to_all(self, reason: str) -> None:
        """Tell all workers why the sweep ends."""
        ending = Ending("interrupt", reason)
        internal_kv._internal_kv_put(_sweep_key(self._sweep_id), _to_bytes(ending))

    def ending(self, trial: Trial) -> Ending | None:
        """Return what was last announced to a trial."""
        return self._announced.get(trial.trial_id)

    def has_ended(self, trial: Trial) -> bool:
        """Tell whether a trial has sent its last report, or was told that it ends."""
        status = result_of_attempt(trial).get("status", "RUNNING")
        return status != "RUNNING" or trial.trial_id in self._announced

    def clear(self) -> None:
        """Take everything out of Ray's store."""
        internal_kv._internal_kv_del(f"{_PREFIX}:{self._sweep_id}:".encode(), del_by_prefix=True)


def _trial_key(sweep_id: str, task: TrialTask) -> bytes:
    """Return where a segment of a trial finds why it ends."""
    return f"{_PREFIX}:{sweep_id}:{task.index}:{task.attempt}:{task.segment}".encode()


def _sweep_key(sweep_id: str) -> bytes:
    return f"{_PREFIX}:{sweep_id}:all".encode()


def _to_bytes(ending: Ending) -> bytes:
    return json.dumps(dataclasses.asdict(ending)).encode()


def announced_ending(sweep_id: str, task: TrialTask) -> Ending:
    """Read in a worker why the trial ends there."""
    found = _announced(_trial_key(sweep_id, task)) or ending_of_sweep(sweep_id)
    return found or Ending("interrupt", "The sweep was ended before this trial was done.")


def ending_of_sweep(sweep_id: str) -> Ending | None:
    """Read in a worker why the whole sweep ends; None as long as it goes on."""
    return _announced(_sweep_key(sweep_id))


def note_taken(sweep_id: str, worker: str, task: TrialTask) -> None:
    """Note in a worker which trial it is about to begin, before the record can know of it."""
    internal_kv._internal_kv_put(_worker_key(sweep_id, worker), _attempt(task))


def was_taken(sweep_id: str, worker: str, task: TrialTask) -> bool:
    """Tell the driver whether a worker that died was about to begin this trial."""
    return bool(internal_kv._internal_kv_get(_worker_key(sweep_id, worker)) == _attempt(task))


def _worker_key(sweep_id: str, worker: str) -> bytes:
    return f"{_PREFIX}:{sweep_id}:worker:{worker}".encode()


def _attempt(task: TrialTask) -> bytes:
    return f"{task.index}:{task.attempt}".encode()


def _announced(key: bytes) -> Ending | None:
    found = internal_kv._internal_kv_get(key)
    return Ending(**json.loads(found)) if found else None
