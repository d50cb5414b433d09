"""Journals whose process is gone are brought to the database, each with a true end."""

import dataclasses
import datetime
import os
import tempfile
import time

import mongomock
import pytest
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from sacred_ray_ingredient.mongo import EmbeddedServer, MongoAddress
from sacred_ray_ingredient.record import sync as sync_module
from sacred_ray_ingredient.record import target as target_module
from sacred_ray_ingredient.record.journal import DeadJournal, Journal, journals_in
from sacred_ray_ingredient.record.lines import encode
from sacred_ray_ingredient.record.processes import this_process
from sacred_ray_ingredient.record.shipment import Shipment
from sacred_ray_ingredient.record.sync import sync, sync_all

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
LATER = datetime.datetime(2026, 1, 2, 3, 5)
END = ("end", {"status": "COMPLETED", "time": AT, "result": 5, "notes": []})


@pytest.fixture
def folder(target):
    return target.folder().parent


@pytest.fixture
def bring(folder):
    """Return a function that brings all that is dead, and what was said."""

    def bring(**named):
        lines = []
        named = {"patience_s": 0.0, **named}
        return sync(folder, lines.append, **named), lines

    return bring


def run_of(database, journal_id):
    return database.runs.find_one({"meta.record.journal": journal_id})


def test_a_run_that_had_ended_is_brought_as_it_was(bring, write_journal, database, folder):
    write_journal("run-a", END).close()
    report, lines = bring()
    assert (report.journals, report.events, report.left, report.alive) == (1, 4, [], 0)
    run = run_of(database, "a")
    assert (run["status"], run["result"], run["stop_time"]) == ("COMPLETED", 5, AT)
    assert "fail_trace" not in run
    assert database.metrics.find_one()["values"] == [0.5]
    assert journals_in(folder) == []
    assert lines == ["1 journals with 4 events were brought to the database."]


def test_a_run_of_no_sweep_that_was_killed_has_failed(bring, write_journal, database):
    write_journal("run-a").close()
    bring()
    run = run_of(database, "a")
    reason = "The process of the run ended without a word: it was killed, or the machine went down."
    assert (run["status"], run["fail_trace"]) == ("FAILED", [reason + "\n"])
    assert run["info"]["sweep"]["stop_reason"] == reason
    assert run["stop_time"] == AT  # the last that it said
    assert database.metrics.find_one()["values"] == [0.5]


@pytest.mark.parametrize("name", ["sweep-a", "trial0-0-0-a"])
def test_a_part_of_a_sweep_that_was_killed_is_interrupted(bring, write_journal, database, name):
    write_journal(name, sweep={"trial_index": 0}).close()
    bring()
    run = run_of(database, "a")
    reason = "The driver process died before the sweep ended."
    assert (run["status"], run["fail_trace"]) == ("INTERRUPTED", [reason + "\n"])


def test_a_run_that_goes_on_is_left_to_itself(bring, write_journal, database, folder):
    journal = write_journal("run-a")
    report, lines = bring()
    assert (report.journals, report.alive, lines) == (0, 1, [])
    assert database.runs.count_documents({}) == 0
    assert journals_in(folder) == [journal.path]
    assert journal.read(0)[0][-1][0] == "scalar"
    journal.close()


def test_trials_of_a_sweep_that_goes_on_are_left_to_its_driver(bring, write_journal, database):
    write_journal("trial0-0-0-a", sweep={"trial_index": 0}).close()
    write_journal("run-b", END, folder=None).close()
    driver = write_journal("sweep-c", sweep={})
    report, _ = bring()
    assert (report.journals, report.alive) == (0, 3)
    driver.close()
    report, _ = bring()
    assert (report.journals, report.alive) == (3, 0)
    assert run_of(database, "a")["status"] == "INTERRUPTED"


def test_trials_of_another_sweep_are_not(bring, write_journal, database, folder):
    write_journal("trial0-0-0-a", END, sweep={"trial_index": 0}, folder=folder / "dead").close()
    driver = write_journal("sweep-c", sweep={}, folder=folder / "alive")
    report, _ = bring()
    assert (report.journals, report.alive) == (1, 1)
    assert run_of(database, "a")["status"] == "COMPLETED"
    driver.close()


def test_doing_it_twice_changes_nothing(bring, write_journal, database, folder):
    journal = write_journal("run-a")
    journal.close()
    copy = journal.path.read_bytes()
    bring()
    before = (list(database.runs.find()), list(database.metrics.find()))
    assert bring()[0] == sync_module.SyncReport()
    # Somebody else may hold a copy of the file.
    journal.path.parent.mkdir(parents=True)
    journal.path.write_bytes(copy)
    assert bring()[0].journals == 1
    assert (list(database.runs.find()), list(database.metrics.find())) == before


def test_what_the_database_has_of_a_run_is_completed(bring, write_journal, database):
    journal = write_journal("run-a")
    Shipment(journal, database, is_new=True).advance()
    journal.append("scalar", ["loss", 1, 0.25, AT])
    journal.append(*END)
    journal.close()
    bring()
    assert database.runs.count_documents({}) == 1
    assert run_of(database, "a")["status"] == "COMPLETED"
    assert database.metrics.find_one()["values"] == [0.5, 0.25]


class TestBrokenJournal:
    def test_costs_no_other_one_anything(self, bring, write_journal, database, folder):
        whole = write_journal("run-b", END)
        whole.close()
        text = whole.path.read_bytes()
        start = text.splitlines(True)[1]
        for name, content in {
            "run-a": b"\0\xff not a journal\n",
            "run-c": encode("target", {"uri": 7}) + encode("start", {}),
            "run-d": encode("target", {"uri": "mongodb://x/", "other": 1}),
            "run-e": encode("target", 5),
            "run-f": b"",
            "run-g": b'["target"',
            "run-h": text.replace(b'"b"', b'"h"') + encode("scalar", 7),
            "run-i": text.replace(start, b""),
            "run-j": text.replace(b'"meta"', b'"atem"'),
            "run-k": text.replace(b'"b"', b'"k"') + b"[" * 10**5 + b"\n",
        }.items():
            (whole.path.parent / f"{name}.jsonl").write_bytes(content)
        report, _ = bring()
        for journal_id in "bk":
            assert run_of(database, journal_id)["status"] == "COMPLETED"
        assert database.runs.count_documents({}) == 2
        left = {sentence.partition(":")[0] for sentence in report.left}
        names = {f"run-{letter}.jsonl" for letter in "acdefghij"}
        assert left <= names
        # Those of which there is nothing to be told are young, and may still be written.
        assert left >= names - {"run-f.jsonl", "run-g.jsonl", "run-i.jsonl"}
        # Nothing that may be of use is deleted.
        assert {path.name for path in journals_in(folder)} == names
        assert all(len(sentence) < 500 and "\n" not in sentence for sentence in report.left)

    @pytest.mark.timeout(60)
    def test_that_was_copied_under_another_name_is_one_document(
        self, bring, write_journal, database
    ):
        journal = write_journal("run-a", END)
        journal.close()
        journal.path.with_name("run-a (copy).jsonl").write_bytes(journal.path.read_bytes())
        assert bring()[0].journals == 2
        assert [run["status"] for run in database.runs.find()] == ["COMPLETED"]
        assert [each["values"] for each in database.metrics.find()] == [[0.5]]

    def test_with_a_torn_end_is_brought_up_to_there(self, bring, write_journal, database):
        journal = write_journal("run-a")
        journal.close()
        with journal.path.open("ab") as file:
            file.write(b'["scalar",["loss",1,0.')
        report, _ = bring()
        assert (report.journals, report.left) == (1, [])
        assert run_of(database, "a")["status"] == "FAILED"
        assert database.metrics.find_one()["values"] == [0.5]

    @pytest.mark.parametrize(("age", "is_there"), [(0, True), (3600, False)])
    def test_in_which_nothing_had_begun_is_deleted_after_a_while(
        self, bring, target, folder, database, age, is_there
    ):
        path = folder / "runs" / "run-a.jsonl"
        journal = Journal(path)
        journal.append("target", dataclasses.asdict(target.address))
        journal.append("file", {"digest": journal.files.keep_bytes(b"x"), "filename": "x.py"})
        journal.append("document", {"collection": "environments", "id": "e", "content": {}})
        journal.close()
        os.utime(path, (time.time() - age,) * 2)
        report, _ = bring()
        assert (report.journals, report.left) == (0, [])
        assert path.exists() is is_there
        assert path.with_suffix(".files").exists() is is_there
        assert database.list_collection_names() == []

    @pytest.mark.parametrize("kind", ["start", "scalar", "beat", "end", "set", "novelty"])
    def test_is_kept_where_a_beginning_cannot_be_read(self, folder, database, kind):
        journal = Journal(folder / "runs" / "run-a.jsonl")
        journal.append("file", {})
        journal.append(kind, [])
        journal.close()
        shipment = Shipment(DeadJournal(journal.path), database)
        assert not sync_module.discard_unbegun(shipment.source)
        assert journal.path.exists()


def test_a_journal_that_names_no_database_needs_one(bring, write_journal, database, target):
    write_journal("run-a", END, address=None).close()
    report, _ = bring()
    match = "run-a.jsonl: it does not say which database it is for; give the address"
    assert report.left == [match]
    assert bring(address=target.address)[0].journals == 1
    assert run_of(database, "a")["status"] == "COMPLETED"


def test_journals_for_other_databases_are_left_alone(bring, write_journal, target, folder):
    other = MongoAddress("mongodb://other.test/", db_name="db")
    write_journal("run-a", END, address=other).close()
    write_journal("run-b", END).close()
    report, _ = bring(only_to=target.address)
    assert (report.journals, report.left) == (1, [])
    assert [path.name for path in journals_in(folder)] == ["run-a.jsonl"]


def test_journals_go_where_they_say(bring, write_journal, monkeypatch):
    databases = {"one": mongomock.MongoClient().one, "two": mongomock.MongoClient().two}
    for module in (sync_module, target_module):
        monkeypatch.setattr(module, "database_at", lambda address: databases[address.db_name])
    for name in databases:
        address = MongoAddress("mongodb://unit.test/", db_name=name)
        write_journal(f"run-{name}", END, address=address).close()
    assert bring()[0].journals == 2
    for name, database in databases.items():
        assert [run["meta"]["record"]["journal"] for run in database.runs.find()] == [name]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ServerSelectionTimeoutError("h:1 refused, Timeout"), "the database does not answer (h:1 "),
        (OperationFailure("not authorized, full error: {}"), "the database refuses it (not author"),
    ],
)
def test_a_database_that_takes_nothing_leaves_the_journal(
    bring, write_journal, double, database, monkeypatch, folder, error, sentence
):
    def refuse(request):
        raise error

    monkeypatch.setattr(sync_module, "database_at", lambda address: double(database, refuse))
    monkeypatch.setattr(sync_module, "_PAUSE_S", 0.01)
    write_journal("run-a", END).close()
    report, lines = bring(patience_s=0.2)
    assert report.left[0].startswith(f"run-a.jsonl: {sentence}")
    assert (report.journals, lines) == (0, [])
    assert len(journals_in(folder)) == 1


def test_a_database_that_comes_back_in_time_gets_it(
    bring, write_journal, double, database, monkeypatch
):
    left = [3]

    def refuse(request):
        left[0] -= 1
        if left[0] >= 0:
            raise ServerSelectionTimeoutError("away")

    monkeypatch.setattr(sync_module, "database_at", lambda address: double(database, refuse))
    monkeypatch.setattr(sync_module, "_PAUSE_S", 0.01)
    write_journal("run-a", END).close()
    assert bring(patience_s=20.0)[0].journals == 1
    assert run_of(database, "a")["status"] == "COMPLETED"


class TestEndThatTheDatabaseHas:
    REASON = "The node of the worker was lost."

    def close(self, database, **ending):
        known = {"status": "FAILED", "stop_time": LATER, "fail_trace": [self.REASON + "\n"]}
        known["info.sweep.stop_reason"] = self.REASON
        query = {"meta.record.journal": "a"}
        database.runs.update_one(query, {"$set": {**known, **ending}})

    @pytest.fixture
    def lost(self, write_journal, database):
        """The journal of a trial whose document is in the database."""
        journal = write_journal("trial0-0-0-a", sweep={"trial_index": 0})
        Shipment(journal, database, is_new=True).advance()
        journal.append("scalar", ["loss", 1, 0.25, AT])
        journal.close()
        return journal

    @pytest.mark.parametrize("status", ["FAILED", "TIMEOUT"])
    def test_is_kept(self, bring, lost, database, status):
        self.close(database, status=status)
        report, _ = bring()
        assert (report.journals, report.left) == (1, [])
        run = run_of(database, "a")
        assert (run["status"], run["stop_time"]) == (status, LATER)
        assert run["fail_trace"] == [self.REASON + "\n"]
        assert run["info"]["sweep"]["stop_reason"] == self.REASON
        # All else is brought.
        assert database.metrics.find_one()["values"] == [0.5, 0.25]

    def test_is_not_asked_for_where_the_journal_has_one(self, bring, lost, database):
        DeadJournal(lost.path).append(*END)
        self.close(database)
        bring()
        run = run_of(database, "a")
        assert (run["status"], run["result"], run["stop_time"]) == ("COMPLETED", 5, AT)
        assert "fail_trace" not in run

    def test_that_is_none_is_that_of_a_dead_driver(self, bring, lost, database):
        bring()
        run = run_of(database, "a")
        assert run["status"] == "INTERRUPTED"
        assert run["info"]["sweep"]["stop_reason"].startswith("The driver process died")

    def test_is_waited_for(self, bring, lost, database, double, monkeypatch):
        self.close(database)

        def refuse(request):
            raise ServerSelectionTimeoutError("away")

        with monkeypatch.context() as patch:
            patch.setattr(sync_module, "database_at", lambda address: double(database, refuse))
            assert len(bring()[0].left) == 1
        assert [kind for kind, _ in DeadJournal(lost.path).read(0)[0]].count("end") == 0
        bring()
        assert run_of(database, "a")["status"] == "FAILED"


def test_an_end_is_written_once(write_journal, database):
    journal = write_journal("run-a")
    journal.close()
    for status in ("FAILED", "INTERRUPTED"):
        shipment = Shipment(DeadJournal(journal.path), database)
        shipment.read()
        sync_module.write_end(shipment, {"status": status, "notes": []})
        assert shipment.state.status == "FAILED"
    assert [kind for kind, _ in DeadJournal(journal.path).read(0)[0]].count("end") == 1


class TestJournalsOfSweepsOfOtherMachines:
    """They lie in the folder for temporary files of a node."""

    @pytest.fixture
    def there(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        own = tmp_path / f"sacred-ray-{os.getuid()}"
        own.mkdir(mode=0o700)
        return own / "journals"

    @pytest.fixture
    def left(self, there, write_journal):
        """Return a function that leaves the journal of a trial there."""

        def left(**named):
            sweep = {"trial_index": 0}
            name = "trial0-0-0-a"
            journal = write_journal(name, sweep=sweep, folder=there / "sweep-1", **named)
            journal.close()
            return journal

        return left

    def outer(self, database, status, **record):
        meta = {"sweep": {"sweep_id": "sweep-1"}, "record": record}
        database.runs.insert_one({"_id": 1, "status": status, "meta": meta})

    def test_come_to_the_database_when_their_sweep_is_over(self, there, left, database):
        left()
        self.outer(database, "INTERRUPTED")
        report = sync(there, print)
        assert (report.journals, report.left) == (1, [])
        assert run_of(database, "a")["status"] == "INTERRUPTED"

    def test_are_left_to_the_driver_of_a_sweep_that_runs(self, there, left, database):
        journal = left()
        self.outer(database, "RUNNING", process=this_process())
        report = sync(there, print)
        assert (report.journals, report.left, report.alive) == (0, [], 1)
        assert journal.path.exists()

    def test_of_a_driver_that_was_killed_are_brought(self, there, left, database):
        left()
        self.outer(database, "RUNNING", process={**this_process(), "pid": 2**30})
        report = sync(there, print)
        assert report.journals == 1
        assert database.runs.find_one({"_id": 1})["status"] == "INTERRUPTED"

    def test_for_a_private_server_that_is_not_here_stay(self, there, left, target, tmp_path):
        password = tmp_path / "project" / "mongo" / "password"
        address = dataclasses.replace(target.address, embedded=True, password_file=str(password))
        journal = left(address=address)
        report = sync(there, print)
        (sentence,) = report.left
        assert f"the project's own server in {tmp_path}/project on another machine" in sentence
        assert journal.path.exists()
        assert not (tmp_path / "project").exists(), "no server was started"

    @pytest.mark.parametrize("knows_it", [True, False])
    def test_for_a_private_server_are_for_the_one_that_knows_the_sweep(
        self, there, left, target, tmp_path, database, monkeypatch, knows_it
    ):
        (tmp_path / "project" / "mongo" / "data").mkdir(parents=True)
        password = tmp_path / "project" / "mongo" / "password"
        address = dataclasses.replace(target.address, embedded=True, password_file=str(password))
        monkeypatch.setattr(EmbeddedServer, "start", lambda self: address)
        if knows_it:
            self.outer(database, "INTERRUPTED")
        left(address=address)
        report = sync(there, print)
        assert (report.journals, len(report.left)) == ((1, 0) if knows_it else (0, 1))

    def test_of_several_folders_are_told_together(self, there, left, folder, write_journal):
        left(address=None)
        write_journal("run-b", END).close()
        report = sync_all([folder, there], print)
        assert (report.journals, report.events, len(report.left)) == (1, 4, 1)
