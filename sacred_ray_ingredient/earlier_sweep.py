"""Sweeps in the database, as a command finds them that goes on with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes, did_you_mean
from sacred_ray_ingredient.mongo.folder import project_folder
from sacred_ray_ingredient.record.reconcile import close_abandoned
from sacred_ray_ingredient.record.sync import sync, wait_for_processes
from sacred_ray_ingredient.record.target import JOURNALS, RecordTarget
from sacred_ray_ingredient.recording import choose_address
from sacred_ray_ingredient.stored_request import StoredRequest, from_text

LAST = "last"
_MOST_IDS_SHOWN = 5
# How long workers may take to end after their driver was killed.
_WORKERS_S = 30.0


@dataclass(frozen=True)
class EarlierSweep:
    """A sweep as its own documents have it.

    Attributes
    ----------
    sweep_id, exp_name : str
        Its names.
    outer_run_ids : tuple
        Its own runs, the first one first.
    request : StoredRequest
        What was asked for last.
    meta : dict
        ``meta.sweep`` of the last of its runs.
    is_running : bool
        Whether a driver works on it.
    """

    sweep_id: str
    exp_name: str
    outer_run_ids: tuple[Any, ...]
    request: StoredRequest
    meta: Mapping[str, Any]
    is_running: bool

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What its trials depended on."""
        return from_text(self.meta.get("fingerprint"))


def find_sweep(runs: Any, wanted: str, outer: str, where: str) -> EarlierSweep:
    """Read the own documents of a sweep.

    Parameters
    ----------
    runs
        The pymongo collection of runs.
    wanted
        Its id, or ``last``.
    outer
        Name of the outer experiment.
    where
        Which database it is, for the sentence.

    Raises
    ------
    ConfigMistakes
        If there is no such sweep.
    """
    own = {
        "meta.sweep.sweep_id": {"$exists": True},
        "meta.sweep.trial_index": {"$exists": False},
        "experiment.name": outer,
    }
    fields = {"meta.sweep.sweep_id": 1}
    if wanted == LAST:
        latest = runs.find_one(own, fields, sort=[("start_time", -1), ("_id", -1)])
        if latest is None:
            raise ConfigMistakes([f"No sweep of {outer!r} is recorded in {where} yet."])
        wanted = latest["meta"]["sweep"]["sweep_id"]
    query = {**own, "meta.sweep.sweep_id": wanted}
    found = list(
        runs.find(query, {"meta.sweep": 1, "status": 1}, sort=[("start_time", 1), ("_id", 1)])
    )
    if not found:
        raise ConfigMistakes([_unknown(runs, wanted, outer, own, where)])
    newest = found[-1]["meta"]["sweep"]
    return EarlierSweep(
        sweep_id=wanted,
        exp_name=newest.get("exp_name", outer),
        outer_run_ids=tuple(run["_id"] for run in found),
        request=StoredRequest.from_text(newest.get("request")),
        meta=newest,
        is_running=any(run.get("status") == "RUNNING" for run in found),
    )


def _unknown(runs: Any, wanted: str, outer: str, own: Mapping[str, Any], where: str) -> str:
    latest = runs.find(own, {"meta.sweep.sweep_id": 1}, sort=[("start_time", -1)])
    ids = list(dict.fromkeys(run["meta"]["sweep"]["sweep_id"] for run in latest.limit(100)))
    listed = ", ".join(ids[:_MOST_IDS_SHOWN])
    there = f"the latest ones are: {listed}" if ids else "there is none"
    return (
        f"There is no sweep {wanted!r} of {outer!r} in {where}{did_you_mean(wanted, ids)}; {there}."
    )


def target_of(
    options: Mapping[str, Any], entry: Mapping[str, Any], asked: bool, unobserved: bool, wanted: str
) -> RecordTarget:
    """Return the database of a sweep that is to go on, with what is still in journals here.

    Parameters
    ----------
    options, entry, asked
        As for `sacred_ray_ingredient.recording.choose_address`.
    unobserved
        Whether the command is not recorded.
    wanted
        The sweep, for the sentence.

    Raises
    ------
    ConfigMistakes, DatabaseError
        If there is no database, or it cannot be used.
    """
    address = None if unobserved else choose_address(options, entry, asked)
    if address is None:
        raise ConfigMistakes(
            [
                f"The sweep {wanted!r} is to go on, but this run is not recorded in MongoDB, where "
                "the sweep is; leave out -u, or add -r to -F."
            ]
        )
    address.check()
    # What the driver or its workers left on this machine belongs to the record too.
    sync(project_folder() / JOURNALS, _say_nothing, only_to=address)
    return RecordTarget(address)


def _say_nothing(line: str) -> None:
    """Leave it to the run, which tells of the same."""


def settled_sweep(target: RecordTarget, wanted: str, outer: str) -> EarlierSweep:
    """Read a sweep that no driver works on, once its record agrees with reality.

    Parameters
    ----------
    target
        From `target_of`.
    wanted
        Id of the sweep, or ``last``.
    outer
        Name of the outer experiment.

    Raises
    ------
    ConfigMistakes
        If there is no such sweep, or it still runs.
    """
    address = target.address
    if address is None:
        raise ValueError("a sweep can only be found in a database")
    runs = target.runs()
    close_abandoned(target.database(), address.collection)
    earlier = find_sweep(runs, wanted, outer, address.describe())
    journals = project_folder() / JOURNALS / earlier.sweep_id
    if earlier.is_running or not wait_for_processes(journals, _WORKERS_S):
        raise ConfigMistakes(
            [
                f"The sweep {earlier.sweep_id} still runs (run {earlier.outer_run_ids[-1]}); wait "
                "for its end, or end it with Ctrl-C there."
            ]
        )
    sync(journals, _say_nothing, only_to=address)
    return earlier
