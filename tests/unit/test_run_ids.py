"""Run ids that are reserved belong to nobody else, whoever else takes ids meanwhile."""

import dataclasses
import threading

import pytest
from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError

from sacred_ray_ingredient.errors import DatabaseError
from sacred_ray_ingredient.record import target as target_module
from sacred_ray_ingredient.record.run_ids import COLLECTION, next_free, reserve


class TestReserving:
    @pytest.mark.parametrize(
        ("there", "expected"), [([], 1), ([7], 8), (["text", 3], 4), ([-5], 1), ([7.5], 8)]
    )
    def test_begins_behind_the_last_run(self, database, there, expected):
        for run_id in there:
            database.runs.insert_one({"_id": run_id})
        assert reserve(database, "runs", 3) == range(expected, expected + 3)

    def test_goes_on_where_the_last_reservation_ended(self, database):
        assert reserve(database, "runs", 3) == range(1, 4)
        assert reserve(database, "runs", 2) == range(4, 6)
        assert database[COLLECTION].find_one() == {"_id": "runs", "next": 6}

    def test_passes_ids_that_others_took_meanwhile(self, database):
        reserve(database, "runs", 2)
        database.runs.insert_one({"_id": 50})
        assert reserve(database, "runs", 2) == range(51, 53)

    def test_never_goes_back(self, database):
        database.runs.insert_one({"_id": 50})
        reserve(database, "runs", 2)
        database.runs.delete_many({})
        assert reserve(database, "runs", 2) == range(53, 55)

    def test_never_goes_back_when_another_process_is_faster(self, database, double):
        def raise_first(request):
            if request == f"{COLLECTION}.update_one":
                database[COLLECTION].update_one(
                    {"_id": "runs"}, {"$set": {"next": 100}}, upsert=True
                )

        shared = double(database, before=raise_first)
        assert reserve(shared, "runs", 2) == range(100, 102)

    def test_is_apart_for_each_collection(self, database):
        assert reserve(database, "runs", 5) == range(1, 6)
        assert reserve(database, "others", 5) == range(1, 6)

    def test_at_once_gives_each_its_own(self, database, double):
        shared = double(database)
        barrier, taken = threading.Barrier(6), []

        def take():
            barrier.wait()
            for _ in range(5):
                taken.extend(reserve(shared, "runs", 4))

        threads = [threading.Thread(target=take) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(taken) == list(range(1, 121))


def test_what_is_free_is_behind_runs_and_reservations(database):
    assert next_free(database, "runs") == 1
    reserve(database, "runs", 9)
    assert next_free(database, "runs") == 10
    database.runs.insert_one({"_id": 3})
    assert next_free(database, "runs") == 10
    database.runs.insert_one({"_id": 30})
    assert next_free(database, "runs") == 31


def test_what_is_free_is_one_question(database, double):
    database.runs.insert_one({"_id": 3})
    requests = []
    next_free(double(database, before=requests.append), "runs")
    assert requests == ["runs.aggregate"]


class TestTarget:
    def test_reserves_in_its_collection(self, target, database):
        assert target.reserve_ids(3) == range(1, 4)
        assert database[COLLECTION].find_one() == {"_id": "runs", "next": 4}

    def test_without_a_database_reserves_nothing(self, target):
        assert dataclasses.replace(target, address=None).reserve_ids(3) is None

    @pytest.mark.parametrize(
        "error",
        [
            ServerSelectionTimeoutError("away"),
            AutoReconnect("away"),
            OperationFailure("no"),
            DatabaseError("no password"),
        ],
    )
    def test_does_without_a_database_that_does_not_answer(self, target, monkeypatch, error):
        def refuse(address):
            raise error

        monkeypatch.setattr(target_module, "database_at", refuse)
        assert target.reserve_ids(3) is None

    def test_reserves_none_of_none(self, target, database):
        assert target.reserve_ids(0) == range(0)
        assert database[COLLECTION].find_one() is None
