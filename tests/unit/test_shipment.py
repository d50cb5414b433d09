"""A journal reaches the database once, however often and from wherever it is brought there."""

import contextlib
import datetime
import random
import shutil
import threading
import time

import pytest
from bson.errors import InvalidBSON
from pymongo.errors import (
    AutoReconnect,
    DocumentTooLarge,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WriteError,
)

from sacred_ray_ingredient.mongo import ensure_indexes
from sacred_ray_ingredient.record import run_state, writes
from sacred_ray_ingredient.record.amendments import DIED
from sacred_ray_ingredient.record.files import read_file
from sacred_ray_ingredient.record.journal import DeadJournal, Journal
from sacred_ray_ingredient.record.kept_files import folder_of
from sacred_ray_ingredient.record.processes import this_process
from sacred_ray_ingredient.record.reconcile import close_abandoned
from sacred_ray_ingredient.record.run_state import object_id
from sacred_ray_ingredient.record.shipment import Shipment

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
OTHER = {
    **{"_id": 41, "status": "RUNNING"},
    "meta": {"sweep": {"sweep_id": "s", "trial_index": 1, "attempt": 0}},
}
COLLECTIONS = ("runs", "metrics", "environments", "fs.files", "fs.chunks")
SOURCE = object_id("source", "x.py")
# Longer than one part of a file in GridFS.
CONTENT = b"source" * 100_000


@pytest.fixture
def database(database):
    ensure_indexes(database)
    database.runs.insert_one(dict(OTHER))
    return database


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journals" / "run-abc.jsonl")
    yield journal
    journal.close()


def steps_of(journal, points=7):
    """Return the parts of a run with something of each kind."""
    start = {
        **{"experiment": {"name": "x", "sources": [["x.py", SOURCE]]}, "command": "main"},
        **{"config": {"seed": 1}, "start_time": AT, "tags": ["a"], "notes": []},
        **{"meta": {"record": {"journal": "abc"}, "sweep": {"trial_index": 3}}},
    }

    def beat(**entries):
        return ("beat", {"time": AT, "notes": [], **entries})

    def scalars(first, name="loss"):
        return [("scalar", [name, n, n / 8, AT]) for n in range(first, first + points)]

    digest = journal.files.keep_bytes(CONTENT)
    source = {"id": SOURCE, "digest": digest, "filename": "x.py"}
    weights = {
        "id": object_id("artifact"),
        "digest": journal.files.keep_bytes(b"w"),
        "filename": "w",
    }
    environment = {"collection": "environments", "id": "e1", "content": {"packages": ["x"]}}
    amendment = {"kind": DIED, "sweep_id": "s", "index": 1, "attempt": 0, "segment": 0}
    amendment |= {"status": "FAILED", "reason": "It was lost.", "time": AT}
    return [
        [("target", {}), ("file", source), ("document", environment), ("start", start)],
        [*scalars(0), beat(out=[0, "one\n"], info={"a": 1})],
        [*scalars(points), *scalars(0, "accuracy"), ("scalar", ["loss", 9, float("nan"), AT])],
        [("file", weights), ("artifact", {"name": "weights", "id": weights["id"]})],
        [("set", {"fields": {"info.sweep.node": "here"}, "tags": ["b"]}), ("amend", amendment)],
        [beat(out=[4, "two\n"], result=4), *scalars(2 * points)],
        [("end", {"status": "COMPLETED", "time": AT, "result": 5, "notes": ["said"]})],
    ]


def write(journal, *steps):
    for step in steps:
        for event in step:
            journal.append(*event)


def everything(database):
    """Return all documents, without what differs from one writing to the next."""
    found = {
        name: sorted(database[name].find(), key=lambda d: str(d["_id"])) for name in COLLECTIONS
    }
    for file in found["fs.files"]:
        del file["uploadDate"]
    for chunk in found["fs.chunks"]:
        del chunk["_id"]
    found["fs.chunks"].sort(key=lambda chunk: (str(chunk["files_id"]), chunk["n"]))
    for run in found["runs"]:
        run.get("meta", {}).get("record", {}).pop("seen", None)
    return found


@pytest.fixture
def expected(tmp_path):
    """What the database has after an undisturbed shipment, in one piece."""
    import mongomock

    other = mongomock.MongoClient().other
    other.runs.insert_one(dict(OTHER))
    journal = Journal(tmp_path / "other" / "run-abc.jsonl")
    write(journal, *steps_of(journal))
    assert Shipment(journal, other).advance()
    journal.close()
    return everything(other)


def finish(shipment):
    """Advance as the thread does, until all is there."""
    for _ in range(50):
        try:
            if shipment.advance():
                return
        except Exception:
            continue
    raise AssertionError("it does not come to its end")


def test_all_of_a_journal_is_in_the_database(expected, database, journal):
    write(journal, *steps_of(journal))
    assert Shipment(journal, database).advance()
    assert everything(database) == expected
    run = database.runs.find_one({"_id": 42})
    assert (run["status"], run["result"], run["captured_out"]) == ("COMPLETED", 5, "one\ntwo\n")
    assert run["omniboard"] == {"tags": ["a", "b"]}
    assert run["info"]["sweep"] == {"node": "here", "nonfinite": {"loss": 1}, "left_out": ["said"]}
    loss = database.metrics.find_one({"name": "loss"})
    assert (loss["run_id"], loss["steps"]) == (42, list(range(21)))
    assert loss["values"] == [n / 8 for n in range(21)]
    assert read_file(database, SOURCE) == CONTENT
    assert read_file(database, str(run["artifacts"][0]["file_id"])) == b"w"
    assert database.environments.find_one() == {"_id": "e1", "packages": ["x"]}
    assert database.runs.find_one({"_id": 41})["status"] == "FAILED"


@pytest.mark.parametrize("is_new", [True, False])
def test_in_pieces_it_becomes_the_same(expected, database, journal, is_new):
    shipment = Shipment(journal, database, is_new=is_new)
    for step in steps_of(journal):
        assert not shipment.is_complete
        write(journal, step)
        shipment.advance()
        shipment.advance()
    assert shipment.is_complete
    assert everything(database) == expected


def test_brought_again_it_changes_nothing(expected, database, journal):
    write(journal, *steps_of(journal))
    for source in (journal, DeadJournal(journal.path), DeadJournal(journal.path)):
        shipment = Shipment(source, database)
        assert shipment.advance()
        assert shipment.run_id == 42
        assert everything(database) == expected


@pytest.mark.parametrize("steps", range(1, 7))
def test_that_another_process_goes_on_with_it_becomes_the_same(expected, database, journal, steps):
    all_steps = steps_of(journal)
    write(journal, *all_steps[:steps])
    Shipment(journal, database, is_new=True).advance()
    write(journal, *all_steps[steps:])
    assert Shipment(DeadJournal(journal.path), database).advance()
    assert everything(database) == expected


def ship(database, journal, in_pieces):
    shipment = Shipment(journal, database, is_new=True)
    for step in steps_of(journal):
        write(journal, step)
        if in_pieces:
            try:
                shipment.advance()
            except AutoReconnect:
                continue
    finish(shipment)
    return shipment


class Interruption:
    """Takes the place of one request, or comes right after it."""

    def __init__(self, number):
        self.left = number

    def __call__(self, request):
        self.left -= 1
        if self.left == 0:
            raise AutoReconnect(request)


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_whatever_request_is_interrupted_it_becomes_the_same(
    expected, double, database, tmp_path, moment, in_pieces
):
    import mongomock

    for number in range(1, 100):
        database = mongomock.MongoClient().db
        ensure_indexes(database)
        database.runs.insert_one(dict(OTHER))
        interruption = Interruption(number)
        journal = Journal(tmp_path / f"{number}" / "run-abc.jsonl")
        shipment = ship(double(database, **{moment: interruption}), journal, in_pieces)
        journal.close()
        assert everything(database) == expected, (moment, number)
        assert shipment.run_id == 42
        if interruption.left > 0:  # there were not so many requests
            break
    assert 8 < number < 99


@pytest.mark.parametrize("moment", ["before", "after"])
def test_with_many_requests_interrupted_it_becomes_the_same(
    expected, double, database, journal, moment
):
    count = [0]

    # A shipment needs several requests without an interruption; these become rarer.
    def ever_rarer(request):
        count[0] += 1
        if count[0] in {2, 5, 9, 14, 20, 27, 35, 44}:
            raise AutoReconnect(request)

    ship(double(database, **{moment: ever_rarer}), journal, True)
    assert everything(database) == expected


@pytest.mark.parametrize("attempt", range(4))
def test_brought_by_several_at_once_it_is_one_document(
    expected, double, database, journal, attempt
):
    write(journal, *steps_of(journal))
    shared = double(database)
    barrier = threading.Barrier(4)
    failures = []

    def bring():
        barrier.wait()
        try:
            finish(Shipment(DeadJournal(journal.path), shared))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=bring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert everything(database) == expected


def test_runs_that_begin_at_once_have_ids_of_their_own(double, database, tmp_path):
    shared = double(database)
    barrier = threading.Barrier(6)
    ids = []

    def begin(number):
        journal = Journal(tmp_path / f"run-{number}.jsonl")
        (first, *_) = steps_of(journal)
        kind, content = first.pop()
        content["meta"]["record"] = {"journal": str(number)}
        write(journal, [*first, (kind, content)])
        shipment = Shipment(journal, shared, is_new=True)
        barrier.wait()
        shipment.advance()
        ids.append(shipment.run_id)
        journal.close()

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(ids) == list(range(42, 48))
    assert database.runs.count_documents({}) == 7


@pytest.mark.parametrize(("there", "expected"), [([], 1), ([7], 8), (["text", 3], 4), ([-5], 1)])
def test_an_id_is_one_more_than_the_largest(journal, there, expected):
    import mongomock

    database = mongomock.MongoClient().db
    for run_id in there:
        database.runs.insert_one({"_id": run_id})
    write(journal, *steps_of(journal)[:1])
    shipment = Shipment(journal, database, is_new=True)
    shipment.advance()
    assert shipment.run_id == expected
    assert database.runs.count_documents({}) == len(there) + 1


def test_a_run_that_was_deleted_is_not_made_again(database, journal):
    steps = steps_of(journal)
    shipment = Shipment(journal, database, is_new=True)
    write(journal, *steps[:3])
    shipment.advance()
    database.runs.delete_one({"_id": 42})
    database.metrics.delete_many({"run_id": 42})
    write(journal, *steps[3:])
    finish(shipment)
    assert shipment.is_complete
    assert database.runs.count_documents({"_id": {"$gt": 41}}) == 0
    assert database.metrics.count_documents({}) == 0


def test_a_run_that_was_deleted_is_over_at_once(database, journal):
    shipment = Shipment(journal, database, is_new=True)
    write(journal, *steps_of(journal)[:1])
    shipment.advance()
    database.runs.delete_one({"_id": 42})
    journal.append("note", "still alive")
    assert shipment.advance()
    assert shipment.is_complete


def test_tags_that_the_user_took_away_do_not_come_back_after_an_outage(database, double, journal):
    steps = steps_of(journal)
    interruption = Interruption(-1)
    shipment = Shipment(journal, double(database, before=interruption), is_new=True)
    write(journal, *steps[:2])
    shipment.advance()
    database.runs.update_one({"_id": 42}, {"$set": {"omniboard.tags": []}})
    interruption.left = 1
    write(journal, *steps[2:])
    finish(shipment)
    run = database.runs.find_one({"_id": 42})
    assert (run["status"], run["omniboard"]) == ("COMPLETED", {"tags": ["b"]})


def test_what_the_user_has_changed_of_a_run_meanwhile_stays(database, journal):
    steps = steps_of(journal)
    shipment = Shipment(journal, database, is_new=True)
    write(journal, *steps[:2])
    shipment.advance()
    omniboard = {"tags": ["mine"], "notes": "good one"}
    database.runs.update_one({"_id": 42}, {"$set": {"omniboard": omniboard}})
    write(journal, *steps[2:])
    finish(shipment)
    assert database.runs.find_one({"_id": 42})["omniboard"] == {**omniboard, "tags": ["mine", "b"]}


@pytest.mark.parametrize("kept", [0, 3])
def test_a_database_that_lost_confirmed_points_is_given_them_again(
    expected, database, journal, kept
):
    steps = steps_of(journal)
    shipment = Shipment(journal, database, is_new=True)
    write(journal, *steps[:3])
    shipment.advance()
    if kept:
        points = database.metrics.find_one({"name": "loss"})
        cut = {name: points[name][:kept] for name in ("steps", "values", "timestamps")}
        database.metrics.update_one({"name": "loss"}, {"$set": cut})
    else:
        database.metrics.delete_many({})
    write(journal, *steps[3:])
    finish(shipment)
    found = everything(database)
    # What it lost and nothing was added to cannot be noticed; the metric "loss" went on.
    if not kept:
        found["metrics"] = [each for each in found["metrics"] if each["name"] == "loss"]
        expected["metrics"] = [each for each in expected["metrics"] if each["name"] == "loss"]
    assert found == expected


def test_a_journal_that_is_gone_was_brought_by_somebody_else(database, tmp_path):
    shipment = Shipment(DeadJournal(tmp_path / "gone-abc.jsonl"), database)
    assert shipment.advance()
    assert shipment.is_complete


def test_nothing_is_asked_of_the_database_before_the_run_begins(journal, double, database):
    requests = []
    shipment = Shipment(journal, double(database, before=requests.append), is_new=True)
    journal.append("target", {})
    assert not shipment.advance()
    assert requests == []


def test_nothing_is_asked_of_the_database_where_nothing_is_new(journal, double, database):
    requests = []
    shipment = Shipment(journal, double(database, before=requests.append), is_new=True)
    write(journal, *steps_of(journal)[:3])
    shipment.advance()
    del requests[:]
    shipment.advance()
    assert requests == []


def test_a_shipment_opens_the_database_when_it_needs_it(journal, database):
    opened = []

    def open_database():
        opened.append(1)
        return database

    shipment = Shipment(journal, open_database, is_new=True)
    journal.append("target", {})
    shipment.advance()
    assert opened == []
    write(journal, *steps_of(journal))
    assert shipment.advance()
    assert opened == [1]


def test_long_metrics_go_in_several_requests(journal, database, double, monkeypatch):
    monkeypatch.setattr(writes, "POINTS_PER_REQUEST", 10)
    requests = []
    write(journal, *steps_of(journal, points=13))
    assert Shipment(journal, double(database, before=requests.append), is_new=True).advance()
    assert requests.count("metrics.bulk_write") == 4
    assert database.metrics.find_one({"name": "loss"})["steps"] == list(range(39))
    assert database.metrics.find_one({"name": "accuracy"})["steps"] == list(range(13))


def test_metrics_in_several_documents_reach_the_database(journal, database, monkeypatch):
    monkeypatch.setattr(run_state, "POINTS_PER_DOCUMENT", 9)
    shipment = Shipment(journal, database, is_new=True)
    for step in steps_of(journal):
        write(journal, step)
        shipment.advance()
    parts = [
        database.metrics.find_one({"name": name})["steps"]
        for name in ("loss", "loss (part 2)", "loss (part 3)")
    ]
    assert parts == [list(range(9)), list(range(9, 18)), list(range(18, 21))]
    assert {each["run_id"] for each in database.metrics.find()} == {42}


@pytest.mark.parametrize("times", [1, 2])
def test_output_that_is_too_long_is_an_artifact_at_the_end(journal, database, times):
    steps = steps_of(journal)
    output = "line\n" * 800_000
    write(journal, *steps[:1], [("beat", {"time": AT, "notes": [], "out": [0, output]})], steps[-1])
    for _ in range(times):
        assert Shipment(DeadJournal(journal.path), database).advance()
    (artifact,) = database.runs.find_one({"_id": 42})["artifacts"]
    assert artifact["name"] == "captured_out.txt"
    assert read_file(database, str(artifact["file_id"])) == output.encode()


def test_a_file_that_is_lost_costs_nothing_else(journal, database):
    steps = steps_of(journal)
    write(journal, *steps)
    (journal.path.with_suffix(".files") / steps[3][0][1]["digest"]).unlink()
    assert Shipment(journal, database).advance()
    run = database.runs.find_one({"_id": 42})
    assert run["status"] == "COMPLETED"
    assert "file 'w': its content is lost" in run["info"]["sweep"]["left_out"]


class TestFileThatTheServerRefuses:
    @staticmethod
    def notes(database):
        return database.runs.find_one({"_id": 42})["info"]["sweep"]["left_out"]

    @pytest.mark.parametrize(
        "error",
        [
            OperationFailure("not authorized", 13),
            DocumentTooLarge("too large"),
            WriteError("refused", 2),
            InvalidBSON("no BSON"),
            OverflowError("8-byte ints"),
        ],
    )
    @pytest.mark.parametrize("in_pieces", [True, False])
    def test_is_noted_and_holds_nothing_up(
        self, journal, database, double, expected, error, in_pieces
    ):
        def refuse(request):
            if request.startswith("fs.") and request.endswith("bulk_write"):
                raise error

        shipment = Shipment(journal, double(database, before=refuse), is_new=True)
        for step in steps_of(journal):
            write(journal, step)
            if in_pieces:
                shipment.advance()
        assert in_pieces or shipment.advance()
        assert shipment.is_complete
        notes = self.notes(database)
        for name in ("x.py", "w"):
            assert f"file {name!r} cannot be stored ({error})" in notes
        found = everything(database)
        assert found["fs.files"] == []
        for name in ("metrics", "environments"):
            assert found[name] == expected[name]
        assert database.runs.find_one({"_id": 42})["status"] == "COMPLETED"

    def test_costs_no_other_file_anything(self, journal, database, double):
        def refuse(request):
            if request == "fs.files.bulk_write" and not refused:
                refused.append(request)
                raise OperationFailure("refused")

        refused = []
        write(journal, *steps_of(journal))
        assert Shipment(journal, double(database, before=refuse), is_new=True).advance()
        assert [file["filename"] for file in database.fs.files.find()] == ["w"]
        assert "file 'x.py' cannot be stored (refused)" in self.notes(database)

    @pytest.mark.parametrize("error", [AutoReconnect, ServerSelectionTimeoutError, NotPrimaryError])
    def test_is_not_one_that_it_does_not_get(self, journal, database, double, expected, error):
        left = [3]

        def refuse(request):
            if request == "fs.chunks.bulk_write" and left[0]:
                left[0] -= 1
                raise error("away")

        write(journal, *steps_of(journal))
        shipment = Shipment(journal, double(database, before=refuse), is_new=True)
        for _ in range(3):
            with pytest.raises(error, match="away"):
                shipment.advance()
        assert shipment.advance()
        assert everything(database) == expected


class TestRunThatWasTakenForDead:
    """The driver was cut off; others have closed its document; then its end arrives."""

    @pytest.fixture
    def closed(self, journal, database):
        """The shipment of a sweep whose document somebody has closed."""
        shipment = Shipment(journal, database, is_new=True)
        (*before, (kind, start)), *steps = steps_of(journal)
        process = {**this_process(), "started": "before the boot"}
        start["meta"] = {"record": {"journal": "abc", "process": process}}
        start["meta"]["sweep"] = {"sweep_id": "cut-off"}
        write(journal, [*before, (kind, start)], *steps[:2])
        shipment.advance()
        assert close_abandoned(database, "runs") == ["cut-off"]
        run = database.runs.find_one({"_id": 42})
        assert (run["status"], len(run["fail_trace"])) == ("INTERRUPTED", 1)
        return shipment

    @pytest.mark.parametrize("by", ["itself", "others"])
    def test_that_completed_is_complete(self, closed, journal, database, by):
        write(journal, *steps_of(journal)[3:])
        shipment = closed if by == "itself" else Shipment(DeadJournal(journal.path), database)
        assert shipment.advance()
        run = database.runs.find_one({"_id": 42})
        assert (run["status"], run["stop_time"], run["result"]) == ("COMPLETED", AT, 5)
        assert "fail_trace" not in run
        assert "stop_reason" not in run["info"]["sweep"]
        assert run["info"]["sweep"]["node"] == "here"
        assert run["config"] == {"seed": 1}
        assert run["meta"]["sweep"] == {"sweep_id": "cut-off"}

    def test_that_said_nothing_new_but_its_end_is_complete(self, closed, journal, database):
        journal.append("end", {"status": "COMPLETED", "time": AT, "notes": []})
        assert closed.advance()
        run = database.runs.find_one({"_id": 42})
        assert (run["status"], run["stop_time"]) == ("COMPLETED", AT)
        assert "fail_trace" not in run
        assert "stop_reason" not in run["info"].get("sweep", {})

    def test_that_failed_has_its_own_trace(self, closed, journal, database):
        trace = ["ValueError: mine"]
        end = {"status": "FAILED", "time": AT, "notes": [], "trace": trace, "reason": "Mine."}
        journal.append("end", end)
        assert closed.advance()
        run = database.runs.find_one({"_id": 42})
        assert (run["status"], run["fail_trace"]) == ("FAILED", trace)
        assert run["info"]["sweep"]["stop_reason"] == "Mine."

    def test_that_goes_on_is_running(self, closed, journal, database):
        journal.append("beat", {"time": AT + datetime.timedelta(seconds=9), "notes": []})
        assert not closed.advance()
        assert database.runs.find_one({"_id": 42})["status"] == "RUNNING"


def test_a_live_run_says_when_it_was_heard_of_and_a_dead_one_does_not(journal, database):
    steps = steps_of(journal)
    shipment = Shipment(journal, database, is_new=True)
    for step in steps[:2]:
        write(journal, step)
        shipment.advance()
    record = database.runs.find_one({"_id": 42})["meta"]["record"]
    assert isinstance(record["seen"], datetime.datetime)
    write(journal, *steps[2:])
    Shipment(DeadJournal(journal.path), database).advance()
    assert database.runs.find_one({"_id": 42})["meta"]["record"]["journal"] == "abc"


def test_an_amendment_that_cannot_be_read_holds_nothing_up(write_journal, database):
    journal = write_journal(
        "sweep-a",
        ("amend", {"kind": "from the future"}),
        ("end", {"status": "COMPLETED", "time": AT, "result": 5, "notes": []}),
    )
    shipment = Shipment(journal, database, is_new=True)
    assert shipment.advance()
    assert database.runs.find_one({"_id": shipment.run_id})["status"] == "COMPLETED"


class TestCopyThatIsBehind:
    """A journal on its way home from another node, whose own process brings it too."""

    @pytest.fixture
    def follow(self, journal, tmp_path):
        """Return the copy of a journal, and a function that lets it have so many bytes."""
        copy = tmp_path / "home" / journal.path.name
        copy.parent.mkdir()
        copy.touch()

        def follow(size=None):
            lines = journal.path.read_bytes()[:size]
            shutil.copytree(folder_of(journal.path), folder_of(copy), dirs_exist_ok=True)
            copy.write_bytes(lines[: lines.rfind(b"\n") + 1])

        return DeadJournal(copy), follow

    def test_changes_no_end(self, expected, database, journal, follow):
        copy, follow = follow
        steps = steps_of(journal)
        write(journal, *steps[:3])
        follow()
        behind = Shipment(copy, database)
        behind.advance()
        write(journal, *steps[3:5])
        follow()
        write(journal, *steps[5:])
        finish(Shipment(journal, database, is_new=True))
        assert not behind.advance(), "it has not read the end"
        assert everything(database) == expected
        follow()
        assert behind.advance()
        assert everything(database) == expected

    def test_is_over_where_the_user_has_deleted_the_run(self, database, journal, follow):
        copy, follow = follow
        steps = steps_of(journal)
        write(journal, *steps[:2])
        follow()
        behind = Shipment(copy, database)
        behind.advance()
        database.runs.delete_one({"_id": behind.run_id})
        write(journal, *steps[2:3])
        follow()
        behind.advance()
        assert behind.is_complete
        assert database.runs.count_documents({"experiment.name": "x"}) == 0

    @pytest.mark.parametrize("seed", range(4))
    def test_and_its_own_process_at_once_make_one_record(
        self, expected, database, double, journal, follow, seed
    ):
        chance = random.Random(seed)

        def pause(request):
            time.sleep(chance.random() / 500)

        def bring(source, is_new, before):
            shipment = Shipment(source, one_at_a_time, is_new=is_new)
            for _ in range(500):
                before()
                with contextlib.suppress(Exception):
                    if shipment.advance():
                        return
            failed.append(shipment)

        failed = []
        one_at_a_time = double(database, pause, pause)
        copy, follow = follow
        steps = steps_of(journal)
        write(journal, *steps[:1])
        follow()
        both = [
            threading.Thread(target=bring, args=(journal, True, lambda: None)),
            threading.Thread(target=bring, args=(copy, False, follow)),
        ]
        for thread in both:
            thread.start()
        for step in steps[1:]:
            for event in step:
                write(journal, [event])
                time.sleep(chance.random() / 500)
        for thread in both:
            thread.join()
        assert not failed
        assert everything(database) == expected
