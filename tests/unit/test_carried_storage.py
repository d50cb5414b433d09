"""Files that are carried to a folder which this process does not see, by a keeper in it."""

import os
import pickle
import types
from collections import Counter

import pytest
from pyarrow import fs

from sacred_ray_ingredient.cluster import carried_files, carried_storage
from sacred_ray_ingredient.cluster.carried_files import CarriedFiles
from sacred_ray_ingredient.cluster.carried_storage import Carrier, FolderKeeper
from sacred_ray_ingredient.shared_folder import FolderMark, leave_mark
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.tasks import TrialTask

PIECE = 1000


class Keeper:
    """A keeper in this process; its answers are worked out when somebody waits for them."""

    def __init__(self):
        self.keeper = FolderKeeper()
        self.calls = Counter()
        self.on_the_way = 0
        self.most_on_the_way = 0
        self.largest = 0
        self.again = set()

    def __getattr__(self, method):
        def remote(*arguments, **options):
            self.calls[method] += 1
            self.on_the_way += 1
            self.most_on_the_way = max(self.most_on_the_way, self.on_the_way)
            sizes = [len(each) for each in arguments if isinstance(each, bytes)]
            self.largest = max([self.largest, *sizes])
            return lambda: getattr(self.keeper, method)(*arguments, **options)

        return types.SimpleNamespace(remote=remote)

    def answer(self, call):
        self.on_the_way -= 1
        return call()


@pytest.fixture
def keeper(monkeypatch):
    keeper = Keeper()
    monkeypatch.setattr(carried_storage, "_actor", lambda name: keeper)
    monkeypatch.setattr(carried_storage, "_answer", keeper.answer)
    monkeypatch.setattr(carried_files, "PIECE", PIECE)
    return keeper


@pytest.fixture
def carrier(tmp_path):
    """Leads to a folder that is not seen, as its mark is not."""
    (tmp_path / "kept").mkdir()
    return Carrier(FolderMark(str(tmp_path / "kept" / "no such mark")), "keeper")


@pytest.fixture
def files(carrier, keeper):
    return carrier.filesystem()


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 10 * PIECE + 7])
@pytest.mark.parametrize("block", [1, 300, 4 * PIECE])
def test_a_file_is_written_and_read_in_small_pieces_few_at_once(
    files, keeper, tmp_path, size, block
):
    content = os.urandom(size)
    path = str(tmp_path / "kept" / "file")
    with files.open_output_stream(path) as stream:
        for start in range(0, size, max(block, size // 50)):
            stream.write(content[start : start + max(block, size // 50)])
    assert (tmp_path / "kept" / "file").read_bytes() == content
    assert keeper.calls["write"] == -(-size // PIECE)
    with files.open_input_stream(path) as stream:
        assert stream.read() == content
    assert keeper.most_on_the_way <= 2
    assert keeper.largest <= PIECE


def test_a_file_is_read_from_anywhere_in_it(files, tmp_path):
    content = os.urandom(5 * PIECE)
    (tmp_path / "kept" / "file").write_bytes(content)
    with files.open_input_file(str(tmp_path / "kept" / "file")) as file:
        assert file.size() == 5 * PIECE
        for start, count in [(3 * PIECE + 5, 100), (10, 2 * PIECE), (0, 3), (5 * PIECE - 2, 50)]:
            file.seek(start)
            assert file.read(count) == content[start : start + count]
            assert file.tell() == min(start + count, 5 * PIECE)


def test_a_file_is_replaced_or_continued(files, tmp_path):
    path = str(tmp_path / "kept" / "file")
    (tmp_path / "kept" / "file").write_bytes(b"before, and longer")
    with files.open_output_stream(path) as stream:
        stream.write(b"one")
    with files.open_append_stream(path) as stream:
        stream.write(b", two")
    assert (tmp_path / "kept" / "file").read_bytes() == b"one, two"


def test_folders_are_made_looked_at_renamed_and_deleted(files, tmp_path):
    kept = tmp_path / "kept"
    files.create_dir(str(kept / "a" / "b"), recursive=True)
    (kept / "a" / "file").write_bytes(b"123")
    found = files.get_file_info(fs.FileSelector(str(kept), recursive=True))
    assert {(each.base_name, each.type, each.size) for each in found} == {
        ("a", fs.FileType.Directory, None),
        ("b", fs.FileType.Directory, None),
        ("file", fs.FileType.File, 3),
    }
    assert all(each.mtime_ns > 10**18 for each in found)
    nowhere = files.get_file_info(str(kept / "nowhere"))
    assert nowhere.type == fs.FileType.NotFound
    files.move(str(kept / "a"), str(kept / "c"))
    files.copy_file(str(kept / "c" / "file"), str(kept / "copy"))
    files.delete_file(str(kept / "c" / "file"))
    assert sorted(path.name for path in kept.rglob("*")) == ["b", "c", "copy"]
    files.delete_dir_contents(str(kept / "c"))
    files.delete_dir_contents(str(kept / "nowhere"), missing_dir_ok=True)
    assert list((kept / "c").iterdir()) == []
    files.delete_dir(str(kept / "c"))
    assert [path.name for path in kept.iterdir()] == ["copy"]


def test_what_is_not_there_is_said_as_everywhere(files, tmp_path):
    missing = str(tmp_path / "kept" / "missing")
    with pytest.raises(FileNotFoundError, match="missing is no file"):
        files.open_input_stream(missing)
    with pytest.raises(FileNotFoundError, match="missing"):
        files.delete_file(missing)
    with pytest.raises(FileNotFoundError, match="missing"):
        files.get_file_info(fs.FileSelector(missing))
    assert files.get_file_info(fs.FileSelector(missing, allow_not_found=True)) == []
    with pytest.raises(PermissionError, match="is not emptied"):
        files.delete_dir_contents("/", accept_root_dir=True)


def test_a_keeper_that_repeats_what_was_not_answered_changes_nothing(tmp_path):
    keeper = FolderKeeper()
    path = str(tmp_path / "file")
    keeper.create(path)
    for _ in range(2):
        keeper.write(path, 3, b"def")
        keeper.write(path, 0, b"abc")
    assert keeper.read(path, 1, 4) == b"bcde"
    keeper.move(path, str(tmp_path / "renamed"))
    keeper.move(path, str(tmp_path / "renamed"))
    assert (tmp_path / "renamed").read_bytes() == b"abcdef"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        keeper.move(str(tmp_path / "nowhere"), str(tmp_path / "anywhere"))
    with pytest.raises(ValueError, match="'get_file_info' is none of create_dir"):
        keeper.change("get_file_info", path)


def test_where_the_folder_is_seen_nobody_is_asked(keeper, tmp_path):
    carrier = Carrier(leave_mark(tmp_path / "kept"), "keeper")
    files = carrier.filesystem()
    path = str(tmp_path / "kept" / "file")
    with files.open_output_stream(path) as stream:
        stream.write(b"abc")
    with files.open_append_stream(path) as stream:
        stream.write(b"def")
    with files.open_input_stream(path) as stream:
        assert stream.read() == b"abcdef"
    files.create_dir(str(tmp_path / "kept" / "folder"))
    files.move(path, str(tmp_path / "kept" / "folder" / "file"))
    assert len(files.get_file_info(fs.FileSelector(str(tmp_path / "kept"), recursive=True))) == 3
    assert keeper.calls == {}
    assert Storage(str(tmp_path / "kept"), carrier=carrier).is_plain


def test_a_file_system_that_is_sent_elsewhere_looks_anew_whether_it_is_there(carrier):
    handler = pickle.loads(pickle.dumps(carrier.filesystem())).handler
    assert isinstance(handler, CarriedFiles)
    assert handler == CarriedFiles(carrier)
    assert handler != CarriedFiles(Carrier(carrier.mark, "another"))
    assert hash(handler) == hash(CarriedFiles(carrier))
    assert handler.get_type_name() == "carried"


def test_checkpoints_come_whole_or_not_at_all(carrier, keeper, tmp_path):
    storage = Storage(str(tmp_path / "kept"), "job", carrier=carrier)
    assert not storage.is_plain
    stored = storage.of_trial(TrialTask(0, {}, {}, 1))
    given = tmp_path / "given"
    (given / "deep").mkdir(parents=True)
    (given / "deep" / "state").write_bytes(os.urandom(3 * PIECE))
    seen = []
    move = keeper.keeper.move

    def look_and_move(*paths):
        seen.append(stored.last_checkpoint())
        move(*paths)

    keeper.keeper.move = look_and_move
    place = stored.keep(given)
    assert (seen, stored.last_checkpoint()) == ([None], place)
    with storage.opened(place) as folder:
        assert folder != tmp_path / "kept" / "job" / "trial-00000-0" / "checkpoint_000000"
        assert (folder / "deep" / "state").read_bytes() == (given / "deep" / "state").read_bytes()
    assert not folder.exists()
