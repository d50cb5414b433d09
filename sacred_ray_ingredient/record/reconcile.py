"""Statuses that agree with reality: runs that ended without being able to say so."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def telling_of_outages(say: Callable[[str], None]) -> Iterator[None]:
    """Go on with a sweep although the database does not answer, and say so.

    Parameters
    ----------
    say
        Prints a line for the user.
    """
    from pymongo.errors import PyMongoError

    try:
        yield
    except PyMongoError as error:
        reason = str(error).partition(",")[0]
        say(
            f"The MongoDB of the record does not answer ({type(error).__name__}: {reason}); runs "
            "that ended meanwhile may still say RUNNING there."
        )


def close_dead_runs(
    runs: Any, sweep_id: str, status: str, reason: str, trial_index: int | None = None
) -> list[int]:
    """Give their true status to trial runs that are dead and still say RUNNING.

    Parameters
    ----------
    runs
        The pymongo collection of runs.
    sweep_id
        Sweep whose workers are known to be gone.
    status
        What happened to them: one of Sacred's statuses.
    reason
        A sentence that is stored as the run's trace and stop reason.
    trial_index
        Only the runs of this trial; all trials by default.

    Returns
    -------
    list of int
        Ids of the runs that were closed.
    """
    query: dict[str, Any] = {"meta.sweep.sweep_id": sweep_id, "status": "RUNNING"}
    query["meta.sweep.trial_index"] = {"$exists": True} if trial_index is None else trial_index
    closed = []
    for run in runs.find(query, {"_id": 1}):
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        ending = {
            "status": status,
            "stop_time": now,
            "fail_trace": [reason + "\n"],
            "info.sweep.stop_reason": reason,
        }
        # The status is asked for again: a run that came to its end meanwhile keeps its own.
        changed = runs.update_one({"_id": run["_id"], "status": "RUNNING"}, {"$set": ending})
        if changed.modified_count:
            closed.append(run["_id"])
    return closed


def note_early_stop(runs: Any, run_id: int | str | None, reason: str) -> None:
    """Say of a trial that was paused, and has ended by now, that it was not continued.

    Parameters
    ----------
    runs
        The pymongo collection of runs.
    run_id
        Of its last segment.
    reason
        Why it was not continued.
    """
    changes = {
        "$set": {"info.sweep.stop_reason": reason},
        "$addToSet": {"omniboard.tags": "early-stopped"},
    }
    runs.update_one({"_id": run_id, "omniboard.tags": "paused"}, changes)


def recorded_statuses(
    runs: Any, sweep_id: str, trial_index: int | None = None
) -> dict[tuple[int, int], tuple[int, str]]:
    """Read how the attempts of a sweep's trials ended.

    Parameters
    ----------
    runs
        The pymongo collection of runs.
    sweep_id
        The sweep.
    trial_index
        Only of this trial; of all trials by default.

    Returns
    -------
    dict
        Run id and status by trial index and attempt; of the last segment of each.
    """
    query: dict[str, Any] = {"meta.sweep.sweep_id": sweep_id}
    query["meta.sweep.trial_index"] = {"$exists": True} if trial_index is None else trial_index
    fields = {"status": 1, "meta.sweep.trial_index": 1, "meta.sweep.attempt": 1}
    found = {}
    for run in runs.find(query, fields, sort=[("_id", 1)]):
        sweep = run["meta"]["sweep"]
        found[sweep["trial_index"], sweep["attempt"]] = (run["_id"], run["status"])
    return found
