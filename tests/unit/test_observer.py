"""The observer that writes runs, on real Sacred runs and a database in memory."""

import collections
import hashlib
import math
import time
import uuid

import numpy as np
import pytest
from pymongo.errors import ServerSelectionTimeoutError
from sacred.observers.base import RunObserver as SacredObserver

from sacred_ray_ingredient.record import journal as journal_module
from sacred_ray_ingredient.record import observer as observer_module
from sacred_ray_ingredient.record.amendments import DIED
from sacred_ray_ingredient.record.documents import utc_now
from sacred_ray_ingredient.record.files import read_file
from sacred_ray_ingredient.record.journal import DeadJournal, Journal
from sacred_ray_ingredient.record.observer import RunObserver
from sacred_ray_ingredient.record.patience import Patience
from sacred_ray_ingredient.record.scalars import hook_scalars
from sacred_ray_ingredient.record.shipment import Shipment
from sacred_ray_ingredient.record.shipper import Shipper
from sacred_ray_ingredient.record.surroundings import Surroundings

# Long enough for a computer that is busy.
PATIENT = Patience(end_s=30.0, start_s=30.0)


@pytest.fixture
def shipper():
    shipper = Shipper(interval_s=0.05)
    yield shipper
    shipper.stop()


@pytest.fixture
def make_observer(database, tmp_path, shipper):
    """Return a function that makes the observer of a run, with a journal of its own."""

    def make(run, tags=(), patience=PATIENT, to=None):
        journal = Journal(tmp_path / "journals" / f"run-{uuid.uuid4().hex}.jsonl")
        shipment = Shipment(journal, database if to is None else to, is_new=True)
        return RunObserver(run, journal, shipment, shipper, tags, patience=patience)

    return make


@pytest.fixture
def start(make_observer, make_experiment):
    """Return a function that runs an experiment observed, and returns its run."""

    def start(main, tags=("my_search", "sweep-1"), info=None, meta_info=None, **entries):
        experiment = main if hasattr(main, "run") else make_experiment(main, **entries)
        run = experiment._create_run(
            options={"--capture": "sys"}, info=info, meta_info=meta_info, config_updates={"seed": 5}
        )
        run.observers.append(make_observer(run, tags))
        hook_scalars(run, run.observers[-1])
        run.beat_interval = 0.02
        run()
        return run

    return start


def the_run(database):
    (document,) = database.runs.find()
    return document


def metric(database, name):
    return database.metrics.find_one({"name": name})


def test_a_finished_run_is_a_sacred_document(start, database):
    start(lambda size: size * 2, size=4)
    document = the_run(database)
    assert document["_id"] == 1
    assert document["status"] == "COMPLETED"
    assert document["config"] == {"size": 4, "seed": 5}
    assert document["result"] == 8
    assert document["experiment"]["name"] == "unit_ex"
    assert document["start_time"] <= document["stop_time"]


def test_tags_and_meta_are_there_while_the_run_runs(start, database):
    seen = []

    def main():
        seen.append(the_run(database))

    start(main, tags=["a", "b"], meta_info={"sweep": {"trial_index": 3}})
    assert seen[0]["status"] == "RUNNING"
    assert seen[0]["omniboard"] == {"tags": ["a", "b"]}
    assert seen[0]["meta"]["sweep"] == {"trial_index": 3}


def test_what_a_user_changes_of_the_tags_meanwhile_stays(start, database):
    def main():
        database.runs.update_one({}, {"$set": {"omniboard.tags": ["mine"]}})
        time.sleep(0.1)

    start(main)
    document = the_run(database)
    assert document["omniboard"] == {"tags": ["mine"]}
    assert document["heartbeat"] is not None


class TestOutput:
    """It is complete for every ending, also what comes after the last heartbeat."""

    def test_of_a_run_that_returns(self, start, database):
        start(lambda: print("the last line"))
        assert the_run(database)["captured_out"].count("the last line") == 1

    def test_of_a_run_that_raises(self, start, database):
        def main():
            print("before the heartbeat")
            time.sleep(0.1)
            print("the last line")
            raise ValueError("broken here")

        with pytest.raises(ValueError, match="broken here"):
            start(main)
        document = the_run(database)
        assert document["captured_out"].count("before the heartbeat") == 1
        assert document["captured_out"].count("the last line") == 1
        assert document["status"] == "FAILED"
        assert "broken here" in "".join(document["fail_trace"])

    def test_of_a_run_that_is_interrupted(self, start, database):
        def main():
            print("the last line")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            start(main)
        document = the_run(database)
        assert document["captured_out"].count("the last line") == 1
        assert document["status"] == "INTERRUPTED"

    def test_goes_through_the_filter_of_the_experiment(self, start, database, make_experiment):
        def main():
            print("a secret")
            raise ValueError("broken here")

        experiment = make_experiment(main)
        experiment.captured_out_filter = lambda text: text.replace("secret", "word")
        with pytest.raises(ValueError, match="broken here"):
            start(experiment)
        assert "a word" in the_run(database)["captured_out"]


class TestTagsAtTheEnd:
    def test_are_those_of_a_run_that_is_stopped(self, start, database):
        def main(_run):
            _run.observers[0].tag_at_end(["paused"])
            assert "paused" not in the_run(database)["omniboard"]["tags"]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            start(main)
        assert the_run(database)["omniboard"]["tags"] == ["my_search", "sweep-1", "paused"]

    def test_are_not_those_of_one_that_returns_all_the_same(self, start, database):
        start(lambda _run: _run.observers[0].tag_at_end(["paused"]))
        assert the_run(database)["omniboard"]["tags"] == ["my_search", "sweep-1"]


class TestMetrics:
    def test_the_run_and_its_metric_refer_to_each_other(self, start, database):
        def main(_run):
            for step in range(3):
                _run.log_scalar("loss", 1.0 - step, step)

        start(main)
        loss = metric(database, "loss")
        assert loss["run_id"] == 1
        assert (loss["steps"], loss["values"]) == ([0, 1, 2], [1.0, 0.0, -1.0])
        assert the_run(database)["info"]["metrics"] == [{"name": "loss", "id": str(loss["_id"])}]

    def test_values_that_no_plot_can_show_are_counted_instead(self, start, database):
        def main(_run):
            for step, value in enumerate([1.0, math.nan, 2.0, math.inf, -math.inf]):
                _run.log_scalar("loss", value, step)

        start(main, info={"sweep": {"node": "here"}})
        assert metric(database, "loss")["steps"] == [0, 2]
        assert metric(database, "loss")["values"] == [1.0, 2.0]
        sweep = the_run(database)["info"]["sweep"]
        assert sweep == {"node": "here", "nonfinite": {"loss": 3}}

    def test_the_count_grows_over_heartbeats(self, start, database):
        def main(_run):
            for _ in range(2):
                _run.log_scalar("loss", math.nan)
                time.sleep(0.08)

        start(main)
        assert the_run(database)["info"]["sweep"]["nonfinite"] == {"loss": 2}
        assert database.metrics.count_documents({}) == 0

    def test_a_numpy_scalar_is_a_number(self, start, database):
        start(lambda _run: _run.log_scalar("loss", np.float32(0.5)))
        assert metric(database, "loss")["values"] == [0.5]

    def test_what_is_no_number_does_not_end_the_record(self, start, database):
        def main(_run):
            _run.log_scalar("odd", {"not": "a number"})
            _run.log_scalar("loss", 1.0)

        start(main)
        assert metric(database, "odd") is None
        assert metric(database, "loss")["values"] == [1.0]


def test_info_and_result_may_hold_anything(start, database):
    def main(_run):
        _run.info["array"] = np.array([1, 2])
        _run.info["a.b"] = {"huge": 2**70, "nul\0": np.float64(0.5)}
        return {"loss": np.float32(0.25), "odd": object}

    start(main)
    document = the_run(database)
    notes = document["info"].pop("sweep")["left_out"]
    assert document["info"] == {"array": [1, 2], "a,b": {"huge": str(2**70), "nul": 0.5}}
    assert sorted(note.partition(":")[0] for note in notes) == [
        *("info.a,b", "info.a,b.huge", "info.a,b.nul", "result.odd")
    ]
    assert document["result"] == {"loss": 0.25, "odd": "<class 'object'>"}


def test_a_config_that_bson_refuses_is_stored_as_text(start, database):
    start(lambda big: None, big=2**70)
    assert the_run(database)["config"]["big"] == str(2**70)


def test_sources_are_stored_once(start, database):
    first = start(lambda: None)._id
    second = start(lambda: None)._id
    sources = [
        database.runs.find_one({"_id": run_id})["experiment"]["sources"]
        for run_id in (first, second)
    ]
    assert sources[0] == sources[1]
    ((name, file_id),) = sources[0]
    assert name.endswith("conftest.py")  # the file in which the experiment is made
    assert [file["_id"] for file in database.fs.files.find()] == [file_id]


def test_a_changed_source_is_stored_anew(start, database, tmp_path, make_experiment):
    source = tmp_path / "helper.py"
    experiment = make_experiment(lambda: None)
    for content in ("x = 1\n", "x = 2\n"):
        source.write_text(content)
        experiment.sources.clear()
        experiment.add_source_file(str(source))
        start(experiment)
    assert database.fs.files.count_documents({}) == 2


def test_ids_count_up(start, database):
    database.runs.insert_one({"_id": 41})
    assert [start(lambda: None)._id for _ in range(3)] == [42, 43, 44]


def test_observers_are_told_apart(start, database):
    one, other = (start(lambda: None).observers[0] for _ in range(2))
    assert one != other
    assert one == one
    assert len({one, other, one}) == 2


class TestBadValue:
    """It costs at most itself, with a note; never the run."""

    @staticmethod
    def notes(database):
        return the_run(database)["info"]["sweep"]["left_out"]

    def test_that_is_an_artifact_without_a_file(self, start, database, tmp_path):
        def main(_run):
            _run.add_artifact(str(tmp_path / "no_such"))
            _run.log_scalar("loss", 1.0)

        start(main)
        assert the_run(database)["status"] == "COMPLETED"
        assert metric(database, "loss")["values"] == [1.0]
        assert self.notes(database) == [
            "artifact 'no_such' cannot be read (No such file or directory)"
        ]

    def test_that_is_a_resource_without_a_file(self, start, database):
        with pytest.raises(FileNotFoundError, match="gone"):
            start(lambda _run: _run.open_resource("/gone"))
        assert self.notes(database)[0].startswith("resource '/gone' cannot be read (No such file")

    @pytest.mark.parametrize("value", [np.zeros(3), "text", None, object()])
    def test_that_is_a_metric(self, start, database, value):
        def main(_run):
            _run.log_scalar("odd", value, 4)
            _run.log_scalar("loss", 1.0)

        start(main)
        (note,) = self.notes(database)
        assert note.startswith("metric 'odd', step 4: ")
        assert note.endswith(" is no number and left out")
        assert metric(database, "loss")["values"] == [1.0]

    @pytest.mark.parametrize("value", [2**70, -(2**70)])
    def test_that_is_a_metric_over_64_bit_is_drawn_all_the_same(self, start, database, value):
        start(lambda _run: _run.log_scalar("big", value))
        assert metric(database, "big")["values"] == [float(value)]

    def test_that_is_a_name(self, start, database):
        start(lambda _run: _run.log_scalar("val\0.$loss\ud800", 1.0))
        assert database.metrics.count_documents({}) == 1

    def test_that_is_a_step(self, start, database):
        start(lambda _run: _run.log_scalar("loss", 1.0, "first"))
        assert metric(database, "loss")["values"] == [1.0]

    def test_that_is_printed(self, start, database):
        start(lambda: print("half \ud800 and nul \0"))
        assert "half" in the_run(database)["captured_out"]
        assert the_run(database)["status"] == "COMPLETED"


class Unreadable(collections.UserDict):
    def items(self):
        raise RuntimeError("changed size during iteration")


class TestBadEvent:
    """What comes after it is recorded as ever, and so is the end."""

    @pytest.fixture
    def go_on_after(self, start, database):
        """Return a function that runs an experiment with a bad event, and its document."""

        def go_on_after(event):
            def main(_run):
                _run.log_scalar("loss", 1.0)
                event(_run)
                time.sleep(0.1)  # a heartbeat
                _run.log_scalar("loss", 2.0)
                print("the last line")
                return 7

            run = start(main)
            document = the_run(database)
            assert (run.status, document["status"], document["result"]) == (*["COMPLETED"] * 2, 7)
            assert metric(database, "loss")["values"] == [1.0, 2.0]
            assert "the last line" in document["captured_out"]
            return document

        return go_on_after

    @pytest.fixture
    def file(self, tmp_path):
        (tmp_path / "weights").write_text("content")
        return str(tmp_path / "weights")

    def test_that_is_an_artifact_whose_name_is_no_text(self, go_on_after, file, database):
        event = lambda _run: _run.observers[0].artifact_event(3, file)  # noqa: E731
        (artifact,) = go_on_after(event)["artifacts"]
        assert artifact["name"] == "3"
        assert read_file(database, str(artifact["file_id"])) == b"content"

    def test_that_is_an_artifact_of_no_type(self, go_on_after, file, database):
        def event(_run):
            _run.add_artifact(file, content_type=object)

        (artifact,) = go_on_after(event)["artifacts"]
        about = database.fs.files.find_one({"_id": artifact["file_id"]})
        assert about["contentType"] == "<class 'object'>"
        assert read_file(database, str(artifact["file_id"])) == b"content"

    def test_that_is_an_artifact_with_much_about_it(self, go_on_after, file, database):
        def event(_run):
            _run.add_artifact(file, metadata={"short": 1, "text": "x" * 2**20})

        document = go_on_after(event)
        about = database.fs.files.find_one({"_id": document["artifacts"][0]["file_id"]})
        assert about["metadata"]["short"] == 1
        assert len(about["metadata"]["text"]) < 2**18
        (note,) = document["info"]["sweep"]["left_out"]
        assert note.startswith("weights.text: text of 1,048,")

    def test_that_is_an_artifact_whose_name_raises(self, go_on_after, file):
        class Name:
            def __str__(self):
                raise ValueError("no text")

        event = lambda _run: _run.observers[0].artifact_event(Name(), file)  # noqa: E731
        document = go_on_after(event)
        assert document["artifacts"] == []
        (note,) = document["info"]["sweep"]["left_out"]
        assert note.startswith("artifact <")
        assert "cannot be recorded (ValueError" in note

    @pytest.mark.parametrize("filename", ["no_such", 10**6, None, b"\0", "\ud800"])
    def test_that_is_a_file_which_is_none(self, go_on_after, filename):
        def event(_run):
            _run.observers[0].artifact_event("weights", filename)
            _run.observers[0].resource_event(filename)

        document = go_on_after(event)
        assert (document["artifacts"], document["resources"]) == ([], [])
        notes = document["info"]["sweep"]["left_out"]
        assert [note.partition(" ")[0] for note in notes] == ["artifact", "resource"]

    def test_that_is_info_which_cannot_be_read(self, go_on_after):
        def event(_run):
            _run.info["kept"] = 1
            _run.info["odd"] = Unreadable()

        document = go_on_after(event)
        assert document["info"]["kept"] == 1
        assert document["info"]["odd"] == "(Unreadable, which raised RuntimeError)"
        notes = ["info.odd: Unreadable cannot be read (RuntimeError)"]
        assert document["info"]["sweep"]["left_out"] == notes

    def test_that_is_no_info_at_all(self, go_on_after):
        def event(_run):
            _run.info = Unreadable()

        notes = go_on_after(event)["info"]["sweep"]["left_out"]
        assert notes == ["info: Unreadable cannot be read (RuntimeError)"]

    def test_that_no_one_has_foreseen(self, go_on_after, monkeypatch):
        def event(_run):
            monkeypatch.setattr(observer_module, "news_of_output", lambda *given: 1 / 0)
            print("something")
            time.sleep(0.1)
            monkeypatch.undo()

        (note,) = go_on_after(event)["info"]["sweep"]["left_out"]
        assert note.startswith("a heartbeat cannot be recorded (ZeroDivisionError(")


class TestFiles:
    def test_that_are_changed_afterwards_are_stored_as_they_were(self, start, database, tmp_path):
        file = tmp_path / "weights.txt"

        def main(_run):
            for content in ("first", "second"):
                file.write_text(content)
                _run.add_artifact(str(file), content, metadata={"a.b": 1})
            file.unlink()

        start(main)
        artifacts = the_run(database)["artifacts"]
        assert [entry["name"] for entry in artifacts] == ["first", "second"]
        contents = [read_file(database, str(entry["file_id"])) for entry in artifacts]
        assert contents == [b"first", b"second"]
        about = database.fs.files.find_one({"_id": artifacts[0]["file_id"]})
        assert about["filename"].endswith("/first")
        assert (about["contentType"], about["metadata"]) == ("text/plain", {"a,b": 1})

    def test_that_are_read_are_stored_once(self, start, database, tmp_path):
        file = tmp_path / "data.txt"
        file.write_text("data")
        for _ in range(2):
            start(lambda _run: [_run.open_resource(str(file)).close() for _ in range(2)])
        digest = hashlib.sha256(b"data").hexdigest()
        for document in database.runs.find():
            assert document["resources"] == [[str(file), digest]]
        assert database.fs.files.count_documents({"filename": str(file)}) == 1


class TestDatabaseThatIsAway:
    @pytest.fixture
    def away(self, make_experiment, make_observer, tmp_path):
        """Return a function that runs an experiment without a database, and its journal."""

        class Away:
            list_collection_names = None
            asked = 0

            def __getitem__(self, name):
                self.asked += 1
                raise ServerSelectionTimeoutError("nobody there")

        def away(main, patience):
            run = make_experiment(main)._create_run(options={"--capture": "no"})
            run.observers.append(make_observer(run, patience=patience, to=Away()))
            hook_scalars(run, run.observers[0])
            began = time.monotonic()
            run()
            (journal,) = (tmp_path / "journals").glob("*.jsonl")
            return run, journal, time.monotonic() - began

        return away

    def test_leaves_the_run_as_it_is_and_all_of_it_in_the_journal(self, away, database):
        def main(_run):
            for step in range(10):
                _run.log_scalar("loss", step)
            return 7

        run, journal, _ = away(main, Patience(end_s=0.1, start_s=0.1))
        assert (run.status, run.result) == ("COMPLETED", 7)
        shipment = Shipment(DeadJournal(journal), database)
        assert shipment.advance()
        assert metric(database, "loss")["values"] == list(range(10))
        assert the_run(database)["status"] == "COMPLETED"
        assert the_run(database)["result"] == 7

    def test_is_waited_for_at_most_as_long_as_is_said(self, away):
        _, _, seconds = away(lambda: None, Patience(end_s=0.5, start_s=0.1))
        assert 0.5 <= seconds < 10

    def test_is_not_waited_for_where_nobody_wants_that(self, away):
        patience = Patience(end_s=60.0, start_s=0.3, waits_at_end=False)
        _, _, seconds = away(lambda: None, patience)
        assert seconds < 30


def test_what_a_run_is_given_before_it_starts_and_while_it_runs_is_in_its_document(
    start, database, make_observer, make_experiment
):
    run = make_experiment(
        lambda _run: observer.add_to_document({"meta.sweep": {"a.b": 1}}, ["late", "early"])
    )._create_run()
    observer = make_observer(run)
    run.observers.append(observer)
    observer.add_to_document({}, ["early"])
    run()
    document = the_run(database)
    assert document["omniboard"] == {"tags": ["early", "late"]}
    assert document["meta"]["sweep"] == {"a,b": 1}


def test_a_run_says_what_became_of_another(start, database):
    meta = {"sweep": {"sweep_id": "s", "trial_index": 1, "attempt": 0}}
    database.runs.insert_one({"_id": 3, "status": "RUNNING", "meta": meta})
    amendment = {
        **{"kind": DIED, "sweep_id": "s", "index": 1, "attempt": 0, "segment": 0},
        **{"status": "FAILED", "reason": "It was lost.", "time": utc_now()},
    }
    before = dict(amendment)
    start(lambda _run: _run.observers[0].amend_other(amendment))
    assert amendment == before
    lost = database.runs.find_one({"_id": 3})
    assert (lost["status"], lost["fail_trace"]) == ("FAILED", ["It was lost.\n"])


def test_a_queued_run_has_a_document(database, make_observer, make_experiment):
    run = make_experiment(lambda: None)._create_run(options={"--queue": True})
    run.observers.append(make_observer(run, ["waiting"]))
    run()
    assert the_run(database)["status"] == "QUEUED"
    assert the_run(database)["omniboard"] == {"tags": ["waiting"]}


@pytest.mark.parametrize("scalars", [0, 3000])
def test_a_short_run_costs_four_requests_whatever_it_logs(
    scalars, database, tmp_path, make_experiment, double
):
    requests = []
    counting = double(database, before=lambda what: requests.append(what))

    def main(_run):
        for step in range(scalars):
            _run.log_scalar(f"metric{step % 7}", step)

    shipper = Shipper()
    stored = set()
    for number, to in enumerate((database, counting)):
        # The first one gives what all share, as the driver does for the trials of a sweep.
        journal = Journal(tmp_path / f"run-{number}.jsonl")
        run = make_experiment(main)._create_run(options={"--capture": "no"})
        observer = RunObserver(
            *(run, journal, Shipment(journal, to, is_new=True), shipper),
            surroundings=Surroundings(stored=stored),
            patience=PATIENT,
        )
        run.observers.append(observer)
        hook_scalars(run, observer)
        run()
    shipper.stop()
    written = sum(len(each["values"]) for each in database.metrics.find({"run_id": 2}))
    assert written == scalars
    assert database.runs.find_one({"_id": 2})["status"] == "COMPLETED"
    assert 0 < len(requests) <= 4, requests


class TestReservedId:
    @pytest.fixture
    def slow(self):
        """A shipper that lets runs rest for longer than a test takes."""
        shipper = Shipper(linger_s=1000.0)
        yield shipper
        shipper.stop()

    @pytest.fixture
    def begin(self, tmp_path, database, make_experiment, slow, double):
        """Return a function that runs an experiment which is not waited for."""

        def begin(main, run_id=7, before=None):
            journal = Journal(tmp_path / f"run-{uuid.uuid4().hex}.jsonl")
            run = make_experiment(main)._create_run(options={"--capture": "no"})
            patience = Patience(end_s=30.0, start_s=30.0, waits_at_end=False, known_id=run_id)
            to = double(database, before=before)
            shipment = Shipment(journal, to, is_new=True)
            observer = RunObserver(*(run, journal, shipment, slow), patience=patience)
            run.observers.append(observer)
            hook_scalars(run, observer)
            run()
            return run

        return begin

    def test_is_known_at_once(self, begin, database):
        seen = []
        run = begin(lambda _run: seen.append((_run._id, database.runs.count_documents({}))))
        assert seen == [(7, 0)]
        assert run.observers[0].run_id == 7

    def test_the_end_does_not_wait(self, begin, database, slow):
        begin(lambda: None)
        assert database.runs.count_documents({}) == 0
        slow.stop(30.0)
        assert (the_run(database)["_id"], the_run(database)["status"]) == (7, "COMPLETED")

    def test_the_end_is_not_forced_to_the_disk_by_the_run(self, begin, monkeypatch):
        synced = []
        monkeypatch.setattr(Journal, "sync", lambda self: synced.append(1))
        begin(lambda: None)
        assert synced == []

    def test_that_another_run_has_is_not_its_own(self, begin, database, slow):
        database.runs.insert_one({"_id": 7, "theirs": True})
        run = begin(lambda: None)
        slow.stop(30.0)
        assert run.observers[0].run_id == 8
        assert database.runs.find_one({"_id": 7}) == {"_id": 7, "theirs": True}


def test_much_that_is_logged_is_brought_meanwhile(start, database, monkeypatch, shipper):
    hurried = []
    monkeypatch.setattr(journal_module, "_MANY_FRESH_BYTES", 1000)
    monkeypatch.setattr(shipper, "hurry", hurried.append)

    def main(_run):
        for step in range(100):
            _run.log_scalar("loss", step)
        assert hurried

    start(main)


def test_other_observers_get_scalars_as_ever(start, make_experiment, database):
    seen = []

    class Other(SacredObserver):
        def log_metrics(self, metrics_by_name, info):
            seen.extend(metrics_by_name.get("loss", {}).get("values", []))

    experiment = make_experiment(lambda _run: [_run.log_scalar("loss", n) for n in range(3)])
    experiment.observers.append(Other())
    start(experiment)
    assert seen == [0, 1, 2]
    assert metric(database, "loss")["values"] == [0, 1, 2]
