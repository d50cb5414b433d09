"""What each process of a cluster does as it starts, so that it can import the project."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray import cloudpickle

from sacred_ray_ingredient.cluster.process_setup import HOOK, setup_files, with_hook
from sacred_ray_ingredient.frozen_code import freeze
from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.trial_folder import TravellingTree

NAME = "brought_along"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one module, gone by now, and the folder with what has come along of it."""
    folder = tmp_path / "driver"
    folder.mkdir()
    (folder / f"{NAME}.py").write_text(
        "from pathlib import Path\nvalue, where = 3, Path(__file__)\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)
    importlib.import_module(NAME)
    code = freeze(InnerReference("value", module=NAME))
    sys.modules.pop(NAME)
    unpacked = tmp_path / "working_dir_files" / "_ray_pkg_1"
    unpacked.mkdir(parents=True)
    for name, content in setup_files(TravellingTree(str(folder), str(folder)), code).items():
        (unpacked / name).write_bytes(content)
    (folder / f"{NAME}.py").unlink()
    return unpacked


def begin(script, path, tmp_path):
    """Run a hook in a process that knows nothing of the project, then a line of Python."""
    hook = with_hook({}, "a")[HOOK]
    (tmp_path / "hook").write_bytes(cloudpickle.dumps(hook))
    load = (
        "import sys; from ray import cloudpickle; from pathlib import Path\n"
        "said = cloudpickle.loads(Path(sys.argv[1]).read_bytes())()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", load + script, str(tmp_path / "hook")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_can_import_the_modules_and_is_in_the_folder_that_came_along(project, tmp_path):
    root = Path(__file__).parent.parent.parent
    script = f"import os, {NAME}; print(said, {NAME}.value, {NAME}.where, os.getcwd())"
    finished = begin(script, [project, root], tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["a", "3", str(project / f"{NAME}.py"), str(project)]


def test_a_process_with_another_package_begins_all_the_same(project, tmp_path):
    other = tmp_path / "other" / "sacred_ray_ingredient"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise RuntimeError('of another time')\n")
    finished = begin("print(repr(said))", [project, other.parent], tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "''"


def test_the_users_own_hook_stays():
    assert with_hook({HOOK: "mine.set_up", "pip": []}, "a") == {HOOK: "mine.set_up", "pip": []}


def test_nothing_goes_along_without_code():
    assert setup_files(TravellingTree("/d"), None) == {}
