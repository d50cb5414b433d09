"""Many runs in a few requests become the same documents as one by one, whatever goes wrong."""

import datetime
import random

import mongomock
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure

from sacred_ray_ingredient.mongo import ensure_indexes
from sacred_ray_ingredient.record import bulk
from sacred_ray_ingredient.record.bulk import ship_together
from sacred_ray_ingredient.record.journal import DeadJournal, Journal
from sacred_ray_ingredient.record.run_ids import reserve
from sacred_ray_ingredient.record.run_state import RESERVED_ID
from sacred_ray_ingredient.record.shipment import Shipment

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
END = ("end", {"status": "COMPLETED", "time": AT, "notes": [], "result": 5})


def start_of(record_id, run_id):
    start = {
        **{"experiment": {"name": "x", "sources": []}, "command": "main", "notes": []},
        **{"config": {"seed": 1}, "start_time": AT, "tags": ["a"]},
        "meta": {"record": {"journal": record_id}},
    }
    return ("start", start if run_id is None else {**start, RESERVED_ID: run_id})


def scalar(name, step):
    return ("scalar", [name, step, step / 8, AT])


def write(journal, events):
    for event in events:
        journal.append(*event)


def new_database():
    database = mongomock.MongoClient().db
    ensure_indexes(database)
    return database


def everything(database):
    found = {
        name: sorted(database[name].find(), key=lambda each: str(each["_id"]))
        for name in ("runs", "metrics")
    }
    for run in found["runs"]:
        run["meta"]["record"].pop("seen", None)
        run["info"].get("sweep", {}).get("left_out", []).sort()
    return found


@pytest.fixture
def begin(tmp_path):
    """Return a function that begins the journal of a run, and its shipment."""
    journals = []

    def begin(number, database, run_id=None, folder="journals"):
        journal = Journal(tmp_path / folder / f"trial{number}-0-0-{number}.jsonl")
        journals.append(journal)
        journal.append(*start_of(str(number), number + 1 if run_id is None else run_id))
        return journal, Shipment(journal, database, is_new=True)

    yield begin
    for journal in journals:
        journal.close()


def test_runs_that_are_over_take_two_requests(begin, double):
    database = new_database()
    requests = []
    shared = double(database, before=requests.append)
    pairs = [begin(number, shared) for number in range(20)]
    for journal, _ in pairs:
        write(journal, [scalar("loss", 0), scalar("loss", 1), scalar("other", 1), END])
    shipments = [shipment for _, shipment in pairs]
    assert ship_together(shipments) == []
    assert all(shipment.is_complete for shipment in shipments)
    assert requests == ["runs.insert_many", "metrics.bulk_write"]
    assert [run["_id"] for run in database.runs.find(sort=[("_id", 1)])] == list(range(1, 21))
    assert {run["status"] for run in database.runs.find()} == {"COMPLETED"}
    loss = database.metrics.find_one({"run_id": 7, "name": "loss"})
    assert (loss["steps"], loss["values"]) == ([0, 1], [0.0, 0.125])


def test_runs_that_go_on_take_two_requests_again(begin, double):
    database = new_database()
    requests = []
    shared = double(database, before=requests.append)
    pairs = [begin(number, shared) for number in range(3)]
    shipments = [shipment for _, shipment in pairs]
    assert ship_together(shipments) == []
    assert not any(shipment.is_complete for shipment in shipments)
    for journal, _ in pairs:
        write(journal, [scalar("loss", 0), END])
    del requests[:]
    assert ship_together(shipments) == []
    assert requests == ["metrics.bulk_write", "runs.bulk_write"]
    assert {run["status"] for run in database.runs.find()} == {"COMPLETED"}


def test_what_is_not_ordinary_is_left(begin):
    database = new_database()
    _, plain = begin(0, database)
    with_file, holding = begin(1, database)
    with_file.append("file", {"id": "0" * 24, "digest": "0" * 64, "filename": "x"})
    with_document, describing = begin(2, database)
    with_document.append("document", {"collection": "environments", "id": "e", "content": {}})
    with_amendment, amending = begin(3, database)
    with_amendment.append("amend", {})
    long, talking = begin(4, database)
    long.append("note", "x" * 2**19)
    unreserved = Journal(with_file.path.with_name("run-9.jsonl"))
    unreserved.append(*start_of("9", None))
    free = Shipment(unreserved, database, is_new=True)
    dead = Shipment(DeadJournal(with_file.path), database)
    odd = [holding, describing, amending, talking, free, dead]
    assert ship_together([plain, *odd]) == odd
    assert [run["_id"] for run in database.runs.find()] == [1]
    unreserved.close()


def test_much_goes_in_several_parts(begin, double, monkeypatch):
    monkeypatch.setattr(bulk, "_MOST_BYTES", 1000)
    requests = []
    shared = double(new_database(), before=requests.append)
    shipments = [begin(number, shared)[1] for number in range(20)]
    assert ship_together(shipments) == []
    assert 2 < requests.count("runs.insert_many") < 20
    assert {shipment.run_id for shipment in shipments} == set(range(1, 21))


@pytest.mark.parametrize("request_", ["runs.insert_many", "metrics.bulk_write"])
@pytest.mark.parametrize("error", [AutoReconnect("away"), OperationFailure("no")])
def test_after_an_error_the_database_is_asked_what_it_has(begin, double, request_, error):
    def refuse(request):
        if request == request_:
            raise error

    pairs = [begin(number, double(new_database(), after=refuse)) for number in range(1)]
    pairs[0][0].append(*scalar("loss", 0))
    shipments = [shipment for _, shipment in pairs]
    if isinstance(error, AutoReconnect):
        with pytest.raises(AutoReconnect, match="away"):
            ship_together(shipments)
    else:
        assert ship_together(shipments) == shipments
    assert not any(shipment.is_ordinary for shipment in shipments)


class TestReservedIdThatAnotherRunHas:
    @pytest.fixture
    def database(self):
        database = new_database()
        reserve(database, "runs", 3)
        database.runs.insert_one({"_id": 2, "meta": {"record": {"journal": "theirs"}}, "info": {}})
        return database

    @staticmethod
    def check(database):
        ids = {run["meta"]["record"]["journal"]: run["_id"] for run in database.runs.find()}
        assert ids == {"0": 1, "theirs": 2, "2": 3, "1": 4}
        (note,) = database.runs.find_one({"_id": 4})["info"]["sweep"]["left_out"]
        assert note.startswith("the run id 2 was reserved for this run, but another run has it")
        assert database.metrics.find_one({"name": "m1"})["run_id"] == 4

    @pytest.mark.parametrize("together", [True, False])
    def test_is_left_to_it_with_a_note(self, begin, database, together):
        pairs = [begin(number, database) for number in range(3)]
        for number, (journal, _) in enumerate(pairs):
            write(journal, [scalar(f"m{number}", 0), END])
        shipments = [shipment for _, shipment in pairs]
        left = ship_together(shipments) if together else shipments
        assert not together or left == [shipments[1]]
        for shipment in left:
            assert shipment.advance()
        self.check(database)
        again = Shipment(DeadJournal(pairs[1][0].path), database)
        assert again.advance()
        assert again.run_id == 4
        self.check(database)


def test_the_journal_keeps_the_id_for_those_who_bring_it(begin):
    database = new_database()
    database.runs.insert_one({"_id": 70, "meta": {"record": {"journal": "theirs"}}})
    journal, _ = begin(0, database, run_id=33)
    write(journal, [scalar("loss", 0), END])
    for _ in range(2):
        shipment = Shipment(DeadJournal(journal.path), database)
        assert shipment.advance()
        assert shipment.run_id == 33
    assert database.runs.count_documents({}) == 2
    assert "reserved_id" not in database.runs.find_one({"_id": 33})


@pytest.mark.parametrize("odd", ["7", -3, 0, True, 2.5, 2**70, [], {"$gt": 1}])
def test_an_id_in_a_journal_that_is_none_is_not_taken(tmp_path, odd):
    database = new_database()
    journal = Journal(tmp_path / "run-0.jsonl")
    journal.append(*start_of("0", odd))
    shipment = Shipment(journal, database, is_new=True)
    shipment.advance()
    assert shipment.run_id == 1
    journal.close()


class Trouble:
    """Fails some requests, before or after they are carried out."""

    def __init__(self, seed, rate):
        self.random = random.Random(seed)
        self.rate = rate

    def __call__(self, request):
        if self.random.random() < self.rate:
            errors = [
                AutoReconnect("away"),
                OperationFailure("no"),
                BulkWriteError({"writeErrors": []}),
            ]
            error = self.random.choice(errors)
            if (
                isinstance(error, BulkWriteError)
                and "bulk" not in request
                and "many" not in request
            ):
                error = AutoReconnect("away")
            if isinstance(error, BulkWriteError):
                error = BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]})
            raise error


EVENTS = st.one_of(
    st.builds(scalar, st.sampled_from(["loss", "other", "odd\0"]), st.integers(0, 9)),
    st.builds(lambda text: ("note", text), st.sampled_from(["one", "two"])),
    st.builds(lambda tag: ("set", {"fields": {}, "tags": [tag]}), st.sampled_from(["b", "c"])),
    st.builds(lambda n: ("beat", {"time": AT, "notes": [], "info": {"n": n}}), st.integers(0, 3)),
    st.just("ship"),
)


@given(
    runs=st.lists(st.lists(EVENTS, max_size=8), min_size=2, max_size=4),
    seed=st.integers(0, 10**6),
    moment=st.sampled_from(["before", "after"]),
    is_taken=st.booleans(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_together_is_the_same_as_one_by_one(tmp_path_factory, double, runs, seed, moment, is_taken):
    """Random events, random moments of shipping, random failures of requests."""
    folder = tmp_path_factory.mktemp("journals")
    ended = [[*events, END] for events in runs]
    found = []
    for way in ("together", "alone"):
        database = new_database()
        reserve(database, "runs", len(runs))
        if is_taken:
            theirs = {"record": {"journal": "theirs"}}
            database.runs.insert_one({"_id": 1, "meta": theirs, "info": {}})
        trouble = Trouble(seed, 0.3 if way == "together" else 0.0)
        pairs = []
        for number, _ in enumerate(runs):
            journal = Journal(folder / way / f"run-{number}.jsonl")
            journal.append(*start_of(str(number), number + 1))
            pairs.append(
                (journal, Shipment(journal, double(database, **{moment: trouble}), is_new=True))
            )
        shipments = [shipment for _, shipment in pairs]
        for step in range(max(map(len, ended))):
            for (journal, _), events in zip(pairs, ended, strict=True):
                if step < len(events) and events[step] != "ship":
                    journal.append(*events[step])
            if any(step < len(events) and events[step] == "ship" for events in ended):
                one_pass(shipments, way)
        trouble.rate = 0.0
        one_pass(shipments, way)
        assert all(shipment.is_complete for shipment in shipments)
        for journal, _ in pairs:
            journal.close()
        found.append(everything(database))
    assert found[0] == found[1]


def one_pass(shipments, way):
    try:
        left = ship_together(shipments) if way == "together" else shipments
    except AutoReconnect:
        left = shipments
    for shipment in left:
        try:
            shipment.advance()
        except (AutoReconnect, OperationFailure):
            continue
