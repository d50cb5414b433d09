"""Where a trial runs and its code seems to lie, on nodes that have the project and on others."""

import dataclasses
import hashlib
import os
import sys
import zlib
from pathlib import Path

import pytest

from sacred_ray_ingredient import trial_folder
from sacred_ray_ingredient.frozen_code import FrozenCode, FrozenModule
from sacred_ray_ingredient.frozen_import import Moved, uninstall
from sacred_ray_ingredient.shared_folder import leave_mark
from sacred_ray_ingredient.trial_folder import (
    TravellingTree,
    TrialFolder,
    choose_folder,
    has_drivers_folder,
    identity_of,
    in_folder,
    move_in,
    unpacked_tree,
)

SOURCE = b"from pathlib import Path\nHERE = Path(__file__).parent\n"


def code_at(root, *labels, folder="src", source=SOURCE):
    digest = hashlib.sha256(source).hexdigest()
    modules = []
    for label in labels:
        name = label.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        path = str(Path(root) / folder / label)
        modules.append(FrozenModule(name, path, label, label.endswith("__init__.py"), digest))
    return FrozenCode(tuple(modules), {digest: zlib.compress(source)})


@pytest.fixture
def driver(tmp_path):
    """The driver's project, as it is on its machine."""
    root = tmp_path / "driver" / "project"
    (root / "work").mkdir(parents=True)
    return root


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """The same on a node, as Ray unpacks it."""
    root = tmp_path / "session" / "working_dir_files" / "_ray_pkg_0"
    (root / "work").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", f"/elsewhere:{root}")
    return root


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    trial_folder._chosen.cache_clear()
    trial_folder._add_roots.cache_clear()
    yield
    uninstall()


def tree_of(driver, **given):
    return TravellingTree(str(driver / "work"), str(driver), **given)


class TestDriversFolder:
    def test_is_here_on_the_same_machine_whatever_was_edited(self, driver):
        tree = tree_of(driver, identity=identity_of(str(driver / "work")))
        assert has_drivers_folder(tree, code_at(driver, "gone.py"))

    def test_is_here_where_its_mark_is_seen(self, driver):
        mark = leave_mark(driver / ".sacred_ray")
        assert has_drivers_folder(tree_of(driver, mark=mark), None)
        mark.remove()
        assert not has_drivers_folder(tree_of(driver, mark=mark), None)

    def test_is_here_as_an_identical_copy(self, driver):
        code = code_at(driver, "a.py", "b.py")
        assert not has_drivers_folder(tree_of(driver), code)
        (driver / "src").mkdir()
        (driver / "src" / "a.py").write_bytes(SOURCE)
        (driver / "src" / "b.py").write_bytes(SOURCE)
        assert has_drivers_folder(tree_of(driver), code)
        (driver / "src" / "b.py").write_bytes(b"# an older one\n")
        assert not has_drivers_folder(tree_of(driver), code)

    def test_is_not_another_one_at_the_same_path(self, driver):
        assert not has_drivers_folder(tree_of(driver, identity="other machine:1:2"), None)
        # An installed package says nothing about the folder that it is used in.
        assert not has_drivers_folder(tree_of(driver), code_at("/opt/installed", "a.py"))

    def test_is_not_one_that_may_not_be_entered(self, driver, monkeypatch):
        tree = tree_of(driver, identity=identity_of(str(driver / "work")))
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        assert not has_drivers_folder(tree, None)

    def test_has_an_identity_of_its_own(self, driver):
        same = identity_of(str(driver / "work"))
        assert same == identity_of(str(driver / "work"))
        assert same != identity_of(str(driver))
        assert identity_of(str(driver / "gone")) is None


class TestChoice:
    def test_is_the_drivers_folder_where_that_is_here(self, driver, unpacked):
        tree = tree_of(driver, identity=identity_of(str(driver / "work")))
        assert choose_folder(tree, None) == TrialFolder(str(driver / "work"))

    def test_is_else_the_same_place_in_what_came_along(self, driver, unpacked):
        moved = Moved(str(driver), str(unpacked))
        assert choose_folder(tree_of(driver), None) == TrialFolder(str(unpacked / "work"), moved)
        (unpacked / "work").rmdir()  # had no files
        assert choose_folder(tree_of(driver), None) == TrialFolder(str(unpacked), moved)

    def test_is_the_top_of_what_came_from_elsewhere(self, driver, unpacked):
        tree = TravellingTree(str(driver / "work"))
        assert choose_folder(tree, None) == TrialFolder(str(unpacked))

    def test_is_else_where_the_worker_is(self, driver, monkeypatch):
        monkeypatch.delenv("PYTHONPATH", raising=False)
        assert choose_folder(tree_of(driver), None) == TrialFolder(None)
        assert unpacked_tree() is None

    def test_on_a_local_ray_is_the_drivers_folder(self, driver):
        assert move_in(str(driver), None, None) == str(driver)
        assert move_in(str(driver / "gone"), None, None) is None


class TestCode:
    def test_seems_to_lie_in_what_came_along(self, driver, unpacked):
        # What is at the driver's path here is another project.
        (driver / "src").mkdir()
        (driver / "src" / "lone_wave.py").write_text("raise RuntimeError('the wrong one')\n")
        code = code_at(driver, "lone_wave.py", "wavepack/sub/deep.py")
        move_in(str(driver / "work"), code, tree_of(driver))
        import lone_wave
        import wavepack.sub.deep

        assert unpacked / "src" == lone_wave.HERE
        assert unpacked / "src" / "wavepack" / "sub" == wavepack.sub.deep.HERE
        assert list(wavepack.__path__) == [str(unpacked / "src" / "wavepack")]

    def test_stays_where_it_is_where_the_driver_is(self, driver, unpacked):
        (driver / "src").mkdir()
        (driver / "src" / "lone_wave.py").write_text("raise RuntimeError('edited since')\n")
        tree = tree_of(driver, identity=identity_of(str(driver / "work")))
        move_in(str(driver / "work"), code_at(driver, "lone_wave.py"), tree)
        import lone_wave

        assert driver / "src" == lone_wave.HERE

    def test_what_is_not_frozen_is_found_beside_it(self, driver, unpacked):
        (unpacked / "src").mkdir()
        (unpacked / "src" / "not_frozen_wave.py").write_text("VALUE = 3\n")
        move_in(str(driver / "work"), code_at(driver, "lone_wave.py"), tree_of(driver))
        import not_frozen_wave

        assert not_frozen_wave.VALUE == 3
        del sys.modules["not_frozen_wave"]

    def test_goes_elsewhere_when_it_moves(self, driver, unpacked):
        code = code_at(driver, "lone_wave.py")
        move_in(str(driver / "work"), code, tree_of(driver))
        import lone_wave

        before = lone_wave.HERE
        same = tree_of(driver, identity=identity_of(str(driver / "work")))
        move_in(str(driver / "work"), code, same)
        import lone_wave as again

        assert (before, again.HERE) == (unpacked / "src", driver / "src")

    def test_the_choice_of_a_process_does_not_change(self, driver, unpacked):
        (driver / "src").mkdir()
        (driver / "src" / "lone_wave.py").write_bytes(SOURCE)
        code = code_at(driver, "lone_wave.py")
        tree = tree_of(driver)
        first = move_in(str(driver / "work"), code, tree)
        (driver / "src" / "lone_wave.py").write_text("edited = True\n")
        assert move_in(str(driver / "work"), code, tree) == first == str(driver / "work")


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/a/b", "/x"),
        ("/a/b/c.py", "/x/c.py"),
        ("/a/bc/d.py", None),
        ("/a", None),
    ],
)
def test_paths_move_with_their_root(path, there):
    assert Moved("/a/b", "/x").new_path(path) == there
    assert Moved("/a/b/", "/x/").new_path(path) == there


def test_a_tree_is_plain_data(driver):
    tree = tree_of(driver, mark=leave_mark(driver / ".sacred_ray"))
    assert dataclasses.asdict(tree)["root"] == str(driver)
    assert tree.place == "work"
    assert TravellingTree("/elsewhere", "/root/folder").place == "."


def test_the_process_is_left_as_it_was_found(tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT", "1")
    before = Path.cwd()
    with in_folder(str(tmp_path)):
        assert Path.cwd() == tmp_path
        os.environ["NEW"] = os.environ["KEPT"] = "2"
    assert Path.cwd() == before
    assert os.environ["KEPT"] == "1"
    assert "NEW" not in os.environ
    with in_folder(None):
        assert Path.cwd() == before
