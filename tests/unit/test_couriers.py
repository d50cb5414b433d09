"""The driver's thread that fetches journals: from which nodes, when, and what becomes of them."""

import dataclasses
import datetime
import os
import tempfile
import threading
import time

import pytest

from sacred_ray_ingredient.cluster import couriers as couriers_module
from sacred_ray_ingredient.cluster.courier_nodes import Courier
from sacred_ray_ingredient.cluster.couriers import Couriers
from sacred_ray_ingredient.record import settlement
from sacred_ray_ingredient.record.journal import journals_in
from sacred_ray_ingredient.record.left_sweeps import LeftSweeps
from sacred_ray_ingredient.record.settlement import SweepRecord
from sacred_ray_ingredient.record.shipper import UNREACHABLE
from sacred_ray_ingredient.tasks import TrialOutcome

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
END = ("end", {"status": "COMPLETED", "time": AT, "result": 5, "notes": []})


class FakeNodes:
    """Nodes of a cluster in this process; the far one has a folder of its own."""

    def __init__(self):
        self.home, self.far = {"near"}, {"far"}
        self.log = []
        self.silent = set()
        self.dead = set()

    def alive(self):
        return (self.home | self.far) - self.dead

    def ask_whether_home(self, node, target):
        self.log.append(("whether home", node))
        return (node, lambda: node in self.home)

    def start(self, node):
        self.log.append(("start", node))
        return node, Courier()

    def ask(self, courier, method, *arguments):
        node, actor = courier
        answer = getattr(actor, method)(*arguments)
        return (node, lambda: answer)

    def answers(self, references, seconds):
        there = [each for each in references if each[0] not in self.silent]
        if not there:
            time.sleep(seconds)
        return there[:1]

    def get(self, reference):
        node, answer = reference
        if node in self.dead:
            raise RuntimeError("The actor died.")
        return answer()

    def end(self, courier):
        self.log.append(("end", courier[0]))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in (("_PAUSE_S", 0.02), ("_LOOK_S", 0.02), ("_ANSWER_S", 0.3)):
        monkeypatch.setattr(couriers_module, name, seconds)
    monkeypatch.setattr(couriers_module, "_WORKERS_S", 0.5)
    monkeypatch.setattr(couriers_module, "_START_S", 3.0)


@pytest.fixture
def nodes():
    return FakeNodes()


@pytest.fixture
def there(tmp_path, monkeypatch):
    """The folder for journals on the far node."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    own = temporary / f"sacred-ray-{os.getuid()}"
    own.mkdir(mode=0o700)
    return own / "journals"


@pytest.fixture
def lines():
    return []


@pytest.fixture
def sweep(target):
    return dataclasses.replace(target, group="sweep-1")


@pytest.fixture
def record(sweep, lines):
    return SweepRecord(sweep, "sweep-1", None, lines.append)


@pytest.fixture
def fetching(nodes, sweep, record, lines):
    made = Couriers(nodes, sweep, record.arrivals, LeftSweeps(sweep, lines.append))
    with record.fetched_by(made.fetch):
        made.start()
        yield made
        made.stop()


@pytest.fixture
def begin(write_journal, there):
    """Return a function that begins the journal of a trial on the far node."""
    begun = []

    def begin(index, *events, group="sweep-1", is_cut_off=True):
        sweep = {"trial_index": index, "sweep_id": group}
        journal = write_journal(
            f"trial{index}-0-0-{group}{index}", *events, sweep=sweep, folder=there / group
        )
        if is_cut_off:
            (there / group / UNREACHABLE).touch()
        begun.append(journal)
        return journal

    yield begin
    for journal in begun:
        journal.close()


def until(look, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.01)
    return found


def run_of(database, index):
    return database.runs.find_one({"meta.sweep.trial_index": index})


def test_a_trial_is_in_the_database_while_it_runs(fetching, begin, database, there, sweep):
    journal = begin(3)
    run = until(lambda: run_of(database, 3))
    assert run["status"] == "RUNNING"
    journal.append(*END)
    until(lambda: run_of(database, 3)["status"] == "COMPLETED")
    until(lambda: journals_in(sweep.home()) == journals_in(there) == [])
    fetching.stop()
    assert not (there / "sweep-1").exists()


def test_a_node_that_shares_the_folder_has_no_courier(fetching, nodes, there):
    until(lambda: ("start", "far") in nodes.log)
    fetching.stop()
    assert ("start", "near") not in nodes.log
    assert nodes.log.count(("whether home", "near")) == 1
    assert nodes.log[-1] == ("end", "far")


def test_a_node_that_joins_later_has_one(fetching, nodes, begin, database):
    nodes.far.clear()
    until(lambda: "far" not in fetching._known)
    begin(0, END)
    nodes.far.add("late")
    until(lambda: run_of(database, 0))
    assert ("start", "late") in nodes.log


def test_a_worker_that_died_has_its_journal_here_when_its_end_is_written(
    fetching, begin, record, database, monkeypatch
):
    monkeypatch.setattr(couriers_module, "_PAUSE_S", 60.0)
    monkeypatch.setattr(settlement, "_SHORT_S", 60.0)
    until(lambda: any(node.is_served for node in fetching._known.values()))
    journal = begin(2, is_cut_off=False)
    journal.close()
    outcome = TrialOutcome(2, 0, "FAILED", {}, 1, None, error="the worker process died")
    assert record.has_begun(outcome)
    record.died(outcome)
    run = run_of(database, 2)
    assert (run["status"], outcome.run_id) == ("FAILED", run["_id"])
    assert database.metrics.find_one({"run_id": run["_id"]})["values"] == [0.5]


def test_a_node_that_does_not_answer_holds_nothing_up(fetching, nodes, begin, record, database):
    until(lambda: any(node.is_served for node in fetching._known.values()))
    nodes.silent.add("far")
    nodes.far.add("other")
    until(lambda: ("start", "other") in nodes.log)
    begin(1, END)
    until(lambda: run_of(database, 1))
    started = time.monotonic()
    record.has_begun(TrialOutcome(0, 0, "FAILED", {}, 1, None, error="gone"))
    assert time.monotonic() - started < 5
    started = time.monotonic()
    fetching.stop()
    assert time.monotonic() - started < 5


def test_what_came_of_a_node_that_dies_is_settled(fetching, nodes, begin, record, database):
    begin(0)
    until(lambda: run_of(database, 0))
    nodes.dead.add("far")
    outcome = TrialOutcome(0, 0, "FAILED", {}, 1, None, error="its node was lost")
    until(lambda: not any(map(record.arrivals.is_coming, journals_in(record.arrivals.folder))))
    record.died(outcome)
    assert run_of(database, 0)["status"] == "FAILED"
    assert "its node was lost" in run_of(database, 0)["fail_trace"][0]


def test_at_the_end_what_is_left_comes_and_is_settled(
    fetching, begin, record, database, there, monkeypatch
):
    until(lambda: any(node.is_served for node in fetching._known.values()))
    monkeypatch.setattr(couriers_module, "_PAUSE_S", 60.0)
    time.sleep(0.1)
    begin(5, END, is_cut_off=False).close()
    fetching.stop()
    outcome = TrialOutcome(5, 0, "COMPLETED", {}, 1, None)
    statuses = record.settle([outcome])
    run = run_of(database, 5)
    assert statuses[5, 0] == (run["_id"], "COMPLETED")
    assert outcome.run_id == run["_id"], "the worker did not know it"
    assert journals_in(there) == []


def test_the_end_waits_for_the_first_answer_of_a_node_that_has_just_joined(
    fetching, nodes, begin, database
):
    nodes.far.clear()
    nodes.silent.add("late")
    begin(6, END)
    nodes.far.add("late")
    until(lambda: ("whether home", "late") in nodes.log)
    time.sleep(0.5)  # longer than for an answer of one that is known
    threading.Timer(0.5, lambda: nodes.silent.discard("late")).start()
    fetching.stop()
    until(lambda: (run_of(database, 6) or {}).get("status") == "COMPLETED")


@pytest.mark.parametrize("is_cut_off", [True, False])
def test_the_end_waits_for_a_process_that_still_writes(
    fetching, begin, database, record, is_cut_off
):
    until(lambda: any(node.is_served for node in fetching._known.values()))
    journal = begin(4, is_cut_off=is_cut_off)

    def end():
        journal.append(*END)
        journal.close()

    writer = threading.Timer(0.3, end)
    writer.start()
    fetching.stop()
    writer.join()
    record.settle([TrialOutcome(4, 0, "COMPLETED", {}, 1, None)])
    assert run_of(database, 4)["result"] == 5


class TestEarlierSweep:
    def outer(self, database, status, sweep_id="sweep-0"):
        document = {"status": status, "meta": {"sweep": {"sweep_id": sweep_id}}}
        database.runs.insert_one({"_id": 90, **document})

    def test_of_a_killed_driver_comes_home(self, begin, database, there, fetching, nodes):
        nodes.far.clear()
        self.outer(database, "INTERRUPTED")
        begin(7, group="sweep-0").close()
        nodes.far.add("late")
        run = until(lambda: run_of(database, 7))
        assert run["status"] == "INTERRUPTED"
        assert "driver process died" in run["info"]["sweep"]["stop_reason"]
        until(lambda: not (there / "sweep-0").exists())

    def test_that_still_runs_is_left_to_its_driver(self, begin, database, there, nodes, fetching):
        nodes.far.clear()
        self.outer(database, "RUNNING")
        begin(7, group="sweep-0").close()
        nodes.far.add("late")
        until(lambda: ("start", "late") in nodes.log)
        fetching.stop()
        assert run_of(database, 7) is None
        assert len(journals_in(there)) == 1

    def test_of_another_database_is_left_alone(self, begin, database, there, nodes, fetching):
        nodes.far.clear()
        begin(7, group="sweep-9").close()
        nodes.far.add("late")
        until(lambda: ("start", "late") in nodes.log)
        fetching.stop()
        assert len(journals_in(there)) == 1


def test_a_local_ray_is_not_asked_for_anything(record, sweep, monkeypatch):
    monkeypatch.setattr(couriers_module, "is_cluster", lambda settings: False)
    monkeypatch.setattr(couriers_module, "RayNodes", None)
    before = threading.active_count()
    with couriers_module.couriers(record, sweep, None, print):
        assert threading.active_count() == before


def test_without_a_record_nothing_is_fetched(sweep):
    with couriers_module.couriers(None, sweep, None, print):
        pass
