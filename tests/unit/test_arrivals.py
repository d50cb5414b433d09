"""Journals of another node come home: what the driver has is what the node has, in whole lines."""

import datetime
import errno
import os
import time

import pytest

from sacred_ray_ingredient.record import arrivals as arrivals_module
from sacred_ray_ingredient.record import carried
from sacred_ray_ingredient.record.arrivals import Arrivals
from sacred_ray_ingredient.record.carried import NodeJournals
from sacred_ray_ingredient.record.journal import DeadJournal, Journal, is_alive, journals_in
from sacred_ray_ingredient.record.kept_files import folder_of
from sacred_ray_ingredient.record.points import path_of
from sacred_ray_ingredient.record.run_state import RunState
from sacred_ray_ingredient.record.shipper import UNREACHABLE

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
END = ("end", {"status": "COMPLETED", "time": AT, "result": 5, "notes": []})
GROUP = "sweep-1"


@pytest.fixture
def there(tmp_path):
    """The folder of the sweep on the other node, which cannot reach the database."""
    folder = tmp_path / "there" / GROUP
    folder.mkdir(parents=True)
    (folder / UNREACHABLE).touch()
    return folder


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home" / GROUP


@pytest.fixture
def calls():
    return []


@pytest.fixture
def arrivals(home, calls):
    return Arrivals(
        home,
        begun=lambda path: calls.append(("begun", path.name)),
        ended=lambda path: calls.append(("ended", path.name)),
    )


@pytest.fixture
def node(there):
    return NodeJournals([there.parent])


@pytest.fixture
def begin(there):
    """Return a function that begins a journal on the other node."""
    begun = []

    def begin(name="trial0-0-0-abc", scalars=3):
        journal = Journal(there / f"{name}.jsonl")
        journal.append("target", {})
        start = {"experiment": {"name": "x", "sources": []}, "notes": [], "start_time": AT}
        journal.append("start", {**start, "meta": {"record": {"journal": "abc"}}})
        log(journal, range(scalars))
        begun.append(journal)
        return journal

    yield begin
    for journal in begun:
        journal.close()


def log(journal, steps):
    for step in steps:
        journal.append_scalar("loss", step, step / 2, AT)


def visit(node, arrivals, most=1000):
    """Let the driver take what the node has, until it has no more."""
    for _ in range(most):
        done = arrivals.done("node")
        parcel = node.give(GROUP, arrivals.have("node"), arrivals.leave("node"), done)
        arrivals.deleted("node", done)
        arrivals.take("node", parcel)
        if not parcel.has_more and not arrivals.done("node"):
            return
    raise AssertionError("there is always more")


def state_of(path):
    """Read a journal with all that belongs to it."""
    state, position, before = RunState(), 0, None
    journal = DeadJournal(path)
    while before != position:
        before = position
        events, position = journal.read(before)
        state.apply(events)
    return state


def steps_of(path):
    series = state_of(path).series["loss"]
    series.unpack(series.waiting)
    return series.steps


class TestJournalThatGrows:
    def test_comes_line_by_line_and_is_locked_as_long_as_more_comes(
        self, node, arrivals, begin, home, calls
    ):
        journal = begin()
        visit(node, arrivals)
        (copy,) = journals_in(home)
        assert copy.read_bytes() == journal.path.read_bytes()
        assert is_alive(copy)
        assert arrivals.is_coming(copy)
        log(journal, range(3, 9))
        visit(node, arrivals)
        assert steps_of(copy) == list(range(9))
        assert calls == [("begun", copy.name)]

    def test_is_deleted_there_when_all_of_it_is_here_with_its_end(
        self, node, arrivals, begin, home, there, calls
    ):
        journal = begin()
        journal.append(*END)
        content = journal.path.read_bytes()
        visit(node, arrivals)
        assert journals_in(there) == []
        assert journal.is_deleted
        (copy,) = journals_in(home)
        assert copy.read_bytes() == content
        assert not is_alive(copy)
        assert calls == [("begun", copy.name), ("ended", copy.name)]

    def test_has_its_points_before_the_lines_that_come_after_them(
        self, node, arrivals, begin, home, monkeypatch
    ):
        monkeypatch.setattr(carried, "_PART_BYTES", 3200)
        journal = begin(scalars=1000)
        have = arrivals.have("node")
        for _ in range(20):
            arrivals.take("node", node.give(GROUP, have))
            have = arrivals.have("node")
            known = state_of(home / journal.path.name) if journals_in(home) else None
            if known is not None and known.started is not None:
                assert known.series["loss"].total == 1000
        journal.append(*END)
        visit(node, arrivals)
        assert steps_of(home / journal.path.name) == list(range(1000))
        assert state_of(home / journal.path.name).has_ended

    def test_gives_no_point_that_is_not_written_yet(self, node, arrivals, begin, home):
        journal = begin(scalars=250)
        visit(node, arrivals)
        copy = home / journal.path.name
        assert path_of(copy).stat().st_size < path_of(journal.path).stat().st_size
        log(journal, range(250, 300))
        visit(node, arrivals)
        assert steps_of(copy) == list(range(300))

    def test_has_its_files_before_its_lines(self, node, arrivals, begin, home, monkeypatch):
        monkeypatch.setattr(carried, "_PART_BYTES", 1000)
        journal = begin()
        content = os.urandom(10_500)
        digest = journal.files.keep_bytes(content)
        empty = journal.files.keep_bytes(b"")
        journal.append("file", {"id": "1", "digest": digest, "filename": "w"})
        copy = home / journal.path.name
        parcel = node.give(GROUP, {})
        assert {piece.kind for piece in parcel.pieces} == {carried.FILE}
        assert parcel.has_more
        arrivals.take("node", parcel)
        assert DeadJournal(copy).files.content(digest) is None
        visit(node, arrivals)
        assert DeadJournal(copy).files.content(digest) == content
        assert DeadJournal(copy).files.content(empty) == b""
        assert len(state_of(copy).files) == 1

    def test_that_is_large_holds_no_other_up(self, node, arrivals, begin, home, monkeypatch):
        monkeypatch.setattr(carried, "_PART_BYTES", 1000)
        monkeypatch.setattr(carried, "PARCEL_BYTES", 1000)
        large = begin("trial0-0-0-abc")
        large.files.keep_bytes(os.urandom(100_000))
        begin("trial1-0-0-def")
        for _ in range(3):
            arrivals.take("node", node.give(GROUP, arrivals.have("node")))
        assert steps_of(home / "trial1-0-0-def.jsonl") == [0, 1, 2]

    def test_with_a_line_longer_than_a_piece_comes_whole(
        self, node, arrivals, begin, home, monkeypatch
    ):
        monkeypatch.setattr(carried, "_PART_BYTES", 1000)
        journal = begin()
        journal.append("note", "x" * 300_000)
        journal.append(*END)
        content = journal.path.read_bytes()
        visit(node, arrivals)
        assert (home / journal.path.name).read_bytes() == content


class TestJournalOfADeadProcess:
    def test_comes_without_the_line_in_which_it_died(self, node, arrivals, begin, home, there):
        journal = begin()
        whole = journal.path.read_bytes()
        with journal.path.open("ab") as file:
            file.write(b'["scalar",["lo')
        journal.close()
        (there / UNREACHABLE).unlink()
        visit(node, arrivals)
        (copy,) = journals_in(home)
        assert copy.read_bytes() == whole
        assert not is_alive(copy)
        assert journals_in(there) == []

    def test_is_left_alone_before_its_first_line(self, node, arrivals, there, home):
        (there / "trial0-0-0-abc.jsonl").touch()  # made just now, and not locked yet
        assert node.give(GROUP, {}) == carried.Parcel()
        visit(node, arrivals)
        assert journals_in(home) == []
        assert len(journals_in(there)) == 1


class TestJournalOfANodeThatReachesTheDatabase:
    def test_is_not_carried(self, node, arrivals, begin, home, there):
        (there / UNREACHABLE).unlink()
        begin()
        visit(node, arrivals)
        assert not home.exists()

    def test_is_not_carried_long_after_an_outage(self, node, arrivals, begin, home, there):
        then = time.time() - 100
        os.utime(there / UNREACHABLE, (then, then))
        begin()
        visit(node, arrivals)
        assert not home.exists()

    def test_that_has_brought_all_of_it_is_dropped_here_too(self, node, arrivals, begin, home):
        journal = begin()
        visit(node, arrivals)
        assert len(journals_in(home)) == 1
        journal.append(*END)
        journal.delete()  # as its shipper does
        visit(node, arrivals)
        assert journals_in(home) == []


class TestInterruption:
    def test_a_parcel_that_was_lost_comes_again(self, node, arrivals, begin, home):
        journal = begin()
        journal.append(*END)
        node.give(GROUP, arrivals.have("node"))  # the answer never came
        visit(node, arrivals)
        assert steps_of(home / journal.path.name) == [0, 1, 2]

    def test_a_full_disk_loses_nothing(self, node, arrivals, begin, home, monkeypatch):
        journal = begin()
        journal.append(*END)
        content = journal.path.read_bytes()
        room = [100]

        def write(file, part, position):
            part = part[: room[0]]
            room[0] -= len(part)
            if not len(part):
                raise OSError(errno.ENOSPC, "No space left on device")
            return pwrite(file, part, position)

        pwrite = os.pwrite
        monkeypatch.setattr(arrivals_module.os, "pwrite", write)
        with pytest.raises(OSError, match="No space left"):
            visit(node, arrivals)
        assert (home / journal.path.name).read_bytes() == b""
        assert journal.path.exists()
        room[0] = 10**9
        visit(node, arrivals)
        assert (home / journal.path.name).read_bytes() == content
        assert not journal.path.exists()

    def test_what_came_of_a_node_that_is_lost_is_the_journal_of_a_dead_process(
        self, node, arrivals, begin, home, calls
    ):
        begin()
        visit(node, arrivals)
        arrivals.release("node")
        (copy,) = journals_in(home)
        assert not is_alive(copy)
        assert calls[-1] == ("ended", copy.name)

    def test_a_later_driver_takes_the_place_of_what_an_earlier_one_has(
        self, node, arrivals, begin, home
    ):
        journal = begin(scalars=300)
        kept = journal.files.keep_bytes(b"kept")
        visit(node, arrivals)
        arrivals.release()
        copy = home / journal.path.name
        # The command after it has written an end, of which the run knows better.
        DeadJournal(copy).append("end", {"status": "INTERRUPTED", "time": AT})
        log(journal, range(300, 350))
        later = Arrivals(home)
        visit(node, later)
        assert state_of(copy).status == "INTERRUPTED", "it stays until the new one is whole"
        journal.append(*END)
        visit(node, later)
        assert state_of(copy).status == "COMPLETED"
        assert steps_of(copy) == list(range(350))
        assert DeadJournal(copy).files.content(kept) == b"kept"
        assert sorted(path.name for path in home.iterdir()) == sorted(
            [copy.name, path_of(copy).name, folder_of(copy).name]
        )

    def test_a_copy_whose_end_the_driver_writes_stays_as_it_is_until_it_is_gone(
        self, node, home, begin
    ):
        taken = set()
        arrivals = Arrivals(home, is_taken=lambda path: path in taken and path.exists())
        journal = begin()
        visit(node, arrivals)
        copy = home / journal.path.name
        arrivals.take_over(copy)
        taken.add(copy)
        assert not is_alive(copy)
        content = copy.read_bytes()
        log(journal, range(3, 6))
        visit(node, arrivals)
        assert copy.read_bytes() == content
        copy.unlink()  # the database has it
        visit(node, arrivals)
        assert steps_of(copy) == list(range(6)), "late lines come, too"

    def test_a_node_that_comes_back_changes_no_copy_that_is_being_settled(self, node, home, begin):
        taken = set()
        arrivals = Arrivals(home, is_taken=lambda path: path in taken and path.exists())
        journal = begin()
        visit(node, arrivals)
        arrivals.release("node")
        copy = home / journal.path.name
        taken.add(copy)
        before = sorted(home.iterdir()), copy.read_bytes()
        journal.append(*END)
        visit(node, arrivals)
        assert (sorted(home.iterdir()), copy.read_bytes()) == before
        assert journal.path.exists()

    def test_a_run_that_the_user_has_deleted_comes_no_further(self, node, arrivals, begin, home):
        journal = begin()
        visit(node, arrivals)
        (home / journal.path.name).unlink()
        log(journal, range(3, 500))
        journal.append(*END)
        visit(node, arrivals)
        assert journals_in(home) == []
        assert journal.is_deleted


@pytest.mark.parametrize("name", ["../trial0-0-0-abc.jsonl", "x", "a/b.jsonl"])
def test_a_node_cannot_write_elsewhere(arrivals, name, tmp_path):
    parcel = carried.Parcel([carried.Piece(name, carried.LINES, b"[]\n")])
    with pytest.raises(OSError, match="no name of a journal"):
        arrivals.take("node", parcel)
    parcel = carried.Parcel([carried.Piece("a.jsonl", carried.FILE, b"x", "../../x", True)])
    with pytest.raises(OSError, match="no name of a kept file"):
        arrivals.take("node", parcel)
    assert {path.name for path in tmp_path.rglob("*")} <= {"home", GROUP, "a.jsonl", "a.files"}


def test_a_sweep_that_is_over_leaves_no_folder(node, arrivals, begin, there):
    journal = begin()
    journal.append(*END)
    visit(node, arrivals)
    assert there.exists()
    node.clear(GROUP)
    assert not there.exists()
    assert node.groups() == []


def test_the_folder_of_a_sweep_with_a_journal_stays(node, begin, there):
    begin()
    node.clear(GROUP)
    assert len(journals_in(there)) == 1
    assert (there / UNREACHABLE).exists()
