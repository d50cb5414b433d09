"""Where the runs of a sweep are recorded."""

import pickle

import pytest

from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record import target as target_module
from sacred_ray_ingredient.record.target import RecordTarget


def test_a_run_is_observed_with_the_tags_of_the_sweep_and_its_own(
    target, database, make_experiment
):
    run = make_experiment(lambda: 7)._create_run(options={"--capture": "no"})
    observer = target.observe(run, extra_tags=["trial"])
    assert run.observers == [observer]
    run()
    document = database.runs.find_one()
    assert document["omniboard"]["tags"] == ["my_search", "sweep-1", "trial"]
    assert document["result"] == 7


def test_without_an_address_nothing_is_observed(make_experiment):
    run = make_experiment(lambda: 7)._create_run()
    assert RecordTarget(None).observe(run) is None
    assert run.observers == []


def test_without_an_address_there_is_no_database():
    with pytest.raises(ValueError, match="without a MongoDB address has no database"):
        RecordTarget(None).database()
    with pytest.raises(ValueError, match="without a MongoDB address has no runs"):
        RecordTarget(None).runs()


def test_runs_are_in_the_collection_of_the_address(target, database):
    database.runs.insert_one({"_id": 1})
    assert target.runs().find_one() == {"_id": 1}


class _Client(dict):
    closed = False

    def close(self):
        self.closed = True


def test_one_client_serves_a_whole_process_until_it_is_closed(monkeypatch):
    made = []

    def client(self):
        made.append(_Client(db=object()))
        return made[-1]

    monkeypatch.setattr(MongoAddress, "client", client)
    monkeypatch.setattr(target_module, "_clients", {})
    address = MongoAddress("mongodb://unit.test/", db_name="db")
    targets = [RecordTarget(address, tags=(tag,)) for tag in "ab"]
    assert targets[0].database() is targets[1].database()
    assert len(made) == 1
    target_module.close_clients()
    assert made[0].closed
    assert targets[0].database() is made[1]["db"]


def test_a_target_travels():
    there = RecordTarget(MongoAddress("mongodb://unit.test/"), ("a",), "/tmp/x")
    assert pickle.loads(pickle.dumps(there)) == there
