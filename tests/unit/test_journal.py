"""The local file in which a run's events stand until the database has them."""

import datetime
import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacred_ray_ingredient.record import journal as journal_module
from sacred_ray_ingredient.record import lines as lines_module
from sacred_ray_ingredient.record.journal import (
    DeadJournal,
    Journal,
    is_alive,
    journals_in,
    record_id,
)
from sacred_ray_ingredient.record.lines import decode_lines, encode, encode_scalar

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
    | st.datetimes(),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="$")), below)
    ),
    max_leaves=8,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep" / "trial0-0-0-abc.jsonl"


@pytest.fixture
def journal(path):
    journal = Journal(path)
    yield journal
    journal.close()


def in_process(program, *arguments):
    """Start a process that imports the journal, and wait for its first line."""
    text = "from sacred_ray_ingredient.record.journal import *\n" + textwrap.dedent(program)
    command = [sys.executable, "-c", f"import os, sys, time, signal\n{text}", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


class TestReading:
    def test_gives_what_was_written_in_its_order(self, journal):
        for number in range(3):
            journal.append("scalar", [number])
        events, _ = journal.read(0)
        assert events == [("scalar", [0]), ("scalar", [1]), ("scalar", [2])]

    def test_goes_on_where_it_ended(self, journal, path):
        for reader in (journal, DeadJournal(path)):
            journal.append("a", 1)
            _, position = reader.read(0)
            assert reader.read(position) == ([], position)
            journal.append("b", 2)
            assert reader.read(position)[0] == [("b", 2)]

    def test_waits_for_the_rest_of_a_line(self, path):
        line = encode("scalar", ["loss", 1])
        path.parent.mkdir()
        path.write_bytes(line + line[:9])
        events, position = DeadJournal(path).read(0)
        assert (len(events), position) == (1, len(line))
        path.write_bytes(line + line)
        assert DeadJournal(path).read(position) == ([("scalar", ["loss", 1])], 2 * len(line))

    @pytest.mark.parametrize("torn", [b'["scal', b"\xff\xfe", b"[1]", b"7", b"[]", b"\0\0\0"])
    def test_leaves_out_a_line_that_a_dead_process_did_not_finish(self, path, torn):
        path.parent.mkdir()
        path.write_bytes(encode("a", 1) + torn)
        dead = DeadJournal(path)
        dead.append("end", {})
        assert dead.read(0)[0] == [("a", 1), ("end", {})]

    @given(st.lists(st.tuples(st.sampled_from("abc"), PLAIN)))
    def test_gives_back_what_was_encoded(self, events):
        content = b"".join(encode(kind, content) for kind, content in events)
        assert decode_lines(content) == (events, len(content))

    @given(st.lists(PLAIN, min_size=1, max_size=4), st.data())
    def test_of_a_cut_file_gives_a_beginning(self, contents, data):
        whole = b"".join(encode("a", content) for content in contents)
        cut = data.draw(st.integers(0, len(whole)))
        events, used = decode_lines(whole[:cut])
        assert events == [("a", content) for content in contents[: len(events)]]
        assert used <= cut
        assert decode_lines(whole[used:])[0] == [("a", c) for c in contents[len(events) :]]

    def test_knows_dates_bytes_and_numbers_that_are_none(self, journal):
        content = [datetime.datetime(2026, 1, 2, 3, 4, 5, 678901), b"\0\xff", float("inf")]
        journal.append("a", {"below": content})
        ((_, read),) = journal.read(0)[0]
        assert read == {"below": content}

    @pytest.mark.parametrize(
        "line",
        [
            '["a", {"py/reduce": [{"py/type": "os.system"}, ["touch X"]]}]',
            "[\"__import__('os').system('touch X')\", \"!!python/object/apply:os.system [x]\"]",
            '["a", {"$date": "__import__(\'os\').system(\'touch X\')"}]',
            '["a", {"$bytes": 7}]',
        ],
    )
    def test_executes_nothing(self, line, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        decode_lines(line.encode() + b"\n")
        assert not (tmp_path / "X").exists()

    def test_of_a_line_that_is_nested_without_end_leaves_it_out(self):
        assert decode_lines(b"[" * 10**5 + b"\n" + encode("b", 1))[0] == [("b", 1)]

    def test_of_a_line_with_a_broken_date_leaves_it_out(self):
        broken = b'["a",{"$date":"soon"}]\n["a",{"$bytes":"?"}]\n["a",{"$date":7}]\n'
        assert decode_lines(broken + encode("b", 1))[0][-1] == ("b", 1)


class TestDeathOfTheProcess:
    def test_loses_no_event_that_was_appended(self, path):
        program = """
            journal = Journal(Path(sys.argv[1]))
            for number in range(500):
                journal.append("scalar", ["loss", number])
            print("ready", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """
        process = in_process(program, str(path))
        assert process.wait(30) == -signal.SIGKILL
        events, _ = DeadJournal(path).read(0)
        assert [content[1] for _, content in events] == list(range(500))

    def test_is_seen_by_others_and_its_life_too(self, path):
        program = """
            journal = Journal(Path(sys.argv[1]))
            print("ready", flush=True)
            time.sleep(60)
        """
        process = in_process(program, str(path))
        try:
            assert is_alive(path)
        finally:
            process.kill()
            process.wait(30)
        assert not is_alive(path)


def test_a_journal_is_alive_until_it_is_closed(journal, path):
    assert is_alive(path)
    journal.close()
    assert not is_alive(path)


def test_asking_whether_it_is_alive_leaves_the_lock_as_it_is(journal, path):
    assert [is_alive(path) for _ in range(3)] == [True] * 3
    journal.close()
    assert [is_alive(path) for _ in range(3)] == [False] * 3


def test_a_journal_that_is_not_there_is_dead(path):
    assert not is_alive(path)


def test_a_journal_never_writes_into_another_one(journal, path):
    with pytest.raises(FileExistsError, match=r"abc\.jsonl"):
        Journal(path)


def test_only_the_user_can_read_it(journal, path):
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_its_name_has_the_id_of_the_record(journal, path):
    assert (journal.record_id, DeadJournal(path).record_id, record_id(path)) == ("abc",) * 3


def test_threads_write_whole_lines(journal, path):
    def write(name):
        for number in range(200):
            journal.append(name, number)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events, _ = DeadJournal(path).read(0)
    for name in "abc":
        assert [number for kind, number in events if kind == name] == list(range(200))


class TestFullDisk:
    @pytest.fixture
    def disk(self, monkeypatch):
        """Room in bytes, which the test may change; writes take what is left of it."""

        class Disk:
            room = 10**9

        def write(file, content):
            if Disk.room <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken = bytes(content[: Disk.room])
            Disk.room -= len(taken)
            return real(file, taken)

        real = os.write
        monkeypatch.setattr(os, "write", write)
        return Disk

    @pytest.mark.parametrize("room", range(0, 60, 7))
    def test_loses_nothing_and_keeps_the_order(self, journal, path, disk, room):
        disk.room = room
        for number in range(10):
            journal.append("a", number)
        expected = [("a", number) for number in range(10)]
        assert journal.read(0)[0] == expected
        disk.room = 10**9
        journal.append("a", 10)
        assert DeadJournal(path).read(0)[0] == [*expected, ("a", 10)]
        assert journal.read(0)[0] == [*expected, ("a", 10)]

    @pytest.mark.parametrize("room", [0, 5, 23])
    def test_does_not_confuse_a_reader_that_goes_on(self, journal, disk, room):
        journal.append("a", 0)
        position, seen = 0, []
        for number, left in enumerate([room, 0, 3, 10**9], 1):
            disk.room = left
            journal.append("a", number)
            events, position = journal.read(position)
            seen += events
        assert seen == [("a", 0), *(("a", number) for number in range(1, 5))]

    def test_is_over_at_the_next_sync_or_at_the_end(self, journal, path, disk):
        disk.room = 0
        journal.append("a", 1)
        disk.room = 10**9
        journal.sync()
        assert DeadJournal(path).read(0)[0] == [("a", 1)]
        disk.room = 0
        journal.append("a", 2)
        disk.room = 10**9
        journal.close()
        assert DeadJournal(path).read(0)[0] == [("a", 1), ("a", 2)]

    def test_at_the_beginning_is_waited_for(self, path, monkeypatch):
        def refuse(*arguments, **named):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            journal = Journal(path)
            journal.append("a", 1)
            assert journal.read(0)[0] == [("a", 1)]
            assert not path.exists()
        journal.append("a", 2)
        assert DeadJournal(path).read(0)[0] == [("a", 1), ("a", 2)]
        assert is_alive(path)
        journal.close()

    def test_fills_a_part_of_the_memory_only(self, journal, disk, monkeypatch):
        monkeypatch.setattr(journal_module, "_MOST_WAITING_BYTES", 100)
        disk.room = 0
        for number in range(1000):
            journal.append("a", number)
        events, _ = journal.read(0)
        assert events == [("a", number) for number in range(len(events))]
        assert 5 < len(events) < 20
        journal.append("end", {})
        note = ("note", f"{1000 - len(events)} events found no room on the disk")
        assert journal.read(0)[0] == [*events, note, ("end", {})]

    def test_that_is_over_takes_the_next_event_at_once(self, journal, path, disk, monkeypatch):
        monkeypatch.setattr(journal_module, "_MOST_WAITING_BYTES", 20)
        disk.room = 0
        journal.append("a", "0123456789")
        journal.append("a", "lost")
        disk.room = 10**9
        journal.append("a", "a line that is longer than all that may wait")
        kinds = [kind for kind, _ in DeadJournal(path).read(0)[0]]
        assert kinds == ["a", "note", "a"]

    def test_lets_a_closed_journal_write_what_waits_when_there_is_room(self, journal, path, disk):
        disk.room = 0
        journal.append("end", {})
        journal.close()
        assert is_alive(path)
        assert DeadJournal(path).read(0)[0] == []
        disk.room = 10**9
        journal.close()
        assert not is_alive(path)
        assert DeadJournal(path).read(0)[0] == [("end", {})]


class TestClosedJournal:
    @pytest.mark.parametrize("method", ["append", "sync", "close"])
    def test_is_not_opened_again(self, journal, path, method):
        journal.append("a", 1)
        journal.close()
        before = path.read_bytes()
        arguments = ("a", 2) if method == "append" else ()
        getattr(journal, method)(*arguments)
        assert path.read_bytes() == before
        assert not is_alive(path)

    @pytest.mark.parametrize("method", ["append", "sync", "close", "delete"])
    def test_that_was_deleted_does_not_come_back(self, journal, path, method):
        journal.append("a", 1)
        journal.delete()
        arguments = ("a", 2) if method == "append" else ()
        getattr(journal, method)(*arguments)
        assert not path.exists()


def test_a_writer_waits_for_one_who_looks(path, monkeypatch):
    real, asked = fcntl.flock, []

    def flock(file, how):
        asked.append(how)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    journal = Journal(path)
    assert asked == [fcntl.LOCK_EX]
    assert is_alive(path)
    journal.close()


def test_who_looks_keeps_no_other_one_from_looking(journal, path):
    journal.close()
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not is_alive(path)


# From Python 3.12 on it warns of threads, which the test runner may have.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
class TestForkedProcess:
    @pytest.fixture
    def fork(self):
        """Return a function that forks a child, which does something and then waits."""
        children = []

        def fork(do=lambda: None):
            did, done = os.pipe()
            go_on, may_end = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(may_end)
                answer = b"0"
                try:
                    do()
                    answer = b"1"
                finally:
                    os.write(done, answer)
                    os.read(go_on, 1)  # until the parent closes the other end, or is gone
                    os._exit(0)
            os.close(done)
            os.close(go_on)
            children.append((child, did, may_end))
            assert select.select([did], [], [], 30)[0], "the child hangs"
            assert os.read(did, 1) == b"1"
            return child

        yield fork
        for child, did, may_end in children:
            os.close(may_end)
            os.close(did)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def test_does_not_keep_a_journal_alive(self, journal, path, fork):
        fork()
        assert is_alive(path)
        journal.append("a", 1)
        journal.close()
        assert not is_alive(path)

    @pytest.mark.parametrize("method", ["append", "sync", "close"])
    def test_writes_nothing_into_it(self, journal, path, fork, method):
        journal.append("a", 1)
        arguments = ("a", 2) if method == "append" else ()
        fork(lambda: getattr(journal, method)(*arguments))
        assert is_alive(path)
        journal.append("a", 3)
        assert DeadJournal(path).read(0)[0] == [("a", 1), ("a", 3)]

    def test_does_not_hang_on_what_a_thread_held(self, journal, fork):
        with journal._lock:
            fork(lambda: journal.append("a", 1))

    def test_may_have_a_journal_of_its_own(self, journal, path, fork):
        other = path.with_name("trial1-0-0-def.jsonl")
        held = []
        fork(lambda: held.append(Journal(other)) or held[0].append("a", 1))
        journal.close()
        assert (is_alive(other), is_alive(path)) == (True, False)
        assert DeadJournal(other).read(0)[0] == [("a", 1)]

    def test_does_not_outlive_its_parent_for_others(self, path):
        program = """
            journal = Journal(Path(sys.argv[1]))
            is_there, there = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(there, b"1")
                time.sleep(60)
                os._exit(0)
            os.read(is_there, 1)
            journal.append("child", child)
            print("ready", flush=True)
            time.sleep(60)
        """
        process = in_process(program, str(path))
        ((_, child),) = DeadJournal(path).read(0)[0]
        try:
            assert is_alive(path)
            process.kill()
            process.wait(30)
            os.kill(child, 0)  # it is still there
            assert not is_alive(path)
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)
            process.stdout.close()


class TestFsync:
    @pytest.fixture
    def forced(self, monkeypatch):
        calls = []
        monkeypatch.setattr(os, "fsync", calls.append)
        return calls

    def test_is_done_when_it_is_asked_for(self, journal, forced):
        journal.append("a", 1)
        assert forced == []
        journal.sync()
        assert len(forced) == 1

    @pytest.mark.parametrize(("seconds", "times"), [(0.0, 3), (60.0, 0)])
    def test_is_done_as_often_as_is_said(self, path, forced, seconds, times):
        journal = Journal(path, fsync_s=seconds)
        for number in range(3):
            journal.append("a", number)
        assert len(forced) == times
        journal.close()


@pytest.mark.parametrize("is_dead", [True, False])
def test_deleting_leaves_nothing(journal, path, is_dead):
    journal.append("a", 1)
    journal.files.keep_bytes(b"text")
    (DeadJournal(path) if is_dead else journal).delete()
    assert list(path.parent.parent.iterdir()) == []


def test_deleting_leaves_what_is_of_others(journal, path):
    other = Journal(path.with_name("trial1-0-0-def.jsonl"))
    journal.delete()
    assert journals_in(path.parent.parent) == [other.path]
    other.close()


def test_a_dead_journal_locks_nothing(journal, path):
    journal.close()
    DeadJournal(path).append("end", {})
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class TestMemory:
    """What was just written need not be read from the file, and says the same."""

    EVENTS = (
        ("start", {"a": [1, 2.5, None, True, "x\U0001f600"], "at": AT, "b": b"1"}),
        ("note", "one"),
        ("end", {"status": "COMPLETED"}),
    )

    @pytest.fixture
    def reads(self, monkeypatch):
        """How often a file was read."""
        reads = []
        read = journal_module.read_bytes

        def counting(*arguments):
            reads.append(arguments)
            return read(*arguments)

        monkeypatch.setattr(journal_module, "read_bytes", counting)
        return reads

    def test_is_what_the_file_says(self, journal, reads):
        for event in self.EVENTS:
            journal.append(*event)
        journal.append_scalar("loss", 3, 0.1, AT)
        from_memory, position = journal.read(0)
        assert reads == []
        assert journal.read(position) == ([], position)
        from_file, end = journal.read(0)
        assert len(reads) == 1
        assert (from_file, end) == (from_memory, position)
        assert DeadJournal(journal.path).read(0) == (from_memory, position)

    def test_goes_on_after_the_file_was_read(self, journal, reads):
        journal.append("note", "one")
        journal.read(0)
        journal.append("note", "two")
        events, position = journal.read(0)
        assert [content for _, content in events] == ["one", "two"]
        journal.append("note", "three")
        assert journal.read(position)[0] == [("note", "three")]
        assert len(reads) == 1

    def test_is_bounded(self, journal, reads, monkeypatch):
        monkeypatch.setattr(journal_module, "_MOST_FRESH_BYTES", 1000)
        for number in range(100):
            journal.append_scalar("loss", number, 0.1, AT)
            assert len(journal._fresh) < 20
        events, position = journal.read(0)
        assert [content[1] for _, content in events] == list(range(100))
        assert len(reads) == 1
        journal.append("note", "one")
        assert journal.read(position)[0] == [("note", "one")]

    def test_says_once_when_there_is_much(self, journal, monkeypatch):
        monkeypatch.setattr(journal_module, "_MANY_FRESH_BYTES", 500)
        said = [journal.append_scalar("loss", number, 0.1, AT) for number in range(50)]
        assert sum(said) == 1
        journal.read(0)
        said = [journal.append_scalar("loss", number, 0.1, AT) for number in range(50)]
        assert sum(said) == 1

    def test_is_the_same_where_a_line_is_written_in_two_parts(self, journal, monkeypatch):
        write = os.write
        journal.append("note", "one")

        def half(file, line):
            monkeypatch.undo()
            return write(file, line[: len(line) // 2])

        monkeypatch.setattr(os, "write", half)
        journal.append("note", "two")
        journal.append("note", "three")
        notes = [content for _, content in journal.read(0)[0]]
        assert notes == ["one", "two", "three"]
        assert [content for _, content in DeadJournal(journal.path).read(0)[0]] == notes

    def test_long_files_are_read_in_blocks(self, journal, monkeypatch):
        for module in (journal_module, lines_module):
            monkeypatch.setattr(module, "BLOCK_BYTES", 500)
        monkeypatch.setattr(journal_module, "_MOST_FRESH_BYTES", 100)
        for number in range(100):
            journal.append("note", f"{number}" * (300 if number == 50 else 1))
        for source in (journal, DeadJournal(journal.path)):
            events, position = source.read(0)
            assert len(events) < 50
            while True:
                more, after = source.read(position)
                if after == position:
                    break
                events, position = events + more, after
            assert [content[:2] for _, content in events] == [f"{n}" for n in range(100)]


@given(
    st.text(st.characters(codec="utf-8")),
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.booleans(),
    st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(st.characters(codec="utf-8")),
    st.datetimes(),
)
def test_a_scalar_is_the_same_line_as_any_event(name, step, value, at):
    assert encode_scalar(name, step, value, at) == encode("scalar", [name, step, value, at])


def test_a_closed_journal_is_forced_to_the_disk(journal, monkeypatch):
    synced = []
    journal.append("note", "one")
    journal.close()
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}"))
    )
    journal.sync()
    assert synced == [str(journal.path)]
