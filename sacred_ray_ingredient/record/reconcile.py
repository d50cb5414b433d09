"""Statuses that agree with reality: runs that ended without being able to say so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sacred_ray_ingredient.record.amendments import ending_of
from sacred_ray_ingredient.record.documents import utc_now
from sacred_ray_ingredient.record.processes import is_here, lives
from sacred_ray_ingredient.record.sync import DRIVER_DIED

# A driver elsewhere of which nothing was heard for so long is dead; it writes every few seconds.
_SILENCE_S = 120.0


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
        ending = ending_of(reason, status, utc_now())
        # The status is asked for again: a run that came to its end meanwhile keeps its own.
        changed = runs.update_one({"_id": run["_id"], "status": "RUNNING"}, {"$set": ending})
        if changed.modified_count:
            closed.append(run["_id"])
    return closed


def close_abandoned(database: Any, collection: str) -> list[str]:
    """Close the sweeps whose driver is dead, and their trials, which cannot run without it.

    A driver on this machine is looked for; one elsewhere counts as dead when the database has not
    heard from it for two minutes. What a driver that was only cut off writes later is true again.

    Parameters
    ----------
    database
        A pymongo database.
    collection
        Name of the collection of runs.

    Returns
    -------
    list of str
        Ids of the sweeps.
    """
    runs = database[collection]
    query = {
        "status": "RUNNING",
        "meta.sweep.sweep_id": {"$exists": True},
        "meta.sweep.trial_index": {"$exists": False},
    }
    fields = {"meta.record": 1, "meta.sweep.sweep_id": 1, "heartbeat": 1}
    closed = []
    for outer in runs.find(query, fields):
        record = outer["meta"].get("record") or {}
        if _driver_lives(record, database):
            continue
        sweep_id = outer["meta"]["sweep"]["sweep_id"]
        ending = {"$set": ending_of(DRIVER_DIED, "INTERRUPTED", utc_now())}
        for run in ({"_id": outer["_id"]}, _trials_left_by(sweep_id, outer["_id"])):
            runs.update_many({**run, "status": "RUNNING"}, ending)
        closed.append(sweep_id)
    return closed


def _trials_left_by(sweep_id: str, outer_id: Any) -> dict[str, Any]:
    """Find the trials of a driver, or of one that had no id while its trials began."""
    return {
        "meta.sweep.sweep_id": sweep_id,
        "meta.sweep.trial_index": {"$exists": True},
        "meta.sweep.outer_run_id": {"$in": [outer_id, None]},
    }


def _driver_lives(record: Mapping[str, Any], database: Any) -> bool:
    process = record.get("process") or {}
    if is_here(process):
        return lives(process)
    seen = record.get("seen")
    if seen is None:
        return False
    now = database.command("hello").get("localTime")
    return now is None or (now - seen).total_seconds() < _SILENCE_S


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
    fields = {"status": 1, "meta.sweep": 1}
    found = {}
    # By segment: after an outage, ids are not in the order in which runs began.
    for run in sorted(runs.find(query, fields, sort=[("_id", 1)]), key=_segment_of):
        sweep = run["meta"]["sweep"]
        found[sweep["trial_index"], sweep["attempt"]] = (run["_id"], run["status"])
    return found


def _segment_of(run: Mapping[str, Any]) -> int:
    return int(run["meta"]["sweep"].get("segment") or 0)
