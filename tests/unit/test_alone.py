"""The observer for any Sacred experiment, without a sweep."""

import threading

import pytest

from sacred_ray_ingredient import observe
from sacred_ray_ingredient.errors import DatabaseError
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record.journal import journals_in

URL = "mongodb://unit.test/db"
ADDRESS = MongoAddress("mongodb://unit.test/db", db_name="db")


@pytest.fixture
def observed(target, tmp_path, monkeypatch, make_experiment):
    """Return a function that makes an experiment whose runs are recorded."""
    monkeypatch.setenv("SACRED_RAY_HOME", str(tmp_path))
    monkeypatch.delenv("SACRED_MONGO_URL", raising=False)

    def observed(main, name="unit_ex", **named):
        experiment = make_experiment(main, name)
        observe(experiment, named.pop("url", URL), wait_s=30.0, **named)
        return experiment

    yield observed
    for thread in threading.enumerate():
        if "_bring_what_is_left" in thread.name:
            thread.join(20)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / ".sacred_ray" / "journals"


def run(experiment, **named):
    return experiment.run(options={"--capture": "no"}, **named)


def test_a_run_has_a_true_document(observed, database, folder):
    def main(_run):
        _run.log_scalar("loss", 0.5)
        return 7

    finished = run(observed(main, tags=["mine"]))
    (document,) = database.runs.find()
    assert (document["status"], document["result"]) == ("COMPLETED", 7)
    assert document["omniboard"] == {"tags": ["mine"]}
    assert finished._id == document["_id"] == 1
    assert database.metrics.find_one()["values"] == [0.5]
    assert journals_in(folder) == []


def test_a_run_is_observed_once(observed, database, tmp_path):
    (tmp_path / "weights").write_text("w")
    run(observed(lambda _run: _run.add_artifact(str(tmp_path / "weights"))))
    (document,) = database.runs.find()
    assert [artifact["name"] for artifact in document["artifacts"]] == ["weights"]


def test_a_run_that_fails_says_so(observed, database):
    def main():
        raise ValueError("broken here")

    with pytest.raises(ValueError, match="broken here"):
        run(observed(main))
    (document,) = database.runs.find()
    assert document["status"] == "FAILED"
    assert "broken here" in "".join(document["fail_trace"])


def test_each_run_has_a_document(observed, database):
    results = iter(range(10, 13))
    experiment = observed(lambda: next(results))
    for _ in range(3):
        run(experiment)
    documents = list(database.runs.find())
    assert [document["result"] for document in documents] == [10, 11, 12]
    assert len({document["meta"]["record"]["journal"] for document in documents}) == 3


def test_a_run_within_a_run_has_a_document_of_its_own(observed, database):
    def main(_run, depth=0):
        _run.log_scalar("depth", depth)
        if depth == 0:
            inner = run(experiment, config_updates={"depth": 1})
            assert inner.result == "depth 1"
        _run.log_scalar("depth", depth)
        return f"depth {depth}"

    experiment = observed(main)
    run(experiment)
    documents = list(database.runs.find(sort=[("_id", 1)]))
    assert [(each["status"], each["result"]) for each in documents] == [
        ("COMPLETED", "depth 0"),
        ("COMPLETED", "depth 1"),
    ]
    for document in documents:
        metric = database.metrics.find_one({"run_id": document["_id"]})
        assert metric["values"] == [document["_id"] - 1] * 2


def test_what_earlier_runs_left_is_brought(observed, database, folder, write_journal):
    write_journal("run-old", folder=folder / "runs", address=ADDRESS).close()
    run(observed(lambda: None))
    for thread in threading.enumerate():
        if "_bring_what_is_left" in thread.name:
            thread.join(20)
    statuses = {each["meta"]["record"]["journal"]: each["status"] for each in database.runs.find()}
    assert statuses.pop("old") == "FAILED"
    assert list(statuses.values()) == ["COMPLETED"]


def test_the_address_may_come_from_the_environment(observed, database, monkeypatch):
    monkeypatch.setenv("SACRED_MONGO_URL", "mongodb://unit.test/db")
    run(observed(lambda: 3, url=None))
    assert database.runs.find_one()["result"] == 3


def test_an_address_that_is_none_is_refused(make_experiment):
    with pytest.raises(DatabaseError, match="is not a MongoDB URI"):
        observe(make_experiment(lambda: None), "http://host")
