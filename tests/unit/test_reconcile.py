"""Statuses of runs that could not write their own end."""

import datetime

import pytest

from sacred_ray_ingredient.record.reconcile import (
    close_dead_runs,
    note_early_stop,
    recorded_statuses,
)


@pytest.fixture
def runs(database):
    """Trials 0 to 2 of sweep-1, of which 1 has two attempts, and others that are like them."""
    for run_id, sweep_id, trial, attempt, status in [
        (1, "sweep-1", None, None, "RUNNING"),
        (2, "sweep-1", 0, 0, "COMPLETED"),
        (3, "sweep-1", 1, 0, "RUNNING"),
        (4, "sweep-1", 1, 1, "RUNNING"),
        (5, "sweep-1", 2, 0, "RUNNING"),
        (6, "sweep-2", 0, 0, "RUNNING"),
    ]:
        sweep = {"sweep_id": sweep_id}
        if trial is not None:
            sweep |= {"trial_index": trial, "attempt": attempt}
        entry = {"_id": run_id, "status": status, "meta": {"sweep": sweep}, "info": {"kept": 1}}
        database.runs.insert_one(entry)
    return database.runs


def running(runs):
    return [run["_id"] for run in runs.find({"status": "RUNNING"}).sort("_id")]


def test_dead_trials_of_the_sweep_are_closed_and_nothing_else(runs):
    assert close_dead_runs(runs, "sweep-1", "INTERRUPTED", "The end.") == [3, 4, 5]
    assert running(runs) == [1, 6]
    assert runs.find_one({"_id": 2})["status"] == "COMPLETED"


def test_one_trial_alone_can_be_closed(runs):
    assert close_dead_runs(runs, "sweep-1", "FAILED", "The end.", trial_index=1) == [3, 4]
    assert running(runs) == [1, 5, 6]


def test_the_first_trial_alone_can_be_closed(runs):
    assert close_dead_runs(runs, "sweep-1", "FAILED", "The end.", trial_index=0) == []
    assert close_dead_runs(runs, "sweep-2", "FAILED", "The end.", trial_index=0) == [6]


def test_a_closed_run_says_why_and_when(runs):
    close_dead_runs(runs, "sweep-1", "FAILED", "Its worker was lost.")
    run = runs.find_one({"_id": 3})
    assert run["status"] == "FAILED"
    assert run["fail_trace"] == ["Its worker was lost.\n"]
    assert run["info"] == {"kept": 1, "sweep": {"stop_reason": "Its worker was lost."}}
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    assert abs(now - run["stop_time"]) < datetime.timedelta(minutes=1)


def test_a_run_that_ends_meanwhile_keeps_its_own_end(runs):
    class Racing:
        def find(self, *query):
            return runs.find(*query)

        def update_one(self, query, change):
            runs.update_one({"_id": 3}, {"$set": {"status": "COMPLETED"}})
            return runs.update_one(query, change)

    assert close_dead_runs(Racing(), "sweep-1", "FAILED", "The end.") == [4, 5]
    assert runs.find_one({"_id": 3})["status"] == "COMPLETED"


def test_statuses_are_read_by_trial_and_attempt(runs):
    assert recorded_statuses(runs, "sweep-1") == {
        (0, 0): (2, "COMPLETED"),
        (1, 0): (3, "RUNNING"),
        (1, 1): (4, "RUNNING"),
        (2, 0): (5, "RUNNING"),
    }


def test_of_several_segments_the_last_one_counts(runs):
    meta = {"sweep": {"sweep_id": "sweep-1", "trial_index": 2, "attempt": 0, "segment": 1}}
    runs.insert_one({"_id": 9, "status": "COMPLETED", "meta": meta})
    assert recorded_statuses(runs, "sweep-1", trial_index=2) == {(2, 0): (9, "COMPLETED")}


class TestEarlyStop:
    def test_of_a_paused_run_is_noted(self, runs):
        runs.update_one({"_id": 3}, {"$set": {"omniboard.tags": ["trial", "paused"]}})
        note_early_stop(runs, 3, "It was not continued.")
        run = runs.find_one({"_id": 3})
        assert run["info"] == {"kept": 1, "sweep": {"stop_reason": "It was not continued."}}
        assert run["omniboard"]["tags"] == ["trial", "paused", "early-stopped"]

    def test_of_another_run_is_not(self, runs):
        runs.update_one({"_id": 4}, {"$set": {"omniboard.tags": ["trial", "paused"]}})
        before = list(runs.find())
        note_early_stop(runs, 3, "It was not continued.")
        assert list(runs.find()) == before
