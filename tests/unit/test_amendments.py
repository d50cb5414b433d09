"""What became of runs that cannot say it themselves."""

import datetime

import pytest

from sacred_ray_ingredient.record.amendments import DIED, NOT_CONTINUED, as_update, ending_of

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)


def amendment(kind, **entries):
    known = {"kind": kind, "sweep_id": "sweep-1", "index": 3, "attempt": 1, "segment": 2}
    return {**known, "status": "FAILED", "reason": "It was lost.", "time": AT, **entries}


def run(run_id, status="RUNNING", tags=(), **sweep):
    known = {"sweep_id": "sweep-1", "trial_index": 3, "attempt": 1, "segment": 2}
    return {
        **{"_id": run_id, "status": status, "meta": {"sweep": {**known, **sweep}}},
        "omniboard": {"tags": list(tags)},
    }


def changed(database, update):
    """Return the runs that an update changes, by id."""
    before = {one["_id"]: one for one in database.runs.find()}
    database.runs.update_many(*update)
    return {one["_id"]: one for one in database.runs.find() if one != before[one["_id"]]}


def test_an_ending_has_status_time_and_reason():
    assert ending_of("It was lost.", "FAILED", AT) == {
        **{"status": "FAILED", "stop_time": AT, "fail_trace": ["It was lost.\n"]},
        "info.sweep.stop_reason": "It was lost.",
    }


def test_one_that_died_ends_all_open_documents_of_the_attempt_and_no_other(database):
    runs = [run(1), run(2, segment=0), run(3, "COMPLETED"), run(4, attempt=0)]
    runs += [run(5, trial_index=4), run(6, sweep_id="sweep-2")]
    database.runs.insert_many(runs)
    found = changed(database, as_update(amendment(DIED, status="TIMEOUT")))
    assert sorted(found) == [1, 2]
    ended = found[1]
    assert (ended["status"], ended["stop_time"]) == ("TIMEOUT", AT)
    assert ended["fail_trace"] == ["It was lost.\n"]
    assert ended["info"] == {"sweep": {"stop_reason": "It was lost."}}


def test_one_that_was_not_continued_is_marked_where_it_was_paused(database):
    paused = {"status": "COMPLETED", "tags": ["trial", "paused"]}
    runs = [run(1, **paused), run(2, "COMPLETED", ["trial"]), run(3, **paused, segment=1)]
    runs += [run(4, **paused, attempt=0), run(5, **paused, trial_index=4)]
    database.runs.insert_many([*runs, run(6, **paused, sweep_id="sweep-2")])
    found = changed(database, as_update(amendment(NOT_CONTINUED)))
    assert list(found) == [1]
    assert found[1]["omniboard"]["tags"] == ["trial", "paused", "early-stopped"]
    assert found[1]["info"] == {"sweep": {"stop_reason": "It was lost."}}
    assert (found[1]["status"], "fail_trace" in found[1]) == ("COMPLETED", False)
    assert changed(database, as_update(amendment(NOT_CONTINUED))) == {}


@pytest.mark.parametrize("kind", ["", "query", None, 7, {"$ne": 1}])
def test_a_kind_that_is_not_known_is_refused(kind):
    with pytest.raises(ValueError, match="an amendment of the unknown kind"):
        as_update(amendment(kind))


@pytest.mark.parametrize("kind", [DIED, NOT_CONTINUED])
@pytest.mark.parametrize("name", ["sweep_id", "index", "attempt", "reason", "status", "segment"])
def test_no_part_of_a_journal_is_an_operator(database, kind, name):
    database.runs.insert_one(run(1, tags=["paused"]))
    try:
        query, changes = as_update(amendment(kind, **{name: {"$ne": "nothing"}}))
    except TypeError:  # no number
        return
    assert not any(isinstance(value, dict) for value in query.values())
    assert not any(isinstance(value, dict) for value in changes["$set"].values())
