"""Frozen code in a worker process: each test has a process of its own for it."""

import hashlib
import os
import pickle
import sys
import textwrap
import traceback
import types
from pathlib import Path

import pytest

from sacred_ray_ingredient.frozen_code import FrozenCode
from sacred_ray_ingredient.frozen_import import FrozenLoader, frozen_source, install, uninstall

ROOT = Path(__file__).parents[2]
FREEZE = """
import importlib, pickle, sys
from pathlib import Path
from sacred_ray_ingredient.frozen_code import freeze
from sacred_ray_ingredient.inner import InnerReference
reference = InnerReference("ex", **{reference!r})
assert reference.load().path == "ex"
Path({kept!r}).write_bytes(pickle.dumps((freeze(reference), reference)))
"""
WORK = """
import pickle, sys
from pathlib import Path
from sacred_ray_ingredient.frozen_import import frozen_source, install, uninstall
code, reference = pickle.loads(Path({kept!r}).read_bytes())
"""
INNER = """
from sacred import Experiment
from project.part import VALUE
ex = Experiment("ex", save_git_info=False)
"""


@pytest.fixture
def project(tmp_path):
    """Folder that the processes import from."""
    (tmp_path / "src").mkdir()
    return tmp_path / "src"


@pytest.fixture
def write(project):
    """Return a function that writes a file of the project."""

    def write(path, text, folder=project):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(textwrap.dedent(text))

    return write


@pytest.fixture
def python(project, tmp_path):
    """Return a function that runs Python code in a process of its own and returns what it prints.

    A copy of this process, which has imported Sacred already.
    """

    def python(code, source=project):
        output = tmp_path / "output.txt"
        child = os.fork()
        if child == 0:
            with output.open("w") as file:
                status = run_here(code, [*str(source).split(":"), str(ROOT)], file)
            os._exit(status)
        _, status = os.waitpid(child, 0)
        assert status == 0, output.read_text()
        return output.read_text().splitlines()

    return python


def run_here(code, path, file):
    """Run Python code as if it were what this process was started for."""
    sys.stdout = sys.stderr = file
    sys.path[:0] = path
    sys.dont_write_bytecode = False
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    try:
        exec(code, vars(main))
    except BaseException:
        traceback.print_exc(file=file)
        return 1
    return 0


@pytest.fixture
def driver(python, tmp_path):
    """Return a function that freezes the code in the place of a driver."""

    def driver(kept="code", **reference):
        reference = reference or {"module": "project.inner"}
        python(FREEZE.format(reference=reference, kept=str(tmp_path / kept)))

    return driver


@pytest.fixture
def worker(python, tmp_path):
    """Return a function that runs code in the place of a worker, with `code` and `reference`."""

    def worker(code, kept="code", **named):
        prelude = WORK.format(kept=str(tmp_path / kept))
        return python(prelude + textwrap.dedent(code), **named)

    return worker


@pytest.fixture
def package(write, driver):
    """A package with an inner experiment, frozen with the value "old"."""
    write("project/__init__.py", "")
    write("project/inner.py", INNER)
    write("project/part.py", "VALUE = 'old'\n")
    write("project/later.py", "from project.part import VALUE\nLATER = 'old'\n")
    driver()


class TestWorker:
    def test_imports_the_code_as_it_was(self, package, write, worker):
        write("project/part.py", "VALUE = 'edited'\n")
        write("project/later.py", "raise RuntimeError")
        told = worker(
            """
            install(code)
            import project.inner
            from project.later import LATER
            print(project.inner.VALUE, LATER, reference.load().path)
            """
        )
        assert told == ["old old ex"]

    def test_without_frozen_code_imports_what_is_there(self, package, write, worker):
        """What the other tests compare to."""
        write("project/part.py", "VALUE = 'edited'\n")
        assert worker("import project.inner\nprint(project.inner.VALUE)") == ["edited"]

    def test_imports_also_where_files_are_gone(self, package, project, worker):
        for file in sorted(project.rglob("*.py")):
            file.unlink()
        told = worker(
            """
            install(code)
            import project
            print(reference.load().path, project.inner.VALUE, project.inner.__file__)
            print([md5 for _, md5 in reference.load().get_experiment_info()["sources"]] != [])
            """
        )
        assert told == [f"ex old {project / 'project' / 'inner.py'}", "True"]

    def test_without_the_folder_of_the_project_has_its_experiment(
        self, package, project, worker, tmp_path
    ):
        project.rename(tmp_path / "away")
        assert worker("install(code)\nprint(reference.load().path)") == ["ex"]

    def test_without_the_folder_asks_no_repository_about_it(
        self, project, write, driver, worker, tmp_path
    ):
        pytest.importorskip("git")
        write("single.py", "from sacred import Experiment\nex = Experiment('ex')\n")
        driver(module="single")
        project.rename(tmp_path / "away")
        assert worker("install(code)\nprint(reference.load().path)") == ["ex"]

    def test_gives_modules_the_paths_of_their_files(self, package, project, write, worker):
        write("project/data.txt", "from the file")
        told = worker(
            """
            install(code)
            import project.inner, importlib.resources, pkgutil
            print(project.inner.__file__, project.__path__)
            print((Path(project.inner.__file__).parent / "data.txt").read_text())
            print(importlib.resources.files("project").joinpath("data.txt").read_text())
            print(pkgutil.get_data("project.inner", "data.txt").decode())
            """
        )
        here = project / "project"
        assert told == [f"{here / 'inner.py'} {[str(here)]}", *["from the file"] * 3]

    def test_finds_a_project_that_is_in_another_folder_there(
        self, package, project, write, worker, tmp_path
    ):
        """As where Ray has shipped it to another node."""
        project.rename(tmp_path / "shipped")
        write("project/data.txt", "shipped", folder=tmp_path / "shipped")
        write("project/part.py", "VALUE = 'edited'\n", folder=tmp_path / "shipped")
        told = worker(
            """
            install(code)
            reference.load()
            import project.part as part
            print(part.VALUE, (Path(part.__file__).parent / "data.txt").read_text())
            print(frozen_source(part.__file__) == b"VALUE = 'old'\\n")
            """,
            source=tmp_path / "shipped",
        )
        assert told == ["old shipped", "True"]

    def test_takes_no_other_folder_where_the_project_is_there(
        self, package, project, write, worker, tmp_path
    ):
        write("project/__init__.py", "", folder=tmp_path / "copy")
        told = worker(
            "install(code)\nimport project\nprint(project.__file__)",
            source=f"{tmp_path / 'copy'}:{project}",
        )
        assert told == [str(project / "project" / "__init__.py")]

    def test_finds_what_is_not_frozen_in_a_frozen_package(self, package, write, worker):
        write("project/generated.py", "VALUE = 'made after the start'\n")
        told = worker("install(code)\nimport project.generated as g\nprint(g.VALUE)")
        assert told == ["made after the start"]

    def test_neither_reads_nor_writes_compiled_files(self, package, project, worker):
        """What is compiled of an edited file can look as if it were of the frozen source."""
        part = project / "project" / "part.py"
        for file in project.rglob("*.pyc"):
            file.unlink()
        times = part.stat()
        part.write_text("VALUE = 'new'\n")
        os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert worker("import project.part as part\nprint(part.VALUE)") == ["new"]
        before = {file: file.read_bytes() for file in project.rglob("*.pyc")}
        assert len(before) == 2
        assert worker("install(code)\nimport project.inner as i\nprint(i.VALUE)") == ["old"]
        assert {file: file.read_bytes() for file in project.rglob("*.pyc")} == before

    def test_has_the_digests_of_frozen_sources_in_sacred(self, package, project, write, worker):
        write("project/inner.py", INNER + "# edited\n")
        told = worker(
            """
            install(code)
            for name, md5 in reference.load().get_experiment_info()["sources"]:
                print(name, md5)
            """
        )
        md5 = hashlib.md5(INNER.encode()).hexdigest()
        assert f"inner.py {md5}" in told


class TestLines:
    def test_of_tracebacks_and_inspect_are_the_frozen_ones(self, package, write, driver, worker):
        write("project/inner.py", INNER + "def fail():\n    raise ValueError('old line')\n")
        driver()
        write("project/inner.py", "\n\n\n" + INNER + "def fail():\n    raise ValueError('new')\n")
        told = worker(
            """
            install(code)
            import inspect, traceback
            from project.inner import fail
            print(inspect.getsource(fail).splitlines()[-1].strip())
            try:
                fail()
            except ValueError:
                print(traceback.format_exc().splitlines()[-2].strip("^ ") or "marks")
                print("raise ValueError('old line')" in traceback.format_exc())
            """
        )
        assert told[0] == "raise ValueError('old line')"
        assert told[-1] == "True"

    def test_of_config_scopes_are_the_frozen_ones(self, package, write, driver, worker):
        """Sacred reads the source of a scope to run it."""
        scope = "@ex.config\ndef config():\n    entry = '{}'\n"
        write("project/inner.py", INNER + scope.format("old"))
        driver()
        write("project/inner.py", "\n\n" + INNER + scope.format("new"))
        told = worker(
            """
            install(code)
            from sacred_ray_ingredient.inner import evaluate_config
            print(evaluate_config(reference.load(), {}))
            """
        )
        assert told == ["{'entry': 'old'}"]

    def test_of_modules_that_were_imported_before_are_the_frozen_ones(self, package, write, worker):
        told = worker(
            """
            import project.part, linecache
            install(code)
            Path(project.part.__file__).write_text("edited\\n\\n")
            linecache.checkcache()
            print(linecache.getline(project.part.__file__, 1).strip())
            """
        )
        assert told == ["VALUE = 'old'"]


class TestOtherPlaces:
    def test_a_package_without_init(self, project, write, driver, worker):
        write("space/inner.py", INNER.replace("project.part", "space.deep.part"))
        write("space/deep/part.py", "VALUE = 'old'\n")
        write("space/regular/__init__.py", "")
        driver(module="space.inner")
        work = """
            install(code)
            reference.load()
            import space.inner
            print(space.inner.VALUE, list(space.__path__))
            """
        write("space/deep/part.py", "VALUE = 'edited'\n")
        assert worker(work) == [f"old {[str(project / 'space')]}"]
        # What makes it a regular package now was not there then.
        write("space/__init__.py", "raise RuntimeError")
        assert worker(work) == [f"old {[str(project / 'space')]}"]
        for file in sorted(project.rglob("*.py")):
            file.unlink()
        assert worker(work) == [f"old {[str(project / 'space')]}"]

    def test_a_package_without_init_with_a_part_elsewhere(
        self, project, write, driver, worker, tmp_path
    ):
        write("space/inner.py", INNER.replace("from project.part", "from space.part"))
        write("space/part.py", "VALUE = 'old'\n")
        driver(module="space.inner")
        write("space/compiled.py", "VALUE = 'elsewhere'\n", folder=tmp_path / "other")
        told = worker(
            "install(code)\nimport space.inner, space.compiled\nprint(space.compiled.VALUE)",
            source=f"{project}:{tmp_path / 'other'}",
        )
        assert told == ["elsewhere"]

    def test_a_script(self, project, write, driver, worker, tmp_path):
        write("train.py", INNER.replace("project.part", "beside") + "FILE = __file__\n")
        write("beside.py", "VALUE = 'old'\n")
        script = str(project / "train.py")
        driver(script=script)
        write("train.py", "raise RuntimeError")
        write("beside.py", "raise RuntimeError")
        work = """
            install(code)
            experiment = reference.load()
            module = next(m for m in sys.modules.values() if vars(m).get("ex") is experiment)
            print(module.VALUE, module.FILE, reference.load() is experiment)
            """
        nowhere = tmp_path / "nowhere"
        assert worker(work, source=nowhere) == [f"old {script} True"]
        (project / "train.py").unlink()
        assert worker(work, source=nowhere) == [f"old {script} True"]


class TestInstall:
    def test_again_changes_nothing(self, package, worker):
        told = worker(
            """
            install(code)
            import project.inner as first
            install(pickle.loads(pickle.dumps(code)))
            import project.inner as second
            print(first is second, [type(f).__name__ for f in sys.meta_path].count("FrozenFinder"))
            print(type(sys.meta_path[0]).__name__)
            """
        )
        assert told == ["True 1", "FrozenFinder"]

    def test_of_other_code_takes_the_place(self, package, write, driver, worker, tmp_path):
        write("project/part.py", "VALUE = 'edited'\n")
        driver(kept="other")
        told = worker(
            f"""
            other, _ = pickle.loads(Path({str(tmp_path / "other")!r}).read_bytes())
            for chosen in (code, other, code):
                install(chosen)
                import project.inner
                import linecache
                print(project.inner.VALUE, linecache.getline(project.part.__file__, 1).strip())
            print([type(f).__name__ for f in sys.meta_path].count("FrozenFinder"))
            """
        )
        lines = [f"{value} VALUE = '{value}'" for value in ("old", "edited", "old")]
        assert told == [*lines, "1"]

    def test_of_other_code_forgets_also_those_that_use_it(
        self, package, write, driver, worker, tmp_path
    ):
        """Imported from the file, with the same source in both."""
        lazy = (
            "def value():\n    global part\n    from project import part\n    return part.VALUE\n"
        )
        write("project/lazy.py", lazy)
        driver()
        write("project/part.py", "VALUE = 'edited'\n")
        driver(kept="other")
        told = worker(
            f"""
            import project.lazy
            install(code)
            print(project.lazy.value())
            install(pickle.loads(Path({str(tmp_path / "other")!r}).read_bytes())[0])
            import project.lazy
            print(hasattr(project.lazy, "part"), project.lazy.value())
            """
        )
        assert told == ["old", "False edited"]

    def test_forgets_modules_that_were_imported_from_other_source(self, package, write, worker):
        """Also those that only use them."""
        write("project/part.py", "VALUE = 'edited'\n")
        told = worker(
            """
            import project.inner
            before = project.inner.VALUE
            install(code)
            import project.inner
            print(before, project.inner.VALUE)
            """
        )
        assert told == ["edited old"]

    def test_forgets_them_also_as_parts_of_a_package_without_init(self, write, driver, worker):
        write("space/inner.py", INNER.replace("project.part", "space.part"))
        write("space/part.py", "VALUE = 'old'\n")
        driver(module="space.inner")
        write("space/part.py", "VALUE = 'edited'\n")
        told = worker(
            """
            from space import part
            before = part.VALUE
            install(code)
            from space import part
            print(before, part.VALUE)
            """
        )
        assert told == ["edited old"]

    def test_keeps_modules_that_were_imported_from_the_same_source(self, package, worker):
        told = worker(
            """
            import project.inner as before
            install(code)
            import project.inner as after
            print(before is after)
            """
        )
        assert told == ["True"]

    def test_is_undone(self, package, write, worker):
        write("project/part.py", "VALUE = 'edited'\n")
        told = worker(
            """
            install(code)
            import project.inner
            path = project.part.__file__
            print(project.inner.VALUE, frozen_source(path))
            uninstall()
            import project.inner
            print(project.inner.VALUE, frozen_source(path))
            import linecache
            print(linecache.getline(path, 1).strip())
            """
        )
        assert told == ["""old b"VALUE = 'old'\\n\"""", "edited None", "VALUE = 'edited'"]


def test_a_module_knows_its_source_also_when_its_code_is_no_longer_installed():
    loader = FrozenLoader("frozen_test_gone", "/nowhere/frozen_test_gone.py", b"x = 1\n")
    assert loader.get_source("frozen_test_gone") == "x = 1\n"


def test_without_frozen_code_there_is_no_frozen_source():
    uninstall()
    assert frozen_source(__file__) is None


def test_no_code_at_all_is_frozen_code_too():
    empty = FrozenCode((), {})
    before = list(sys.meta_path)
    try:
        install(pickle.loads(pickle.dumps(empty)))
        assert len(sys.meta_path) == len(before) + 1
    finally:
        uninstall()
    assert sys.meta_path == before
