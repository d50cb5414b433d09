"""The recorded attempts of a sweep."""

import pytest

from sacred_ray_ingredient.record.earlier import last_values, read_attempts


@pytest.fixture
def write(database):
    """Return a function that writes a trial's document as a sweep does."""

    def write(run_id, index, attempt=0, segment=0, sweep_id="sweep-1", logged=None, **further):
        sweep = {"sweep_id": sweep_id, "trial_index": index, "attempt": attempt}
        sweep |= {"segment": segment, "configuration": index, "repetition": 0}
        sweep |= {"sampled": {"x": index}, "resolved": {"y": 2}, "named_configs": ["fast"]}
        document = {"_id": run_id, "status": "COMPLETED", "config": {"seed": 5, "x": index}}
        database.runs.insert_one({**document, **further, "meta": {"sweep": sweep}})
        for name, values in (logged or {}).items():
            database.metrics.insert_one({"run_id": run_id, "name": name, "values": values})

    return write


def read(database):
    return read_attempts(database, "runs", "sweep-1")


def test_all_of_a_document_is_there(database, write):
    write(
        3,
        1,
        attempt=2,
        status="FAILED",
        info={"sweep": {"checkpoint": "/here", "stop_reason": "enough"}},
        omniboard={"tags": ["a", "early-stopped"]},
        fail_trace=["Traceback\n", "  in main\n", "ValueError: no\n"],
        result={"acc": 0.5},
        logged={"loss": [3.0, 1.0]},
    )
    (attempt,) = read(database)
    assert (attempt.order, attempt.run_id, attempt.status) == ((1, 2, 0), 3, "FAILED")
    assert (attempt.sampled, attempt.resolved) == ({"x": 1}, {"y": 2})
    assert (attempt.seed, attempt.named_configs) == (5, ("fast",))
    assert attempt.metrics == {"loss": 1.0, "acc": 0.5}
    assert (attempt.checkpoint, attempt.stop_reason) == ("/here", "enough")
    assert attempt.error == "ValueError: no"
    assert attempt.tags == ("a", "early-stopped")


def test_other_sweeps_and_the_sweeps_own_run_are_left_out(database, write):
    write(1, 0, sweep_id="sweep-2")
    database.runs.insert_one({"_id": 2, "meta": {"sweep": {"sweep_id": "sweep-1"}}})
    assert read(database) == []


def test_attempts_come_in_their_order_whatever_their_ids(database, write):
    write(1, 1)
    write(2, 0, attempt=1)
    write(3, 0, attempt=0)
    assert [attempt.order for attempt in read(database)] == [(0, 0, 0), (0, 1, 0), (1, 0, 0)]


def test_a_segment_takes_over_what_those_before_it_had(database, write):
    write(1, 0, logged={"loss": [2.0], "a": [1.0]}, info={"sweep": {"checkpoint": "/one"}})
    write(2, 0, segment=1, logged={"loss": [1.0]})
    write(3, 0, attempt=1)
    _, second, third = read(database)
    assert second.metrics == {"loss": 1.0, "a": 1.0}
    assert second.checkpoint == "/one"
    assert (third.metrics, third.checkpoint) == ({}, None)


def test_a_value_that_is_no_number_is_left_out(database, write):
    write(1, 0, logged={"loss": ["nan"], "empty": []})
    assert read(database)[0].metrics == {}


def test_the_last_value_of_a_metric_with_several_documents_is_in_the_last_one(database):
    series = [
        {"name": "loss (part 3)", "of": "loss", "part": 3, "values": [3.0]},
        {"name": "loss", "values": [1.0]},
        {"name": "loss (part 2)", "of": "loss", "part": 2, "values": [2.0]},
        {"name": "other", "values": [7.0]},
    ]
    database.metrics.insert_many([{"run_id": 1, **metric} for metric in series])
    assert last_values(database.metrics, [1]) == {1: {"loss": 3.0, "other": 7.0}}
    assert last_values(database.metrics, [1], ["loss"]) == {1: {"loss": 3.0}}
