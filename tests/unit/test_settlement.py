"""The driver's hand on the record: what workers could not write themselves, and what they left."""

import dataclasses
import datetime
import time

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from sacred_ray_ingredient.record import settlement, shipper
from sacred_ray_ingredient.record import target as target_module
from sacred_ray_ingredient.record.amendments import as_update
from sacred_ray_ingredient.record.carried import NodeJournals
from sacred_ray_ingredient.record.journal import Journal, is_alive, journals_in
from sacred_ray_ingredient.record.settlement import SweepRecord
from sacred_ray_ingredient.record.shipment import Shipment
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.tasks import TrialOutcome

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)


def end(status="COMPLETED"):
    return ("end", {"status": status, "time": AT, "result": 5, "notes": []})


class FakeObserver:
    """Of the outer run: keeps what it is to write about others."""

    def __init__(self, run_id=77):
        self.run_id = run_id
        self.amendments = []

    def amend_other(self, amendment):
        self.amendments.append(dict(amendment))


@pytest.fixture
def lines():
    return []


@pytest.fixture
def observer():
    return FakeObserver()


@pytest.fixture
def record(target, observer, lines):
    return SweepRecord(target, "sweep-1", observer, lines.append)


@pytest.fixture
def left_by(write_journal):
    """Return a function that writes what a dead worker has left of an attempt."""

    def left_by(index, *events, attempt=0, segment=0, journal="a", **sweep):
        sweep = {"trial_index": index, "attempt": attempt, "segment": segment, **sweep}
        name = f"trial{index}-{attempt}-{segment}-{journal}"
        written = write_journal(name, *events, sweep=sweep)
        written.close()
        return written

    return left_by


@pytest.fixture
def write_without_start(target):
    """Return a function that writes the journal of a worker that died before its trial began."""

    def write(name, *events):
        journal = Journal(target.folder() / f"{name}.jsonl")
        for event in [("target", dataclasses.asdict(target.address)), *events]:
            journal.append(*event)
        journal.close()
        return journal.path

    return write


def outcome(index, status="COMPLETED", attempt=0, run_id=None, error=None, **named):
    return TrialOutcome(index, attempt, status, {}, 1, run_id, error=error, **named)


def document(run_id, index, status="RUNNING", attempt=0, tags=(), **sweep):
    sweep = {"sweep_id": "sweep-1", "trial_index": index, "attempt": attempt, "segment": 0, **sweep}
    return {
        **{"_id": run_id, "status": status, "meta": {"sweep": sweep}},
        "omniboard": {"tags": list(tags)},
    }


def statuses(database):
    return {run["_id"]: run["status"] for run in database.runs.find()}


class TestTrialThatDied:
    DEAD = ("the worker process died", "Trial 0 could not write its own end: ")

    def dead(self, **named):
        return outcome(0, "FAILED", error=self.DEAD[0], **named)

    def test_gets_its_end_in_the_journal_that_it_left(self, record, left_by, database):
        left_by(0)
        dead = self.dead()
        record.died(dead)
        (run,) = database.runs.find()
        reason = "Trial 0 could not write its own end: the worker process died."
        assert (run["status"], run["fail_trace"]) == ("FAILED", [reason + "\n"])
        assert run["info"]["sweep"]["stop_reason"] == reason
        assert database.metrics.find_one()["values"] == [0.5]
        assert (dead.run_id, dead.status) == (run["_id"], "FAILED")

    def test_is_believed_what_it_had_written_itself(self, record, left_by, database):
        left_by(0, end("COMPLETED"))
        dead = self.dead()
        record.died(dead)
        (run,) = database.runs.find()
        assert (run["status"], run["result"]) == ("COMPLETED", 5)
        assert (dead.status, dead.error, dead.run_id) == ("COMPLETED", None, run["_id"])
        # What the driver would have had from it: all that it had logged, and its result.
        assert dead.metrics == {"loss": 0.5, "result": 5.0}
        assert dead.config == {"seed": 1}

    def test_keeps_what_it_had_reported_besides(self, record, left_by):
        left_by(0, ("scalar", ["loss", 1, 0.25, AT]), end("COMPLETED"))
        dead = self.dead(metrics={"loss": 0.5, "accuracy": 0.75}, config={"seed": 1, "x": 2})
        record.died(dead)
        assert dead.metrics == {"loss": 0.25, "accuracy": 0.75, "result": 5.0}
        assert dead.config == {"seed": 1}

    @pytest.mark.parametrize("status", ["INTERRUPTED", "TIMEOUT"])
    def test_is_believed_another_end_without_its_values(self, record, left_by, status):
        left_by(0, end(status))
        dead = self.dead(metrics={"loss": 9.0})
        record.died(dead)
        assert (dead.status, dead.metrics) == (status, {"loss": 9.0})
        assert dead.error == f"the worker process ended itself with the trial {status}"

    def test_that_had_ended_is_believed_while_the_database_is_away(
        self, target, left_by, lines, double, database, monkeypatch
    ):
        def refuse(request):
            raise ServerSelectionTimeoutError("unit.test:1: refused, Timeout")

        monkeypatch.setattr(target_module, "database_at", lambda address: double(database, refuse))
        monkeypatch.setattr(target_module, "_indexed", {target.address})
        monkeypatch.setattr(settlement, "_SHORT_S", 0.2)
        left_by(0, end("COMPLETED"))
        dead = self.dead()
        SweepRecord(target, "sweep-1", None, lines.append).died(dead)
        assert (dead.status, dead.error, dead.run_id) == ("COMPLETED", None, None)
        assert dead.metrics == {"loss": 0.5, "result": 5.0}

    @pytest.mark.parametrize("order", [1, -1])
    def test_is_believed_its_last_segment(self, record, left_by, order):
        ends = {0: "INTERRUPTED", 2: "INTERRUPTED", 10: "COMPLETED"}
        for segment, status in list(ends.items())[::order]:
            left_by(0, end(status), segment=segment, journal=f"{segment}x")
        dead = self.dead()
        record.died(dead)
        assert dead.status == "COMPLETED"

    def test_before_its_run_began_gets_a_document_once(
        self, target, lines, write_without_start, database
    ):
        path = write_without_start("trial0-0-0-a", ("file", {}), ("document", {}))
        written = []

        def write_missing(outcome, reason):
            written.append((outcome.index, outcome.attempt, reason))
            return 5

        record = SweepRecord(target, "sweep-1", None, lines.append, write_missing)
        dead = self.dead()
        record.died(dead)
        assert (dead.run_id, dead.status, dead.error) == (5, "FAILED", self.DEAD[0])
        assert not path.exists()
        record.settle([dead])
        assert written == [(0, 0, self.DEAD[1] + "the worker process died.")]

    def test_in_a_later_segment_before_it_began_has_the_earlier_one_ended(
        self, record, left_by, write_without_start, database
    ):
        left_by(0)
        write_without_start("trial0-0-1-b")
        dead = self.dead()
        record.died(dead)
        (run,) = database.runs.find()
        assert (run["status"], run["meta"]["sweep"]["segment"]) == ("FAILED", 0)
        assert dead.run_id == run["_id"]

    def test_before_it_had_a_journal_gets_a_document_once(self, target, lines):
        written = []

        def write_missing(outcome, reason):
            written.append((outcome.index, outcome.attempt, reason))
            return 5

        record = SweepRecord(target, "sweep-1", None, lines.append, write_missing)
        dead = self.dead()
        record.died(dead)
        assert dead.run_id == 5
        record.settle([dead])
        assert written == [(0, 0, self.DEAD[1] + "the worker process died.")]

    def test_has_no_second_document_where_there_is_one(self, target, lines, database):
        database.runs.insert_one(document(3, 0))
        record = SweepRecord(target, "sweep-1", None, lines.append, lambda *given: 1 / 0)
        record.died(self.dead())
        assert statuses(database) == {3: "FAILED"}

    def test_leaves_the_journals_of_other_attempts_alone(self, record, left_by, database):
        other = left_by(0, attempt=1, journal="b")
        third = left_by(10, journal="c")
        left_by(0)
        record.died(self.dead())
        assert [run["meta"]["sweep"]["attempt"] for run in database.runs.find()] == [0]
        assert other.path.exists()
        assert third.path.exists()

    def test_without_a_journal_has_its_document_closed(self, record, database, observer):
        database.runs.insert_many([document(7, 0), document(8, 1)])
        dead = self.dead()
        record.died(dead)
        run = database.runs.find_one({"_id": 7})
        reason = "Trial 0 could not write its own end: the worker process died."
        assert (run["status"], run["fail_trace"]) == ("FAILED", [reason + "\n"])
        assert statuses(database)[8] == "RUNNING"
        assert (dead.run_id, dead.status) == (7, "FAILED")
        # And again with the journal of the sweep, should the database have been away.
        ((query, changes),) = map(as_update, observer.amendments)
        assert database.runs.count_documents(query) == 0
        database.runs.update_one({"_id": 7}, {"$set": {"status": "RUNNING"}})
        assert database.runs.update_many(query, changes).matched_count == 1

    def test_without_a_journal_is_believed_what_its_document_says(self, record, database):
        complete = {**document(7, 0, "COMPLETED"), "result": 3, "config": {"seed": 4}}
        database.runs.insert_one(complete)
        for run_id, values in ((7, [0.5, 0.25]), (8, [9.0])):
            database.metrics.insert_one({"run_id": run_id, "name": "loss", "values": values})
        dead = self.dead()
        record.died(dead)
        assert statuses(database) == {7: "COMPLETED"}
        assert (dead.run_id, dead.status, dead.error) == (7, "COMPLETED", None)
        assert dead.metrics == {"loss": 0.25, "result": 3.0}
        assert dead.config == {"seed": 4}

    def test_keeps_the_run_id_that_is_known(self, record, database):
        database.runs.insert_one(document(7, 0))
        dead = self.dead(run_id=6)
        record.died(dead)
        assert dead.run_id == 6


class TestTrialThatWasNotContinued:
    def test_is_marked_where_it_was_paused(self, record, observer, database):
        database.runs.insert_many([document(7, 0, tags=["paused"]), document(8, 1, tags=["x"])])
        record.not_continued(outcome(0, stop_reason="It was not continued."))
        (amendment,) = observer.amendments
        database.runs.update_many(*as_update(amendment))
        run = database.runs.find_one({"_id": 7})
        assert run["info"] == {"sweep": {"stop_reason": "It was not continued."}}
        assert run["omniboard"]["tags"] == ["paused", "early-stopped"]
        assert "info" not in database.runs.find_one({"_id": 8})

    @pytest.mark.parametrize(
        ("run", "index"), [({"tags": ["early-stopped"]}, 0), ({"tags": ["paused"]}, 1)]
    )
    def test_that_wrote_its_own_end_keeps_it(self, record, observer, database, run, index):
        before = document(7, index, **run)
        database.runs.insert_one(dict(before))
        record.not_continued(outcome(0, stop_reason="It was not continued."))
        (amendment,) = observer.amendments
        assert database.runs.update_many(*as_update(amendment)).matched_count == 0
        assert database.runs.find_one() == before

    def test_is_said_again_at_the_end_when_all_journals_are_there(self, record, observer):
        record.not_continued(outcome(0, stop_reason="x"))
        record.settle([outcome(0, stop_reason="x")])
        once, again = map(as_update, observer.amendments)
        assert once == again


class TestSettling:
    def test_brings_home_what_workers_left(self, record, left_by, database, target):
        left_by(0, end())
        left_by(1, journal="b")
        left_by(2, journal="c")
        found = record.settle(
            [outcome(0), outcome(1, "FAILED", error="ValueError: x"), outcome(2, "RUNNING")]
        )
        ends = {
            run["meta"]["sweep"]["trial_index"]: (run["status"], run.get("fail_trace"))
            for run in database.runs.find()
        }
        assert ends == {
            0: ("COMPLETED", None),
            1: ("FAILED", ["ValueError: x\n"]),
            2: ("INTERRUPTED", ["The sweep ended before this trial did.\n"]),
        }
        assert {key: status for key, (_, status) in found.items()} == {
            **{(0, 0): "COMPLETED", (1, 0): "FAILED", (2, 0): "INTERRUPTED"}
        }
        assert {run_id for run_id, _ in found.values()} == {1, 2, 3}
        assert journals_in(target.folder()) == []

    def test_closes_documents_whose_journals_are_elsewhere(self, record, database):
        database.runs.insert_many(
            [document(7, 0), document(8, 1), document(9, 2, "COMPLETED"), document(10, 3)]
        )
        found = record.settle(
            [outcome(0, "FAILED", error="node lost"), outcome(1, "RUNNING"), outcome(2, "FAILED")]
        )
        assert statuses(database) == {
            **{7: "FAILED", 8: "INTERRUPTED", 9: "COMPLETED", 10: "INTERRUPTED"}
        }
        assert found[2, 0] == (9, "COMPLETED")
        assert database.runs.find_one({"_id": 7})["fail_trace"] == ["node lost\n"]

    def test_tells_trials_that_began_first_the_id_of_the_sweep(self, record, database):
        database.runs.insert_many(
            [document(7, 0, outer_run_id=None), document(8, 1, outer_run_id=5)]
        )
        record.settle([])
        ids = [run["meta"]["sweep"]["outer_run_id"] for run in database.runs.find()]
        assert ids == [77, 5]

    def test_waits_for_workers_that_live(self, record, write_journal, database, monkeypatch):
        journal = write_journal("trial0-0-0-a", sweep={"trial_index": 0})
        shipment = Shipment(journal, database, is_new=True)
        checks = []

        def sleep(seconds):
            checks.append(seconds)
            if len(checks) == 3:
                journal.append(*end())
                shipment.advance()
                journal.delete()

        monkeypatch.setattr(settlement.time, "sleep", sleep)
        assert record.settle([outcome(0)]) == {(0, 0): (1, "COMPLETED")}
        assert len(checks) == 3

    def test_of_several_segments_the_last_one_counts(self, record, left_by, monkeypatch):
        # Nothing reaches the database in time.
        monkeypatch.setattr(SweepRecord, "_wait_for_shipments", lambda self, limit: None)
        monkeypatch.setattr(settlement, "recorded_statuses", lambda *given: {})
        ends = {10: "COMPLETED", 2: "INTERRUPTED", 0: "INTERRUPTED"}
        for segment, status in ends.items():
            left_by(3, end(status), segment=segment, journal=f"{segment}x")
        found = record.settle([outcome(3, "RUNNING")])
        assert found[3, 0][1] == "COMPLETED"

    @pytest.mark.parametrize("first_id", [1, 50])
    def test_of_several_segments_the_last_one_counts_in_the_database(
        self, record, left_by, database, first_id
    ):
        if first_id > 1:
            # It was brought home before the earlier ones.
            run = document(50, 3, "COMPLETED", segment=11)
            database.runs.insert_one({**run, "_id": -1})
        for segment, status in {10: "FAILED", 2: "INTERRUPTED"}.items():
            left_by(3, end(status), segment=segment, journal=f"{segment}x")
        found = record.settle([outcome(3, "RUNNING")])
        assert found[3, 0][1] == ("FAILED" if first_id == 1 else "COMPLETED")

    def test_waits_on_while_journals_arrive(self, target, lines, left_by, monkeypatch):
        class Slow:
            """Brings one journal each 3 s of a clock of its own."""

            now = 0.0

            def add(self, shipment):
                pass

            def wait(self, shipment, is_enough, seconds):
                Slow.now += min(seconds, 3.0)
                if seconds < 3.0:
                    return False
                shipment.advance()
                shipment.source.delete()
                return is_enough()

        for index in range(8):
            left_by(index, end(), journal=f"{index}x")
        monkeypatch.setattr(settlement, "shipper_for", lambda address: Slow())
        monkeypatch.setattr(settlement.time, "monotonic", lambda: Slow.now)
        short = dataclasses.replace(target, wait_s=1.0)  # 4 s in all
        record = SweepRecord(short, "sweep-1", None, lines.append)
        found = record.settle([outcome(index) for index in range(8)])
        assert sorted(found) == [(index, 0) for index in range(8)]
        assert lines == []
        assert Slow.now == 24.0

    def test_waits_no_longer_where_none_arrives(self, target, lines, left_by, monkeypatch):
        class Stuck:
            now = 0.0

            def add(self, shipment):
                pass

            def wait(self, shipment, is_enough, seconds):
                Stuck.now += seconds
                return False

        for index in range(8):
            left_by(index, end(), journal=f"{index}x")
        monkeypatch.setattr(settlement, "shipper_for", lambda address: Stuck())
        monkeypatch.setattr(settlement.time, "monotonic", lambda: Stuck.now)
        short = dataclasses.replace(target, wait_s=1.0)
        SweepRecord(short, "sweep-1", None, lines.append).settle([])
        assert Stuck.now == 4.0
        assert lines[0].startswith("The records of 8 trials have not reached the MongoDB")

    def test_of_a_worker_that_died_before_its_run_began_deletes_the_journal(
        self, target, lines, write_without_start
    ):
        path = write_without_start("trial0-0-0-a")
        written = []

        def write_missing(outcome, reason):
            written.append((outcome.index, reason))
            return 5

        record = SweepRecord(target, "sweep-1", None, lines.append, write_missing)
        record.settle([outcome(0, "FAILED", error="it was lost")])
        assert written == [(0, "it was lost")]
        assert not path.exists()
        assert lines == []

    def test_leaves_a_worker_that_goes_on_to_itself(self, record, write_journal, monkeypatch):
        monkeypatch.setattr(settlement, "_WORKERS_S", 0.05)
        journal = write_journal("trial0-0-0-a", sweep={"trial_index": 0})
        record.settle([outcome(0, "RUNNING")])
        assert [kind for kind, _ in journal.read(0)[0]].count("end") == 0
        assert is_alive(journal.path)
        journal.close()

    def test_leaves_the_journal_of_the_sweep_alone(self, record, write_journal, target):
        own = write_journal("sweep-a", sweep={})
        record.settle([])
        assert journals_in(target.folder()) == [own.path]
        own.close()

    def test_twice_changes_nothing(self, record, left_by, database):
        left_by(0, end())
        outcomes = [outcome(0)]
        once = record.settle(outcomes)
        before = list(database.runs.find())
        assert record.settle(outcomes) == once
        assert list(database.runs.find()) == before


class TestDatabaseThatIsAway:
    @pytest.fixture
    def away(self, monkeypatch, target, lines, observer, double, database):
        def refuse(request):
            raise ServerSelectionTimeoutError("unit.test:1: refused, Timeout")

        monkeypatch.setattr(target_module, "database_at", lambda address: double(database, refuse))
        monkeypatch.setattr(target_module, "_indexed", {target.address})
        monkeypatch.setattr(settlement, "_SHORT_S", 0.2)
        monkeypatch.setattr(shipper, "_FIRST_PAUSE_S", 0.05)
        short = RecordTarget(target.address, journal_folder=target.journal_folder, wait_s=0.05)
        return SweepRecord(short, "sweep-1", observer, lines.append)

    def test_leaves_the_journals_and_says_so(self, away, left_by, target, lines):
        left_by(0, end())
        left_by(1, journal="b")
        found = away.settle([outcome(0), outcome(1, "FAILED", error="x")])
        assert found == {(0, 0): (None, "COMPLETED"), (1, 0): (None, "FAILED")}
        assert len(journals_in(target.folder())) == 2
        assert "does not answer" in lines[0]
        assert lines[1].startswith("The records of 2 trials have not reached the MongoDB")
        assert str(target.folder()) in lines[1]
        assert "`sacred-ray sync`" in lines[1]

    def test_costs_a_dead_trial_nothing(self, away, left_by, observer, lines):
        left_by(0)
        dead = outcome(0, "FAILED", error="the worker process died")
        away.died(dead)
        assert (dead.status, dead.run_id) == ("FAILED", None)

    def test_costs_one_without_a_journal_a_sentence(self, away, observer, lines):
        dead = outcome(0, "FAILED", error="the worker process died")
        away.died(dead)
        assert "does not answer" in lines[0]
        assert len(observer.amendments) == 1


def test_the_driver_is_seen_as_long_as_it_is_there(record, target):
    with record.kept_by_this_process():
        (marker,) = journals_in(target.folder())
        assert marker.name.startswith("sweep-")
        assert is_alive(marker)
    assert journals_in(target.folder()) == []


def test_without_an_address_there_is_no_record():
    with pytest.raises(ValueError, match="without a MongoDB address has no record"):
        SweepRecord(RecordTarget(None), "sweep-1", None, print)


def test_without_an_observer_the_database_is_told_all_the_same(target, database, lines):
    database.runs.insert_one(document(7, 0))
    record = SweepRecord(target, "sweep-1", None, lines.append)
    record.died(outcome(0, "FAILED", error="x"))
    record.settle([])
    assert statuses(database) == {7: "FAILED"}


class TestWhetherAnAttemptHasBegun:
    @staticmethod
    def attempt(index=4, number=0):
        return TrialOutcome(index=index, attempt=number, status="RUNNING", parameters={}, seed=1)

    def test_a_journal_with_a_beginning_tells(self, record, left_by):
        left_by(4)
        assert record.has_begun(self.attempt())
        assert not record.has_begun(self.attempt(number=1))
        assert not record.has_begun(self.attempt(index=5))
        assert not record.has_begun(self.attempt(index=44))

    def test_a_journal_without_a_beginning_does_not(self, record, target):
        journal = Journal(target.folder() / "trial4-0-0-a.jsonl")
        journal.append("target", dataclasses.asdict(target.address))
        journal.close()
        assert not record.has_begun(self.attempt())

    def test_a_document_tells(self, record, database):
        meta = {"sweep": {"sweep_id": "sweep-1", "trial_index": 4, "attempt": 1, "segment": 0}}
        database.runs.insert_one({"_id": 9, "status": "RUNNING", "meta": meta})
        assert record.has_begun(self.attempt(number=1))
        assert not record.has_begun(self.attempt())
        assert not record.has_begun(self.attempt(index=5, number=1))

    def test_a_document_of_another_sweep_does_not(self, record, database):
        meta = {"sweep": {"sweep_id": "sweep-2", "trial_index": 4, "attempt": 0, "segment": 0}}
        database.runs.insert_one({"_id": 9, "status": "RUNNING", "meta": meta})
        assert not record.has_begun(self.attempt())

    def test_a_journal_that_was_adopted_still_tells(self, record, left_by):
        left_by(4)
        dead = self.attempt()
        dead.status, dead.error = "FAILED", "the worker process died"
        record.died(dead)
        assert record.has_begun(self.attempt())

    def test_a_database_that_is_away_is_no_beginning_and_told(self, record, lines, monkeypatch):
        def away(*arguments):
            raise ServerSelectionTimeoutError("away")

        monkeypatch.setattr(settlement, "recorded_statuses", away)
        assert not record.has_begun(self.attempt())
        assert len(lines) == 1


class TestJournalsThatAreComing:
    """Copies of journals of other nodes, which a courier writes into the driver's folder."""

    @pytest.fixture
    def arrive(self, record, left_by, tmp_path):
        """Return a function that lets a journal arrive, and the node that has it."""
        node = NodeJournals([tmp_path / "there"])

        def arrive(index, *events):
            journal = left_by(index, *events)
            there = tmp_path / "there" / "sweep-1" / journal.path.name
            there.parent.mkdir(parents=True, exist_ok=True)
            journal.path.replace(there)
            parcel = node.give("sweep-1", {})
            record.arrivals.take("far", parcel)
            return record.arrivals.folder / there.name

        return arrive

    def test_are_brought_as_they_come_and_deleted_when_all_is_there(self, record, arrive, database):
        copy = arrive(0, end("COMPLETED"))
        deadline = time.monotonic() + 10
        while copy.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not copy.exists()
        assert statuses(database) == {1: "COMPLETED"}
        assert record.has_begun(outcome(0))

    def test_get_the_end_that_the_driver_knows(self, record, arrive, database):
        arrive(0)
        dead = outcome(0, "FAILED", error="the worker process died")
        record.died(dead)
        run = database.runs.find_one()
        assert (run["status"], dead.run_id) == ("FAILED", run["_id"])
        assert database.metrics.find_one()["values"] == [0.5]

    def test_are_fetched_before_it_is_asked_whether_a_trial_has_begun(self, record, arrive):
        asked = []

        def fetch(is_enough, seconds):
            asked.append(is_enough())
            arrive(0)

        with record.fetched_by(fetch):
            assert record.has_begun(outcome(0))
        assert asked == [True]
        assert not record.has_begun(outcome(1)), "nobody fetches any more"

    def test_that_come_again_later_are_settled_too(self, record, arrive, database):
        arrive(0)
        record.died(outcome(0, "FAILED", error="its node was lost"))
        assert statuses(database) == {1: "FAILED"}
        late = ("scalar", ["loss", 1, 0.25, AT])
        arrive(0, late, end("COMPLETED"))
        found = record.settle([outcome(0, "FAILED", error="its node was lost")])
        assert found[0, 0] == (1, "COMPLETED")
        assert database.metrics.find_one()["values"] == [0.5, 0.25]
