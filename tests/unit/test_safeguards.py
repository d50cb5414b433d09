"""Rules that the whole package keeps."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import sacred_ray_ingredient as package

FOLDER = Path(package.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
# The command itself, which runs when it is imported.
NAMES = sorted(
    module.name
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
)
NEEDS_RAY = (
    f"{package.__name__}.engines.deaths",
    f"{package.__name__}.engines.direct",
    f"{package.__name__}.engines.direct_crew",
    f"{package.__name__}.engines.direct_queue",
    f"{package.__name__}.engines.direct_worker",
    f"{package.__name__}.engines.endings",
    f"{package.__name__}.engines.make_searcher",
    f"{package.__name__}.engines.mended",
    f"{package.__name__}.engines.tune",
    f"{package.__name__}.engines.tune_controller",
    f"{package.__name__}.engines.tune_scheduler",
    f"{package.__name__}.engines.tune_search",
    f"{package.__name__}.engines.tune_storage",
    f"{package.__name__}.engines.tune_trials",
    f"{package.__name__}.engines.tune_worker",
)
CALLS_NOT_WANTED = {"print", "eval", "exec", "compile", "__import__", "breakpoint", "input"}
# The command line of the package talks to the terminal.
FACES = {"cli.py"}


def python(code):
    """Run code in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def by_file(files):
    return pytest.mark.parametrize("file", files, ids=lambda file: str(file.relative_to(FOLDER)))


@pytest.mark.parametrize(
    "statement",
    ["import sacred_ray_ingredient", "from sacred_ray_ingredient import ray_ingredient"],
)
def test_importing_the_package_loads_neither_ray_nor_pymongo_and_starts_nothing(statement):
    told = "sorted({'ray', 'pymongo', 'gridfs', 'scipy', 'rich'} & set(sys.modules))"
    code = f"import sys, threading\n{statement}\nprint({told}, threading.active_count())"
    assert python(code) == "[] 1"


def test_every_module_can_be_the_first_that_is_imported():
    """A fork per module, so that each starts without the others."""
    python(
        "import os, sys, traceback, importlib, sacred, numpy, rich.table\n"
        f"names = {[name for name in NAMES if name not in NEEDS_RAY]!r}\n"
        "failed = []\n"
        "for name in names:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        try:\n"
        "            importlib.import_module(name)\n"
        "        except BaseException:\n"
        "            traceback.print_exc()\n"
        "            os._exit(1)\n"
        "        os._exit(0)\n"
        "    if os.waitpid(child, 0)[1]:\n"
        "        failed.append(name)\n"
        "assert not failed, failed\n"
    )


@pytest.mark.long
@pytest.mark.parametrize("name", NEEDS_RAY)
def test_modules_of_the_engine_can_be_the_first_too(name):
    python(f"import {name}")


def test_the_public_names_are_there_and_no_others():
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert dir(package) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        package.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_what_is_public_has_a_docstring(name):
    module = importlib.import_module(name)
    own = [
        (attribute, value)
        for attribute, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == name
        and not attribute.startswith("_")
    ]
    for attribute, value in list(own):
        if inspect.isclass(value):
            own += [
                (f"{attribute}.{below}", function)
                for below, function in vars(value).items()
                if inspect.isfunction(function) and not below.startswith("_")
            ]
    assert [attribute for attribute, value in own if not value.__doc__] == []
    assert module.__doc__


@by_file(FILES)
def test_no_call_that_has_a_better_way(file):
    """Prints go through the caller, checks raise errors, text of users is never code."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    allowed = {"print"} if file.name in FACES else set()
    assert calls & CALLS_NOT_WANTED <= allowed
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == []


@by_file(FILES)
def test_nothing_is_pickled_by_us(file):
    imported = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported & {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"} == set()


@by_file(FILES)
def test_modules_and_functions_are_short(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno - node.lineno + 1 > 60
    }
    assert long == {}
