"""The comparison of ways to read a sweep: the copies, and the check of what was read."""

import mongomock
import pytest

from benchmarks import reading
from benchmarks.figures import BenchmarkFailed
from sacred_ray_ingredient import results
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record import target as target_module


@pytest.fixture
def filled(target, database, monkeypatch):
    """A sweep of seven trials, of which one was run."""
    monkeypatch.setattr(target_module, "database_at", lambda address: database)
    monkeypatch.setattr(MongoAddress, "check", lambda address: None)
    reading._record_one(target)
    reading._copy_all(database, 7)
    return database


def table(database):
    return results.sweep(reading.SWEEP_ID, MongoAddress("mongodb://unit.test/")).trials


def test_copies_are_what_a_trial_would_have_written(filled):
    first = filled.runs.find_one({"meta.sweep.trial_index": 0})
    for index in range(7):
        run = filled.runs.find_one({"meta.sweep.trial_index": index})
        assert set(run) == set(first)
        (metric,) = filled.metrics.find({"run_id": run["_id"]})
        assert run["info"]["metrics"] == [{"name": "loss", "id": str(metric["_id"])}]
        rate = run["config"]["optimizer"]["lr"]
        assert metric["values"] == pytest.approx([rate * (5 - step) for step in range(5)])
        assert run["result"] == rate
    assert len({run["meta"]["record"]["journal"] for run in filled.runs.find()}) == 8


def test_what_the_package_reads_passes_the_check(filled):
    reading.check(table(filled), 7)


def test_a_table_without_a_trial_does_not(filled):
    filled.runs.delete_one({"meta.sweep.trial_index": 3})
    with pytest.raises(BenchmarkFailed, match="the table is wrong"):
        reading.check(table(filled), 7)


def test_a_table_with_another_value_does_not(filled):
    query = {"run_id": filled.runs.find_one({"meta.sweep.trial_index": 3})["_id"]}
    filled.metrics.update_one(query, {"$push": {"values": 9.0}})
    with pytest.raises(BenchmarkFailed, match="the table is wrong"):
        reading.check(table(filled), 7)


@pytest.mark.parametrize("way", list(reading.WAYS))
def test_every_way_gives_the_same_table(filled, monkeypatch, way):
    client = mongomock.MongoClient()
    monkeypatch.setattr(reading.pymongo, "MongoClient", lambda url: client)
    monkeypatch.setattr(mongomock.MongoClient, "get_default_database", lambda self: filled)
    monkeypatch.setenv("SACRED_MONGO_URL", "mongodb://unit.test/db")
    reading.check(reading.WAYS[way]("mongodb://unit.test/db"), 7)
