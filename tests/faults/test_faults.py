"""The quick part of the fault suite: no event lost, no status wrong, no trial run twice."""

import os

import pytest

from tests.faults.faults import FAULTS, make_row
from tests.faults.ground_truth import Comparison, Execution, Kills, compare, read_notes
from tests.faults.table import Row, as_markdown, as_text, complaints

# What CI has the time for; the others are marked.
OFTEN = {"workers-killed", "drivers-killed"}


def _parameters():
    for fault in FAULTS:
        marks = [pytest.mark.integration]
        marks += [] if fault.name in OFTEN else [pytest.mark.long]
        if fault.needs_root:
            marks += [pytest.mark.needs_root]
            marks += [pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")]
        if fault.quick:
            yield pytest.param(fault, id=fault.name, marks=marks)


@pytest.mark.parametrize("fault", list(_parameters()))
def test_nothing_is_lost_and_nothing_is_wrong(fault):
    row = make_row(fault, full=False)
    if row.skipped:
        pytest.skip(row.skipped)
    assert row.passed, "\n".join([as_text([row]), complaints([row])])


# What follows is about the suite itself: it has to see what is wrong.

KEY = ("sweep-1", 0, 0)


@pytest.fixture
def database():
    import mongomock

    database = mongomock.MongoClient()["faults"]
    database.runs.insert_one({"_id": 1, "status": "COMPLETED", "meta": {"sweep": {}}})
    _insert_trial(database, 2)
    return database


def _insert_trial(database, run_id, status="COMPLETED", attempt=0, pid=10):
    place = {"sweep_id": "sweep-1", "trial_index": 0, "attempt": attempt}
    run = {"_id": run_id, "status": status, "captured_out": "one\ntwo\n"}
    run |= {"meta": {"sweep": place}, "info": {"sweep": {"pid": pid}}}
    database.runs.insert_one(run)
    columns = {"steps": [0, 1], "values": [0.5, 0.25], "timestamps": [0, 0]}
    database.metrics.insert_one({"run_id": run_id, "name": "height", **columns})


def _execution(ending="end", key=KEY, begun=0.0, ended=5.0, pid=10):
    scalars = [("height", 0, 0.5), ("height", 1, 0.25)]
    return Execution(key, pid, "x", begun, scalars, ["one", "two"], ending, ended)


def test_a_whole_record_is_clean(database):
    result = compare(database, [_execution()], Kills())
    assert result.clean
    assert (result.sent, result.found) == (4, 4)


def test_a_lost_scalar_is_seen(database):
    columns = {"steps": [0], "values": [0.5], "timestamps": [0]}
    database.metrics.update_one({"run_id": 2}, {"$set": columns})
    result = compare(database, [_execution()], Kills())
    assert (result.sent, result.found, result.clean) == (4, 3, False)
    assert "lacks scalars: 1, the first ('height', 1, 0.25)" in result.problems[0]


def test_a_scalar_that_is_there_twice_is_seen(database):
    columns = {"steps": [0], "values": [0.5], "timestamps": [0]}
    database.metrics.insert_one({"run_id": 2, "name": "height", **columns})
    result = compare(database, [_execution()], Kills())
    assert (result.found, result.duplicates, result.clean) == (4, 1, False)


def test_a_lost_line_is_seen(database):
    database.runs.update_one({"_id": 2}, {"$set": {"captured_out": "one\n"}})
    result = compare(database, [_execution()], Kills())
    assert (result.sent, result.found, result.clean) == (4, 3, False)


@pytest.mark.parametrize(
    ("run_id", "status"), [(1, "RUNNING"), (1, "FAILED"), (2, "RUNNING"), (2, "INTERRUPTED")]
)
def test_a_wrong_status_is_seen(database, run_id, status):
    database.runs.update_one({"_id": run_id}, {"$set": {"status": status}})
    result = compare(database, [_execution()], Kills())
    assert (result.wrong_statuses, result.clean) == (1, False)


@pytest.mark.parametrize(("status", "wrong"), [("FAILED", 0), ("INTERRUPTED", 1), ("COMPLETED", 1)])
def test_a_killed_worker_is_failed_and_nothing_else(database, status, wrong):
    database.runs.update_one({"_id": 2}, {"$set": {"status": status}})
    killed = _execution(ending=None, ended=None)
    assert compare(database, [killed], Kills({10: (4.0, "FAILED")})).wrong_statuses == wrong


@pytest.mark.parametrize(("status", "wrong"), [("INTERRUPTED", 0), ("FAILED", 1), ("RUNNING", 1)])
def test_what_a_killed_driver_took_along_is_interrupted(database, status, wrong):
    database.runs.update_one({"_id": 2}, {"$set": {"status": status}})
    killed = _execution(ending=None, ended=None)
    assert compare(database, [killed], Kills({10: (4.0, "INTERRUPTED")}, 1)).wrong_statuses == wrong


@pytest.mark.parametrize(("death", "wrong"), [(5.3, 0), (6.0, 1)])
def test_only_a_death_right_after_the_end_excuses_that_it_is_not_recorded(database, death, wrong):
    database.runs.update_one({"_id": 2}, {"$set": {"status": "INTERRUPTED"}})
    kills = Kills({10: (death, "INTERRUPTED")}, 1)
    assert compare(database, [_execution(ended=5.0)], kills).wrong_statuses == wrong


def test_an_attempt_without_a_document_is_seen(database):
    other = _execution(key=("sweep-1", 1, 0))
    result = compare(database, [_execution(), other], Kills())
    assert (result.sent, result.found, result.wrong_statuses) == (8, 4, 1)


def test_two_documents_of_one_attempt_are_seen(database):
    _insert_trial(database, 3)
    result = compare(database, [_execution()], Kills())
    assert not result.clean
    assert result.duplicates == 1


def test_a_trial_that_runs_again_after_it_finished_is_seen(database):
    _insert_trial(database, 3, attempt=1)
    again = _execution(key=("sweep-1", 0, 1), begun=10.0, ended=15.0)
    result = compare(database, [_execution(), again], Kills())
    assert (result.run_twice, result.clean) == (1, False)


def test_a_trial_that_runs_again_because_its_worker_was_killed_is_none_run_twice(database):
    database.runs.update_one({"_id": 2}, {"$set": {"status": "FAILED"}})
    _insert_trial(database, 3, attempt=1, pid=11)
    again = _execution(key=("sweep-1", 0, 1), begun=10.0, ended=15.0, pid=11)
    killed = _execution(ending=None, ended=None)
    assert compare(database, [killed, again], Kills({10: (4.0, "FAILED")})).clean


def test_notes_end_with_the_last_whole_line(tmp_path):
    begin = '{"what": "begin", "mono": 1, "execution": "x", "pid": 3, "sweep_id": "s", '
    begin += '"trial_index": 0, "attempt": 0}\n'
    scalar = '{"what": "scalar", "mono": 2, "metric": "cost", "step": 0, "value": 0.5}\n'
    (tmp_path / "3-x.jsonl").write_text(begin + scalar + scalar[:20])
    (execution,) = read_notes(tmp_path)
    assert (execution.scalars, execution.ending) == ([("cost", 0, 0.5)], None)


def test_the_table_has_a_row_for_each_fault():
    rows = [Row("one", 2, Comparison(sent=3, found=2, problems=["a thing"])), Row("two")]
    rows[1].skipped = "only root can"
    assert [row.passed for row in rows] == [False, True]
    assert as_text(rows).splitlines()[2].split() == ["one", "2", "3", "2", "0", "0", "0"]
    assert "| two | not tried: only root can |" in as_markdown(rows)
    assert complaints(rows) == "one: a thing"


def test_a_row_without_any_event_has_not_passed():
    assert not Row("nothing happened", 1).passed
