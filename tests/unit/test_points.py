"""The points file of a journal: many scalars without a system call for each."""

import datetime
import enum
import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import ConnectionFailure

from sacred_ray_ingredient.record import journal as journal_module
from sacred_ray_ingredient.record import (
    points,
    points_file,
    run_state,
    writes,
)
from sacred_ray_ingredient.record import (
    shipment as shipment_module,
)
from sacred_ray_ingredient.record.journal import DeadJournal, Journal
from sacred_ray_ingredient.record.observer import RunObserver
from sacred_ray_ingredient.record.patience import Patience
from sacred_ray_ingredient.record.points import RECORD_BYTES, path_of
from sacred_ray_ingredient.record.run_state import RunState
from sacred_ray_ingredient.record.scalars import hook_scalars
from sacred_ray_ingredient.record.shipment import Shipment
from sacred_ray_ingredient.record.shipper import Shipper

AT = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
NAMES = ("a", "b", "a long name with ä and € in it, of several records", "", "\U0001f600")
VALUES = (
    st.floats()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from(["text", None, 2**63, 0.1, 1, 2.5, 3])
)
STEPS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([None, 0.5, 2**63, 1, 2, 3])
SCALARS = st.lists(
    st.tuples(st.sampled_from(NAMES), STEPS | st.integers(0, 9), st.floats() | VALUES), max_size=60
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep" / "trial0-0-0-abc.jsonl"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let a few points be many."""
    monkeypatch.setattr(journal_module, "_SCALARS_AS_LINES", 3)
    monkeypatch.setattr(points_file, "_FIRST_BLOCK_BYTES", 3 * RECORD_BYTES)
    monkeypatch.setattr(points_file, "_LARGEST_BLOCK_BYTES", 8 * RECORD_BYTES)
    monkeypatch.setattr(points, "MOST_READ", 7)


def many(given_test):
    """Let a test with fixtures that hold for all examples have many of them."""
    return settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])(
        given_test
    )


def seconds(number):
    return AT + datetime.timedelta(microseconds=1001 * number)


def said(state):
    """Return what a state says, as far as it can be compared."""
    series = {}
    for name, each in state.series.items():
        each.unpack(each.waiting)
        values = [(type(value), value) for value in each.values]
        series[name] = (each.of, each.part, each.shipped, each.steps, values, each.timestamps)
    return series, state.last, state._nonfinite, state.last_time


def read_all(source, state=None, position=0):
    """Apply what a source has, until there is no more."""
    state, before = state or RunState(), None
    while before != position:
        before = position
        events, position = source.read(before)
        assert all(len(block) <= 7 for kind, block in events if kind == "points")
        state.apply(events)
    return state, position


def of_lines(scalars):
    """Return what a journal says that has lines only."""
    state = RunState()
    state.apply(
        ("scalar", [name, step, value, seconds(number)])
        for number, (name, step, value) in enumerate(scalars)
    )
    return state


def fresh(path):
    """Return a journal at a path, where there is none any more."""
    path.unlink(missing_ok=True)
    path_of(path).unlink(missing_ok=True)
    return Journal(path)


def write(journal, scalars, first=0):
    for number, (name, step, value) in enumerate(scalars, first):
        journal.append_scalar(name, step, value, seconds(number))


class TestReading:
    @many
    @given(SCALARS)
    def test_says_what_lines_say(self, path, scalars):
        journal = fresh(path)
        write(journal, scalars)
        expected = said(of_lines(scalars))
        assert said(read_all(DeadJournal(path))[0]) == expected
        assert said(read_all(journal)[0]) == expected
        journal.close()
        assert said(read_all(DeadJournal(path))[0]) == expected
        assert said(read_all(journal)[0]) == expected

    @many
    @given(SCALARS, st.data())
    def test_in_portions_says_the_same(self, path, scalars, data):
        journal = fresh(path)
        dead = DeadJournal(path)
        states, positions = (RunState(), RunState()), [0, 0]
        done = 0
        while done < len(scalars):
            portion = data.draw(st.integers(1, 20))
            write(journal, scalars[done : done + portion], done)
            done += portion
            for which, source in enumerate((journal, dead)):
                if data.draw(st.booleans()):
                    events, positions[which] = source.read(positions[which])
                    states[which].apply(events)
        journal.append("note", "the last")
        for which, source in enumerate((journal, dead)):
            read_all(source, states[which], positions[which])
        journal.close()
        expected = of_lines(scalars)
        expected.apply([("note", "the last")])
        assert [said(state) for state in states] == [said(expected)] * 2
        assert "the last" in states[0]._notes.sentences

    @many
    @given(SCALARS, st.data())
    def test_of_cut_files_says_what_is_in_them(self, path, scalars, data):
        """As SIGKILL leaves them, with a part of what was written last."""
        journal = fresh(path)
        ends = []
        for number, (name, step, value) in enumerate(scalars):
            write(journal, [(name, step, value)], number)
            is_point = name in journal.points.numbers
            ends.append((is_point, journal.points.end * RECORD_BYTES, path.stat().st_size))
        lines, room = path.read_bytes(), b""
        if path_of(path).exists():
            room = path_of(path).read_bytes()
        journal.close()
        cut_lines = data.draw(st.integers(0, len(lines)))
        cut_points = data.draw(st.integers(0, len(room)))
        path.write_bytes(lines[:cut_lines])
        path_of(path).write_bytes(room[:cut_points])
        mark = lines.find(points.MARK_LINE) + len(points.MARK_LINE)
        kept = RunState()
        for number, (name, step, value) in enumerate(scalars):
            is_point, point_end, line_end = ends[number]
            is_there = point_end <= cut_points and mark <= cut_lines
            if is_there if is_point else line_end <= cut_lines:
                kept.apply([("scalar", [name, step, value, seconds(number)])])
        assert said(read_all(DeadJournal(path))[0]) == said(kept)

    def test_stops_at_a_record_that_was_begun_only(self, path):
        journal = Journal(path)
        write(journal, [("a", n, float(n)) for n in range(10)])
        end = path_of(path).read_bytes()[: journal.points.end * RECORD_BYTES]
        torn = b"\1" * (RECORD_BYTES - 4) + b"\0\0\0\0"
        path_of(path).write_bytes(end + torn + end[-RECORD_BYTES:])
        assert read_all(DeadJournal(path))[0].series["a"].total == 10
        journal.close()

    def test_counts_events_as_lines_do(self, path):
        journal = Journal(path)
        write(journal, [("a", n, float(n)) for n in range(50)])
        assert read_all(journal)[0].events == 50 + 2  # and the mark, and the record of the name
        journal.close()

    def test_says_when_the_points_file_is_missing(self, path):
        journal = Journal(path)
        write(journal, [("a", n, float(n)) for n in range(10)])
        journal.append("note", "the last")
        path_of(path).unlink()
        state, position = read_all(DeadJournal(path))
        (lost, last) = state._notes.sentences
        assert "points file of the journal is missing" in lost
        assert last == "the last"
        assert state.series["a"].total == 3
        assert points.bytes_before(position) == path.stat().st_size
        journal.delete()
        with pytest.raises(FileNotFoundError, match="abc"):
            DeadJournal(path).read(position)

    def test_of_a_name_that_is_not_there_is_refused(self, path):
        journal = Journal(path)
        write(journal, [("a", n, float(n)) for n in range(10)])
        journal.close()
        content = path_of(path).read_bytes()
        path_of(path).write_bytes(content[RECORD_BYTES:])
        with pytest.raises(KeyError, match="0"):
            read_all(DeadJournal(path))


class TestWriting:
    def test_begins_after_the_first_scalars(self, path):
        journal = Journal(path)
        write(journal, [("a", n, float(n)) for n in range(3)])
        assert not path_of(path).exists()
        size = path.stat().st_size
        write(journal, [("a", n, float(n)) for n in range(3, 50)], 3)
        assert path.stat().st_size == size + len(points.MARK_LINE)
        assert journal.points.end == 47 + 1
        journal.close()

    def test_keeps_a_name_with_an_odd_value_in_lines(self, path):
        journal = Journal(path)
        write(journal, [("b", n, float(n)) for n in range(4)])
        write(journal, [("a", 0, 1.0), ("a", 0.5, 2.0), ("a", 1, 3.0), ("b", 4, 4.0)])
        lines = [content for kind, content in journal._fresh if kind == "scalar"]
        assert [(name, step) for name, step, *_ in lines[3:]] == [("a", 0.5), ("a", 1)]
        assert journal.points.end == 2 + 3  # names, and their points
        journal.close()

    def test_is_lines_only_where_they_are_forced_to_the_disk(self, path):
        journal = Journal(path, fsync_s=0.0)
        write(journal, [("a", n, float(n)) for n in range(50)])
        assert not path_of(path).exists()
        assert read_all(journal)[0].series["a"].total == 50
        journal.close()

    @pytest.mark.parametrize("allowed", range(5))
    def test_on_a_full_disk_loses_nothing(self, path, monkeypatch, allowed):
        asked = []

        def allocate(file, offset, length):
            asked.append(length)
            if len(asked) > allowed:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(file, offset, length)

        real = os.posix_fallocate
        monkeypatch.setattr(os, "posix_fallocate", allocate)
        scalars = [("ab"[n % 2], n, n / 2) for n in range(60)]
        journal = Journal(path)
        write(journal, scalars)
        assert len(asked) == allowed + 1
        for source in (journal, DeadJournal(path)):
            assert said(read_all(source)[0]) == said(of_lines(scalars))
        journal.close()
        assert path_of(path).exists() == (allowed > 0)

    def test_does_not_begin_while_lines_wait_for_room(self, path, monkeypatch):
        def refuse(file, content):
            raise OSError(errno.ENOSPC, "No space left on device")

        scalars = [("a", n, float(n)) for n in range(20)]
        journal = Journal(path)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            write(journal, scalars)
        assert said(read_all(journal)[0]) == said(of_lines(scalars))
        journal.close()
        assert said(read_all(DeadJournal(path))[0]) == said(of_lines(scalars))

    def test_only_the_user_can_read_it(self, path):
        journal = Journal(path)
        write(journal, [("a", n, float(n)) for n in range(9)])
        assert path_of(path).stat().st_mode & 0o777 == 0o600
        journal.close()

    def test_has_room_on_the_disk_ahead(self, path):
        journal = Journal(path)
        for number in range(33):
            write(journal, [("a", number, 0.5)], number)
            if path_of(path).exists():
                taken = path_of(path).stat()
                assert taken.st_size > journal.points.end * RECORD_BYTES - RECORD_BYTES
                assert taken.st_blocks * 512 >= taken.st_size
        journal.close()
        assert path_of(path).stat().st_size == journal.points.end * RECORD_BYTES

    def test_is_deleted_with_its_journal(self, path):
        for source in (Journal, DeadJournal):
            journal = Journal(path)
            write(journal, [("a", n, float(n)) for n in range(9)])
            (journal if source is Journal else source(path)).delete()
            assert list(path.parent.parent.iterdir()) == []
            journal.close()

    @pytest.mark.parametrize("is_closed", [False, True])
    def test_is_forced_to_the_disk(self, path, monkeypatch, is_closed):
        synced = []
        journal = Journal(path)
        write(journal, [("a", n, float(n)) for n in range(9)])
        if is_closed:
            journal.close()
        monkeypatch.setattr(
            os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}"))
        )
        journal.sync()
        assert sorted(synced) == sorted([str(path), str(path_of(path))])
        journal.close()

    @pytest.mark.parametrize("how", ["end", "close", "delete"])
    def test_ends_with_its_journal(self, path, how):
        journal = Journal(path)
        write(journal, [("a", n, float(n)) for n in range(9)])
        end = journal.points.end
        if how == "end":
            journal.append("end", {})
        else:
            getattr(journal, how)()
        write(journal, [("a", 9, 9.0), ("b", 9, 9.0)])
        assert journal.points.end == end
        assert journal.points.numbers == {}
        journal.delete()
        assert not path_of(path).exists()

    def test_says_once_when_there_is_much(self, path, monkeypatch):
        monkeypatch.setattr(points_file, "_MANY", 20)
        journal = Journal(path)
        told = [journal.append_scalar("a", n, 0.5, AT) for n in range(70)]
        assert sum(told) == 3
        journal.close()


class Color(str, enum.Enum):
    """Text that is shown in another way."""

    RED = "a"


@pytest.fixture
def observed(path, database, make_experiment):
    """Return a function that runs a main function observed, and returns its journal."""
    shipper = Shipper(linger_s=1000.0)

    def observed(main, before=lambda run: None):
        journal = Journal(path)
        run = make_experiment(main)._create_run(options={"--capture": "no"})
        observer = RunObserver(
            *(run, journal, Shipment(journal, database, is_new=True), shipper),
            patience=Patience(end_s=30.0, start_s=30.0, waits_at_end=False, known_id=7),
        )
        run.observers.append(observer)
        hook_scalars(run, observer)
        before(run)
        run()
        return journal

    yield observed
    shipper.stop(30.0)


class TestLogScalar:
    def test_costs_no_system_call(self, observed, monkeypatch):
        sizes = []

        def main(_run):
            for step in range(5):
                _run.log_scalar("a", 0.5, step)
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", None)
                patch.setattr(RunObserver, "log_scalar", None)
                for step in range(5, 8):
                    _run.log_scalar("a", 0.5, step)
                    sizes.append(_run.observers[0].points.end)

        monkeypatch.setattr(points_file, "_FIRST_BLOCK_BYTES", 4096)
        observed(main)
        assert sizes == [4, 5, 6]

    def test_keeps_the_order_whatever_is_logged(self, observed):
        values = [1.0, 2, 3.0, 4.0, 5, 6.0, True, 7.0, 2**70, 8.0]

        def main(_run):
            for name in "abc":
                for number, value in enumerate(values):
                    _run.log_scalar(name, value, None if name == "b" else number)
                    if name == "c" and number == 5:
                        _run.log_scalar(name, 5.5, 0.5)

        state = read_all(observed(main))[0]
        stored = [1, 2, 3, 4, 5, 6, 1, 7, float(2**70), 8]
        for name in "ab":
            state.series[name].unpack(99)
            assert state.series[name].values == stored
            assert state.series[name].steps == list(range(10))
        state.series["c"].unpack(99)
        assert state.series["c"].values == [*stored[:6], 5.5, *stored[6:]]

    def test_counts_steps_as_sacred_does(self, observed):
        def main(_run):
            for _ in range(6):
                _run.log_scalar("a", 0.5)
            _run.log_scalar("a", 0.5, 40)
            _run.log_scalar("a", 0.5)
            _run.log_scalar("a", 1)

        series = read_all(observed(main))[0].series["a"]
        series.unpack(99)
        assert series.steps == [0, 1, 2, 3, 4, 5, 40, 41, 42]

    def test_tells_the_time_in_utc(self, observed):
        def main(_run):
            for _ in range(9):
                _run.log_scalar("a", 0.5)

        before = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        series = read_all(observed(main))[0].series["a"]
        after = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        series.unpack(99)
        close = datetime.timedelta(microseconds=2)
        assert before - close <= series.timestamps[0]
        assert series.timestamps == sorted(series.timestamps)
        assert series.timestamps[-1] <= after + close
        assert all(time.tzinfo is None for time in series.timestamps)

    @pytest.mark.parametrize(
        ("name", "stored"), [(Color.RED, str(Color.RED)), ("\ud800", r"\ud800")]
    )
    def test_of_an_odd_name_is_as_before(self, observed, name, stored):
        def main(_run):
            for step in range(9):
                _run.log_scalar("a", 0.5, step)
                _run.log_scalar(name, 1.5, step)

        series = read_all(observed(main))[0].series
        assert {name: each.total for name, each in series.items()} == {"a": 9, stored: 9}

    @pytest.mark.parametrize("step", [2**63, -(2**63) - 1])
    def test_of_a_step_that_is_too_long_is_as_before(self, observed, step):
        def main(_run):
            for number in range(9):
                _run.log_scalar("a", 0.5, number)
            _run.log_scalar("a", 0.5, step)
            _run.log_scalar("a", 2.5, 9)

        series = read_all(observed(main))[0].series["a"]
        series.unpack(99)
        assert series.steps == [*range(9), float(step), 9]

    def test_after_the_end_does_nothing(self, observed):
        kept = []

        def main(_run):
            kept.append(_run)
            for number in range(9):
                _run.log_scalar("a", 0.5, number)

        journal = observed(main)
        kept[0].log_scalar("a", 0.5, 9)
        assert read_all(journal)[0].series["a"].total == 9

    def test_of_threads_loses_nothing(self, observed):
        def main(_run):
            def log(own):
                for number in range(400):
                    _run.log_scalar(own, float(number), number)
                    _run.log_scalar("all", float(number), number)

            threads = [threading.Thread(target=log, args=(name,)) for name in "abc"]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            state = read_all(observed(main))[0]
        finally:
            sys.setswitchinterval(before)
        for name in "abc":
            state.series[name].unpack(9999)
            assert state.series[name].steps == list(range(400))
        assert state.series["all"].total == 1200

    def test_of_a_forked_process_is_not_in_the_file(self, observed, path):
        def main(_run):
            for number in range(9):
                _run.log_scalar("a", 0.5, number)
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    for number in range(50):
                        _run.log_scalar("a", -1.0, number)
                        _run.log_scalar("child", -1.0, number)
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
            assert path_of(path).stat().st_size >= _run.observers[0].points.end * RECORD_BYTES
            _run.log_scalar("a", 0.5, 9)

        series = read_all(observed(main))[0].series
        series["a"].unpack(99)
        assert (series["a"].steps, list(series)) == (list(range(10)), ["a"])

    def test_of_a_forked_process_does_not_hang(self, observed):
        def main(_run):
            for number in range(9):
                _run.log_scalar("a", 0.5, number)
            with _run.observers[0].points.lock:
                child = os.fork()
                if child == 0:
                    signal.alarm(10)
                    try:
                        _run.log_scalar("a", -1.0)
                    finally:
                        os._exit(0)
            assert os.waitpid(child, 0)[1] == 0

        assert read_all(observed(main))[0].series["a"].total == 9


@pytest.mark.parametrize("count", [1, 99, 100, 101, 5000])
def test_what_was_logged_survives_the_death_of_the_process(path, count):
    program = """
        import os, signal, sys
        from pathlib import Path
        from pymongo.errors import ConnectionFailure
        from sacred import Experiment
        from sacred_ray_ingredient.record.journal import Journal
        from sacred_ray_ingredient.record.observer import RunObserver
        from sacred_ray_ingredient.record.patience import Patience
        from sacred_ray_ingredient.record.scalars import hook_scalars
        from sacred_ray_ingredient.record.shipment import Shipment
        from sacred_ray_ingredient.record.shipper import Shipper

        def away():
            raise ConnectionFailure("away")

        ex = Experiment("killed", interactive=True, save_git_info=False)

        @ex.main
        def main(_run):
            for number in range(int(sys.argv[2])):
                _run.log_scalar("ab"[number % 2], number / 2, number)
            os.kill(os.getpid(), signal.SIGKILL)

        run = ex._create_run(options={"--capture": "no"})
        journal = Journal(Path(sys.argv[1]))
        patience = Patience(end_s=1, start_s=1, waits_at_end=False, known_id=7)
        shipment = Shipment(journal, away, is_new=True)
        observer = RunObserver(run, journal, shipment, Shipper(), patience=patience)
        run.observers.append(observer)
        hook_scalars(run, observer)
        run()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(path), str(count)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = read_all(DeadJournal(path))[0]
    steps = []
    for number, name in enumerate("ab"[:count]):
        series = state.series[name]
        series.unpack(count)
        assert series.steps == list(range(number, count, 2))
        assert series.values == [step / 2 for step in series.steps]
        steps += series.steps
    assert sorted(steps) == list(range(count))


START = {
    **{"experiment": {"name": "x", "sources": []}, "command": "main", "notes": []},
    **{"config": {}, "start_time": AT, "meta": {"record": {"journal": "abc"}}},
}


class TestShipping:
    @pytest.fixture(autouse=True)
    def usual(self, small, monkeypatch):
        """Let many points be many."""
        monkeypatch.setattr(points, "MOST_READ", 100_000)
        monkeypatch.setattr(points_file, "_FIRST_BLOCK_BYTES", 2**16)
        monkeypatch.setattr(points_file, "_LARGEST_BLOCK_BYTES", 2**22)

    def stored(self, database):
        fields = ("steps", "values", "timestamps")
        return {
            each["name"]: tuple(each[field] for field in fields) for each in database.metrics.find()
        }

    def test_of_a_million_points_unpacks_some_at_a_time(self, path, database, monkeypatch):
        count = 1_000_000
        most = []
        monkeypatch.setattr(writes, "POINTS_PER_REQUEST", 50_000)
        real = shipment_module.points_write

        def watching(record_id, run_id, series, there):
            found = real(record_id, run_id, series, there)
            most.append(sum(len(each.values) for each in shipment.state.series.values()))
            return found

        class Metrics:
            """Keeps what is asked for, as a database in memory takes long for so many."""

            def __init__(self):
                self.counts = {}

            def aggregate(self, pipeline):
                return []

            def bulk_write(self, requests, ordered):
                for request in requests:
                    if hasattr(request, "_filter"):
                        key = request._filter["_id"]
                        assert self.counts[key] == request._filter["values"]["$size"]
                        new = request._doc["$push"]["values"]["$each"]
                    else:
                        key, new = request._doc["_id"], request._doc["values"]
                        self.counts.setdefault(key, 0)
                    self.counts[key] += len(new)

                class Done:
                    matched_count, upserted_count, inserted_count = len(requests), 0, 0

                return Done

        class Database:
            metrics = Metrics()

            def __getitem__(self, name):
                return self.metrics if name == "metrics" else database[name]

            def list_collection_names(self):
                return []

        journal = Journal(path)
        journal.append("start", dict(START))
        write(journal, [("a", n, 0.5) for n in range(4)])
        number = journal.points.numbers["a"]
        for step in range(4, count):
            content = (0.5, step, 1.7e9, number, points.FLOAT)
            journal.points._write(points.FLOAT_RECORD, *content)
        journal.append("end", {"status": "COMPLETED", "time": AT, "notes": []})
        monkeypatch.setattr(shipment_module, "points_write", watching)
        shipment = Shipment(DeadJournal(path), Database())
        assert shipment.advance()
        assert sorted(Database.metrics.counts.values()) == [200_000] * 5
        assert set(shipment.state.series) == {"a", *(f"a (part {n})" for n in range(2, 6))}
        assert max(most) <= 5 * 50_000
        journal.close()

    def test_goes_on_in_further_documents(self, path, database, monkeypatch):
        monkeypatch.setattr(run_state, "POINTS_PER_DOCUMENT", 9)
        monkeypatch.setattr(writes, "POINTS_PER_REQUEST", 4)
        scalars = [("a", n, n / 2) for n in range(25)] + [("a", 0.5, 99.0), ("a", 26, 100.0)]
        journal = Journal(path)
        journal.append("start", dict(START))
        write(journal, scalars)
        journal.append("end", {"status": "COMPLETED", "time": AT, "notes": []})
        for source in (journal, DeadJournal(path), DeadJournal(path)):
            assert Shipment(source, database).advance()
            found = self.stored(database)
            parts = [found["a"], found["a (part 2)"], found["a (part 3)"]]
            assert [len(values) for _, values, _ in parts] == [9, 9, 9]
            kept = [pair for part in parts for pair in zip(*part[:2], strict=True)]
            assert kept == [(step, value) for _, step, value in scalars]
        journal.close()

    @pytest.mark.parametrize("failing", range(1, 7))
    def test_goes_on_where_the_database_went_away(self, path, database, double, failing):
        asked = []

        def before(what):
            asked.append(what)
            if len(asked) == failing:
                raise ConnectionFailure("away")

        journal = Journal(path)
        journal.append("start", dict(START))
        shipment = Shipment(journal, double(database, before=before), is_new=True)
        scalars = [("ab"[n % 2], n, n / 2) for n in range(40)]
        for first in range(0, 40, 10):
            write(journal, scalars[first : first + 10], first)
            try:
                shipment.advance()
            except ConnectionFailure:
                assert len(asked) == failing
        assert not shipment.advance()
        for number, name in enumerate("ab"):
            steps, values, _ = self.stored(database)[name]
            assert steps == list(range(number, 40, 2))
            assert values == [step / 2 for step in steps]
        before_again = self.stored(database)
        Shipment(DeadJournal(path), database).advance()
        assert self.stored(database) == before_again
        journal.close()
