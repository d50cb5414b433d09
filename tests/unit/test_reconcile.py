"""Statuses of runs that could not write their own end."""

import datetime

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from sacred_ray_ingredient.record.processes import this_process
from sacred_ray_ingredient.record.reconcile import (
    close_abandoned,
    close_dead_runs,
    recorded_statuses,
    telling_of_outages,
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


@pytest.mark.parametrize("ids", [range(20, 24), range(23, 19, -1), [22, 20, 23, 21]])
def test_segments_count_by_their_number_whatever_their_ids(runs, ids):
    for run_id, segment in zip(ids, [0, 1, 2, 10], strict=True):
        sweep = {"sweep_id": "sweep-1", "trial_index": 7, "attempt": 0, "segment": segment}
        status = "COMPLETED" if segment == 10 else "INTERRUPTED"
        runs.insert_one({"_id": run_id, "status": status, "meta": {"sweep": sweep}})
    found = recorded_statuses(runs, "sweep-1", trial_index=7)
    assert found == {(7, 0): (ids[-1], "COMPLETED")}


class TestAbandonedSweep:
    NOW = datetime.datetime(2026, 1, 2, 3, 4, 5)

    @pytest.fixture
    def driver(self, runs, database, monkeypatch):
        """Return a function that says who drives sweep-1."""
        hello = {"localTime": self.NOW}
        monkeypatch.setattr(type(database), "command", lambda self, name: hello)
        runs.delete_many({"meta.sweep.sweep_id": "sweep-2"})

        def driver(process=None, seconds_ago=None):
            record = {} if process is None else {"process": process}
            if seconds_ago is not None:
                record["seen"] = self.NOW - datetime.timedelta(seconds=seconds_ago)
            runs.update_one({"_id": 1}, {"$set": {"meta.record": record}})

        return driver

    def dead(self):
        return {**this_process(), "started": "before the boot"}

    def test_is_interrupted_with_its_trials(self, runs, database, driver):
        driver(self.dead(), seconds_ago=1)
        assert close_abandoned(database, "runs") == ["sweep-1"]
        assert running(runs) == []
        for run_id in (1, 3, 4, 5):
            run = runs.find_one({"_id": run_id})
            reason = "The driver process died before the sweep ended."
            assert run["status"] == "INTERRUPTED"
            assert run["fail_trace"] == [reason + "\n"]
            assert run["info"] == {"kept": 1, "sweep": {"stop_reason": reason}}
        assert runs.find_one({"_id": 2})["status"] == "COMPLETED"

    def test_is_closed_once(self, runs, database, driver):
        driver(self.dead())
        close_abandoned(database, "runs")
        before = list(runs.find())
        assert close_abandoned(database, "runs") == []
        assert list(runs.find()) == before

    def test_that_lives_is_left_alone(self, runs, database, driver):
        driver(this_process(), seconds_ago=10**6)
        assert close_abandoned(database, "runs") == []
        assert running(runs) == [1, 3, 4, 5]

    @pytest.mark.parametrize(("seconds_ago", "closed"), [(100, []), (130, ["sweep-1"])])
    def test_elsewhere_is_one_that_was_not_heard_of(self, database, driver, seconds_ago, closed):
        driver({**this_process(), "host": "elsewhere"}, seconds_ago)
        assert close_abandoned(database, "runs") == closed

    def test_of_which_nothing_is_known_is_closed(self, database, driver):
        driver()
        assert close_abandoned(database, "runs") == ["sweep-1"]

    def test_leaves_the_trials_of_one_that_goes_on_with_it(self, runs, database, driver):
        driver(self.dead())
        meta = {"sweep": {"sweep_id": "sweep-1"}, "record": {"process": this_process()}}
        runs.insert_one({"_id": 10, "status": "RUNNING", "meta": meta})
        runs.update_one({"_id": 5}, {"$set": {"meta.sweep.outer_run_id": 10}})
        runs.update_one({"_id": 3}, {"$set": {"meta.sweep.outer_run_id": 1}})
        assert close_abandoned(database, "runs") == ["sweep-1"]
        assert running(runs) == [5, 10]

    def test_other_runs_are_left_alone(self, runs, database, driver):
        driver(this_process())
        runs.insert_one({"_id": 20, "status": "RUNNING"})
        assert close_abandoned(database, "runs") == []
        assert 20 in running(runs)


def test_an_outage_is_told_and_nothing_else_is_hidden():
    lines = []
    with telling_of_outages(lines.append):
        raise ServerSelectionTimeoutError("host:1: refused, Timeout: 3s, Topology ...")
    (line,) = lines
    assert "does not answer (ServerSelectionTimeoutError: host:1: refused); runs that" in line
    with pytest.raises(KeyError, match="other"), telling_of_outages(lines.append):
        raise KeyError("other")
